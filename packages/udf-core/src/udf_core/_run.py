"""One run: feeds frames of a data set to UDFs and adds up what comes back.

The main side does little: it settles each commit with the feed, merges it if the feed agrees, notices dead
workers, and knows when all items are accounted for: committed, or known to be missing.  Where workers run by
themselves a thread does this, so that nobody who looks at partial results slowly can hold up the workers.
"""

from __future__ import annotations

import functools
import itertools
import logging
import threading
import warnings
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from arraystream import Feed, FeedVerdict

from ._commit import Commit, Ended, Event, Failure, Gone, Job, UDFSpec
from ._dataset import StreamDataset
from ._errors import (
    CoverageError,
    RemoteTraceback,
    UDFException,
    UDFRunCancelled,
    WorkerLost,
    WorkerLostError,
    WorkerLostWarning,
)
from ._executor import Crew, Executor
from ._merge import Merger, UDFResults
from ._progress import ProgressReporter, ProgressState, reporter_for
from ._roi import roi_mask
from ._scan import ScanMap
from ._shape import Shape
from ._udf import UDF, UDFMethod

_log = logging.getLogger("udf_core")
_numbers = itertools.count()
_TICK_S = 0.05
_TICK_AT_END_S = 0.005


class Run:
    """One pass over a data set.

    Parameters
    ----------
    dataset
        Where the frames come from.
    udfs
        What to do with them.
    executor
        Where the work is done.
    roi
        Selected positions, see `roi_mask`.
    backends
        Array types that may be used.
    progress
        True for a bar, or a `ProgressReporter`.
    settings
        Fields of `Job` that differ from their defaults.

    Attributes
    ----------
    events
        What happened to workers.
    verdict
        How the acquisition ended, once it has.
    n_items
        Items whose results have been merged, unselected ones included.
    n_commits
        Commits merged.
    """

    def __init__(
        self,
        dataset: StreamDataset,
        udfs: Sequence[UDF],
        executor: Executor,
        *,
        roi: Any = None,
        backends: str | Sequence[str] | None = None,
        progress: bool | ProgressReporter = False,
        settings: dict[str, Any] | None = None,
    ) -> None:
        if not udfs:
            raise ValueError("the list of UDFs is empty; give at least one")
        for udf in udfs:
            check_udf(udf, backends)
        if roi is not None and dataset.scan.is_resolved:
            roi = roi_mask(roi, dataset.scan.shape)
        self.events: list[WorkerLost] = []
        self.verdict: FeedVerdict | None = None
        self.n_items = 0
        self.n_commits = 0
        self._dataset = dataset
        self._udfs = tuple(udfs)
        self._executor = executor
        self._roi = roi
        self._settings = settings or {}
        self._reporter = reporter_for(progress)
        self._queue: SimpleQueue[Event] = SimpleQueue()
        self._news = threading.Condition()
        self._error: BaseException | None = None
        self._over = False
        self._closed = False
        self._all_handed_out = False
        self._pump: threading.Thread | None = None
        self._merger: Merger | None = None
        self._crew: Crew | None = None
        self._feed: Feed | None = None
        self._number = next(_numbers)

    @property
    def results(self) -> UDFResults:
        """What has been merged so far; made when looked at."""
        if self._merger is None:
            raise RuntimeError("the run has not started yet")
        return self._merger.results()

    def partial_results(self) -> Iterator[UDFResults]:
        """Do the run; yield the results whenever there is something new, at least once.

        If the consumer is slower than the workers it skips states, never data.  Leaving early leaves the
        acquisition.

        Raises
        ------
        Exception
            What a UDF raised, with a note that says where; the error of a failed acquisition.
        UDFRunCancelled
            If the acquisition was aborted.
        """
        self._start()
        seen = -1
        try:
            while not self._over or seen < self.n_commits:
                self._wait_for_news(max(seen, 0))
                if self._error is None and (self.n_commits > max(seen, 0) or (self._over and seen < 0)):
                    seen = self.n_commits
                    yield self.results
                elif self._over:
                    break
        except BaseException as error:
            self._close(None if isinstance(error, GeneratorExit) else error)
            raise
        self._close(self._error)
        if self._error is not None:
            self._raise(self._error)
        self._warn()

    def update_params(self, patches: Sequence[dict[str, Any]]) -> None:
        """Change parameters of the UDFs, for partitions that start later and for `get_results`."""
        if len(patches) != len(self._udfs):
            raise ValueError(f"got {len(patches)} sets of parameters for {len(self._udfs)} UDFs")
        if self._merger is None or self._crew is None:
            raise RuntimeError("the run has not started yet")
        self._crew.update(self._merger.update_params(patches))

    # -- begin and end ----------------------------------------------------------------------------

    def _start(self) -> None:
        try:
            self._feed = self._dataset.start()
            job = self._prepare(self._feed)
            post = self._queue.put
            self._reporter.start(self._progress())
            self._crew = self._executor.hire(job, self._feed, post)
            if self._crew.concurrent:
                self._pump = threading.Thread(target=self._run_pump, name="udf-core-merge", daemon=True)
                self._pump.start()
        except BaseException as error:
            self._close(error)
            raise

    def _prepare(self, feed: Feed) -> Job:
        descriptor = feed.descriptor
        scan = self._dataset.scan.resolve(descriptor.n_items)
        scan_map = ScanMap(scan, roi_mask(self._roi, scan.shape))
        shape = Shape((*scan.shape, *descriptor.item_shape), sig_dims=len(descriptor.item_shape))
        wanted = [np.dtype(udf.get_preferred_input_dtype()) for udf in self._udfs]
        # One after the other: all at once, NumPy would find smaller types than the contract says.
        input_dtype = functools.reduce(np.result_type, wanted, np.dtype(descriptor.dtype))
        self._merger = Merger(self._udfs, shape, scan_map.roi, descriptor.dtype, input_dtype)
        return Job(
            self._number,
            descriptor,
            tuple(UDFSpec(type(udf), dict(udf._kwargs)) for udf in self._udfs),
            scan_map,
            shape,
            input_dtype,
            self._executor.threads_per_worker,
            **self._settings,
        )

    def _close(self, error: BaseException | None) -> None:
        """Stop everything; never hangs."""
        if self._closed:
            return
        self._closed = self._over = True
        try:
            if self._feed is not None:
                self._feed.close()
            if self._crew is not None:
                self._crew.dismiss()
            if self._pump is not None:
                self._pump.join(5.0)
            if self._merger is not None:
                self._merger.finish()
                self._reporter.end(self._progress())
        finally:
            if self._feed is not None or error is not None:
                self._dataset.finish(error)

    def _raise(self, error: BaseException) -> None:
        for event in self.events:
            error.add_note(str(event))
        raise error

    def _warn(self) -> None:
        for event in self.events:
            warnings.warn(str(event), WorkerLostWarning, stacklevel=4)

    # -- what comes from the workers --------------------------------------------------------------

    def _wait_for_news(self, seen: int) -> None:
        """Return when more than `seen` commits are merged, or the run is over."""
        assert self._crew is not None
        while not self._over and self.n_commits <= seen:
            if self._crew.concurrent:
                with self._news:
                    self._news.wait_for(lambda: self._over or self.n_commits > seen, _TICK_S)
            else:
                self._crew.step(_TICK_AT_END_S if self._all_handed_out else _TICK_S)
                self._take_events(0.0)
        self._reporter.update(self._progress())

    def _run_pump(self) -> None:
        while not self._over:
            try:
                self._take_events(_TICK_AT_END_S if self._all_handed_out else _TICK_S)
            except BaseException as error:
                self._end(error)

    def _take_events(self, longest_wait_s: float) -> None:
        """Handle what workers posted, and see whether that was all."""
        try:
            event = self._queue.get(timeout=longest_wait_s) if longest_wait_s else self._queue.get_nowait()
        except Empty:
            self._look_for_end()
            return
        while not self._over:
            self._handle(event)
            try:
                event = self._queue.get_nowait()
            except Empty:
                break
        self._look_for_end()

    def _handle(self, event: Event) -> None:
        if isinstance(event, Commit):
            self._take(event)
        elif isinstance(event, Ended):
            self._all_handed_out = True
        elif isinstance(event, Gone):
            self._replace(event)
        else:
            self._fail(event)

    def _take(self, commit: Commit) -> None:
        """Merge a commit if the feed agrees that its chunks are still the worker's."""
        assert self._feed is not None
        assert self._crew is not None
        assert self._merger is not None
        settled = self._feed.settle(commit.member, commit.tokens)
        self._crew.acknowledge(commit.worker, commit.number, settled)
        if settled:
            for partial in commit.partials:
                self._merger.merge(partial)
        if commit.recycle is not None:
            commit.recycle()
        if settled:
            with self._news:
                self.n_items += commit.n_items
                self.n_commits += 1
                self._news.notify_all()

    def _replace(self, event: Gone) -> None:
        assert self._crew is not None
        if len(self.events) >= 4 + 4 * self._executor.n_workers:
            raise WorkerLostError(
                f"{len(self.events) + 1} workers died in one run, the last one was {event.reason}; "
                f"a UDF may be crashing the interpreter or using up all memory"
            )
        lost = WorkerLost(event.worker, event.reason, self._crew.replace(event.worker))
        self.events.append(lost)
        _log.warning("%s", lost)

    def _fail(self, failure: Failure) -> None:
        error = failure.error
        if failure.from_feed:
            assert self._feed is not None
            verdict = self._feed.verdict()
            if verdict is not None and verdict.error is not None:
                error = verdict.error
        if failure.text:
            error.__cause__ = RemoteTraceback(failure.text)
        self._end(error)

    def _look_for_end(self) -> None:
        assert self._feed is not None
        verdict = self._feed.verdict()
        if verdict is None:
            return
        n_missing = sum(gap.stop - gap.first for gap in verdict.gaps)
        n_accounted = self.n_items + n_missing
        if n_accounted < verdict.n_items:
            return
        self.verdict = verdict
        if n_accounted > verdict.n_items:
            self._end(
                CoverageError(
                    f"{self.n_items} items were committed and {n_missing} are missing, but there were only "
                    f"{verdict.n_items}; please report this"
                )
            )
            return
        error: BaseException | None = verdict.error
        if error is None and verdict.status != "complete":
            error = UDFRunCancelled(
                f"UDF run cancelled after {self.n_items} items: {verdict.reason or verdict.status}"
            )
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        with self._news:
            if not self._over:
                self._error = error
            self._over = True
            self._news.notify_all()

    def _progress(self) -> ProgressState:
        total = 0 if self._merger is None else len(self._merger.damage)
        done = 0 if self._merger is None else int(np.count_nonzero(self._merger.damage))
        return ProgressState(done, total, self.n_commits, 0, self.n_commits, str(self._number))


def check_udf(udf: UDF, backends: str | Sequence[str] | None) -> None:
    """Raise unless this is a UDF that can run here.

    Raises
    ------
    TypeError
        If it is no UDF, or has no process method.
    UDFException
        If its `get_method` returns nonsense.
    ValueError
        If it names an unknown backend.
    RuntimeError
        If there is no backend for it.
    """
    if not isinstance(udf, UDF):
        raise TypeError(f"{udf!r} is not a UDF object; did you pass the class instead of an object?")
    name = type(udf).__name__
    method = udf.get_method()
    if not isinstance(method, UDFMethod):
        raise UDFException(f"{name}.get_method() returned {method!r}, which is no member of UDF.UDF_METHOD")
    if not hasattr(udf, f"process_{method.value}"):
        raise UDFException(f"{name}.get_method() chose {method}, but there is no process_{method.value}()")
    supported = udf.get_backends()
    names = (supported,) if isinstance(supported, str) else tuple(supported)
    unknown = [n for n in names if n not in UDF.CPU_BACKENDS | UDF.CUDA_BACKENDS]
    if unknown:
        raise ValueError(f"UDF {name} returned invalid backend {unknown[0]!r}")
    allowed = names if backends is None else (backends,) if isinstance(backends, str) else tuple(backends)
    if UDF.BACKEND_NUMPY not in names or UDF.BACKEND_NUMPY not in allowed:
        raise RuntimeError(
            f"Could not find backends for remaining UDF {name}: it supports {', '.join(names)}"
            f"{'' if backends is None else f', allowed are {allowed}'}, and there is only 'numpy' so far"
        )
