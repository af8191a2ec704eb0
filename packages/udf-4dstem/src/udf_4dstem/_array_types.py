"""Array types beside NumPy's that the UDFs here take, and sums over them.

Dense NumPy tiles go to the compiled kernels.  Sparse rows are summed without making them dense; arrays of a
device by its own library, which `UDF.xp` is.  Everything is added in double precision, so counts are exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

from udf_core import UDF

SPARSE = (UDF.BACKEND_NUMPY, UDF.BACKEND_SCIPY_CSR, UDF.BACKEND_SCIPY_CSR_ARRAY)
"""For UDFs that take sparse rows."""

ALL = (*SPARSE, UDF.BACKEND_CUPY)
"""For UDFs that compute with ``self.xp`` besides."""


def sum_rows(tile: Any, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Add up the rows of a sparse tile; one value per pixel."""
    n_pixels = tile.shape[1]
    if dtype.kind == "c":
        parts = (np.bincount(tile.indices, part, n_pixels) for part in (tile.data.real, tile.data.imag))
        real, imaginary = parts
        return np.asarray(real + 1j * imaginary, dtype)
    if dtype.kind == "f":
        return np.asarray(np.bincount(tile.indices, tile.data, n_pixels), dtype)
    total = np.zeros(n_pixels, dtype)
    np.add.at(total, tile.indices, tile.data.astype(dtype))
    return total


def dot(tile: Any, weights: Any) -> npt.NDArray[Any]:
    """Multiply a sparse tile with weights ``(n_pixels, n)``, dense or sparse, in double precision."""
    product = tile @ weights
    return np.asarray(product.toarray() if scipy.sparse.issparse(product) else product)


def wide(xp: Any, tile: Any, dtype: np.dtype[Any]) -> Any:
    """Return a device tile as ``(n_frames, n_pixels)`` in the type that sums are made in."""
    wanted = xp.complex128 if dtype.kind == "c" else xp.float64
    return xp.reshape(xp.asarray(tile, dtype=wanted), (tile.shape[0], -1))
