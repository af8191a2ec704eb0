"""Workers that are reached over channels, in processes of this machine or elsewhere.

One that dies is replaced, and the feed gives its uncommitted chunks to others; one that hangs is killed when
the run is over.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

import cloudpickle

from arraystream import Feed, Ticket

from ._channel import Channel, ChannelClosed
from ._commit import Commit, Failure, Gone, Job
from ._error_parcel import unpack_error
from ._executor import DISMISS_S, Crew, Post
from ._feed_pass import FeedPass
from ._worker_process import Listener

_log = logging.getLogger("udf_core")


class ChannelWorker(Protocol):
    """A worker as its crew sees it."""

    number: int
    channel: Channel
    gone: threading.Event
    listener: Listener | None

    def kill(self) -> None:
        """End it, or at least have nothing to do with it any more; the listener is told."""
        ...

    def wait(self, deadline: float) -> None:
        """Wait until it has ended, at most until `deadline` (`time.monotonic`)."""
        ...


class ChannelCrew(Crew):
    """The workers of one run; the job, acknowledgements and commits go over their channels.

    Parameters
    ----------
    job, feed, post
        As for `Executor.hire`.
    """

    def __init__(self, job: Job, feed: Feed, post: Post) -> None:
        self._job = job
        self._job_number = job.number
        self._packed = cloudpickle.dumps(job)
        self._feed = feed
        self._post = post
        self._changed = threading.Condition()
        self._at_work: dict[int, ChannelWorker] = {}
        self._dismissed = False

    def acknowledge(self, worker: int, commit: int, settled: bool) -> None:
        at_work = self._at_work.get(worker)
        if at_work is None:
            return
        if not settled:
            at_work.kill()
            return
        try:
            at_work.channel.send("ack", commit)
        except ChannelClosed:
            at_work.kill()

    def update(self, kwargs: Sequence[dict[str, Any]]) -> None:
        self._job = self._job.with_kwargs(kwargs)
        self._packed = cloudpickle.dumps(self._job)
        packed = cloudpickle.dumps(list(kwargs))
        for worker in list(self._at_work.values()):
            try:
                worker.channel.send("update", packed)
            except ChannelClosed:
                worker.kill()

    def dismiss(self) -> None:
        deadline = time.monotonic() + self._patience()
        with self._changed:
            self._dismissed = True
            left_behind = list(self._at_work.values())
            self._changed.notify_all()
        for worker in left_behind:
            try:
                worker.channel.send("leave", self._job_number)
            except ChannelClosed:
                worker.kill()
        with self._changed:
            self._changed.wait_for(lambda: not self._at_work, max(0.0, deadline - time.monotonic()))
            stuck, self._at_work = list(self._at_work.values()), {}
        for worker in stuck:
            worker.listener = None
            worker.kill()
            worker.wait(time.monotonic() + 1.0)

    # -- for subclasses ---------------------------------------------------------------------------

    def _patience(self) -> float:
        return DISMISS_S

    def _admission(self, worker: ChannelWorker) -> Ticket | FeedPass:
        """Return what admits a worker to the feed."""
        return self._feed.ticket()

    def _has_left(self, worker: ChannelWorker) -> None:
        """Take note that a worker is done with this run."""

    def _is_lost(self, worker: ChannelWorker) -> None:
        """Take note that a worker died in this run."""

    def _assign(self, worker: ChannelWorker) -> None:
        """Set a worker to work."""
        with self._changed:
            if self._dismissed:
                return
            self._at_work[worker.number] = worker
        worker.listener = self._hear
        admission = self._admission(worker)
        fds = admission.fds if isinstance(admission, Ticket) else ()
        try:
            worker.channel.send("job", (self._job_number, self._packed, admission), fds=fds)
        except ChannelClosed:
            worker.kill()
        finally:
            for fd in fds:
                os.close(fd)
        if worker.gone.is_set():
            self._hear(worker, "gone", "died while it was started")

    # ---------------------------------------------------------------------------------------------

    def _hear(self, worker: Any, kind: str, value: Any) -> None:
        """Pass on what a worker says; runs in its reader thread."""
        if kind == "gone":
            self._bury(worker, value)
        elif kind == "left":
            if value == self._job_number:
                self._leaves(worker)
                self._has_left(worker)
        elif value[0] != self._job_number:
            return
        elif kind == "note":
            _log.warning("worker %s: %s", worker.number, value[1])
        elif kind == "failure":
            error, text = unpack_error(value[1])
            self._fail(worker, Failure(worker.number, error, text, from_feed=value[2]))
        else:
            event = value[1]
            if isinstance(event, Commit):
                event.worker = worker.number
            self._post(event)

    def _fail(self, worker: ChannelWorker, failure: Failure) -> None:
        self._post(failure)

    def _bury(self, worker: ChannelWorker, reason: str) -> None:
        with self._changed:  # who waits for the worker to be gone finds its loss posted
            if not self._leaves(worker):
                return
            self._post(Gone(worker.number, reason))
        self._is_lost(worker)

    def _leaves(self, worker: ChannelWorker) -> bool:
        with self._changed:
            was_there = self._at_work.pop(worker.number, None) is not None
            self._changed.notify_all()
            return was_there
