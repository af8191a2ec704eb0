"""Array functions of ``libertem.common`` that UDFs use: counting, reshaping, sparse conversions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
import sparse

from udf_core._buffer import zeros
from udf_core._shape import prod

__all__ = [
    "count_nonzero",
    "empty_aligned",
    "flat_nonzero",
    "is_sparse",
    "make_2D_square",
    "ndenumerate",
    "prod",
    "reshaped_view",
    "sparse_to_coo",
    "to_dense",
    "to_numpy",
    "to_sparse",
    "zeros_aligned",
]

Array = npt.NDArray[Any]


def is_sparse(array: Any) -> bool:
    """Tell whether this is a sparse array or matrix."""
    return scipy.sparse.issparse(array) or isinstance(array, sparse.SparseArray)


def to_dense(array: Any) -> Array:
    """Return an array with all its zeros."""
    if scipy.sparse.issparse(array):
        return np.asarray(array.toarray())
    return np.asarray(array.todense() if isinstance(array, sparse.SparseArray) else array)


def to_numpy(array: Any) -> Array:
    """Return a dense array in main memory."""
    return to_dense(array.get() if hasattr(array, "get") and hasattr(array, "device") else array)


def sparse_to_coo(array: Any, shape: Sequence[int] | None = None) -> Any:
    """Return a sparse array as ``sparse.COO``, reshaped if a shape is given."""
    if scipy.sparse.issparse(array):
        array = sparse.COO.from_scipy_sparse(array)
    elif not isinstance(array, sparse.COO):
        array = sparse.COO(array) if isinstance(array, np.ndarray) else array.asformat("coo")
    return array if shape is None else array.reshape(tuple(shape))


def to_sparse(array: Any, shape: Sequence[int] | None = None) -> Any:
    """Return any array as ``sparse.COO``, reshaped if a shape is given."""
    if is_sparse(array):
        return sparse_to_coo(array, shape)
    made = sparse.COO.from_numpy(np.asarray(array))
    return made if shape is None else made.reshape(tuple(shape))


def count_nonzero(array: Any) -> int:
    """Count elements that are not zero, also of sparse arrays."""
    if scipy.sparse.issparse(array):
        return int(array.count_nonzero())
    if isinstance(array, sparse.SparseArray):
        return int(np.count_nonzero(sparse_to_coo(array).data))
    return int(np.count_nonzero(array))


def flat_nonzero(array: Any) -> npt.NDArray[np.int64]:
    """Return the flat indices of elements that are not zero, ascending, also of sparse arrays."""
    return np.flatnonzero(to_dense(array))


def make_2D_square(shape: Sequence[int]) -> tuple[int, ...]:  # noqa: N802  (LiberTEM's name)
    """Return a flat square shape as two axes; other shapes as they are."""
    if len(shape) != 1:
        return tuple(shape)
    side = int(np.sqrt(shape[0]))
    return (side, side) if side * side == shape[0] else tuple(shape)


def ndenumerate(array: Any) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Yield index and value of the elements, of sparse arrays only those that are stored."""
    if not is_sparse(array):
        yield from np.ndenumerate(array)
        return
    stored = sparse_to_coo(array)
    for index, value in zip(stored.coords.T, stored.data, strict=True):
        yield tuple(int(i) for i in index), value


def reshaped_view(array: Array, shape: int | Sequence[int]) -> Array:
    """Return the same memory in another shape, never a copy.

    Raises
    ------
    AttributeError
        If that is not possible.
    """
    made = array.reshape(shape)
    if made.size and not np.shares_memory(made, array):
        raise AttributeError(
            f"an array of shape {array.shape} and strides {array.strides} has no view of shape {shape}"
        )
    return made


def zeros_aligned(size: int | Sequence[int], dtype: npt.DTypeLike) -> Array:
    """Return zeroed memory."""
    return zeros((size,) if isinstance(size, int) else size, dtype)


def empty_aligned(size: int | Sequence[int], dtype: npt.DTypeLike) -> Array:
    """Return fresh memory."""
    return zeros_aligned(size, dtype)
