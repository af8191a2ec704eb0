"""Functions of ``libertem.corrections.detector``, on top of our `CorrectionSet`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from udf_core._corrections import CorrectionSet
from udf_core._errors import RepairValueError
from udf_core._shape import Slice

__all__ = ["RepairValueError", "correct", "correct_dot_masks"]

Array = npt.NDArray[Any]


def correct(
    buffer: npt.ArrayLike,
    dark_image: npt.ArrayLike | None = None,
    gain_map: npt.ArrayLike | None = None,
    excluded_pixels: Any = None,
    repair_descriptor: None = None,
    inplace: bool = False,
    sig_shape: Sequence[int] | None = None,
    allow_empty: bool = False,
) -> Array:
    """Return corrected frames.

    Parameters
    ----------
    buffer
        Frames, shape ``(..., *sig)``.
    dark_image, gain_map, allow_empty
        See `udf_core.CorrectionSet`.
    excluded_pixels
        Coordinates, one row per signal axis, as from ``numpy.nonzero``; or an image, boolean or sparse.
    repair_descriptor
        Not supported: give `excluded_pixels`.
    inplace
        Change `buffer` itself, which has to hold floats.
    sig_shape
        Shape of a frame; by default that of the dark frame or gain map, else two axes.

    Returns
    -------
    array
        At least float32; `buffer` if in place.
    """
    if repair_descriptor is not None:
        raise TypeError("repair_descriptor= is not supported; give excluded_pixels=")
    frames = np.asarray(buffer)
    if not inplace:
        frames = frames.astype(np.result_type(np.float32, frames.dtype))
    known = next((np.shape(m) for m in (dark_image, gain_map) if m is not None), frames.shape[-2:])
    shape = tuple(known if sig_shape is None else sig_shape)
    excluded = None if excluded_pixels is None else _image(excluded_pixels, shape)
    corrections = CorrectionSet(dark_image, gain_map, excluded, allow_empty)
    stack = frames.reshape((-1, *shape))
    if stack.size and not np.shares_memory(stack, frames):
        raise ValueError("frames that are not contiguous in memory can't be corrected in place; copy them")
    corrections.for_frames(shape).apply(stack, Slice.from_shape(stack.shape, len(shape)))
    return frames


def correct_dot_masks(
    masks: npt.ArrayLike,
    gain_map: npt.ArrayLike | None,
    excluded_pixels: Any = None,
    allow_empty: bool = False,
) -> Array:
    """Return masks that give with raw frames what `masks` give with corrected ones.

    Parameters
    ----------
    masks
        Shape ``(..., *sig)``.
    gain_map, excluded_pixels, allow_empty
        See `correct`; dark frames can't be expressed in masks.
    """
    weights = np.array(masks, np.result_type(np.float32, np.asarray(masks).dtype))
    if excluded_pixels is not None:
        shape = weights.shape[1:] if gain_map is None else np.shape(gain_map)
        excluded = _image(excluded_pixels, shape)
        CorrectionSet(None, None, excluded, allow_empty).for_frames(excluded.shape)
        original = weights.copy()
        weights[..., excluded] = 0
        for pixel in np.argwhere(excluded):
            at: tuple[Any, ...] = (..., *(int(i) for i in pixel))
            around = _neighbours(pixel, excluded)
            for neighbour in around:
                weights[(Ellipsis, *neighbour)] += original[at] / len(around)
            if not around:
                weights[at] = original[at]
    return weights if gain_map is None else weights * np.asarray(gain_map)


def _image(excluded_pixels: Any, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    if hasattr(excluded_pixels, "todense"):
        excluded_pixels = np.asarray(excluded_pixels.todense()) != 0
    given = np.asarray(excluded_pixels)
    if given.dtype == np.dtype(bool):
        return given
    image = np.zeros(shape, bool)
    image[tuple(given)] = True
    return image


def _neighbours(pixel: npt.NDArray[np.intp], excluded: npt.NDArray[np.bool_]) -> list[tuple[Any, ...]]:
    ranges = [range(max(0, i - 1), min(n, i + 2)) for i, n in zip(pixel, excluded.shape, strict=True)]
    return [place for place in product(*ranges) if not excluded[place]]
