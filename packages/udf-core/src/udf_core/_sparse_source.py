"""Sparse arrays in memory as a source of frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arraystream import ArraySource, open_csr

from ._errors import ScanError
from ._shape import prod


def is_sparse_array(data: Any) -> bool:
    """Tell whether this is an array of SciPy or of ``sparse`` that is not dense; neither is imported."""
    return type(data).__module__.partition(".")[0] in ("scipy", "sparse") and hasattr(data, "nnz")


def open_sparse(
    data: Any,
    sig_shape: Sequence[int] | None = None,
    nav_shape: Sequence[int] | None = None,
    sig_dims: int = 2,
) -> ArraySource:
    """Open a sparse array as frames that stay sparse for UDFs that take them so.

    Parameters
    ----------
    data
        SciPy matrix or array of shape ``(n_frames, n_pixels)`` in any format, or an array of the package
        ``sparse`` of shape ``(*nav, *sig)`` or ``(n_frames, n_pixels)``.
    sig_shape
        Shape of a frame; needed for two axes.
    nav_shape
        Navigation shape, if known.
    sig_dims
        How many of more than two axes belong to a frame, if `sig_shape` does not say.

    Raises
    ------
    ScanError
        If the shapes do not fit each other.
    """
    shape = tuple(int(n) for n in data.shape)
    if sig_shape is not None:
        sig = tuple(int(n) for n in sig_shape)
    elif len(shape) > max(2, sig_dims):
        sig = shape[len(shape) - sig_dims :]
    else:
        raise ScanError(
            f"sparse data of shape {shape} are rows of pixels; say with sig_shape which shape a frame has"
        )
    nav = shape[:1] if len(shape) == 2 else shape[: len(shape) - len(sig)]
    if shape not in ((*nav, *sig), (*nav, prod(sig))):
        raise ScanError(f"sparse data of shape {shape} are not frames of shape {sig}; correct sig_shape")
    rows: Any = data if len(shape) == 2 else data.reshape((prod(nav), prod(sig)))
    if hasattr(rows, "to_coo"):  # DOK of the package "sparse"
        rows = rows.to_coo()
    if hasattr(rows, "to_scipy_sparse"):
        rows = rows.to_scipy_sparse()
    rows = rows.tocsr()
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    index = () if nav_shape is not None else nav
    return open_csr(rows.data, rows.indices, rows.indptr, sig, index_shape=index)
