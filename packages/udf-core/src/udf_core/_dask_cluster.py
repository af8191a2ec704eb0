"""A Dask cluster of our own: the scheduler in this process, workers in processes with one thread each.

Unlike those of `distributed.LocalCluster` the workers do not import the user's script again, are not paused
or killed for memory that is only mapped, are left alone by Ctrl-C, and never outlive this process.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from typing import Any

import distributed

from ._executor import DISMISS_S
from ._worker_process import exit_reason, worker_environment

_dask: Any = distributed  # it has no types


class LocalDaskCluster:
    """Starts at once; workers come to the scheduler when they are ready.

    Parameters
    ----------
    n_workers
        How many.
    set_as_default
        Whether Dask uses it by default.
    """

    def __init__(self, n_workers: int, *, set_as_default: bool = False) -> None:
        self.n_workers = n_workers
        self._lock = threading.Lock()
        self._names = itertools.count()
        self._directory = tempfile.mkdtemp(prefix="udf-core-dask-")
        self._cluster = _dask.LocalCluster(
            n_workers=0,
            processes=True,
            host="127.0.0.1",
            protocol="tcp://",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )
        self._processes: dict[str, _WorkerProcess] = {}
        self.client: Any = None
        self._finalizer = weakref.finalize(self, _close, self._cluster, self._processes, self._directory)
        self.fill_up()
        self.client = _dask.Client(self._cluster, set_as_default=set_as_default)
        self._finalizer.detach()
        self._finalizer = weakref.finalize(
            self, _close, self._cluster, self._processes, self._directory, self.client
        )

    @property
    def pids(self) -> list[int]:
        """Process ids of the living workers."""
        with self._lock:
            return [process.pid for process in self._processes.values() if process.code is None]

    def fill_up(self) -> None:
        """Start processes for those that are gone."""
        with self._lock:
            n_living = sum(process.code is None for process in self._processes.values())
            for _ in range(self.n_workers - n_living):
                name = f"udf-core-{next(self._names)}"
                address = self._cluster.scheduler_address
                self._processes[name] = _WorkerProcess(address, name, self._directory)

    def kill(self, address: str) -> None:
        """End the process of a worker at once; the next `fill_up` starts another."""
        process = self._process_at(address)
        if process is not None:
            process.end(0.0)

    def reason_of(self, address: str) -> str:
        """Tell how the worker of an address ended."""
        process = self._process_at(address)
        if process is None:
            return f"the connection to Dask worker {address} broke"
        code = process.wait(1.0)
        return "the connection to it broke" if code is None else exit_reason(code)

    def _process_at(self, address: str) -> _WorkerProcess | None:
        _, _, port = address.rpartition(":")
        with self._lock:
            return next((p for p in self._processes.values() if str(p.port) == port), None)

    def last_words(self) -> str:
        """Tell how processes that have ended did so."""
        with self._lock:
            codes = {process.code for process in self._processes.values()} - {None}
        return ", ".join(sorted(exit_reason(code) for code in codes if code is not None))

    def close(self) -> None:
        """End everything.  Idempotent."""
        self._finalizer()


class _WorkerProcess:
    """A Dask worker; it ends when our end of its socket is closed."""

    def __init__(self, scheduler: str, name: str, directory: str) -> None:
        with socket.socket() as any_free:
            any_free.bind(("127.0.0.1", 0))
            self.port: int = any_free.getsockname()[1]
        self._line, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "udf_core._dask_worker_main", str(theirs.fileno()), scheduler,
                 name, directory, str(self.port)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=worker_environment() | {"DASK_LOGGING__DISTRIBUTED": "critical"},
                process_group=0,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        return self._process.poll()

    def wait(self, timeout: float) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout)
        return None

    def hang_up(self) -> None:
        self._line.close()

    def end(self, deadline: float) -> None:
        if self.wait(max(0.0, deadline - time.monotonic())) is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()


def _close(cluster: Any, processes: dict[str, _WorkerProcess], directory: str, client: Any = None) -> None:
    deadline = time.monotonic() + DISMISS_S
    for process in processes.values():
        process.hang_up()
    for process in processes.values():
        process.end(deadline)
    processes.clear()
    for part in (client, cluster):
        if part is not None:
            with contextlib.suppress(Exception):  # at the end of the interpreter its loop may be gone
                part.close(timeout=DISMISS_S)
    shutil.rmtree(directory, ignore_errors=True)
