"""Regions of interest: what users write, and the boolean mask that the engine works with."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._errors import RoiError
from ._scan import Scan
from ._shape import prod

BoolArray = npt.NDArray[np.bool_]


def roi_mask(roi: Any, nav_shape: Sequence[int]) -> BoolArray | None:
    """Bring a region of interest into the shape of the scan; always a copy.

    Parameters
    ----------
    roi
        Boolean array in navigation shape or flat; sparse array or matrix; one coordinate ``(y, x)``; list of
        ``(coordinate, bool)`` where all are True (only these) or all False (all but these); ``None`` for all.
    nav_shape
        Shape of the scan.

    Raises
    ------
    RoiError
        If it does not fit, or a list mixes True and False.

    Examples
    --------
    >>> roi_mask([((0, 1), False)], (2, 2)).tolist()
    [[True, False], [True, True]]
    """
    shape = tuple(nav_shape)
    if roi is None:
        return None
    choices = _choices(roi)
    if choices is not None:
        return _from_list(choices, shape)
    mask = _dense(roi)
    if mask.size != prod(shape) or (mask.ndim != 1 and mask.shape != shape):
        raise RoiError(
            f"roi: incompatible shapes: the roi has shape {mask.shape}, the scan has shape {shape}"
        )
    return _as_bool(mask, shape)


def roi_of_scan(roi: Any, scan: Scan) -> BoolArray | None:
    """Bring a region of interest into the shape of a scan; always a copy.

    Parameters
    ----------
    roi
        As for `roi_mask`, in the navigation shape of the scan.  If it has repeats, also in the shape of one
        pass: then it holds for each.
    scan
        The scan, resolved.

    Raises
    ------
    RoiError
        If it does not fit, or a list mixes True and False.

    Examples
    --------
    >>> roi_of_scan([True, False], Scan((2,), repeats=2)).tolist()
    [[True, False], [True, False]]
    """
    if scan.repeats == 1 or roi is None:
        return roi_mask(roi, scan.nav_shape)
    choices = _choices(roi)
    if choices is None:
        roi = _dense(roi)
        one = roi.shape == scan.shape or (roi.ndim == 1 and roi.size == prod(scan.shape))
    else:
        one = all(len(_index(coordinate)) == len(scan.shape) for coordinate, _ in choices)
    if not one:
        try:
            return roi_mask(roi, scan.nav_shape)
        except RoiError as error:
            error.add_note(f"it may also have the shape of one pass, {scan.shape}")
            raise
    mask = roi_mask(roi, scan.shape)
    assert mask is not None
    return np.array(np.broadcast_to(mask, scan.nav_shape))


class RoiBuilder:
    """Makes a mask by indexing: ``dataset.roi[2:4, 5]``.

    Parameters
    ----------
    nav_shape
        Shape of the scan.

    Examples
    --------
    >>> RoiBuilder((2, 2))[0].tolist()
    [[True, True], [False, False]]
    """

    def __init__(self, nav_shape: Sequence[int]) -> None:
        self._shape = tuple(nav_shape)

    def __getitem__(self, index: Any) -> BoolArray:
        mask = np.zeros(self._shape, dtype=bool)
        mask[index] = True
        return mask


def _choices(roi: Any) -> Sequence[Any] | None:
    """Return ``(coordinate, bool)`` pairs if that is what this is."""
    if _is_coordinate(roi):
        return [(roi, True)]
    if _is_choice(roi):
        return [roi]
    if isinstance(roi, (list, tuple)) and roi and all(_is_choice(item) for item in roi):
        return roi
    return None


def _dense(roi: Any) -> npt.NDArray[Any]:
    """Return an array with all values, of an array or sparse array of any kind."""
    if hasattr(roi, "toarray"):
        roi = roi.toarray()
    elif hasattr(roi, "todense"):
        roi = roi.todense()
    try:
        return np.asarray(roi)
    except ValueError as error:
        raise RoiError(
            f"roi: {type(roi).__name__} is no boolean array in the shape of the scan, no coordinate, and no "
            f"list of (coordinate, bool): {error}"
        ) from error


def _as_bool(mask: npt.NDArray[Any], shape: tuple[int, ...]) -> BoolArray:
    if mask.dtype != np.dtype(bool):
        warnings.warn(
            f"ROI dtype is {mask.dtype}, expected bool. Attempting cast to bool.", UserWarning, stacklevel=3
        )
        try:
            mask = mask.astype(bool)
        except (TypeError, ValueError) as error:
            raise RoiError(f"roi: values of dtype {mask.dtype} can't be cast to bool: {error}") from error
    return np.array(mask.reshape(shape), dtype=bool)


def _index(coordinate: Any) -> tuple[int, ...]:
    return tuple(coordinate) if isinstance(coordinate, (list, tuple)) else (coordinate,)


def _is_coordinate(roi: Any) -> bool:
    return (
        isinstance(roi, tuple)
        and bool(roi)
        and all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in roi)
    )


def _is_choice(item: Any) -> bool:
    return (
        isinstance(item, (list, tuple))
        and len(item) == 2
        and isinstance(item[1], (bool, np.bool_))
        and isinstance(item[0], (list, tuple, int, np.integer))
        and not isinstance(item[0], bool)
    )


def _from_list(choices: Sequence[Any], shape: tuple[int, ...]) -> BoolArray:
    values = {bool(value) for _, value in choices}
    if len(values) != 1:
        raise RoiError("roi: a list of coordinates must say True for all of them or False for all of them")
    include = values.pop()
    mask = np.full(shape, not include)
    for coordinate, _ in choices:
        index = _index(coordinate)
        if len(index) != len(shape):
            raise RoiError(
                f"roi: coordinate {index} has {len(index)} numbers, the scan {shape} has {len(shape)} axes"
            )
        try:
            mask[index] = include
        except IndexError:
            raise RoiError(f"roi: coordinate {index} is outside the scan {shape}") from None
    return mask
