"""One run: feeds frames of a data set to UDFs and adds up what comes back.

The main side does little: it settles each commit with the feed, merges it if the feed agrees, notices dead
workers, and knows when all items are accounted for: committed, or known to be missing.  Where workers run by
themselves a thread does this, so that nobody who looks at partial results slowly can hold up the workers.
"""

from __future__ import annotations

import itertools
import logging
import threading
import warnings
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from arraystream import Feed, FeedVerdict, StateError, StreamError

from ._backends import OFFERS_DENSE, offers_of
from ._commit import Commit, Ended, Event, Failure, Gone, Job, UDFSpec
from ._corrections import CorrectionSet
from ._corrections_source import corrections_of, early_corrections
from ._dataset import StreamDataset
from ._errors import (
    CoverageError,
    RemoteTraceback,
    UDFRunCancelled,
    WorkerHung,
    WorkerHungError,
    WorkerHungWarning,
    WorkerLost,
    WorkerLostError,
    WorkerLostWarning,
)
from ._executor import Crew, Executor
from ._hang import HangWatch
from ._merge import Merger, UDFResults
from ._passes import PATIENCE_S, RollingMerger
from ._plan import make_plans, supported_backends
from ._progress import NoReporter, ProgressReporter, ProgressState, reporter_for
from ._provenance import RunRecord
from ._requirements import check_udf, input_dtype, tiling_scheme
from ._roi import roi_of_scan
from ._scan import ScanMap
from ._shape import Shape
from ._tiling import TILE_BYTES
from ._udf import UDF

_log = logging.getLogger("udf_core")
_numbers = itertools.count()
_TICK_S = 0.05
_TICK_AT_END_S = 0.005
_JOIN_S = 5.0


@dataclass(frozen=True, slots=True)
class _Work:
    """What is there once a run has started."""

    feed: Feed
    merger: Merger | RollingMerger
    crew: Crew


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
    corrections
        What is done to the frames before UDFs see them; ``None`` for what the data set supplies.
    backends
        Array types that may be used.
    progress
        True for a bar, a `ProgressReporter`, or ``None`` for a bar where somebody can see it.
    tile_bytes
        Budget of a tile.
    settings
        Fields of the workers' `Job` that differ from their defaults, e.g. ``commit_s``.
    pass_patience_s
        How long frames of a pass of an endless scan may be missing before they count as lost.

    Attributes
    ----------
    events
        What happened to workers.
    verdict
        How the acquisition ended, once it has.
    n_items
        Items whose results have been merged, unselected ones included.
    n_surplus
        Those of them that came after the last pass of the scan, and belong to no position.
    n_commits
        Commits merged.
    record
        What results remember of the run.
    """

    def __init__(
        self,
        dataset: StreamDataset,
        udfs: Sequence[UDF],
        executor: Executor,
        *,
        roi: Any = None,
        corrections: CorrectionSet | None = None,
        backends: str | Sequence[str] | None = None,
        progress: bool | ProgressReporter | None = False,
        tile_bytes: int = TILE_BYTES,
        settings: dict[str, Any] | None = None,
        pass_patience_s: float = PATIENCE_S,
    ) -> None:
        if not udfs:
            raise ValueError("the list of UDFs is empty; give at least one")
        for udf in udfs:
            check_udf(udf)
        self._supported = [supported_backends(udf, backends) for udf in udfs]
        # What fits no data at all is an error before the source is started.
        make_plans(udfs, self._supported, OFFERS_DENSE, OFFERS_DENSE, executor.device_classes)
        if roi is not None:
            roi = _early_mask(roi, dataset)
        self._corrections = early_corrections(corrections, dataset)
        self.events: list[WorkerLost | WorkerHung] = []
        self._unsaid: list[WorkerHung] = []
        self.verdict: FeedVerdict | None = None
        self.n_items = 0
        self.n_surplus = 0
        self.n_commits = 0
        self.record = RunRecord(repr(dataset))
        self._dataset = dataset
        self._udfs = tuple(udfs)
        self._executor = executor
        self._roi = roi
        self._tile_bytes = tile_bytes
        self._settings = settings or {}
        self._pass_patience_s = pass_patience_s
        self._reporter = reporter_for(progress)
        self._silent = isinstance(self._reporter, NoReporter)
        self._number = next(_numbers)
        self._queue: SimpleQueue[Event] = SimpleQueue()
        self._news = threading.Condition()
        self._error: BaseException | None = None
        self._over = False
        self._closed = False
        self._all_handed_out = False
        self._feed: Feed | None = None
        self._merger: Merger | RollingMerger | None = None
        self._crew: Crew | None = None
        self._pump: threading.Thread | None = None
        self._watch: HangWatch | None = None

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
        try:
            if self._error is not None:
                raise self._error
            work = self._start()
            seen = -1
            while not self._over or seen < self.n_commits:
                self._wait_for_news(work, max(seen, 0))
                if self._error is not None:
                    raise self._error
                if self.n_commits > seen:
                    seen = self.n_commits
                    yield work.merger.results()
            # It may have failed while the consumer held the last state.
            if self._error is not None:
                raise self._error
        except BaseException as error:
            self._close(None if isinstance(error, GeneratorExit) else error)
            for event in self.events:
                error.add_note(str(event))
            raise
        self._close(None)
        for event in self.events:
            if isinstance(event, WorkerLost):
                warnings.warn(str(event), WorkerLostWarning, stacklevel=4)

    def cancel(self) -> bool:
        """End the run, from any thread; return whether it was not over yet.

        Whoever waits for results gets `UDFRunCancelled`; what has been merged stays in `results`.  A run that
        has not been started will not start any more.  While a live data set waits for its first item the run
        ends as soon as that has come.
        """
        with self._news:
            there_was_one = not self._over
        self._end(UDFRunCancelled(f"UDF run cancelled after {self.n_items} items: cancel() was called"))
        return there_was_one

    def update_params(self, patches: Sequence[dict[str, Any]]) -> None:
        """Change parameters of the UDFs, for chunks that are received later and for `get_results`."""
        if len(patches) != len(self._udfs):
            raise ValueError(f"got {len(patches)} sets of parameters for {len(self._udfs)} UDFs")
        if self._merger is None or self._crew is None:
            raise RuntimeError("the run has not started yet")
        self._crew.update(self._merger.update_params(patches))

    # -- begin and end ----------------------------------------------------------------------------

    def _start(self) -> _Work:
        self._feed = feed = self._dataset.start()
        self.record.meta = feed.descriptor.meta
        descriptor = feed.descriptor
        scan = self._dataset.scan.resolve(descriptor.n_items)
        scan_map = ScanMap(scan, roi_of_scan(self._roi, scan))
        shape = Shape((*scan.nav_shape, *descriptor.item_shape), sig_dims=len(descriptor.item_shape))
        corrections = corrections_of(self._corrections, self._dataset, descriptor.item_shape)
        offers, readable = offers_of(descriptor.codec, corrected=corrections.have_corrections())
        plans = make_plans(self._udfs, self._supported, offers, readable, self._executor.device_classes)
        dtype = input_dtype(descriptor.dtype, self._udfs, corrections, plans.values())

        def make_merger(udfs: Sequence[UDF]) -> Merger:
            merger = Merger(udfs, shape, scan_map.roi, descriptor.dtype, dtype, corrections)
            merger.record = self.record
            return merger

        merger: Merger | RollingMerger
        if scan.endless:
            merger = RollingMerger(make_merger, self._udfs, scan_map.n_expected, self._pass_patience_s)
        else:
            merger = make_merger(self._udfs)
        self._merger = merger
        job = Job(
            self._number,
            descriptor,
            tuple(UDFSpec(type(udf), dict(udf._kwargs)) for udf in self._udfs),
            scan_map,
            shape,
            dtype,
            tiling_scheme(
                descriptor,
                dtype,
                self._udfs,
                tile_bytes=self._tile_bytes,
                corrections=corrections,
                plans=plans.values(),
            ),
            self._executor.threads_per_worker,
            corrections=corrections,
            plans=plans,
            **self._settings,
        )
        self._reporter.start(self._progress())
        self._crew = crew = self._executor.hire(job, feed, self._post)
        self._watch = HangWatch(merger.at_work, self._post, job.hang_s, job.hang_limit_s)
        work = _Work(feed, merger, crew)
        if crew.concurrent:
            self._pump = threading.Thread(
                target=self._run_pump, args=(work,), name="udf-core-merge", daemon=True
            )
            self._pump.start()
        return work

    def _close(self, error: BaseException | None) -> None:
        """Stop everything; never hangs."""
        if self._closed:
            return
        self._closed = self._over = True
        try:
            if self._watch is not None:
                self._watch.close()
            if self._feed is not None:
                self._feed.close()
            if self._crew is not None:
                self._crew.dismiss()
            if self._pump is not None:
                self._pump.join(_JOIN_S)
            self._note_last_losses()
            self.record.end(self.verdict, error)
            if self._merger is not None:
                if self._pump is None or not self._pump.is_alive():  # else a `merge` hangs in there
                    self._merger.finish()
                self._reporter.end(self._progress())
        finally:
            self._dataset.finish(error)

    def _post(self, event: Event) -> None:
        """Take an event from a worker; thread-safe."""
        if isinstance(event, WorkerHung):  # at once: the thread that takes events may be what hangs
            _log.warning("%s", event)
            self._take_hang(event)
        else:
            self._queue.put(event)

    # -- waiting ----------------------------------------------------------------------------------

    def _wait_for_news(self, work: _Work, seen: int) -> None:
        """Return when more than `seen` commits are merged, or the run is over."""
        while not self._over and self.n_commits <= seen:
            if work.crew.concurrent:
                with self._news:
                    self._news.wait_for(lambda: self._over or self.n_commits > seen, _TICK_S)
            else:
                self._step(work)
            while self._unsaid:
                warnings.warn(str(self._unsaid.pop(0)), WorkerHungWarning, stacklevel=5)
            if not self._silent:
                self._reporter.update(self._progress())

    def _step(self, work: _Work) -> None:
        """Let a worker that does not run by itself do something."""
        try:
            work.crew.step(_TICK_AT_END_S if self._all_handed_out else _TICK_S)
        except StreamError as error:
            self._take_events(work, 0.0)
            raise self._error_of_the_feed(work, error) from None
        self._take_events(work, 0.0)

    def _run_pump(self, work: _Work) -> None:
        while not self._over:
            try:
                self._take_events(work, _TICK_AT_END_S if self._all_handed_out else _TICK_S)
            except BaseException as error:
                self._end(error)

    # -- what comes from the workers --------------------------------------------------------------

    def _take_events(self, work: _Work, longest_wait_s: float) -> None:
        """Handle what workers posted, and see whether that was all."""
        try:
            event = self._queue.get(timeout=longest_wait_s) if longest_wait_s else self._queue.get_nowait()
            while not self._over:
                self._handle(work, event)
                event = self._queue.get_nowait()
        except Empty:
            pass
        self._look_for_end(work)

    def _handle(self, work: _Work, event: Event) -> None:
        if isinstance(event, Commit):
            self._take(work, event)
        elif isinstance(event, Ended):
            self._all_handed_out = True
        elif isinstance(event, Gone):
            self._replace(work, event)
        elif isinstance(event, Failure):
            self._end(self._error_of(work, event))

    def _take(self, work: _Work, commit: Commit) -> None:
        """Merge a commit if the feed agrees that its chunks are still the worker's."""
        settled = work.feed.settle(commit.member, commit.tokens)
        work.crew.acknowledge(commit.worker, commit.number, settled)
        if settled:
            for partial in commit.partials:
                work.merger.merge(partial)
        if commit.recycle is not None:
            commit.recycle()
        if settled:
            with self._news:
                self.n_items += commit.n_items
                self.n_surplus += commit.n_surplus
                self.n_commits += 1
                self._news.notify_all()

    def _take_hang(self, event: WorkerHung) -> None:
        self.events.append(event)
        self._unsaid.append(event)
        if event.over_limit:
            self._end(
                WorkerHungError(
                    f"{event.who} made no progress for {event.waited_s:.1f} s {event.where}; the "
                    f"run was given up, its stack is in the notes"
                )
            )

    def _replace(self, work: _Work, event: Gone) -> None:
        n_lost = sum(isinstance(earlier, WorkerLost) for earlier in self.events)
        if n_lost >= 4 + 4 * self._executor.n_workers:
            raise WorkerLostError(
                f"{n_lost + 1} workers died in one run, the last one was {event.reason}; "
                f"a UDF may be crashing the interpreter or using up all memory"
            )
        lost = WorkerLost(event.worker, event.reason, work.crew.replace(event.worker))
        self.events.append(lost)
        _log.warning("%s", lost)

    def _note_last_losses(self) -> None:
        """Record workers whose death was posted behind the event that ended the run."""
        while True:
            try:
                event = self._queue.get_nowait()
            except Empty:
                return
            if isinstance(event, Gone):
                self.events.append(WorkerLost(event.worker, event.reason, False))

    def _error_of(self, work: _Work, failure: Failure) -> BaseException:
        error = failure.error
        if failure.text:
            error.__cause__ = RemoteTraceback(failure.text)
        if failure.from_feed and isinstance(error, StreamError):
            return self._error_of_the_feed(work, error)
        return error

    def _error_of_the_feed(self, work: _Work, error: StreamError) -> Exception:
        """Return why the feed failed, rather than what a worker noticed of it."""
        self.verdict = work.feed.verdict()
        return error if self.verdict is None or self.verdict.error is None else self.verdict.error

    def _look_for_end(self, work: _Work) -> None:
        """End the run if the acquisition has ended and each of its items is accounted for."""
        verdict = work.feed.verdict()
        if verdict is None or self._over:
            return
        n_missing = sum(gap.stop - gap.first for gap in verdict.gaps)
        n_accounted = self.n_items + n_missing
        if n_accounted < verdict.n_items:
            return
        self.verdict = verdict
        error: BaseException | None = verdict.error
        if n_accounted > verdict.n_items:
            error = CoverageError(
                f"{self.n_items} items were committed and {n_missing} are missing, but there were only "
                f"{verdict.n_items}; please report this"
            )
        elif verdict.status == "aborted" and self._dataset.scan.endless:
            error = None  # there is no other way to end it
        elif error is None and verdict.status != "complete":
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
        n_commits, frame_bytes = self.n_commits, 0
        if self._feed is not None:
            descriptor = self._feed.descriptor
            frame_bytes = descriptor.item_size * np.dtype(descriptor.dtype).itemsize
        return ProgressState(done, total, n_commits, 0, n_commits, str(self._number), frame_bytes)


def _early_mask(roi: Any, dataset: StreamDataset) -> Any:
    """Check a ROI before the source is started, if the shape of the scan is known by then."""
    try:
        scan = dataset.scan
    except StateError:
        return deepcopy(roi)
    return roi_of_scan(roi, scan) if scan.is_resolved else deepcopy(roi)
