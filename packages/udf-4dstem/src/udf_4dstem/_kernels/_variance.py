"""Mean and variance over frames, numerically stable and mergeable in any order.

The state per pixel is (N, S, V): number of frames, sum, and sum of squared deviations from the mean.  Two
states merge by Chan's formula (Schubert and Gertz, SSDBM 2018, doi 10.1145/3221269.3223036)::

    V = V0 + V1 + N0 N1 / N (S1 / N1 - S0 / N0)²

Inside a tile, at most 32 frames at a time are reduced relative to the first of them.  The squares then cannot
cancel by more than a factor 32, and single precision is enough for pixels of up to 16 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from ._tiles import Tile, stack_view, weight_dtype

_DEPTH = 32
_BLOCK = 512


def add_variance(
    tile: Tile, n_before: int, total: npt.NDArray[np.float64], varsum: npt.NDArray[np.float64]
) -> None:
    """Merge the frames of a tile into the state of its pixels.

    Parameters
    ----------
    tile
        Shape ``(n, *sig)``, real.
    n_before
        Number of frames already in the state.
    total, varsum
        S and V, shape ``sig``, C-contiguous float64; updated in place.
    """
    frames = stack_view(tile)
    scratch = np.empty((2, _BLOCK), weight_dtype(frames.dtype))
    _add_variance(frames, float(n_before), _DEPTH, scratch, total.reshape(-1), varsum.reshape(-1))


def merge_variance(
    n: tuple[int, int],
    total: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    varsum: tuple[npt.NDArray[Any], npt.NDArray[Any]],
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return (S, V) of the union of two sets of frames; either may be empty, values may be complex."""
    if n[0] == 0:
        return total[1], varsum[1]
    if n[1] == 0:
        return total[0], varsum[0]
    delta = np.abs(total[1] / n[1] - total[0] / n[0])
    return total[0] + total[1], varsum[0] + varsum[1] + (n[0] * n[1] / (n[0] + n[1])) * delta**2


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _add_variance(frames, n_before, depth, scratch, total, varsum):  # type: ignore[no-untyped-def]
    cast = scratch.dtype.type
    n, n_pixels = frames.shape
    block = scratch.shape[1]
    for p in range(0, n_pixels, block):
        q = min(p + block, n_pixels)
        s1, s2 = scratch[0, : q - p], scratch[1, : q - p]
        sums, variances = total[p:q], varsum[p:q]
        count = n_before
        for first in range(0, n, depth):
            last = min(first + depth, n)
            reference = frames[first, p:q]
            s1[:] = 0
            s2[:] = 0
            i = first
            while i + 4 <= last:
                a, b, c, d = frames[i, p:q], frames[i + 1, p:q], frames[i + 2, p:q], frames[i + 3, p:q]
                for j in range(s1.size):
                    r = cast(reference[j])
                    da, db, dc, dd = cast(a[j]) - r, cast(b[j]) - r, cast(c[j]) - r, cast(d[j]) - r
                    s1[j] += (da + db) + (dc + dd)
                    s2[j] += (da * da + db * db) + (dc * dc + dd * dd)
                i += 4
            while i < last:
                a = frames[i, p:q]
                for j in range(s1.size):
                    da = cast(a[j]) - cast(reference[j])
                    s1[j] += da
                    s2[j] += da * da
                i += 1
            here = float(last - first)
            weight = count * here / (count + here)
            per_here = 1.0 / here
            per_count = 1.0 / max(count, 1.0)
            for j in range(s1.size):
                shift = np.float64(s1[j])
                added = shift + here * np.float64(reference[j])
                delta = added * per_here - sums[j] * per_count
                variances[j] += (np.float64(s2[j]) - shift * shift * per_here) + weight * delta * delta
                sums[j] += added
            count += here
