"""Corrections outside of a run: on arrays at hand, and moved from the data onto masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ._corrections import CorrectionSet
from ._errors import CorrectionError, CorrectionTypeError
from ._shape import Slice, prod

Array = npt.NDArray[Any]


def correct(
    buffer: Array,
    dark_image: npt.ArrayLike | None = None,
    gain_map: npt.ArrayLike | None = None,
    excluded_pixels: Any = None,
    inplace: bool = False,
    sig_shape: tuple[int, ...] | None = None,
    allow_empty: bool = False,
) -> Array:
    """Correct frames at hand, as a run does while decoding.

    Parameters
    ----------
    buffer
        Frames, shape ``(…, *sig_shape)``.
    dark_image, gain_map, excluded_pixels, allow_empty
        See `CorrectionSet`.
    inplace
        Write the result into `buffer`, which has to hold floats or complex numbers then.
    sig_shape
        Shape of a frame; by default that of the corrections, or as many of the last axes of `buffer` as
        excluded pixels have coordinates.

    Returns
    -------
    numpy.ndarray
        The corrected frames, at least float32; `buffer` if `inplace`.

    Examples
    --------
    >>> correct(np.full((1, 2, 2), 7, "u2"), dark_image=np.full((2, 2), 3)).tolist()
    [[[4.0, 4.0], [4.0, 4.0]]]
    """
    corrections = CorrectionSet(dark_image, gain_map, excluded_pixels, allow_empty)
    sig_shape = sig_shape or corrections.sig_shape
    if sig_shape is None:
        sig_dims = corrections.sig_dims
        if sig_dims is None:  # nothing, or an empty list of pixels
            return buffer if inplace else buffer.astype(np.result_type(np.float32, buffer.dtype))
        sig_shape = buffer.shape[-sig_dims:]
    corrections = corrections.for_frames(sig_shape)
    if not inplace:
        buffer = buffer.astype(np.result_type(np.float32, buffer.dtype))
    frames = buffer.reshape(-1, *sig_shape)
    if not np.shares_memory(frames, buffer) and frames.size:
        raise CorrectionTypeError("a buffer with such strides can't be corrected in place; use inplace=False")
    corrections.apply(frames, Slice.from_shape(frames.shape, len(sig_shape)))
    return buffer


def correct_dot_masks(
    masks: Any, gain_map: npt.ArrayLike | None, excluded_pixels: Any = None, allow_empty: bool = False
) -> Any:
    """Move gain map and dead pixels from the data onto masks.

    The dot product of raw frames with the result is that of corrected frames with `masks`, so the frames need
    not be touched.  A dark frame can't be moved: subtract its own product with the result, ``masks · dark``.

    Parameters
    ----------
    masks
        Shape ``(…, *sig_shape)``, dense, or a `sparse` array.
    gain_map
        In the frame's shape, or ``None``.
    excluded_pixels, allow_empty
        See `CorrectionSet`.

    Returns
    -------
    numpy.ndarray or sparse.COO
        Masks of the same shape, at least float32; sparse if `masks` are.

    Raises
    ------
    CorrectionError
        If masks and corrections have different shapes.

    Examples
    --------
    >>> masks = np.ones((1, 3, 3))
    >>> correct_dot_masks(masks, np.full((3, 3), 2.0), [(1, 1)])[0].tolist()
    [[2.25, 2.25, 2.25], [2.25, 0.0, 2.25], [2.25, 2.25, 2.25]]
    """
    corrections = CorrectionSet(gain=gain_map, excluded_pixels=excluded_pixels, allow_empty=allow_empty)
    if not corrections.have_corrections():
        return masks
    sig_dims = corrections.sig_dims
    if sig_dims is None:  # an empty list of pixels
        return masks
    sig_shape = tuple(masks.shape[-sig_dims:])
    try:
        corrections = corrections.for_frames(sig_shape)
    except CorrectionError as error:
        error.add_note(f"in correct_dot_masks(): the frames are the masks, of shape {tuple(masks.shape)}")
        raise
    repair, gain = corrections.as_operators(np.result_type(np.float32, masks.dtype))
    if isinstance(masks, np.ndarray):
        flat = masks.reshape(-1, prod(sig_shape))
        return ((repair.T @ flat.T).T * gain).reshape(masks.shape)
    import scipy.sparse
    import sparse

    flat = sparse.COO(masks).reshape((-1, prod(sig_shape))).to_scipy_sparse().tocsr()
    moved = flat @ repair @ scipy.sparse.diags_array(gain)
    return sparse.COO.from_scipy_sparse(moved.tocoo()).reshape(tuple(masks.shape))
