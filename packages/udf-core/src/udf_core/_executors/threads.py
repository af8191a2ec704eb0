"""The worker loop in threads of this process.

Fast where UDFs release the GIL (NumPy on large tiles, numba with ``nogil=True``).  A thread can't be killed:
one that does not stop in time is left behind, as a daemon.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from threadpoolctl import threadpool_limits

from arraystream import Feed, StreamError
from udf_core._commit import Failure, Gone, Job
from udf_core._devices import Device
from udf_core._errors import ExecutorSpecException
from udf_core._executor import DISMISS_S, Crew, Executor, Post, n_workers_default, takes_part
from udf_core._hang import HangWatch
from udf_core._worker import Worker

_log = logging.getLogger("udf_core")


class ThreadsExecutor(Executor):
    """Runs workers in threads.

    Parameters
    ----------
    n_workers
        How many on the CPU; by default one for each core that this process may use and the feed leaves idle.
    devices
        What gets a worker of its own beside them.
    """

    name = "threads"
    threads_per_worker = 1

    def __init__(self, n_workers: int | None = None, devices: Sequence[Device] = ()) -> None:
        self.devices = tuple(devices)
        self._suit_feed = n_workers is None
        self.n_workers = n_workers_default() if n_workers is None else n_workers
        if self.n_workers < (0 if self.devices else 1):
            raise ExecutorSpecException(f"executor 'threads' needs at least 1 worker, not {n_workers}")

    def hire(self, job: Job, feed: Feed, post: Post) -> Crew:
        """Start the threads."""
        n_workers = n_workers_default(feed) if self._suit_feed else self.n_workers
        return _ThreadsCrew(job, feed, post, [*[Device()] * n_workers, *self.devices])


class _WorkerThread(threading.Thread):
    """One worker; posts an event whatever happens."""

    def __init__(self, job: Job, feed: Feed, post: Post, number: int, device: Device) -> None:
        super().__init__(name=f"udf-core-worker-{number}", daemon=True)
        self.number = number
        self.device = device
        self.done = threading.Event()
        self._post = post
        self.worker: Worker | None = None
        self._update: Sequence[dict[str, Any]] | None = None
        self._job, self._feed = job, feed

    def update(self, kwargs: Sequence[dict[str, Any]]) -> None:
        self._update = kwargs
        if self.worker is not None:
            self.worker.update(kwargs)

    def run(self) -> None:
        limit_numba()
        worker: Worker | None = None
        try:
            member = self._feed.join()
            try:
                worker = Worker(
                    self._job,
                    member,
                    self.number,
                    self._post,
                    hold_leases=False,
                    stopped=self.done.is_set,
                    device=self.device,
                )
            except BaseException:
                member.close()
                raise
            self.worker = worker
            if self._update is not None:
                worker.update(self._update)
            while not self.done.is_set():
                worker.step(0.1)
        except BaseException as error:
            from_feed = isinstance(error, StreamError) and (worker is None or worker.receiving)
            self._fail(error, from_feed=from_feed)
        finally:
            if worker is not None:
                worker.close()

    def _fail(self, error: BaseException, *, from_feed: bool) -> None:
        if not self.done.is_set():
            self._post(Failure(self.number, error, from_feed=from_feed))


class _ThreadsCrew(Crew):
    def __init__(self, job: Job, feed: Feed, post: Post, devices: Sequence[Device]) -> None:
        self._job, self._feed, self._post = job, feed, post
        self._limits = threadpool_limits(1)
        self._next_number = 0
        self._threads: dict[int, _WorkerThread] = {}
        for device in devices:
            if takes_part(job, device):
                self._hire(device)
        self._watch = HangWatch(self._workers, post, job.hang_s, job.hang_limit_s)

    def acknowledge(self, worker: int, commit: int, settled: bool) -> None:
        thread = self._threads.get(worker)
        # It may have sent more than one commit before it was told.
        if settled or thread is None or thread.done.is_set():
            return
        thread.done.set()
        self._post(Gone(worker, "the feed took it for dead"))

    def replace(self, worker: int) -> bool:
        lost = self._threads.pop(worker, None)
        self._hire(Device() if lost is None else lost.device)
        return True

    def update(self, kwargs: Sequence[dict[str, Any]]) -> None:
        self._job = self._job.with_kwargs(kwargs)
        for thread in self._threads.values():
            thread.update(kwargs)

    def dismiss(self) -> None:
        self._watch.close()
        deadline = time.monotonic() + DISMISS_S
        threads, self._threads = list(self._threads.values()), {}
        for thread in threads:
            thread.done.set()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                _log.warning("%s did not stop within %s s and was left behind", thread.name, DISMISS_S)
        if self._limits is not None:
            self._limits.restore_original_limits()
            self._limits = None

    def _workers(self) -> list[Worker]:
        return [thread.worker for thread in list(self._threads.values()) if thread.worker is not None]

    def _hire(self, device: Device) -> None:
        thread = _WorkerThread(self._job, self._feed, self._post, self._next_number, device)
        self._threads[self._next_number] = thread
        self._next_number += 1
        thread.start()


def limit_numba() -> None:
    """Let numba use one thread for what the calling thread starts, if numba is in use at all."""
    import sys

    if "numba" in sys.modules:
        import numba

        numba.set_num_threads(1)
