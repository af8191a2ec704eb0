"""Worker processes whose interpreter is stuck: a compiled function that hangs and holds the GIL.

Python in such a process can't say anything any more.  So the process keeps a timer armed
(`faulthandler`, which needs no GIL) that writes the stack into memory shared with the main process, and puts
it off as long as it lives.
"""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from ._errors import WorkerHung

_PATIENCE = 1.5
"""The timer goes off after so many times the hang time: living workers report themselves before that."""


class StackPad:
    """Memory that a stack is written to, shared by a worker process and the main one.

    Parameters
    ----------
    fd
        File descriptor of the memory; new memory is made if not given.
    """

    def __init__(self, fd: int | None = None) -> None:
        self.fd = os.memfd_create("udf-core-stack") if fd is None else fd

    def renew(self, hang_s: float) -> None:
        """Put the timer off, and take back what it has written; in the worker process."""
        if os.fstat(self.fd).st_size:
            os.ftruncate(self.fd, 0)
            os.lseek(self.fd, 0, os.SEEK_SET)
        faulthandler.dump_traceback_later(_PATIENCE * hang_s, file=self.fd)

    def close(self) -> None:
        """Stop the timer; in the worker process."""
        faulthandler.cancel_dump_traceback_later()

    def read(self) -> str:
        """Return the stack, empty if there is none."""
        size = os.fstat(self.fd).st_size
        return os.pread(self.fd, size, 0).decode(errors="replace")

    def __del__(self) -> None:
        os.close(self.fd)


class _Process(Protocol):
    @property
    def number(self) -> int: ...
    @property
    def stack_pad(self) -> StackPad: ...


class StuckProcessWatch:
    """Looks at the stack pads of processes until it is closed.

    Parameters
    ----------
    processes
        Returns who is there at the moment.
    report
        Is told of processes that are stuck; called in a thread of its own.
    hang_s, limit_s
        As for `HangWatch`.
    """

    def __init__(
        self,
        processes: Callable[[], Sequence[_Process]],
        report: Callable[[WorkerHung], None],
        hang_s: float,
        limit_s: float | None = None,
    ) -> None:
        self._processes = processes
        self._report = report
        self._hang_s = hang_s
        self._limit_s = limit_s
        self._since: dict[int, tuple[float, int]] = {}
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="udf-core-stuck-watch", daemon=True).start()

    def close(self) -> None:
        """Look no more; idempotent."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(max(0.01, min(1.0, self._hang_s / 4))):
            for process in self._processes():
                self._look_at(process)

    def _look_at(self, process: _Process) -> None:
        stack = process.stack_pad.read()
        if not stack:
            self._since.pop(process.number, None)
            return
        now = time.monotonic()
        since, n_reports = self._since.setdefault(process.number, (now - _PATIENCE * self._hang_s, -1))
        waited_s = now - since
        over = self._limit_s is not None and waited_s >= self._limit_s
        # At the first sight it may still be writing.
        if n_reports < 0 or n_reports == 0 or (n_reports == 1 and over):
            n_reports += 1
            self._since[process.number] = (since, n_reports)
            if n_reports:
                where = "inside a function that holds the interpreter"
                self._report(WorkerHung(process.number, where, waited_s, stack, over_limit=over))
