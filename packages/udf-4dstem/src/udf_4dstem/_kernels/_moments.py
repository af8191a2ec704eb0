"""Zeroth and first moments of frames, for the centre of mass, in one pass and (for counts) exactly.

Instead of multiplying each pixel with its coordinates, frames are added up along their axes first: the sum
of each column, times its x, gives the x moment with one multiplication per column.  For whole frames the y
moment falls out of the same vertical pass: the running column sums are added up once more at each row, which
counts row y of a block of R rows ``R - y`` times.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from ._tiles import Tile, image_view, lane_dtype, total_dtype

#: Rows per block.  Integers: the weighted sum fits a 32-bit lane, 65535 · 256 · 257 / 2 < 2**32.
#: Single precision: counts up to 31 000 stay exact, 31 000 · 32 · 33 / 2 < 2**24.
_ROWS = 256
_ROWS_FLOAT32 = 32


def moments(tile: Tile) -> npt.NDArray[np.float64]:
    """Return (m0, my, mx) of each frame of a tile.

    Parameters
    ----------
    tile
        Shape ``(n, rows, width)``, real.

    Returns
    -------
    numpy.ndarray
        Shape ``(n, 3)``, float64: the sums over pixels of I, y·I and x·I; y and x count from the tile's
        first pixel.  Exact for integers (while below 2**53).
    """
    frames = image_view(tile)
    out = np.zeros((frames.shape[0], 3))
    scratch = np.empty((2, frames.shape[2]), lane_dtype(frames.dtype))
    _moments(frames, _ROWS_FLOAT32 if frames.dtype == np.float32 else _ROWS, scratch, out)
    return out


def moments_of_spans(
    tile: Tile, rows: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return (m0, my, mx) of each frame over spans of pixels ``frame[row, start:stop]``.

    Like `moments` otherwise.  No span may be longer than 65536 pixels.
    """
    frames = image_view(tile)
    out = np.zeros((frames.shape[0], 3))
    column = np.empty(frames.shape[2], total_dtype(frames.dtype))
    _moments_of_spans(frames, rows, starts, stops, np.empty(0, lane_dtype(frames.dtype)), column, out)
    return out


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _moments(frames, block, scratch, out):  # type: ignore[no-untyped-def]
    cast = scratch.dtype.type
    n, rows, width = frames.shape
    column, falling = scratch[0], scratch[1]
    for i in range(n):
        for first in range(0, rows, block):
            last = min(first + block, rows)
            column[:] = 0
            falling[:] = 0
            y = first
            while y + 8 <= last:
                a, b, c, d = frames[i, y], frames[i, y + 1], frames[i, y + 2], frames[i, y + 3]
                e, f, g, h = frames[i, y + 4], frames[i, y + 5], frames[i, y + 6], frames[i, y + 7]
                for x in range(width):
                    run = cast(column[x] + cast(a[x]))
                    twice = run
                    run = cast(run + cast(b[x]))
                    twice = cast(twice + run)
                    run = cast(run + cast(c[x]))
                    twice = cast(twice + run)
                    run = cast(run + cast(d[x]))
                    twice = cast(twice + run)
                    run = cast(run + cast(e[x]))
                    twice = cast(twice + run)
                    run = cast(run + cast(f[x]))
                    twice = cast(twice + run)
                    run = cast(run + cast(g[x]))
                    twice = cast(twice + run)
                    run = cast(run + cast(h[x]))
                    twice = cast(twice + run)
                    column[x] = run
                    falling[x] = cast(falling[x] + twice)
                y += 8
            while y < last:
                a = frames[i, y]
                for x in range(width):
                    column[x] = cast(column[x] + cast(a[x]))
                    falling[x] = cast(falling[x] + column[x])
                y += 1
            m0 = down = mx = 0.0
            for x in range(width):
                m0 += np.float64(column[x])
                down += np.float64(falling[x])
                mx += x * np.float64(column[x])
            # Row y has been counted (last - y) times in `down`.
            out[i, 0] += m0
            out[i, 1] += last * m0 - down
            out[i, 2] += mx


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _moments_of_spans(frames, rows, starts, stops, lane, column, out):  # type: ignore[no-untyped-def]
    cast = lane.dtype.type
    total = column.dtype.type
    for i in range(frames.shape[0]):
        column[:] = 0
        my = 0.0
        for k in range(rows.size):
            span = frames[i, rows[k], starts[k] : stops[k]]
            under = column[starts[k] : stops[k]]
            partial = cast(0)
            for x in range(span.size):
                value = cast(span[x])
                partial = cast(partial + value)
                under[x] = total(under[x] + total(value))
            my += rows[k] * np.float64(partial)
        m0 = 0.0
        mx = 0.0
        for x in range(column.size):
            m0 += np.float64(column[x])
            mx += x * np.float64(column[x])
        out[i, 0] = m0
        out[i, 1] = my
        out[i, 2] = mx
