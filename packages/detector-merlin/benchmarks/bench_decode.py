"""Decode speed of each pixel format on one core, in bytes of decoded pixels per second.

    python packages/detector-merlin/benchmarks/bench_decode.py

Payload and output of one call fit into the core's caches, as a tile does in a worker; the best of
several repeats counts.  The copy of the same number of bytes is the limit of the machine.
"""

from __future__ import annotations

import time

import numpy as np

from detector_merlin._merlin import Decoder

FORMATS = {
    "raw-1 quad": ("R64", 1, "2x2", 4, 1024, 256),
    "raw-6 quad": ("R64", 6, "2x2", 4, 1024, 256),
    "raw-12 quad": ("R64", 12, "2x2", 4, 1024, 256),
    "raw-24 quad": ("R64", 24, "2x2", 4, 2048, 256),
    "raw-12 single": ("R64", 12, "1x1", 1, 256, 256),
    "U08": ("U08", 6, "1x1", 1, 256, 256),
    "U16": ("U16", 12, "1x1", 1, 256, 256),
    "U16 2x2G": ("U16", 12, "2x2G", 4, 514, 514),
    "U32": ("U32", 24, "1x1", 1, 256, 256),
}
TILE_BYTES = 384 * 1024


def best_rate(call, n_bytes: int, budget_s: float = 0.08) -> float:
    """Bytes per second of the fastest of many batches."""
    call()
    best = np.inf
    stop = time.perf_counter() + budget_s
    while time.perf_counter() < stop:
        begin = time.perf_counter()
        for _ in range(4):
            call()
        best = min(best, (time.perf_counter() - begin) / 4)
    return n_bytes / best / 1e9


def main() -> None:
    """Measure and print."""
    types = ("u1", "u2", "u4", "f4", "f8")
    print(f"{'GB/s of pixels':16s}" + "".join(f"{name:>9s}" for name in (*types, "f4 plain")))
    rng = np.random.default_rng(1)
    for name, parameters in FORMATS.items():
        decoder = Decoder(*parameters)
        scalar = Decoder(*parameters, vectorise=False)
        rows, columns = decoder.item_shape
        rates = []
        for decode, type_name in [*((decoder.decode, t) for t in types), (scalar.decode, "f4")]:
            dtype = np.dtype(type_name)
            band = max(1, min(rows, TILE_BYTES // (columns * dtype.itemsize)))
            n = max(1, TILE_BYTES // (band * columns * dtype.itemsize))
            step = decoder.payload_bytes + 384
            payload = rng.integers(0, 16, n * step, dtype=np.uint8)
            offsets = np.arange(n, dtype=np.uint64) * np.uint64(step)
            out = np.empty((n, band, columns), dtype)
            rates.append(best_rate(lambda: decode(payload, offsets, (0, band), out), out.nbytes))  # noqa: B023
        print(f"{name:16s}" + "".join(f"{rate:9.1f}" for rate in rates))
    source = rng.integers(0, 16, TILE_BYTES, dtype=np.uint8)
    target = np.empty_like(source)
    print(f"{'copy':16s}{best_rate(lambda: np.copyto(target, source), target.nbytes):9.1f}")


if __name__ == "__main__":
    main()
