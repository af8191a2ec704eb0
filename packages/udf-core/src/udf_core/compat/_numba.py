"""Functions of ``libertem.common.numba`` that UDFs use."""

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import scipy.sparse

cached_njit = functools.partial(numba.njit, cache=True)


def rmatmul(left_dense: npt.NDArray[Any], right_sparse: Any) -> npt.NDArray[Any]:
    """Multiply a dense matrix with a SciPy sparse one, dense result.

    Raises
    ------
    ValueError
        If the shapes don't fit.
    """
    if not scipy.sparse.issparse(right_sparse) or right_sparse.format not in ("csr", "csc"):
        raise ValueError(f"the right matrix must be a SciPy CSR or CSC matrix, not {type(right_sparse)}")
    if left_dense.ndim != 2 or left_dense.shape[1] != right_sparse.shape[0]:
        raise ValueError(f"shapes {left_dense.shape} and {right_sparse.shape} can't be multiplied")
    return np.asarray((right_sparse.T @ left_dense.T).T)


@numba.njit(cache=True)
def numba_ravel_multi_index_single(multi_index: Any, dims: Any) -> Any:
    """Return the flat index of one position."""
    flat = 0
    for i in range(len(dims)):
        flat = flat * dims[i] + multi_index[i]
    return flat


@numba.njit(cache=True)
def numba_ravel_multi_index_multi(multi_index: Any, dims: Any) -> Any:
    """Return the flat indices of many positions, one row per axis."""
    n = len(multi_index[0])
    flat = np.zeros(n, dtype=np.intp)
    for i in range(len(dims)):
        for k in range(n):
            flat[k] = flat[k] * dims[i] + multi_index[i][k]
    return flat


@numba.njit(cache=True)
def numba_unravel_index_single(index: Any, shape: Any) -> Any:
    """Return the position of a flat index."""
    position = np.zeros(len(shape), dtype=np.intp)
    for i in range(len(shape) - 1, -1, -1):
        position[i] = index % shape[i]
        index = index // shape[i]
    return position


@numba.njit(cache=True)
def numba_unravel_index_multi(indices: Any, shape: Any) -> Any:
    """Return the positions of flat indices, one row per axis."""
    positions = np.zeros((len(shape), len(indices)), dtype=np.intp)
    for k in range(len(indices)):
        index = indices[k]
        for i in range(len(shape) - 1, -1, -1):
            positions[i, k] = index % shape[i]
            index = index // shape[i]
    return positions
