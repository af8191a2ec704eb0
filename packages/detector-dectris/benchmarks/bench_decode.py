"""Decode speed on one core beside other decoders, in bytes of pixels as sent per second.

    python packages/detector-dectris/benchmarks/bench_decode.py

Images are Poisson counts, once of something like a diffraction pattern and once of even illumination,
compressed by `hdf5plugin` where it is installed.  Ours decodes and casts to the type that a UDF wants; the
others only decode: `dectris-compression` and `bitshuffle` where they are installed, in this interpreter or
in the one that LIVESTEM_LIBERTEM_PYTHON names, and HDF5 with `hdf5plugin`.  All take turns in short rounds
in the same run, the best of which counts: read the ratios, the figures depend on the hour.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

N_ROUNDS = 12
ROUND_BYTES = 3_000_000
CASES = [
    (dtype, n, kind, dose)
    for dtype, n in (("u2", 192), ("u4", 512))
    for kind in ("pattern", "even")
    for dose in (0.1, 1.0)
]


def intensity(kind: str, n: int, dose: float) -> np.ndarray:
    """Mean counts, shape ``(n, n)``, `dose` on average: disks over a background that falls off."""
    if kind == "even":
        return np.full((n, n), dose)
    y, x = (np.mgrid[:n, :n] - n / 2) / n
    spots = [(0.0, 0.0, 3.0)]
    spots += [(0.28 * np.sin(a), 0.28 * np.cos(a), 0.4) for a in np.arange(6) * np.pi / 3 + 0.2]
    mean = 0.02 + 0.5 * np.exp(-np.hypot(y, x) / 0.12)
    for cy, cx, height in spots:
        mean += height / (1 + np.exp((np.hypot(y - cy, x - cx) - 0.14) / 0.006))
    return np.asarray(mean * dose / mean.mean())


def compress(images: np.ndarray, folder: Path) -> tuple[list[bytes], Path | None]:
    """Return blobs, and the file that has them if `hdf5plugin` made them."""
    try:
        import h5py
        import hdf5plugin
    except ImportError:
        from detector_dectris._dectris import encode

        return encode(images, "bslz4"), None
    path = folder / f"{images.dtype.str[1:]}_{images[0].size}_{images.sum()}.h5"
    with h5py.File(path, "w") as file:
        options = hdf5plugin.Bitshuffle(nelems=0, cname="lz4")
        data = file.create_dataset("data", data=images, chunks=(1, *images.shape[1:]), **options)
        return [data.id.read_direct_chunk((i, 0, 0))[1] for i in range(len(images))], path


def seconds(call: Callable[[int], object], n_images: int, n_bytes: int) -> float:
    """Seconds of CPU per image, in one round."""
    repeats = max(1, ROUND_BYTES // (n_images * n_bytes))
    begin = time.thread_time()
    for _ in range(repeats):
        for i in range(n_images):
            call(i)
    return (time.thread_time() - begin) / (repeats * n_images)


def serve_peers() -> None:
    """Answer, line by line, how long each installed decoder takes for a round."""
    decoders: dict[str, Callable[[bytes, int, int], object]] = {}
    try:
        from dectris.compression import decompress

        decoders["dectris-compression"] = lambda blob, size, n: decompress(blob, "bslz4", elem_size=size)
    except ImportError:
        pass
    try:
        import bitshuffle

        decoders["bitshuffle"] = lambda blob, size, n: bitshuffle.decompress_lz4(
            np.frombuffer(blob, np.uint8)[12:], (n,), np.dtype(f"u{size}"), 8192 // size
        )
    except ImportError:
        pass
    for line in sys.stdin:
        request = json.loads(line)
        blobs = [Path(name).read_bytes() for name in request["blobs"]]
        size, n = request["size"], request["n"]
        found = {}
        for name, decode in decoders.items():
            found[name] = seconds(lambda i: decode(blobs[i], size, n), len(blobs), n * size)  # noqa: B023
        print(json.dumps(found), flush=True)


@contextmanager
def peers() -> Iterator[Callable[[dict[str, object]], dict[str, float]]]:
    """Other decoders, in a process of their own."""
    python = os.environ.get("LIVESTEM_LIBERTEM_PYTHON", sys.executable)
    command = [python, __file__, "--peers"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(request: dict[str, object]) -> dict[str, float]:
            print(json.dumps(request), file=process.stdin, flush=True)
            found: dict[str, float] = json.loads(process.stdout.readline())  # type: ignore[union-attr]
            return found

        yield ask
        process.stdin.close()


def main() -> None:
    """Measure and print."""
    from detector_dectris._dectris import Decoder

    rng = np.random.default_rng(1)
    print(f"{'GB/s of pixels as sent':26s} packed  " + "decoder: GB/s (ours is so many times as fast)")
    with tempfile.TemporaryDirectory() as name, peers() as ask:
        folder = Path(name)
        for dtype, n, kind, dose in CASES:
            images = rng.poisson(intensity(kind, n, dose), (8 if n < 256 else 2, n, n)).astype(dtype)
            blobs, path = compress(images, folder)
            files = []
            for i, blob in enumerate(blobs):
                files.append(str(folder / f"{i}.blob"))
                (folder / f"{i}.blob").write_bytes(blob)
            payload = np.frombuffer(b"".join(blobs), np.uint8)
            lengths = np.array([len(blob) for blob in blobs], np.uint64)
            starts = np.cumsum(lengths) - lengths
            decoder = Decoder("bslz4", images.itemsize, (n, n))
            calls: dict[str, Callable[[int], object]] = {}
            for wanted in (dtype, "f4"):
                out = np.empty((1, n, n), wanted)
                decoder.decode_blobs(payload, starts[:1], lengths[:1], (0, n), out)
                np.testing.assert_array_equal(out[0], images[0])
                calls[f"ours to {wanted}"] = lambda i, out=out: decoder.decode_blobs(  # type: ignore[misc]  # noqa: B023
                    payload, starts[i : i + 1], lengths[i : i + 1], (0, n), out  # noqa: B023
                )  # fmt: skip
            file = None
            if path is not None:
                import h5py

                file = h5py.File(path, "r", rdcc_nbytes=0)
                data, into = file["data"], np.empty((n, n), dtype)
                calls["HDF5"] = lambda i, data=data, into=into: data.read_direct(into, np.s_[i])  # type: ignore[misc]
            best: dict[str, float] = {}
            for _ in range(N_ROUNDS):
                taken = {c: seconds(call, len(blobs), images[0].nbytes) for c, call in calls.items()}
                taken |= ask({"blobs": files, "size": images.itemsize, "n": n * n})
                best = {c: min(s, best.get(c, np.inf)) for c, s in taken.items()}
            ours = best["ours to f4"]
            cells = [f"{images[0].nbytes / best[f'ours to {w}'] / 1e9:5.2f} to {w}" for w in (dtype, "f4")]
            cells += [
                f"{c} {images[0].nbytes / s / 1e9:5.2f} ({s / ours:.1f}x)"
                for c, s in best.items()
                if not c.startswith("ours")
            ]
            packed = images.nbytes / sum(len(blob) for blob in blobs)
            print(f"{n}x{n} {dtype} {kind:8s}{dose:4.1f} e/px {packed:6.1f}  ours " + "  ".join(cells))
            if file is not None:
                file.close()


if __name__ == "__main__":
    if "--peers" in sys.argv:
        serve_peers()
    else:
        main()
