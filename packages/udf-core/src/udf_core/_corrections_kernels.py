"""The arithmetic of detector corrections on one band of a stack of frames.

``x <- (x - dark) * gain``, then each excluded pixel becomes the mean of its neighbours.  All ways to get
there give the same bits: stored numbers are rounded to the type of the result first, the subtraction and the
product are rounded one after the other in that type, and neighbours are added in float64 in C order.
Compiled kernels serve float32 and float64; NumPy does the same for complex numbers and long doubles.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

_COMPILED = (np.dtype(np.float32), np.dtype(np.float64))


def is_compiled_for(dtype: npt.DTypeLike) -> bool:
    """Tell whether there are compiled kernels for results of this type."""
    return np.dtype(dtype) in _COMPILED


def subtract_and_scale(frames: Array, dark: Array, gain: Array) -> None:
    """Correct in place: ``frames = (frames - dark) * gain``.

    Parameters
    ----------
    frames
        Shape ``(n, n_pixels)``, C-contiguous, floats or complex.
    dark, gain
        Shape ``(n_pixels,)``, of the same type.
    """
    if is_compiled_for(frames.dtype):
        _subtract_and_scale(frames, dark, gain)
    else:
        frames -= dark
        frames *= gain


def repair(frames: Array, targets: Indices, bounds: Indices, neighbours: Indices) -> None:
    """Replace pixels by the mean of their neighbours, in place.

    Parameters
    ----------
    frames
        Shape ``(n, n_pixels)``, C-contiguous, floats or complex.
    targets
        Pixels to replace; none is anybody's neighbour.
    bounds, neighbours
        The neighbours of ``targets[k]`` are ``neighbours[bounds[k]:bounds[k + 1]]``, at least one.
    """
    if is_compiled_for(frames.dtype):
        _repair(frames, targets, bounds, neighbours)
    else:
        _repair_numpy(frames, targets, bounds, neighbours)


@njit(nogil=True, cache=True, error_model="numpy")
def correct_stored(
    stored: Array, offsets: npt.NDArray[np.uint64], layout: Indices, dark: Array, gain: Array, out: Array
) -> bool:
    """Cast, subtract and scale plain stored numbers in one pass.

    Parameters
    ----------
    stored
        The payload as numbers, shape ``(n_numbers,)``.
    offsets
        Byte at which each item starts, shape ``(n,)``.
    layout
        Bytes of a number, numbers of an item, and number of the band's first pixel within the item.
    dark, gain
        Shape ``(n_pixels,)``, of the type of `out`.
    out
        Result, shape ``(n, n_pixels)``, C-contiguous.

    Returns
    -------
    bool
        False, and nothing is done, if an item is not aligned or not inside of `stored`.
    """
    n, n_pixels = out.shape
    itemsize, n_item, first = layout[0], layout[1], layout[2]
    for i in range(n):
        offset = np.int64(offsets[i])
        if offset < 0 or offset % itemsize or offset // itemsize + n_item > stored.size:
            return False
    cast = out.dtype.type
    for i in range(n):
        start = np.int64(offsets[i]) // itemsize + first
        source = stored[start : start + n_pixels]
        target = out[i]
        for j in range(n_pixels):
            target[j] = (cast(source[j]) - dark[j]) * gain[j]
    return True


@njit(nogil=True, cache=True, error_model="numpy")
def _subtract_and_scale(frames: Array, dark: Array, gain: Array) -> None:
    n, n_pixels = frames.shape
    for i in range(n):
        frame = frames[i]
        for j in range(n_pixels):
            frame[j] = (frame[j] - dark[j]) * gain[j]


@njit(nogil=True, cache=True, error_model="numpy")
def _repair(frames: Array, targets: Indices, bounds: Indices, neighbours: Indices) -> None:
    for i in range(frames.shape[0]):
        frame = frames[i]
        for k in range(targets.size):
            total = np.float64(0.0)
            for at in range(bounds[k], bounds[k + 1]):
                total += np.float64(frame[neighbours[at]])
            frame[targets[k]] = total / np.float64(bounds[k + 1] - bounds[k])


def _repair_numpy(frames: Array, targets: Indices, bounds: Indices, neighbours: Indices) -> None:
    counts = np.diff(bounds)
    totals = np.zeros((len(frames), len(targets)), np.result_type(frames.dtype, np.float64))
    # The first neighbours of all targets, then the second ones: for each target in C order.
    for nth in range(int(counts.max(initial=0))):
        there = counts > nth
        totals[:, there] += frames[:, neighbours[bounds[:-1][there] + nth]]
    frames[:, targets] = totals / counts
