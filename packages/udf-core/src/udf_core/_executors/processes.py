"""The worker loop in processes of this machine.

The processes start with the executor and serve run after run.  One that dies is replaced, and the feed gives
its uncommitted chunks to others; one that hangs is killed when the run is over.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any

import cloudpickle

from arraystream import Feed
from udf_core._channel import ChannelClosed
from udf_core._commit import Commit, Failure, Gone, Job
from udf_core._errors import ExecutorSpecException
from udf_core._executor import DISMISS_S, Crew, Executor, Post, n_workers_default
from udf_core._worker_main import unpack_error
from udf_core._worker_process import WorkerProcess


class ProcessesExecutor(Executor):
    """Runs workers in processes.

    Parameters
    ----------
    n_workers
        How many; by default one for each core that this process may use and the feed leaves idle.
    """

    name = "processes"
    threads_per_worker = 1

    def __init__(self, n_workers: int | None = None) -> None:
        self._suit_feed = n_workers is None
        self.n_workers = n_workers_default() if n_workers is None else n_workers
        if self.n_workers < 1:
            raise ExecutorSpecException(f"executor 'processes' needs at least 1 worker, not {n_workers}")
        self._numbers = itertools.count()
        self._processes: list[WorkerProcess] = []
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, _quit_all, self._processes)
        self._fill_up(self.n_workers)

    @property
    def pids(self) -> list[int]:
        """Process ids of the living workers."""
        return [process.pid for process in self._processes if not process.gone.is_set()]

    def hire(self, job: Job, feed: Feed, post: Post) -> Crew:
        """Set the processes to work."""
        if not self._finalizer.alive:
            raise RuntimeError("this executor has been closed; make another one")
        n_workers = n_workers_default(feed) if self._suit_feed else self.n_workers
        return _ProcessesCrew(self, self._fill_up(n_workers), job, feed, post)

    def start_one(self) -> WorkerProcess:
        """Start another process in place of one that is gone."""
        with self._lock:
            self._forget_dead()
            process = WorkerProcess(next(self._numbers))
            self._processes.append(process)
            return process

    def close(self) -> None:
        """Ask the processes to end; kill those that don't."""
        self._finalizer()

    def _fill_up(self, n_workers: int) -> list[WorkerProcess]:
        """Have so many processes at least, and return that many."""
        with self._lock:
            self._forget_dead()
            while len(self._processes) < n_workers:
                self._processes.append(WorkerProcess(next(self._numbers)))
            return self._processes[:n_workers]

    def _forget_dead(self) -> None:
        self._processes[:] = [process for process in self._processes if not process.gone.is_set()]


def _quit_all(processes: list[WorkerProcess]) -> None:
    deadline = time.monotonic() + DISMISS_S
    for process in processes:
        process.ask_to_quit()
    for process in processes:
        process.wait(deadline)
    processes.clear()


class _ProcessesCrew(Crew):
    def __init__(
        self, executor: ProcessesExecutor, processes: list[WorkerProcess], job: Job, feed: Feed, post: Post
    ) -> None:
        self._executor = executor
        self._job = job
        self._job_number = job.number
        self._packed = cloudpickle.dumps(job)
        self._feed = feed
        self._post = post
        self._changed = threading.Condition()
        self._at_work: dict[int, WorkerProcess] = {}
        self._dismissed = False
        for process in processes:
            self._assign(process)

    def acknowledge(self, worker: int, commit: int, settled: bool) -> None:
        process = self._at_work.get(worker)
        if process is None:
            return
        if not settled:
            process.kill()
            return
        try:
            process.channel.send("ack", commit)
        except ChannelClosed:
            process.kill()

    def replace(self, worker: int) -> bool:
        # In a thread of its own: handing over the job takes as long as a Python process needs to start.
        threading.Thread(target=self._hire_another, name="udf-core-replacement", daemon=True).start()
        return True

    def update(self, kwargs: Sequence[dict[str, Any]]) -> None:
        self._job = self._job.with_kwargs(kwargs)
        self._packed = cloudpickle.dumps(self._job)
        packed = cloudpickle.dumps(list(kwargs))
        for process in list(self._at_work.values()):
            try:
                process.channel.send("update", packed)
            except ChannelClosed:
                process.kill()

    def dismiss(self) -> None:
        deadline = time.monotonic() + DISMISS_S
        with self._changed:
            self._dismissed = True
            left_behind = list(self._at_work.values())
        for process in left_behind:
            try:
                process.channel.send("leave", self._job_number)
            except ChannelClosed:
                process.kill()
        with self._changed:
            self._changed.wait_for(lambda: not self._at_work, max(0.0, deadline - time.monotonic()))
            stuck, self._at_work = list(self._at_work.values()), {}
        for process in stuck:
            process.listener = None
            process.kill()
            process.wait(time.monotonic() + 1.0)

    def _hire_another(self) -> None:
        process = self._executor.start_one()
        try:
            self._assign(process)
        except Exception as error:
            self._post(Failure(process.number, error))

    def _assign(self, process: WorkerProcess) -> None:
        with self._changed:
            if self._dismissed:
                return
            self._at_work[process.number] = process
        process.listener = self._hear
        ticket = self._feed.ticket()
        try:
            process.channel.send("job", (self._job_number, self._packed, ticket), fds=ticket.fds)
        except ChannelClosed:
            process.kill()
        finally:
            for fd in ticket.fds:
                os.close(fd)
        if process.gone.is_set():
            self._hear(process, "gone", "died while it was started")

    def _hear(self, process: WorkerProcess, kind: str, value: Any) -> None:
        """Pass on what a process says; runs in its reader thread."""
        if kind == "gone":
            with self._changed:  # who waits for the worker to be gone finds its loss posted
                if self._leaves(process):
                    self._post(Gone(process.number, value))
        elif kind == "left":
            if value == self._job_number:
                self._leaves(process)
        elif value[0] != self._job_number:
            return
        elif kind == "failure":
            error, text = unpack_error(value[1])
            self._post(Failure(process.number, error, text, from_feed=value[2]))
        else:
            event = value[1]
            if isinstance(event, Commit):
                event.worker = process.number
            self._post(event)

    def _leaves(self, process: WorkerProcess) -> bool:
        with self._changed:
            was_there = self._at_work.pop(process.number, None) is not None
            self._changed.notify_all()
            return was_there
