"""The front door: load data, run UDFs, get results."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from arraystream import load_plugin

from ._buffer import BufferWrapper
from ._corrections import CorrectionSet
from ._dataset import SourceDataSet, StreamDataset
from ._executor import Executor, make_executor
from ._export import Results as ExportedResults
from ._export import to_xarray
from ._export_axes import Axes
from ._export_dataset import export_dataset
from ._export_files import export
from ._merge import UDFResults
from ._progress import ProgressReporter
from ._run import Run
from ._scan import Scan
from ._udf import UDF

Results = dict[str, BufferWrapper]


class ResultGenerator(Iterator[UDFResults]):
    """Partial results of a run, newest first served; made by `Context.run_udf_iter`.

    The run starts with the first `next`.  Leaving the loop early, or `close`, ends it.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._results = run.partial_results()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> UDFResults:
        return next(self._results)

    def close(self) -> None:
        """End the run and leave the acquisition."""
        self._results.close()  # type: ignore[attr-defined]

    def throw(self, error: BaseException) -> UDFResults:
        """End the run with this error."""
        result: UDFResults = self._results.throw(error)  # type: ignore[attr-defined]
        return result

    def update_parameters_experimental(self, parameters: Sequence[dict[str, Any]]) -> None:
        """Change parameters: one dict per UDF, used by partitions that start later and by `get_results`."""
        self.run.update_params(parameters)


class AsyncResultGenerator(AsyncIterator[UDFResults]):
    """`ResultGenerator` for ``async for``; the waiting is done in threads."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._results = ResultGenerator(run)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> UDFResults:
        result = await asyncio.to_thread(next, self._results, None)
        if result is None:
            raise StopAsyncIteration
        return result

    async def aclose(self) -> None:
        """End the run and leave the acquisition."""
        await asyncio.to_thread(self._results.close)

    async def athrow(self, error: BaseException) -> UDFResults:
        """End the run with this error."""
        return await asyncio.to_thread(self._results.throw, error)

    async def update_parameters_experimental(self, parameters: Sequence[dict[str, Any]]) -> None:
        """Change parameters, see `ResultGenerator.update_parameters_experimental`."""
        await asyncio.to_thread(self.run.update_params, parameters)


class Context:
    """Runs UDFs over data sets.

    Parameters
    ----------
    executor
        Where the work is done; by default threads.

    Attributes
    ----------
    last_run
        The newest run: its events, verdict and results, also after an error.

    Examples
    --------
    >>> import numpy as np
    >>> class SumSig(UDF):
    ...     def get_result_buffers(self):
    ...         return {"intensity": self.buffer(kind="nav", dtype="float64")}
    ...     def process_tile(self, tile):
    ...         self.results.intensity += tile.sum(axis=(1, 2))
    >>> with Context.make_with("inline") as context:
    ...     dataset = context.load("memory", np.ones((2, 3, 4, 4)))
    ...     result = context.run_udf(dataset, SumSig())
    >>> result["intensity"].data.tolist()
    [[16.0, 16.0, 16.0], [16.0, 16.0, 16.0]]
    """

    def __init__(self, executor: Executor | None = None) -> None:
        self.executor = make_executor("threads") if executor is None else executor
        self.last_run: Run | None = None

    @classmethod
    def make_with(cls, spec: str = "threads", *, cpus: int | Sequence[int] | None = None) -> Self:
        """Make a context with an executor of this name.

        Parameters
        ----------
        spec
            ``"inline"``, ``"threads"``, ``"processes"``, or another installed one.
        cpus
            Number of workers.

        Raises
        ------
        ExecutorSpecException
            If there is no such executor, or it does not take `cpus`.
        """
        return cls(make_executor(spec, cpus=cpus))

    def load(
        self,
        filetype: str,
        *args: Any,
        nav_shape: Sequence[int] | None = None,
        scan: Scan | None = None,
        sync_offset: int = 0,
        chunk_items: int | None = None,
        corrections: CorrectionSet | None = None,
        **kwargs: Any,
    ) -> SourceDataSet:
        """Open a file or an array.

        Parameters
        ----------
        filetype
            ``"raw"``, ``"npy"``, ``"memory"``, ``"mib"`` or another name in the entry-point group
            ``arraystream.sources``.
        *args, **kwargs
            For the source; ``"raw"`` takes ``path, dtype, sig_shape``.
        nav_shape, scan, sync_offset, chunk_items, corrections
            See `SourceDataSet`.

        Raises
        ------
        PluginError
            If there is no such type; says what to install.
        ScanError
            If the scan does not fit the number of items.
        """
        if filetype == "memory" and "data" in kwargs:
            args = (kwargs.pop("data"), *args)
        if filetype == "raw" and "sig_shape" in kwargs:  # the stream's word for it is another
            kwargs["item_shape"] = tuple(kwargs.pop("sig_shape"))
        source = load_plugin("arraystream.sources", filetype)(*args, **kwargs)
        if not hasattr(source, "descriptor"):
            raise TypeError(f"{filetype!r} opens a live connection, not a file; see the livestem package")
        return SourceDataSet(
            source,
            nav_shape=nav_shape,
            scan=scan,
            sync_offset=sync_offset,
            chunk_items=chunk_items,
            corrections=corrections,
        )

    def run_udf(
        self,
        dataset: StreamDataset,
        udf: UDF | Sequence[UDF],
        roi: Any = None,
        corrections: CorrectionSet | None = None,
        progress: bool | ProgressReporter | None = None,
        backends: str | Sequence[str] | None = None,
        plots: Any = None,
        sync: bool = True,
    ) -> Any:
        """Run UDFs over all frames.

        Parameters
        ----------
        dataset
            Where the frames come from.
        udf
            One UDF, or several that share one pass over the data.
        roi
            Positions to use, see `roi_mask`.
        corrections
            Dark frame, gain map and dead pixels; replaces those that the data set supplies.  An empty
            `CorrectionSet` switches them off.
        progress
            True for a progress bar, False for none, or a `ProgressReporter`.  By default there is a bar in a
            terminal and in a notebook once the run takes longer than a second.
        backends
            Array types that may be used.
        plots
            Not supported here; see the livestem package.
        sync
            False to get a coroutine instead.

        Returns
        -------
        dict or tuple of dict
            Results by name; a tuple of them, in the order of the UDFs, if several were given.
        """
        run = self._new_run(dataset, udf, roi, corrections, progress, backends, plots)
        single = isinstance(udf, UDF)
        if sync:
            return _run_to_end(run, single)
        return _coroutine(run, single)

    def run_udf_iter(
        self,
        dataset: StreamDataset,
        udf: UDF | Sequence[UDF],
        roi: Any = None,
        corrections: CorrectionSet | None = None,
        progress: bool | ProgressReporter = False,
        backends: str | Sequence[str] | None = None,
        plots: Any = None,
        sync: bool = True,
    ) -> Any:
        """Run UDFs and iterate over the partial results.

        Parameters as for `run_udf`.  Each step gives a `UDFResults` with everything merged until somebody
        looks at it; it does not change afterwards.  States that the loop has no time for are skipped.

        Returns
        -------
        ResultGenerator or AsyncResultGenerator
            The latter if `sync` is False.
        """
        run = self._new_run(dataset, udf, roi, corrections, progress, backends, plots)
        return ResultGenerator(run) if sync else AsyncResultGenerator(run)

    def export(
        self,
        results: ExportedResults,
        path: str | os.PathLike[str],
        *,
        dataset: StreamDataset | None = None,
        axes: Axes | Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write results to a ``.npz``, ``.h5`` or ``.zarr`` file, see `udf_core.export`."""
        return export(results, path, dataset=dataset, axes=axes, overwrite=overwrite)

    def to_xarray(
        self,
        results: ExportedResults,
        *,
        dataset: StreamDataset | None = None,
        axes: Axes | Mapping[str, Any] | None = None,
    ) -> Any:
        """Return results as an ``xarray.Dataset``, see `udf_core.to_xarray`."""
        return to_xarray(results, dataset=dataset, axes=axes)

    def export_dataset(
        self,
        dataset: StreamDataset,
        *,
        path: str | os.PathLike[str],
        progress: bool | ProgressReporter | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write all frames of a data set to a ``.npy`` file, see `udf_core.export_dataset`."""
        return export_dataset(dataset, path, progress=progress, overwrite=overwrite)

    def close(self) -> None:
        """Let go of the workers.  Idempotent."""
        self.executor.close()

    def _new_run(
        self,
        dataset: StreamDataset,
        udf: UDF | Sequence[UDF],
        roi: Any,
        corrections: CorrectionSet | None,
        progress: bool | ProgressReporter | None,
        backends: str | Sequence[str] | None,
        plots: Any,
    ) -> Run:
        if plots is not None:
            raise NotImplementedError(
                "plots= is not supported here; see the live views of the livestem package"
            )
        udfs = [udf] if isinstance(udf, UDF) else list(udf)
        self.last_run = Run(
            dataset,
            udfs,
            self.executor,
            roi=roi,
            corrections=corrections,
            backends=backends,
            progress=progress,
        )
        return self.last_run

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _run_to_end(run: Run, single: bool) -> Results | tuple[Results, ...]:
    for _ in run.partial_results():
        pass
    buffers = run.results.buffers
    return buffers[0] if single else buffers


async def _coroutine(run: Run, single: bool) -> Results | tuple[Results, ...]:
    return await asyncio.to_thread(_run_to_end, run, single)
