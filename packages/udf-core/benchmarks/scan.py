"""What it costs to find the positions of a chunk's items, and to cut it into stretches.

Run it with ``python packages/udf-core/benchmarks/scan.py``; takes a few seconds.
"""

from __future__ import annotations

import timeit

import numpy as np

from udf_core import Scan, ScanMap

N_ITEMS = 1024
SHAPE = (256, 256)


def scans() -> dict[str, ScanMap]:
    """Return the scans to measure."""
    rng = np.random.default_rng(0)
    return {
        "raster": ScanMap(Scan(SHAPE)),
        "raster, endless": ScanMap(Scan(SHAPE, endless=True)),
        "raster, half of it in a ROI": ScanMap(Scan(SHAPE), np.arange(65536).reshape(SHAPE) % 512 < 256),
        "flyback": ScanMap(Scan(SHAPE, flyback=16, flyback_lines=4)),
        "snake": ScanMap(Scan(SHAPE, snake=True)),
        "snake, flyback, endless": ScanMap(Scan(SHAPE, snake=True, flyback=16, endless=True)),
        "columns first": ScanMap(Scan.from_positions(np.arange(65536).reshape(SHAPE).T.ravel(), SHAPE)),
        "random": ScanMap(Scan.from_positions(rng.permutation(65536), SHAPE)),
    }


def microseconds(call: object) -> float:
    """Return the shortest of several means."""
    assert callable(call)
    n = 200
    return min(timeit.repeat(call, number=n, repeat=7)) / n * 1e6


def main() -> None:
    """Print a table."""
    print(f"{N_ITEMS} items                    positions µs   stretches µs   number of stretches")
    for name, scan_map in scans().items():
        first = 8 * N_ITEMS
        positions = microseconds(lambda m=scan_map, f=first: m.positions(f, N_ITEMS))
        stretches = microseconds(lambda m=scan_map, f=first: m.stretches(f, N_ITEMS, scattered=True))
        n = len(scan_map.stretches(first, N_ITEMS, scattered=True))
        print(f"{name:30} {positions:12.1f} {stretches:14.1f} {n:21}")


if __name__ == "__main__":
    main()
