"""Running UDFs without a `Context`, and looking at them without running."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._buffer import BufferWrapper
from ._context import AsyncResultGenerator, Context, ResultGenerator
from ._dataset import StreamDataset
from ._dry_run import dry_run, inspect_udf
from ._executor import Executor
from ._merge import UDFResults
from ._progress import ProgressReporter
from ._udf import UDF


class UDFRunner:
    """Runs UDFs on an executor.

    Parameters
    ----------
    udfs
        The UDFs; they share one pass over the data.
    debug
        Accepted for compatibility; has no effect, since all checks are always on.
    progress_reporter
        Used where progress is wanted.

    Examples
    --------
    >>> import numpy as np
    >>> from udf_core import AutoUDF, make_executor
    >>> dataset = Context.make_with("inline").load("memory", np.ones((2, 3, 4, 4)))
    >>> runner = UDFRunner([AutoUDF(f=np.sum)])
    >>> results = runner.run_for_dataset(dataset, make_executor("inline"))
    >>> results.buffers[0]["result"].data.tolist()
    [[16.0, 16.0, 16.0], [16.0, 16.0, 16.0]]
    >>> UDFRunner.inspect_udf(AutoUDF(f=np.sum), dataset)["result"].shape
    (6,)
    """

    def __init__(
        self,
        udfs: Sequence[UDF],
        debug: bool = False,
        progress_reporter: ProgressReporter | None = None,
    ) -> None:
        self._udfs = list(udfs)
        self._reporter = progress_reporter

    def run_for_dataset(
        self,
        dataset: StreamDataset,
        executor: Executor,
        roi: Any = None,
        progress: bool = False,
        corrections: Any = None,
        backends: str | Sequence[str] | None = None,
        dry: bool = False,
    ) -> UDFResults:
        """Run to the end and return the results; with `dry` only empty ones, without reading data."""
        if dry:
            return dry_run(self._udfs, dataset, roi)
        results = self.run_for_dataset_sync(dataset, executor, roi, progress, corrections, backends)
        for _ in results:
            pass
        return results.run.results

    def run_for_dataset_sync(
        self,
        dataset: StreamDataset,
        executor: Executor,
        roi: Any = None,
        progress: bool = False,
        corrections: Any = None,
        backends: str | Sequence[str] | None = None,
    ) -> ResultGenerator:
        """Return an iterator over partial results."""
        generator: ResultGenerator = Context(executor).run_udf_iter(
            dataset, self._udfs, roi, corrections, self._progress(progress), backends
        )
        return generator

    def run_for_dataset_async(
        self,
        dataset: StreamDataset,
        executor: Executor,
        roi: Any = None,
        progress: bool = False,
        corrections: Any = None,
        backends: str | Sequence[str] | None = None,
    ) -> AsyncResultGenerator:
        """Return an asynchronous iterator over partial results."""
        generator: AsyncResultGenerator = Context(executor).run_udf_iter(
            dataset, self._udfs, roi, corrections, self._progress(progress), backends, sync=False
        )
        return generator

    @classmethod
    def inspect_udf(cls, udf: UDF, dataset: StreamDataset, roi: Any = None) -> dict[str, BufferWrapper]:
        """Return the buffers that a UDF declares for a data set, with their shapes."""
        return inspect_udf(udf, dataset, roi)

    @classmethod
    def dry_run(cls, udfs: Sequence[UDF], dataset: StreamDataset, roi: Any = None) -> UDFResults:
        """Return the results of UDFs that have seen no data."""
        return dry_run(udfs, dataset, roi)

    def _progress(self, wanted: bool) -> bool | ProgressReporter:
        return self._reporter if wanted and self._reporter is not None else wanted
