"""Variance, standard deviation and mean of each pixel over the scan."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from udf_core import UDF, BufferWrapper, Context, StreamDataset

from . import _kernels as kernels
from ._bands import DEPTH, bands_of
from ._sum import exact_dtype


class StdDevUDF(UDF):
    """Mean and standard deviation of each detector pixel over the scan.

    Parameters
    ----------
    dtype
        Type that is wanted for the results; never less than float64.
    use_numba
        Accepted for scripts written for LiberTEM.

    Notes
    -----
    Results, kind sig, float64 (``sum`` and ``mean`` complex128 for complex data): ``sum``; ``varsum``, the
    sum of squared deviations from the mean; ``mean``; ``var = varsum / num_frames`` (no Bessel correction);
    ``std``.  ``num_frames``, kind single, int64.  Without any frame, ``mean``, ``var`` and ``std`` are NaN.

    Numerically stable and independent of how the scan is cut up: Schubert and Gertz, SSDBM 2018,
    doi 10.1145/3221269.3223036.
    """

    def __init__(self, dtype: npt.DTypeLike | None = None, use_numba: bool = True) -> None:
        super().__init__(dtype=dtype, use_numba=use_numba)

    def get_preferred_input_dtype(self) -> npt.DTypeLike:
        """Take data as they are."""
        return self.USE_NATIVE_DTYPE

    def get_tiling_preferences(self) -> dict[str, Any]:
        """Take many frames at once, since the state is read and written for each tile."""
        return {"depth": DEPTH, "total_size": self.TILE_SIZE_MAX}

    def get_result_buffers(self) -> dict[str, BufferWrapper]:
        """Declare state and results."""
        dtype = exact_dtype(self.meta.input_dtype)
        if self.params.dtype is not None:
            dtype = exact_dtype(dtype, self.params.dtype)
        real = np.zeros((), dtype).real.dtype
        return {
            "varsum": self.buffer(kind="sig", dtype=real),
            "num_frames": self.buffer(kind="single", dtype=np.int64),
            "sum": self.buffer(kind="sig", dtype=dtype),
            "var": self.buffer(kind="sig", dtype=real, use="result_only"),
            "std": self.buffer(kind="sig", dtype=real, use="result_only"),
            "mean": self.buffer(kind="sig", dtype=dtype, use="result_only"),
        }

    def get_worker_data(self) -> dict[str, Any]:
        """Have the kernel compiled before data come."""
        if self.meta.input_dtype.kind != "c":
            one = np.zeros((1, 1), self.meta.input_dtype)
            kernels.add_variance(one, 0, np.zeros(1), np.zeros(1))
        return {}

    def get_task_data(self) -> dict[str, Any]:
        """Count frames per band."""
        return {"n_frames": [0] * len(bands_of(self.meta))}

    def process_tile(self, tile: npt.NDArray[Any]) -> None:
        """Merge the tile's frames into the state of its pixels."""
        n_frames = self.task_data.n_frames
        band = self.meta.tiling_scheme_idx
        total, varsum = self.results.sum, self.results.varsum
        if total.dtype.kind == "c":
            here = tile.sum(axis=0)
            deviations = (np.abs(tile - here / len(tile)) ** 2).sum(axis=0)
            counts = (n_frames[band], len(tile))
            total[:], varsum[:] = kernels.merge_variance(counts, (total, here), (varsum, deviations))
        else:
            kernels.add_variance(tile, n_frames[band], total, varsum)
        n_frames[band] += len(tile)

    def postprocess(self) -> None:
        """Check that all bands have seen the same number of frames."""
        counts = set(self.task_data.n_frames)
        if len(counts) > 1:
            raise RuntimeError(f"parts of the frames were seen {sorted(counts)} times; please report this")
        self.results.num_frames[:] = counts.pop()

    def merge(self, dest: Any, src: Any) -> None:
        """Merge two sets of frames."""
        counts = (int(dest.num_frames[0]), int(src.num_frames[0]))
        dest.sum[:], dest.varsum[:] = kernels.merge_variance(
            counts, (dest.sum, src.sum), (dest.varsum, src.varsum)
        )
        dest.num_frames[:] = sum(counts)

    def get_results(self) -> dict[str, Any]:
        """Return mean, variance and standard deviation from the state."""
        n_frames = int(self.results.num_frames[0])
        n = n_frames if n_frames else np.nan
        var = self.results.varsum / n
        return {
            "var": var,
            "std": np.sqrt(var),
            "mean": self.results.sum / n,
            "varsum": self.results.varsum,
            "num_frames": self.results.num_frames,
            "sum": self.results.sum,
        }


def run_stddev(ctx: Context, dataset: StreamDataset, **kwargs: Any) -> dict[str, npt.NDArray[Any]]:
    """Run `StdDevUDF` and return its results as arrays, ``num_frames`` as a number.

    Keyword arguments are those of `udf_core.Context.run_udf`.
    """
    results = ctx.run_udf(dataset, StdDevUDF(), **kwargs)
    arrays = {name: buffer.data for name, buffer in results.items()}
    return {**arrays, "num_frames": arrays["num_frames"][0]}
