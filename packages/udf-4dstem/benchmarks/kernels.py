"""Time the warm kernels on one core: microseconds per 256×256 frame, best of several short rounds.

Run ``python packages/udf-4dstem/benchmarks/kernels.py [u1 u2 u4 f4 ...]``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from udf_4dstem import _kernels as kernels
from udf_4dstem._runs import frame_runs, frame_spans

SIDE = 256
ROUND_S = 0.03
ROUNDS = 7
SHAPES = {"4 frames": (4, SIDE, SIDE), "32 frames": (32, SIDE, SIDE), "32 bands": (32, 32, SIDE)}


def microseconds(call: Callable[[], Any], n_frames: float) -> float:
    """Time a call, per frame."""
    call()
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        n = 0
        while time.perf_counter() - start < ROUND_S:
            call()
            n += 1
        best = min(best, (time.perf_counter() - start) / n)
    return best / n_frames * 1e6


def cases(tile: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Return the kernels, bound to a tile."""
    sig = tile.shape[1:]
    n_pixels = int(np.prod(sig))
    y, x = np.ogrid[: sig[0], :SIDE]
    rho = np.hypot(y - sig[0] // 2, x - SIDE // 2)
    ring = frame_runs((rho > 60) & (rho <= 120))
    spans = frame_spans(rho <= 100)
    masks = np.random.default_rng(1).random((4, n_pixels)).astype(kernels.weight_dtype(tile.dtype))
    active = kernels.active_blocks(masks)
    one, one_active = masks[:1].copy(), active[:1].copy()
    total, varsum = np.zeros(sig), np.zeros(sig)
    whole = kernels.whole_frame(n_pixels)
    return {
        "sum": lambda: kernels.add_frames(tile, total),
        "sumsig": lambda: kernels.sum_runs(tile, *whole),
        "ring 60-120": lambda: kernels.sum_runs(tile, *ring),
        "1 dense mask": lambda: kernels.dot_dense(tile, one, one_active),
        "4 dense masks": lambda: kernels.dot_dense(tile, masks, active),
        "CoM": lambda: kernels.moments(tile),
        "CoM r=100": lambda: kernels.moments_of_spans(tile, *spans),
        "variance": lambda: kernels.add_variance(tile, 0, total, varsum),
    }


def main(dtypes: list[str]) -> None:
    """Print the table."""
    for dtype in dtypes:
        for label, shape in SHAPES.items():
            tile = np.random.default_rng(0).poisson(20, shape).astype(dtype)
            n_frames = tile.size / SIDE**2
            figures = {name: microseconds(call, n_frames) for name, call in cases(tile).items()}
            print(f"{dtype} {label:>9}: " + "  ".join(f"{name} {us:5.2f}" for name, us in figures.items()))


if __name__ == "__main__":
    main(sys.argv[1:] or ["u1", "u2", "u4", "f4"])
