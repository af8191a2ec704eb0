"""Sums over the frames of a tile, and over selected pixels of each frame.

Integers are added in integer lanes and reach a float64 result with one addition per pixel (or per run of
pixels), so sums of counts are exact up to 2**53.  Floats are added in their own precision over at most eight
frames or 1024 pixels, and in float64 from there on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from ._tiles import Tile, lane_dtype, real_pairs, stack_view, total_dtype

#: Longest run of pixels that is added up in one lane; longer runs have to be cut.
RUN_LIMIT = 1024

#: Pixels per block: 8 or 16 KiB of partial sums stay in the L1 cache while all frames pass.
_BLOCK = 2048

#: Frames that can be added without overflow of a lane: 2**32 / 2**16, less one bit for the sign.
_DEPTH_LIMIT = 32768


def add_frames(tile: Tile, out: npt.NDArray[Any]) -> None:
    """Add all frames of a tile to `out`.

    Parameters
    ----------
    tile
        Shape ``(n, *sig)``, any real or complex dtype.
    out
        Shape ``sig``, C-contiguous, float64 (complex128 for complex tiles) or an integer dtype that holds
        the sums; added to in place.
    """
    if tile.dtype.kind == "c":
        tile, out = real_pairs(tile), real_pairs(out)
    frames = stack_view(tile)
    block = np.empty(_BLOCK, total_dtype(frames.dtype))
    for first in range(0, frames.shape[0], _DEPTH_LIMIT):
        _add_frames(frames[first : first + _DEPTH_LIMIT], block, out.reshape(-1))


def sum_runs(tile: Tile, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Sum each frame over runs of pixels.

    Parameters
    ----------
    tile
        Shape ``(n, *sig)``, any real or complex dtype.
    starts, stops
        Runs ``[start, stop)`` of the flattened frame, none longer than `RUN_LIMIT`.

    Returns
    -------
    numpy.ndarray
        Shape ``(n,)``, float64 (complex128 for complex tiles).
    """
    if tile.dtype.kind == "c":
        return sum_runs(tile.real, starts, stops) + 1j * sum_runs(tile.imag, starts, stops)
    frames = stack_view(tile)
    out = np.empty(frames.shape[0], np.float64)
    _sum_runs(frames, starts, stops, np.empty(0, lane_dtype(frames.dtype)), out)
    return out


def whole_frame(n_pixels: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the runs that cover a frame of `n_pixels` pixels."""
    starts = np.arange(0, n_pixels, RUN_LIMIT, dtype=np.int64)
    return starts, np.minimum(starts + RUN_LIMIT, n_pixels)


@njit(nogil=True, cache=True, error_model="numpy")
def _add_frames(frames, block, out):  # type: ignore[no-untyped-def]
    n, n_pixels = frames.shape
    for p in range(0, n_pixels, block.size):
        q = min(p + block.size, n_pixels)
        acc = block[: q - p]
        acc[:] = 0
        i = 0
        while i + 8 <= n:
            a, b, c, d = frames[i, p:q], frames[i + 1, p:q], frames[i + 2, p:q], frames[i + 3, p:q]
            e, f, g, h = frames[i + 4, p:q], frames[i + 5, p:q], frames[i + 6, p:q], frames[i + 7, p:q]
            for j in range(acc.size):
                acc[j] += ((a[j] + b[j]) + (c[j] + d[j])) + ((e[j] + f[j]) + (g[j] + h[j]))
            i += 8
        while i + 4 <= n:
            a, b, c, d = frames[i, p:q], frames[i + 1, p:q], frames[i + 2, p:q], frames[i + 3, p:q]
            for j in range(acc.size):
                acc[j] += (a[j] + b[j]) + (c[j] + d[j])
            i += 4
        while i < n:
            a = frames[i, p:q]
            for j in range(acc.size):
                acc[j] += a[j]
            i += 1
        total = out[p:q]
        for j in range(acc.size):
            total[j] += acc[j]


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "nsz"})
def _sum_runs(frames, starts, stops, lane, out):  # type: ignore[no-untyped-def]
    cast = lane.dtype.type
    for i in range(frames.shape[0]):
        total = 0.0
        for k in range(starts.size):
            run = frames[i, starts[k] : stops[k]]
            partial = cast(0)
            for j in range(run.size):
                partial = cast(partial + cast(run[j]))
            total += np.float64(partial)
        out[i] = total
