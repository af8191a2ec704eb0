"""``libertem.corrections.detector``: our functions with LiberTEM's way to name excluded pixels.

There, an array of coordinates has one row per axis, as `sparse.COO.coords` has, and not one row per pixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from udf_core._corrections_masks import correct as _correct
from udf_core._corrections_masks import correct_dot_masks as _correct_dot_masks
from udf_core._errors import RepairValueError

__all__ = ["RepairValueError", "correct", "correct_dot_masks"]


def correct(
    buffer: Any,
    dark_image: Any = None,
    gain_map: Any = None,
    excluded_pixels: Any = None,
    repair_descriptor: Any = None,
    inplace: bool = False,
    sig_shape: tuple[int, ...] | None = None,
    allow_empty: bool = False,
) -> Any:
    """Correct frames at hand, see `udf_core.correct`.

    Parameters
    ----------
    buffer, dark_image, gain_map, inplace, sig_shape, allow_empty
        See `udf_core.correct`.
    excluded_pixels
        Coordinates of shape ``(sig_dims, n)``, or a sparse array or boolean image in the frame's shape.
    repair_descriptor
        Not supported.

    Raises
    ------
    TypeError
        If `repair_descriptor` is given.
    """
    if repair_descriptor is not None:
        raise TypeError("repair_descriptor= is not supported; give excluded_pixels=")
    buffer = np.asarray(buffer)
    return _correct(buffer, dark_image, gain_map, _pixels(excluded_pixels), inplace, sig_shape, allow_empty)


def correct_dot_masks(
    masks: Any, gain_map: Any, excluded_pixels: Any = None, allow_empty: bool = False
) -> Any:
    """Move gain map and dead pixels from the data onto masks, see `udf_core.correct_dot_masks`.

    Parameters
    ----------
    masks, gain_map, allow_empty
        See `udf_core.correct_dot_masks`.
    excluded_pixels
        See `correct`.
    """
    return _correct_dot_masks(masks, gain_map, _pixels(excluded_pixels), allow_empty)


def _pixels(excluded: Any) -> Any:
    if excluded is None or hasattr(excluded, "todense") or hasattr(excluded, "tocoo"):
        return excluded
    array = np.asarray(excluded)
    return array if array.dtype.kind == "b" else [tuple(pixel) for pixel in array.T.tolist()]
