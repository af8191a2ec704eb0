"""Dot products of frames with weights: dense masks, sparse masks, and masks that follow the frame.

Dense masks are blocked over pixels, so that the weights of up to four masks stay in the L1 cache while all
frames of a tile pass; integers are converted in registers.  A block's products are added in the precision of
the weights, blocks in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from ._tiles import Tile, stack_view

#: Bytes of one mask per block; four masks then take half of a 32 KiB L1 cache.
_BLOCK_BYTES = 4096


def dot_dense(
    tile: Tile, weights: npt.NDArray[Any], active: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Multiply frames with dense masks.

    Parameters
    ----------
    tile
        Shape ``(n, *sig)``, real.
    weights
        Shape ``(n_masks, pixels)``, C-contiguous float32 or float64.
    active
        From `active_blocks`: blocks where a mask has weights at all.

    Returns
    -------
    numpy.ndarray
        Shape ``(n, n_masks)``, float64.
    """
    frames = stack_view(tile)
    out = np.zeros((frames.shape[0], weights.shape[0]))
    _dot_dense(frames, weights, active, _BLOCK_BYTES // weights.itemsize, out)
    return out


def active_blocks(weights: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return for each mask which of the kernel's blocks of pixels hold non-zero weights."""
    starts = np.arange(0, weights.shape[1], _BLOCK_BYTES // weights.itemsize)
    if not starts.size:
        return np.zeros((weights.shape[0], 0), bool)
    return np.logical_or.reduceat(weights != 0, starts, axis=1)


def dot_sparse(
    tile: Tile, data: npt.NDArray[Any], indices: npt.NDArray[np.int64], indptr: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Multiply frames with sparse masks, the rows of a CSR matrix ``(n_masks, pixels)``.

    Indices are not checked here.  Returns float64, shape ``(n, n_masks)``.
    """
    frames = stack_view(tile)
    out = np.zeros((frames.shape[0], indptr.size - 1))
    _dot_sparse(frames, data, indices, indptr, out)
    return out


def dot_shifted(frame: Tile, weights: npt.NDArray[Any], dy: int, dx: int) -> npt.NDArray[np.float64]:
    """Multiply one frame with masks moved by ``(dy, dx)`` pixels; what leaves the frame is cut off.

    Parameters
    ----------
    frame
        Shape ``(h, w)``, real.
    weights
        Shape ``(n_masks, h, w)``, float32 or float64.

    Returns
    -------
    numpy.ndarray
        Shape ``(n_masks,)``, float64: the sum over pixels p of ``weights[m, p - (dy, dx)] · frame[p]``.
    """
    out = np.zeros(weights.shape[0])
    width = frame.shape[1]
    _dot_shifted(stack_view(frame[np.newaxis]).reshape(-1, width), weights, dy, dx, out)
    return out


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _dot_dense(frames, weights, active, block, out):  # type: ignore[no-untyped-def]
    cast = weights.dtype.type
    n, n_pixels = frames.shape
    n_masks = weights.shape[0]
    fours = n_masks - n_masks % 4
    for b in range(active.shape[1]):
        p = b * block
        q = min(p + block, n_pixels)
        for m in range(0, fours, 4):
            if not (active[m, b] or active[m + 1, b] or active[m + 2, b] or active[m + 3, b]):
                continue
            w0, w1, w2, w3 = weights[m, p:q], weights[m + 1, p:q], weights[m + 2, p:q], weights[m + 3, p:q]
            i = 0
            while i + 2 <= n:
                f, g = frames[i, p:q], frames[i + 1, p:q]
                f0 = f1 = f2 = f3 = g0 = g1 = g2 = g3 = cast(0)
                for j in range(w0.size):
                    u, v = cast(f[j]), cast(g[j])
                    f0 += u * w0[j]
                    f1 += u * w1[j]
                    f2 += u * w2[j]
                    f3 += u * w3[j]
                    g0 += v * w0[j]
                    g1 += v * w1[j]
                    g2 += v * w2[j]
                    g3 += v * w3[j]
                out[i, m] += f0
                out[i, m + 1] += f1
                out[i, m + 2] += f2
                out[i, m + 3] += f3
                out[i + 1, m] += g0
                out[i + 1, m + 1] += g1
                out[i + 1, m + 2] += g2
                out[i + 1, m + 3] += g3
                i += 2
            if i < n:
                f = frames[i, p:q]
                f0 = f1 = f2 = f3 = cast(0)
                for j in range(w0.size):
                    u = cast(f[j])
                    f0 += u * w0[j]
                    f1 += u * w1[j]
                    f2 += u * w2[j]
                    f3 += u * w3[j]
                out[i, m] += f0
                out[i, m + 1] += f1
                out[i, m + 2] += f2
                out[i, m + 3] += f3
        for m in range(fours, n_masks):
            if not active[m, b]:
                continue
            w0 = weights[m, p:q]
            i = 0
            while i + 4 <= n:
                f, g, h, k = frames[i, p:q], frames[i + 1, p:q], frames[i + 2, p:q], frames[i + 3, p:q]
                f0 = g0 = h0 = k0 = cast(0)
                for j in range(w0.size):
                    w = w0[j]
                    f0 += cast(f[j]) * w
                    g0 += cast(g[j]) * w
                    h0 += cast(h[j]) * w
                    k0 += cast(k[j]) * w
                out[i, m] += f0
                out[i + 1, m] += g0
                out[i + 2, m] += h0
                out[i + 3, m] += k0
                i += 4
            while i < n:
                f = frames[i, p:q]
                f0 = cast(0)
                for j in range(w0.size):
                    f0 += cast(f[j]) * w0[j]
                out[i, m] += f0
                i += 1


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _dot_sparse(frames, data, indices, indptr, out):  # type: ignore[no-untyped-def]
    for i in range(frames.shape[0]):
        frame = frames[i]
        for m in range(indptr.size - 1):
            values = data[indptr[m] : indptr[m + 1]]
            where = indices[indptr[m] : indptr[m + 1]]
            total = 0.0
            for j in range(values.size):
                total += values[j] * np.float64(frame[where[j]])
            out[i, m] = total


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _dot_shifted(frame, weights, dy, dx, out):  # type: ignore[no-untyped-def]
    height, width = frame.shape
    left, right = max(0, dx), min(width, width + dx)
    if right <= left:
        return
    for m in range(weights.shape[0]):
        total = 0.0
        for y in range(max(0, dy), min(height, height + dy)):
            pixels = frame[y, left:right]
            row = weights[m, y - dy, left - dx : right - dx]
            for j in range(pixels.size):
                total += np.float64(pixels[j]) * np.float64(row[j])
        out[m] = total
