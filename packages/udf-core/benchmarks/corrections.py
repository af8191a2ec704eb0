"""What corrections cost: decode and cast alone against decode, cast, dark frame, gain map and dead pixels.

One core, frames of 256 x 256 pixels of u2 to float32, in the tiles that the engine makes.  Run it with
``python benchmarks/corrections.py``; it takes some ten seconds.  Each figure is the best of several rounds,
in which all are measured one after the other, so that a noisy minute hits all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from arraystream import ItemDescriptor, PluginError, open_decoder
from udf_core import CorrectionSet
from udf_core._tile_reader import TileReader
from udf_core._tiling import TilingPreference, negotiate

SIG = (256, 256)
N_FRAMES = 512
N_TURNS = 7
N_DEAD = 20
FLOAT = np.dtype(np.float32)


def sources(data: np.ndarray) -> dict[str, tuple[ItemDescriptor, np.ndarray]]:
    """Return the same frames as several codecs store them."""
    merlin = {
        "kind": "U16",
        "depth": 12,
        "layout": "1x1",
        "n_chips": 1,
        "header_width": SIG[1],
        "header_height": SIG[0],
    }
    big = data.astype(">u2")
    stored = {
        "raw <u2": (ItemDescriptor(data.dtype, SIG, codec_params={"dtype": "<u2"}), data.astype("<u2")),
        "raw >u2": (ItemDescriptor(data.dtype, SIG, codec_params={"dtype": ">u2"}), big),
        "merlin U16": (ItemDescriptor(data.dtype, SIG, "merlin", merlin), big),
    }
    return {name: (one, array.reshape(-1).view(np.uint8)) for name, (one, array) in stored.items()}


def corrections() -> dict[str, CorrectionSet]:
    """Return what is compared."""
    rng = np.random.default_rng(1)
    dark, gain = rng.random(SIG), rng.random(SIG) + 0.5
    dead = np.zeros(SIG, bool)
    dead.reshape(-1)[rng.choice(dead.size, N_DEAD, replace=False)] = True
    return {
        "cast alone": CorrectionSet(),
        "dark, gain": CorrectionSet(dark, gain),
        f"{N_DEAD} dead pixels": CorrectionSet(excluded_pixels=dead),
        f"dark, gain, {N_DEAD} dead": CorrectionSet(dark, gain, dead),
    }


def turn(descriptor: ItemDescriptor, payload: np.ndarray, wanted: CorrectionSet) -> Callable[[], None]:
    """Return what decodes all frames once."""
    forbidden = wanted.forbidden_cuts() if wanted.have_corrections() else None
    scheme = negotiate(SIG, FLOAT.itemsize, [TilingPreference("tile", 32)], forbidden=forbidden)
    reader = TileReader(descriptor, open_decoder(descriptor), FLOAT, scheme, wanted)
    offsets = np.arange(N_FRAMES, dtype=np.uint64) * np.uint64(2 * SIG[0] * SIG[1])
    assert scheme.depth is not None
    depth = scheme.depth

    def decode() -> None:
        for start in range(0, N_FRAMES, depth):
            places = offsets[start : start + depth]
            for band in scheme.bands:
                reader.decode(payload, places, band, reader.buffer(len(places), band[1] - band[0]))

    return decode


def main() -> None:
    """Measure and print."""
    data = np.random.default_rng(0).poisson(4, (N_FRAMES, *SIG)).astype("u2")
    turns = {}
    for codec, (descriptor, payload) in sources(data).items():
        for name, wanted in corrections().items():
            try:
                turns[codec, name] = turn(descriptor, payload, wanted)
            except PluginError as error:
                print(f"{codec}: not measured ({error})")
                break
    best = dict.fromkeys(turns, float("inf"))
    for _ in range(N_TURNS):
        for key, decode in turns.items():
            started = time.perf_counter()
            decode()
            best[key] = min(best[key], time.perf_counter() - started)
    print(f"{'stored as':<12}{'corrected by':<24}{'us/frame':>10}{'GB/s stored':>14}{'GB/s made':>12}")
    for (codec, name), took_s in best.items():
        rate = data.nbytes / took_s / 1e9
        print(f"{codec:<12}{name:<24}{took_s / N_FRAMES * 1e6:10.2f}{rate:14.2f}{2 * rate:12.2f}")


if __name__ == "__main__":
    main()
