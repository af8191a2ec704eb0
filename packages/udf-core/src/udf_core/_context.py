"""The front door: load data, run UDFs, get results."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from arraystream import load_plugin

from . import _analysis as analyses
from ._analysis import Analysis, AnalysisResultSet
from ._auto_udf import AutoUDF
from ._bridge_udf import adapt
from ._buffer import BufferWrapper
from ._corrections import CorrectionSet
from ._dataset import SourceDataSet, StreamDataset
from ._devices import Device
from ._display import UDFDisplay
from ._executor import Executor, make_executor
from ._export import Results as ExportedResults
from ._export import to_xarray
from ._export_axes import Axes
from ._export_dataset import export_dataset
from ._export_files import export
from ._merge import UDFResults
from ._plots import LivePlots
from ._progress import ProgressReporter
from ._run import Run
from ._scan import Scan
from ._sparse_source import is_sparse_array, open_sparse
from ._udf import UDF

Results = dict[str, BufferWrapper]
_T = TypeVar("_T")


class ResultGenerator(Iterator[UDFResults]):
    """Partial results of a run, newest first served; made by `Context.run_udf_iter`.

    The run starts with the first `next`.  Leaving the loop early, or `close`, ends it.
    """

    def __init__(self, run: Run, plots: LivePlots | None = None) -> None:
        self.run = run
        self._results = run.partial_results() if plots is None else _plotted(run, plots)

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
    """`ResultGenerator` for ``async for``; the waiting is done in threads.

    Cancelling a task that waits for the next result ends the run.
    """

    def __init__(self, run: Run, plots: LivePlots | None = None) -> None:
        self.run = run
        self._results = ResultGenerator(run, plots)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> UDFResults:
        result = await _in_thread(self.run, lambda: next(self._results, None))
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
    plot_class
        Draws what `plots` asks for; see `Live2DPlot`.
    hang_s
        A worker that makes no progress for so long is reported with its stack (`WorkerHungWarning`).
    hang_limit_s
        A worker that makes no progress for so long ends the run (`WorkerHungError`); ``None`` for never.

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

    def __init__(
        self,
        executor: Executor | None = None,
        plot_class: Any = None,
        *,
        hang_s: float = 30.0,
        hang_limit_s: float | None = None,
    ) -> None:
        self.executor = make_executor("threads") if executor is None else executor
        self.plot_class = plot_class
        self.hang_s = hang_s
        self.hang_limit_s = hang_limit_s
        self.last_run: Run | None = None

    @classmethod
    def make_with(
        cls,
        spec: str = "threads",
        *,
        cpus: int | Sequence[int] | None = None,
        gpus: int | Sequence[int] | str | Sequence[Device] | None = None,
        plot_class: Any = None,
        **settings: Any,
    ) -> Self:
        """Make a context with an executor of this name.

        Parameters
        ----------
        spec
            ``"inline"``, ``"threads"``, ``"processes"``, or another installed one.
        cpus
            Number of workers on the CPU.
        gpus
            Devices that get a worker of their own beside them: ``"all"`` CUDA devices, how many, their
            numbers, or a sequence of `Device`; none by default.
        plot_class, **settings
            As for the class.

        Raises
        ------
        ExecutorSpecException
            If there is no such executor, or it does not take `cpus` or `gpus`.
        """
        return cls(make_executor(spec, cpus=cpus, gpus=gpus), plot_class, **settings)

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
            For the source; ``"raw"`` takes ``path, dtype, sig_shape``; ``"memory"`` an array, which may be
            sparse (rows of pixels with ``sig_shape``, see `open_sparse`).
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
        if filetype == "memory" and args and is_sparse_array(args[0]):
            source = open_sparse(args[0], *args[1:], **{**kwargs, "nav_shape": nav_shape})
        else:
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
            What to show during the run: True for every result that is a picture; a list with one list of
            channels per UDF, a channel being a name, ``(name, function of the data)`` or ``function(results,
            damage)``; or a list of plot objects.
        sync
            False to get a coroutine instead.

        Returns
        -------
        dict or tuple of dict
            Results by name; a tuple of them, in the order of the UDFs, if several were given.
        """
        udf = adapt(udf)
        run = self._new_run(dataset, udf, roi, corrections, progress, backends)
        live_plots = self._live_plots(plots, dataset, udf, roi)
        single = isinstance(udf, UDF)
        if sync:
            return _run_to_end(run, single, live_plots)
        return _coroutine(run, single, live_plots)

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
        udf = adapt(udf)
        run = self._new_run(dataset, udf, roi, corrections, progress, backends)
        live_plots = self._live_plots(plots, dataset, udf, roi)
        return ResultGenerator(run, live_plots) if sync else AsyncResultGenerator(run, live_plots)

    def map(
        self,
        dataset: StreamDataset,
        f: Callable[[Any], Any],
        roi: Any = None,
        progress: bool | ProgressReporter = False,
        corrections: Any = None,
        backends: str | Sequence[str] | None = None,
    ) -> BufferWrapper:
        """Call a function for each frame; return what it returned, one value per position.

        See `AutoUDF`; the other parameters are those of `run_udf`.
        """
        results: Results = self.run_udf(
            dataset, AutoUDF(f=f), roi, corrections, progress=progress, backends=backends
        )
        return results["result"]

    def display(self, dataset: StreamDataset, udf: UDF, roi: Any = None) -> UDFDisplay:
        """Describe a UDF for a data set: method, parameters and buffers, in a notebook as table."""
        return UDFDisplay(dataset, udf, roi)

    def cancel(self) -> bool:
        """End the run that is going on, if there is one; from any thread.

        Whoever waits for its results gets `UDFRunCancelled`.  Returns whether there was a run to end.
        """
        return self.last_run is not None and self.last_run.cancel()

    # -- analyses ---------------------------------------------------------------------------------

    def create_mask_analysis(
        self,
        factories: Any,
        dataset: StreamDataset,
        use_sparse: Any = None,
        mask_count: int | None = None,
        mask_dtype: Any = None,
        dtype: Any = None,
    ) -> Analysis:
        """Sum frames weighted with masks, each made by a function without arguments."""
        return analyses.mask_analysis(dataset, factories, use_sparse, mask_count, mask_dtype, dtype)

    def create_com_analysis(
        self,
        dataset: StreamDataset,
        cx: float | None = None,
        cy: float | None = None,
        mask_radius: float | None = None,
        flip_y: bool = False,
        mask_radius_inner: float | None = None,
        scan_rotation: float = 0.0,
    ) -> Analysis:
        """Find the centre of mass of each frame, inside a disk or ring if radii are given."""
        r = {} if mask_radius is None else {"r": mask_radius}
        ri = {} if mask_radius_inner is None else {"ri": mask_radius_inner}
        return analyses.com_analysis(
            dataset, cy=cy, cx=cx, scan_rotation=scan_rotation, flip_y=flip_y, **r, **ri
        )

    def create_disk_analysis(
        self, dataset: StreamDataset, cx: float | None = None, cy: float | None = None, r: float | None = None
    ) -> Analysis:
        """Sum frames over a disk."""
        return analyses.detector_analysis(dataset, "disk", cy=cy, cx=cx, r=r)

    def create_ring_analysis(
        self,
        dataset: StreamDataset,
        cx: float | None = None,
        cy: float | None = None,
        ri: float | None = None,
        ro: float | None = None,
    ) -> Analysis:
        """Sum frames over a ring."""
        return analyses.detector_analysis(dataset, "ring", cy=cy, cx=cx, inner=ri, outer=ro)

    def create_point_analysis(
        self, dataset: StreamDataset, x: float | None = None, y: float | None = None
    ) -> Analysis:
        """Take one pixel of each frame."""
        return analyses.detector_analysis(dataset, "point", cy=y, cx=x)

    def create_sum_analysis(self, dataset: StreamDataset) -> Analysis:
        """Add up all frames."""
        return analyses.sum_analysis(dataset)

    def create_pick_analysis(
        self, dataset: StreamDataset, x: int, y: int | None = None, z: int | None = None
    ) -> Analysis:
        """Take one frame."""
        return analyses.pick_analysis(dataset, tuple(n for n in (z, y, x) if n is not None))

    def run(
        self,
        job: Analysis,
        roi: Any = None,
        progress: bool | ProgressReporter = False,
        corrections: Any = None,
    ) -> AnalysisResultSet:
        """Do an analysis.

        Raises
        ------
        ValueError
            If a ROI is given for an analysis that has its own.
        """
        if job.roi is not None and roi is not None:
            raise ValueError("this analysis takes one frame; it can't be run with a ROI")
        where = roi if job.roi is None else job.roi
        results = self.run_udf(job.dataset, job.get_udf(), where, corrections, progress=progress)
        return job.get_udf_results(results)

    # ---------------------------------------------------------------------------------------------

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
    ) -> Run:
        udfs = [udf] if isinstance(udf, UDF) else list(udf)
        self.last_run = Run(
            dataset,
            udfs,
            self.executor,
            roi=roi,
            corrections=corrections,
            backends=backends,
            progress=progress,
            settings={"hang_s": self.hang_s, "hang_limit_s": self.hang_limit_s},
        )
        return self.last_run

    def _live_plots(
        self, plots: Any, dataset: StreamDataset, udf: UDF | Sequence[UDF], roi: Any
    ) -> LivePlots | None:
        if plots is None or plots is False:
            return None
        udfs = [udf] if isinstance(udf, UDF) else list(udf)
        return LivePlots(plots, self.plot_class, dataset, udfs, roi)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _plotted(run: Run, plots: LivePlots) -> Iterator[UDFResults]:
    """Yield partial results; plot each one after the consumer has had it."""
    results = run.partial_results()
    try:
        for partial in results:
            yield partial
            plots.update(partial)
        plots.update(run.results, force=True)
    except GeneratorExit:
        results.close()  # type: ignore[attr-defined]
        raise
    except BaseException as error:
        results.throw(error)  # type: ignore[attr-defined]
        raise


def _run_to_end(run: Run, single: bool, plots: LivePlots | None) -> Results | tuple[Results, ...]:
    for _ in run.partial_results() if plots is None else _plotted(run, plots):
        pass
    buffers = run.results.buffers
    return buffers[0] if single else buffers


async def _coroutine(run: Run, single: bool, plots: LivePlots | None) -> Results | tuple[Results, ...]:
    return await _in_thread(run, lambda: _run_to_end(run, single, plots))


async def _in_thread(run: Run, work: Callable[[], _T]) -> _T:
    """Do something for a run in a thread; if the waiting task is cancelled, end the run first."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        run.cancel()
        await asyncio.wait({task})
        task.exception()  # a run that was cancelled says so; nobody else waits for it
        raise
