"""From first moments to a vector field: the mathematics behind `CoMUDF`, on arrays of the scan's shape.

Vectors are (y, x), and so are the last two axes of the scan; axes before them are independent fields.
Positions without data are NaN and stay out of every statistic.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Map = npt.NDArray[np.floating[Any]]

#: Bins of the symmetric histogram that tells a field from its negative.
_HISTOGRAM_BINS = 5


class RegressionOptions(IntEnum):
    """What is subtracted from the field: nothing, its mean, or the plane that fits best."""

    NO_REGRESSION = -1
    SUBTRACT_MEAN = 0
    SUBTRACT_LINEAR = 1


@dataclass(frozen=True)
class CoMParams:
    """Parameters of `CoMUDF`, described there."""

    cy: float | None = None
    cx: float | None = None
    r: float = math.inf
    ri: float = 0.0
    scan_rotation: float = 0.0
    flip_y: bool = False
    regression: int | npt.NDArray[np.floating[Any]] | Sequence[Sequence[float]] = (
        RegressionOptions.NO_REGRESSION
    )

    def __post_init__(self) -> None:
        if not self.ri < self.r:
            raise ValueError(f"CoMUDF needs ri < r, got ri={self.ri}, r={self.r}")
        if self.ri < 0:
            raise ValueError(f"CoMUDF needs ri >= 0, got ri={self.ri}")
        if np.ndim(self.regression) == 0:
            RegressionOptions(int(self.regression))  # type: ignore[arg-type]
        elif np.shape(self.regression) != (3, 2):
            raise ValueError(f"a regression matrix has shape (3, 2), not {np.shape(self.regression)}")


class GuessResult(NamedTuple):
    """What `guess_corrections` found."""

    scan_rotation: int
    flip_y: bool
    cy: float
    cx: float


def apply_correction(
    y: npt.ArrayLike, x: npt.ArrayLike, scan_rotation: float, flip_y: bool
) -> tuple[Map, Map]:
    """Turn detector vectors into scan coordinates.

    Parameters
    ----------
    y, x
        Components.
    scan_rotation
        Degrees; positive turns clockwise on screen: ``y' = y cos + x sin``, ``x' = -y sin + x cos``.
    flip_y
        Negate y first.

    Returns
    -------
    y, x
        Components along the scan axes.
    """
    y, x = np.asarray(y), np.asarray(x)
    if flip_y:
        y = -y
    angle = math.radians(scan_rotation)
    cos, sin = math.cos(angle), math.sin(angle)
    return y * cos + x * sin, x * cos - y * sin


def shifts_from_moments(
    moments: npt.NDArray[np.float64], cy: float, cx: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return centres of mass and their distance from the centre, each ``(..., 2)`` as (y, x).

    Frames without any intensity sit at the centre.
    """
    center = np.array([cy, cx], np.float64)
    m0 = moments[..., :1]
    com = np.broadcast_to(center, (*moments.shape[:-1], 2)).copy()
    np.divide(moments[..., 1:], m0, out=com, where=m0 != 0)
    return com, com - center


def regress(field_y: Map, field_x: Map, regression: Any) -> npt.NDArray[np.float64]:
    """Return the background ``[1, y, x] · matrix`` that is to be subtracted, as matrix of shape ``(3, 2)``.

    Parameters
    ----------
    field_y, field_x
        Components, shape of the scan, NaN where there are no data.
    regression
        A member of `RegressionOptions`, or the matrix itself: rows offset, slope along scan y, slope along
        scan x; columns y and x component.
    """
    if np.ndim(regression) == 2:
        return np.array(regression, np.float64)
    matrix = np.zeros((3, 2))
    valid = np.isfinite(field_y) & np.isfinite(field_x)
    if regression == RegressionOptions.NO_REGRESSION or not valid.any():
        return matrix
    values = np.stack([field_y[valid], field_x[valid]], axis=1)
    if regression == RegressionOptions.SUBTRACT_MEAN:
        matrix[0] = values.mean(axis=0)
        return matrix
    y, x = np.nonzero(valid)[-2:]
    terms = np.stack([np.ones(y.size), y, x], axis=1)
    matrix[:] = np.linalg.lstsq(terms, values, rcond=None)[0]
    return matrix


def background(shape: tuple[int, ...], matrix: npt.NDArray[np.float64]) -> tuple[Map, Map]:
    """Return the plane ``[1, y, x] · matrix`` as y and x components over a scan of shape ``(..., y, x)``."""
    y, x = np.indices(shape[-2:], sparse=True)
    field_y, field_x = (offset + y * dy + x * dx for offset, dy, dx in matrix.T)
    return field_y, field_x


def magnitude(field_y: Map, field_x: Map) -> Map:
    """Return the length of the vectors."""
    return np.hypot(field_y, field_x)


def divergence(field_y: Map, field_x: Map) -> Map:
    """Return ``d field_y / dy + d field_x / dx``, per scan step, by central differences."""
    return _slope(field_y, -2) + _slope(field_x, -1)


def curl_2d(field_y: Map, field_x: Map) -> Map:
    """Return ``d field_y / dx - d field_x / dy``, per scan step, by central differences."""
    return _slope(field_y, -1) - _slope(field_x, -2)


def guess_corrections(
    y: npt.ArrayLike,
    x: npt.ArrayLike,
    roi: npt.NDArray[np.bool_] | tuple[slice, ...] | None = None,
) -> GuessResult:
    """Guess scan rotation, flip and detector centre from a centre-of-mass field.

    The field of a thin specimen is a gradient, so its curl vanishes in the right coordinates.  Since atoms
    attract electrons, the divergence has its strongest peaks at negative values, which tells the field from
    its negative.

    Parameters
    ----------
    y, x
        Components ``raw_shifts`` of an uncorrected `CoMUDF` result, shape of the scan.
    roi
        Which positions to look at, as mask or slices; by default all but the last row and column.

    Returns
    -------
    GuessResult
        ``scan_rotation`` (whole degrees in (-180, 180]) and ``flip_y`` are parameters of `CoMUDF`; ``cy`` and
        ``cx`` are the mean shifts, to be added to the centre that was used.

    Notes
    -----
    Turning the field by θ turns curl and divergence into ``curl cos θ + div sin θ`` and
    ``div cos θ - curl sin θ``; so one derivative is enough for all 360 angles.
    """
    y = np.asarray(y, np.float64)
    x = np.asarray(x, np.float64)
    if y.shape != x.shape or y.ndim != 2:
        raise ValueError(f"y and x must be maps of one scan, got shapes {y.shape} and {x.shape}")
    chosen = np.zeros(y.shape, bool)
    chosen[np.s_[:-1, :-1] if roi is None else roi] = True
    valid = chosen & np.isfinite(y) & np.isfinite(x)
    best: tuple[float, int, bool] | None = None
    angles = np.radians(np.arange(360))
    cos, sin = np.cos(angles), np.sin(angles)
    for flip_y in (False, True):
        flipped = -y if flip_y else y
        curl, div = curl_2d(flipped, x), divergence(flipped, x)
        usable = valid & np.isfinite(curl) & np.isfinite(div)
        c, d = curl[usable], div[usable]
        squares = cos**2 * (c @ c) + 2 * cos * sin * (c @ d) + sin**2 * (d @ d)
        angle = int(np.argmin(squares))
        if best is None or squares[angle] < best[0]:
            best = float(squares[angle]), angle, flip_y
    assert best is not None
    _, angle, flip_y = best
    corrected = divergence(*apply_correction(y, x, angle, flip_y))
    if not _attracts(corrected[valid & np.isfinite(corrected)]):
        angle += 180
    angle = (angle + 179) % 360 - 179
    cy, cx = (float(f[valid].mean()) if valid.any() else 0.0 for f in (y, x))
    return GuessResult(scan_rotation=angle, flip_y=flip_y, cy=cy, cx=cx)


def _attracts(values: Map) -> bool:
    """Whether the most negative bin of a symmetric histogram holds more than the most positive one."""
    limit = np.abs(values).max(initial=0.0)
    if limit == 0:
        return True
    counts, _ = np.histogram(values, bins=_HISTOGRAM_BINS, range=(-limit, limit))
    return bool(counts[0] >= counts[-1])


def _slope(values: Map, axis: int) -> Map:
    if values.shape[axis] < 2:
        return np.zeros_like(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        slope: Map = np.gradient(values, axis=axis)
    return slope
