"""Which values a picture spans.

A few hot pixels or the unscattered beam must not make the rest black, so the span ends at quantiles
of the valid values.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

TAIL = 0.002  # share of the values that may lie outside, at each end


def _believed(values: npt.NDArray[Any], seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    return np.asarray(values[seen], dtype=np.float64).ravel()


def robust_span(
    values: npt.NDArray[Any], seen: npt.NDArray[np.bool_], tail: float = TAIL
) -> tuple[float, float]:
    """Return (low, high) of the valid values without their tails.

    Parameters
    ----------
    values, seen
        Values, and where they can be believed.
    tail
        Share of the values left out at each end.

    Returns
    -------
    low, high
        Finite, ``low < high`` also for constant or missing values.
    """
    believed = _believed(values, seen)
    if not believed.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.quantile(believed, (tail, 1.0 - tail)))
    if high <= low:
        low, high = float(believed.min()), float(believed.max())
    if high <= low:
        margin = abs(low) * 0.05 or 0.5
        return low - margin, high + margin
    return low, high


def symmetric_span(values: npt.NDArray[Any], seen: npt.NDArray[np.bool_]) -> float:
    """Return the limit of a span that is centred at 0.

    Parameters
    ----------
    values, seen
        Values, and where they can be believed.
    """
    believed = np.abs(_believed(values, seen))
    if not believed.size:
        return 1.0
    limit = float(np.quantile(believed, 1.0 - 2 * TAIL))
    return limit if limit > 0 else (float(believed.max()) or 1.0)


def nice_length(extent: float) -> float:
    """Return 1, 2 or 5 times a power of ten: about a fifth of `extent`, for a scale bar.

    Parameters
    ----------
    extent
        Width of the picture.
    """
    target = extent / 4
    power = 10.0 ** math.floor(math.log10(target))
    factor = max((f for f in (1.0, 2.0, 5.0) if f * power <= target * (1 + 1e-9)), default=1.0)
    return factor * power
