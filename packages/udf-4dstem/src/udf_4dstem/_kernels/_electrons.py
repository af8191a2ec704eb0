"""Counting electrons one by one: draw positions from a coarse diffraction pattern onto a fine detector.

A pattern on a grid of spatial frequencies, interpolated bilinearly onto a detector, is a mixture of tent
functions.  So an electron is drawn exactly by choosing a grid point by its weight (Walker's alias method) and
adding a triangularly distributed offset; no interpolated pattern and no Poisson numbers per pixel are
needed, and time goes with the number of electrons.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S11, _S16, _S27, _S30, _S31 = (np.uint64(s) for s in (11, 16, 27, 30, 31))
_LOW_16 = np.uint64(0xFFFF)
_UNIT_53 = 2.0**-53
_UNIT_16 = 2.0**-16

#: Side of the grid of spatial frequencies; a constant, so that the compiler divides by shifting.
GRID = 64
_HALF = GRID // 2
_SIZE = GRID * GRID


def count_electrons(
    patterns: npt.NDArray[np.float32],
    n_electrons: npt.NDArray[np.int64],
    seeds: npt.NDArray[np.uint64],
    transform: npt.NDArray[np.float64],
    limit: int,
    frames: npt.NDArray[Any],
) -> None:
    """Fill frames with counted electrons.

    Parameters
    ----------
    patterns
        Weights of spatial frequencies in FFT order (zero first), shape ``(n, GRID, GRID)``.
    n_electrons, seeds
        How many electrons each frame gets, and its seed; those that miss the detector are lost.
    transform
        Shape ``(2, 3)``: detector position = ``transform[:, :2] @ (ky, kx) + transform[:, 2]``, k in units of
        the grid.
    limit
        Counts saturate here.
    frames
        Shape ``(n, height, width)``, unsigned; overwritten.
    """
    threshold, alias = np.empty(_SIZE, np.float32), np.empty((2, _SIZE), np.uint16)
    _count(patterns, n_electrons, seeds, transform, frames.dtype.type(limit), threshold, alias, frames)


@njit(nogil=True, cache=True, error_model="numpy")
def _count(patterns, n_electrons, seeds, transform, limit, threshold, scratch, frames):  # type: ignore[no-untyped-def]
    n, height, width = frames.shape
    alias, queue = scratch[0], scratch[1]
    yy, yx, y0 = transform[0]
    xy, xx, x0 = transform[1]
    for i in range(n):
        weights = patterns[i].reshape(_SIZE)
        frame = frames[i]
        frame[:] = 0
        _prepare(weights, threshold, alias, queue)
        state = seeds[i]
        for _ in range(n_electrons[i]):
            state += _GOLDEN
            scaled = float(_mix(state) >> _S11) * (_UNIT_53 * _SIZE)
            cell = int(scaled)
            cell = cell if scaled - cell < threshold[cell] else int(alias[cell])
            ky = ((cell // GRID + _HALF) & (GRID - 1)) - _HALF
            kx = ((cell + _HALF) & (GRID - 1)) - _HALF
            state += _GOLDEN
            bits = _mix(state)
            a = float(bits & _LOW_16)
            bits >>= _S16
            b = float(bits & _LOW_16)
            bits >>= _S16
            c = float(bits & _LOW_16)
            bits >>= _S16
            d = float(bits)
            fy = ky + (a + b + 1.0) * _UNIT_16 - 1.0
            fx = kx + (c + d + 1.0) * _UNIT_16 - 1.0
            y = int(np.floor(yy * fy + yx * fx + y0 + 0.5))
            x = int(np.floor(xy * fy + xx * fx + x0 + 0.5))
            if 0 <= y < height and 0 <= x < width and frame[y, x] < limit:
                frame[y, x] += 1


@njit(nogil=True, cache=True, error_model="numpy")
def _prepare(weights, threshold, alias, queue):  # type: ignore[no-untyped-def]
    """Fill Walker's tables: poor cells wait at the front of the queue, rich ones at its end (Vose 1991)."""
    size = weights.size
    total = 0.0
    for j in range(size):
        total += np.float64(weights[j])
    scale = size / total
    poor, rich = 0, size
    for j in range(size):
        threshold[j] = weights[j] * scale
        alias[j] = j
        if threshold[j] < 1.0:
            queue[poor] = j
            poor += 1
        else:
            rich -= 1
            queue[rich] = j
    while poor > 0 and rich < size:
        poor -= 1
        small, large = queue[poor], queue[rich]
        alias[small] = large
        threshold[large] -= 1.0 - threshold[small]
        if threshold[large] < 1.0:
            rich += 1
            queue[poor] = large
            poor += 1
    for k in range(poor):
        threshold[queue[k]] = 1.0
    for k in range(rich, size):
        threshold[queue[k]] = 1.0


@njit(nogil=True, cache=True, error_model="numpy")
def _mix(state):  # type: ignore[no-untyped-def]
    """Return 64 random bits (the output function of SplitMix64, Steele et al. 2014)."""
    z = (state ^ (state >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)
