"""Sum over the scan, and sum of each frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

from udf_core import UDF, BufferWrapper

from . import _array_types as array_types
from . import _kernels as kernels
from ._bands import DEPTH, bands_of, n_pixels


def exact_dtype(*dtypes: npt.DTypeLike) -> np.dtype[Any]:
    """Return float64, or complex128 if one of the types is complex: what sums of counts are exact in."""
    return np.result_type(np.float64, *(np.dtype(d) for d in dtypes))


class SumUDF(UDF):
    """Sum all frames of a scan.

    Parameters
    ----------
    dtype
        Type that is wanted for the sum.  Integers are never added up in less than float64 (LiberTEM:
        float32), so counts are exact up to 2**53; an integer type is honoured.

    Notes
    -----
    Result ``intensity``, kind sig: ``sum over r of I[r, p]``, float64, complex128 for complex data, or the
    integer type that results from `dtype` and the data's.

    Examples
    --------
    >>> import numpy as np
    >>> SumUDF(dtype=np.uint64).params.dtype
    <class 'numpy.uint64'>
    """

    def __init__(self, dtype: npt.DTypeLike = "float32") -> None:
        super().__init__(dtype=dtype)

    def get_preferred_input_dtype(self) -> npt.DTypeLike:
        """Take data as they are."""
        return self.USE_NATIVE_DTYPE

    def get_tiling_preferences(self) -> dict[str, Any]:
        """Take many frames at once, since the result is read and written for each tile."""
        return {"depth": DEPTH, "total_size": self.TILE_SIZE_MAX}

    def get_result_buffers(self) -> dict[str, BufferWrapper]:
        """Declare ``intensity``."""
        wanted = np.result_type(self.meta.input_dtype, np.dtype(self.params.dtype))
        dtype = wanted if wanted.kind in "iu" else exact_dtype(wanted)
        return {"intensity": self.buffer(kind="sig", dtype=dtype)}

    def get_worker_data(self) -> dict[str, Any]:
        """Have the kernel compiled before data come."""
        target = np.zeros(1, self.get_result_buffers()["intensity"].dtype)
        kernels.add_frames(np.zeros((1, 1), self.meta.input_dtype), target)
        return {}

    def get_backends(self) -> tuple[str, ...]:
        """Take sparse rows and arrays of a device, too."""
        return array_types.ALL

    def process_tile(self, tile: Any) -> None:
        """Add the tile's frames."""
        target = self.results.intensity
        if type(tile) is np.ndarray:
            kernels.add_frames(tile, target)
        elif scipy.sparse.issparse(tile):
            target += array_types.sum_rows(tile, target.dtype).reshape(target.shape)
        else:
            total = self.xp.sum(array_types.wide(self.xp, tile, target.dtype), axis=0)
            target += self.forbuf(total, target).astype(target.dtype)

    def merge(self, dest: Any, src: Any) -> None:
        """Add partial sums."""
        dest.intensity += src.intensity


class SumSigUDF(UDF):
    """Sum each frame over all its pixels.

    Notes
    -----
    Result ``intensity``, kind nav: ``sum over p of I[r, p]``, float64 (LiberTEM: float32) so that counts are
    exact; complex128 for complex data.
    """

    def get_preferred_input_dtype(self) -> npt.DTypeLike:
        """Take data as they are."""
        return self.USE_NATIVE_DTYPE

    def get_result_buffers(self) -> dict[str, BufferWrapper]:
        """Declare ``intensity``."""
        return {"intensity": self.buffer(kind="nav", dtype=exact_dtype(self.meta.input_dtype))}

    def get_worker_data(self) -> dict[str, Any]:
        """Have the kernel compiled before data come."""
        kernels.sum_runs(np.zeros((1, 1), self.meta.input_dtype), *kernels.whole_frame(1))
        return {"runs": [kernels.whole_frame(n_pixels(band)) for band in bands_of(self.meta)]}

    def get_backends(self) -> tuple[str, ...]:
        """Take sparse rows and arrays of a device, too."""
        return array_types.ALL

    def process_tile(self, tile: Any) -> None:
        """Add each frame's pixels in the tile."""
        target = self.results.intensity
        if scipy.sparse.issparse(tile):
            target += array_types.dot(tile, np.ones(tile.shape[1]))
            return
        if type(tile) is not np.ndarray:
            sums = self.xp.sum(array_types.wide(self.xp, tile, target.dtype), axis=1)
            target += self.forbuf(sums, target)
            return
        runs = self.worker_data.runs[self.meta.tiling_scheme_idx]
        self.results.intensity += kernels.sum_runs(tile, *runs)
