"""The worker loop: receive a chunk, place its frames, show them to the UDFs, commit now and then.

It is the same loop in the main thread, in a thread, and in a process.  An executor only decides where it runs
and how commits get to the main side.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from arraystream import FeedChunk, FeedEnd, Lease, Member, StreamError, open_decoder

from ._commit import Commit, Ended, Event, Job, PartialResult
from ._devices import Device
from ._errors import UDFException
from ._merge_all import merges_all_at_once
from ._partition import Partition
from ._scan import Stretch
from ._tile_reader import TileReader
from ._worker_udf import WorkerUDF

_MOST_ATTEMPTS = 5
_MOST_UNMERGED = 2
_SLOWEST_COMMIT_S = 0.5


class Worker:
    """Processes chunks of one feed.

    Parameters
    ----------
    job
        The run.
    member
        Membership in the feed; closed by `close`.
    number
        Of the worker.
    post
        Takes events to the main side.
    hold_leases
        Keep leases until the main side has settled them (`acknowledge`).  Not needed where a worker can't die
        alone.
    stopped
        Tells whether to stop waiting for anything.
    device
        What to compute on; the CPU by default.

    Attributes
    ----------
    receiving
        Whether an error that `step` has raised came from the feed.
    is_careful
        Whether commits should be acknowledged before more is received.
    thread
        Identifier of the thread that is at work for it; ``None`` while it waits for something.
    """

    def __init__(
        self,
        job: Job,
        member: Member,
        number: int,
        post: Callable[[Event], None],
        *,
        hold_leases: bool,
        stopped: Callable[[], bool] = lambda: False,
        device: Device | None = None,
    ) -> None:
        self.receiving = False
        self.is_careful = False
        self.number = number
        self.thread: int | None = None
        self._job = job
        self._member = member
        self._number = number
        self._post = post
        self._hold_leases = hold_leases
        self._hold_memory = hold_leases and getattr(member, "leases_hold_memory", True)
        self._stopped = stopped
        device = device or Device()
        device.activate()
        self._device_class = device.device_class
        self._plan = plan = job.plan_for(device.device_class)
        self._reader = TileReader(
            job.descriptor,
            open_decoder(job.descriptor),
            np.dtype(job.input_dtype),
            job.scheme,
            job.corrections,
            plan.source,
            device,
        )
        backends = {number: step.backend for step in plan.steps for number in step.udfs}
        self._udfs = [WorkerUDF(spec, job, backends[number]) for number, spec in enumerate(job.specs)]
        self._unbroken = job.scheme.intent == "partition" or any(
            spec.cls.CONTIGUOUS_PARTITIONS or merges_all_at_once(spec.cls) for spec in job.specs
        )
        self._probing = not self._unbroken
        # Whether frames that are no neighbours may be shown together; the first partition tells.
        self._scattered = False
        self._partition: Partition | None = None
        self._finished: list[Partition] = []
        self._partials: list[PartialResult] = []
        self._leases: list[Lease] = []
        self._in_doubt: dict[int, list[Lease]] = {}
        self._held_bytes = self._n_items = self._n_commits = self._n_surplus = 0
        self._new_kwargs: Sequence[dict[str, Any]] | None = None
        self._since = self._committed = 0.0
        self._commit_cost_s = 0.0
        self._unmerged = threading.Semaphore(_MOST_UNMERGED)

    @property
    def waits_for_answers(self) -> bool:
        """Whether commits are on their way that have not been acknowledged."""
        return bool(self._in_doubt)

    def step(self, longest_wait_s: float) -> None:
        """Receive and process at most one chunk; commit if it is time."""
        received = self._receive(longest_wait_s)
        self.thread = threading.get_ident()
        if isinstance(received, FeedChunk):
            self._process(received)
        idle = not isinstance(received, FeedChunk)
        # A chunk that somebody died over is committed by itself, so that nothing else gets lost with it.
        self.is_careful = isinstance(received, FeedChunk) and received.attempt > 0
        at_end = isinstance(received, FeedEnd)
        if self._leases and (at_end or self.is_careful or self._is_due(idle=idle)):
            self.commit()
        self.thread = None
        if at_end:
            self._post(Ended(self._number))

    def commit(self) -> None:
        """Hand over all results so far, and start anew."""
        started = time.monotonic()
        self._close_partition()
        self.thread = None
        while not self._unmerged.acquire(timeout=0.05):
            if self._stopped():
                return
        self._n_commits += 1
        if self._hold_leases:
            self._in_doubt[self._n_commits] = self._leases
        finished, self._finished = self._finished, []
        partials, self._partials = self._partials, []
        leases, self._leases = self._leases, []

        def recycle() -> None:
            for partition in finished:
                partition.recycle()
            self._unmerged.release()

        commit = Commit(
            self._number,
            self._member.number,
            self._n_commits,
            tuple(lease.token for lease in leases),
            self._n_items,
            partials,
            recycle,
            self._n_surplus,
        )
        self._n_items = self._held_bytes = self._n_surplus = 0
        self._post(commit)
        self._committed = time.monotonic()
        self._commit_cost_s = self._committed - started

    def acknowledge(self, number: int) -> None:
        """Drop the leases of a commit that the main side has dealt with."""
        for lease in self._in_doubt.pop(number, ()):
            lease.release()

    def update(self, kwargs: Sequence[dict[str, Any]]) -> None:
        """Use these arguments of the UDFs for the next chunk on; thread-safe."""
        self._new_kwargs = kwargs

    def whereabouts(self) -> tuple[Any, ...]:
        """Return something that is different after each bit of progress; thread-safe."""
        partition = self._partition
        phases = tuple(udf.phase for udf in self._udfs)
        return self._n_items, self._n_commits, phases, None if partition is None else partition.whereabouts()

    def describe(self) -> str:
        """Return which data it is at work on, in words; thread-safe."""
        partition = self._partition
        return "at the begin or end of a partition" if partition is None else partition.describe()

    def close(self) -> None:
        """Drop everything and leave the feed; idempotent."""
        for leases in (self._leases, *self._in_doubt.values()):
            for lease in leases:
                lease.release()
        self.thread = None
        self._leases = []
        self._in_doubt = {}
        self._partition = None
        self._member.close()

    # ---------------------------------------------------------------------------------------------

    def _receive(self, longest_wait_s: float) -> FeedChunk | FeedEnd | None:
        self.receiving = True
        try:
            received = self._member.recv(self._patience(longest_wait_s))
        except StreamError:
            if self._leases:
                self.commit()
            raise
        self.receiving = False
        return received

    def _process(self, chunk: FeedChunk) -> None:
        if chunk.attempt >= _MOST_ATTEMPTS:
            raise UDFException(
                f"items {chunk.first} to {chunk.first + chunk.n - 1} were given up: "
                f"{chunk.attempt} workers died while they held them"
            )
        if self._new_kwargs is not None:
            self._apply_update()
        if not self._leases:
            self._since = time.monotonic()
        self._leases.append(chunk.lease)
        self._n_items += chunk.n
        self._n_surplus += self._job.scan_map.scan.n_surplus(chunk.first, chunk.n)
        for stretch in self._job.scan_map.stretches(chunk.first, chunk.n, scattered=self._scattered):
            partition = self._partition_for(stretch)
            partition.take(chunk, stretch)
            if self._unbroken or self._probing or partition.depends_on_positions:
                self._close_partition()
        if self._hold_memory:
            self._held_bytes += chunk.payload.nbytes
        if not self._hold_leases:
            chunk.lease.release()

    def _apply_update(self) -> None:
        kwargs, self._new_kwargs = self._new_kwargs, None
        self._close_partition()
        for udf, new in zip(self._udfs, kwargs or (), strict=True):
            udf.update(new)
        self._scattered &= not any(udf.has_nav_aux for udf in self._udfs)

    def _partition_for(self, stretch: Stretch) -> Partition:
        if self._partition is not None and not self._partition.has_room(stretch):
            self._close_partition()
        if self._partition is None:
            capacity = stretch.n
            if not (self._unbroken or self._probing):
                most = min((udf.capacity for udf in self._udfs), default=stretch.n)
                capacity = max(capacity, min(most, self._job.scan_map.n_selected))
            self._partition = Partition(
                self._job,
                self._udfs,
                self._reader,
                stretch,
                capacity,
                self._number,
                self._plan,
                self._device_class,
            )
        return self._partition

    def _close_partition(self) -> None:
        partition, self._partition = self._partition, None
        if partition is None:
            return
        self._partials.append(partition.finish())
        self._finished.append(partition)
        # The first partition shows whether the UDFs look at their partition as a whole.
        self._unbroken |= partition.depends_on_positions
        neighbours = self._unbroken or partition.depends_on_neighbours
        self._scattered = not neighbours and (self._probing or self._scattered)
        self._probing = False

    def _is_due(self, *, idle: bool) -> bool:
        """Whether to commit what there is: the first results at once, later ones with a pause between."""
        if self._job.commit_s == 0.0 or self._n_commits == 0:
            return True
        # Who has nothing else to do need not wait for more, but commits no more often than others.
        waited_s = time.monotonic() - (self._committed if idle else self._since)
        held = self._held_bytes + sum(partial.n_bytes for partial in self._partials)
        return waited_s >= self._interval_s or held >= self._job.held_bytes

    @property
    def _interval_s(self) -> float:
        return max(self._job.commit_s, min(5 * self._commit_cost_s, _SLOWEST_COMMIT_S))

    def _patience(self, longest_wait_s: float) -> float:
        if not self._leases:
            return longest_wait_s
        until_due_s = self._committed + self._interval_s - time.monotonic()
        return min(longest_wait_s, max(self._job.idle_s, until_due_s))
