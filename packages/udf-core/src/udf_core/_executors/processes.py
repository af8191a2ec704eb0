"""The worker loop in processes of this machine.

The processes start with the executor and serve run after run.  One that dies is replaced, and the feed gives
its uncommitted chunks to others; one that hangs is killed when the run is over.
"""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections.abc import Sequence

from arraystream import Feed
from udf_core._channel_crew import ChannelCrew
from udf_core._commit import Failure, Job
from udf_core._devices import Device
from udf_core._errors import ExecutorSpecException
from udf_core._executor import DISMISS_S, Crew, Executor, Post, n_workers_default, takes_part
from udf_core._stuck_process import StuckProcessWatch
from udf_core._worker_process import WorkerProcess


class ProcessesExecutor(Executor):
    """Runs workers in processes.

    Parameters
    ----------
    n_workers
        How many on the CPU; by default one for each core that this process may use and the feed leaves idle.
    devices
        What gets a worker of its own beside them.
    """

    name = "processes"
    threads_per_worker = 1

    def __init__(self, n_workers: int | None = None, devices: Sequence[Device] = ()) -> None:
        self.devices = tuple(devices)
        self._suit_feed = n_workers is None
        self.n_workers = n_workers_default() if n_workers is None else n_workers
        if self.n_workers < (0 if self.devices else 1):
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

    def start_one(self, device: Device) -> WorkerProcess:
        """Start another process in place of one that is gone."""
        with self._lock:
            self._forget_dead()
            process = WorkerProcess(next(self._numbers), device)
            self._processes.append(process)
            return process

    def close(self) -> None:
        """Ask the processes to end; kill those that don't."""
        self._finalizer()

    def _fill_up(self, n_workers: int) -> list[WorkerProcess]:
        """Have so many processes on the CPU at least, and one per device; return that many."""
        with self._lock:
            self._forget_dead()
            spare = list(self._processes)
            chosen = []
            for device in (*[Device()] * n_workers, *self.devices):
                process = next((p for p in spare if p.device == device), None)
                if process is None:
                    process = WorkerProcess(next(self._numbers), device)
                    self._processes.append(process)
                else:
                    spare.remove(process)
                chosen.append(process)
            return chosen

    def _forget_dead(self) -> None:
        self._processes[:] = [process for process in self._processes if process.is_usable]


def _quit_all(processes: list[WorkerProcess]) -> None:
    deadline = time.monotonic() + DISMISS_S
    for process in processes:
        process.ask_to_quit()
    for process in processes:
        process.wait(deadline)
    processes.clear()


class _ProcessesCrew(ChannelCrew):
    def __init__(
        self, executor: ProcessesExecutor, processes: list[WorkerProcess], job: Job, feed: Feed, post: Post
    ) -> None:
        super().__init__(job, feed, post)
        self._executor = executor
        self._device_of: dict[int, Device] = {}
        for process in processes:
            if takes_part(job, process.device):
                self._put_to_work(process)
        self._watch = StuckProcessWatch(self._processes, post, job.hang_s, job.hang_limit_s)

    def replace(self, worker: int) -> bool:
        # In a thread of its own: handing over the job takes as long as a Python process needs to start.
        device = self._device_of.get(worker, Device())
        threading.Thread(
            target=self._hire_another, args=(device,), name="udf-core-replacement", daemon=True
        ).start()
        return True

    def dismiss(self) -> None:
        self._watch.close()
        super().dismiss()

    def _patience(self) -> float:
        return DISMISS_S

    def _processes(self) -> list[WorkerProcess]:
        return [worker for worker in list(self._at_work.values()) if isinstance(worker, WorkerProcess)]

    def _put_to_work(self, process: WorkerProcess) -> None:
        self._device_of[process.number] = process.device
        self._assign(process)

    def _hire_another(self, device: Device) -> None:
        process = self._executor.start_one(device)
        try:
            self._put_to_work(process)
        except Exception as error:
            self._post(Failure(process.number, error))
