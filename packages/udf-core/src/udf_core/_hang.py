"""Noticing workers that hang, and saying where.

A worker hangs if it holds data and has made no progress for some time: no tile or frame further, no other
method of a UDF, no commit.  A thread beside the workers looks at them a few times within that time; the
workers themselves do nothing for it but to say in which thread they are at work.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

from ._errors import WorkerHung
from ._udf import UDF

_LONGEST_TICK_S = 1.0
_SHORTEST_TICK_S = 0.005
_CLOSE_S = 1.0
"""A report may be stuck in somebody else's code; closing does not wait for it for ever."""


class Watched(Protocol):
    """Somebody who may hang."""

    @property
    def number(self) -> int | None:
        """Its number, ``None`` for the main side."""
        ...

    @property
    def thread(self) -> int | None:
        """Identifier of the thread it is at work in; ``None`` while it has nothing to do."""
        ...

    def whereabouts(self) -> tuple[Any, ...]:
        """Return something that is different after each bit of progress."""
        ...

    def describe(self) -> str:
        """Return which data it is at work on, in words."""
        ...


@dataclass(slots=True)
class _Sighting:
    whereabouts: tuple[Any, ...]
    since: float
    n_reports: int = 0


class HangWatch:
    """Looks after workers until it is closed.

    Parameters
    ----------
    workers
        Returns who is there at the moment.
    report
        Is told of workers that hang; called in a thread of its own.
    hang_s
        Time without progress after which a worker is reported, once.
    limit_s
        Time after which it is reported again, as being over the limit; ``None`` for never.
    on_tick
        Called at each look, and at once.
    """

    def __init__(
        self,
        workers: Callable[[], Sequence[Watched]],
        report: Callable[[WorkerHung], None],
        hang_s: float,
        limit_s: float | None = None,
        on_tick: Callable[[], None] | None = None,
    ) -> None:
        self._workers = workers
        self._report = report
        self._limits = [(hang_s, False), *([] if limit_s is None else [(limit_s, True)])]
        self._on_tick = on_tick
        self._seen: dict[int | None, _Sighting] = {}
        self._closed = threading.Event()
        shortest = min(limit for limit, _ in self._limits)
        self._tick_s = max(_SHORTEST_TICK_S, min(_LONGEST_TICK_S, shortest / 4))
        if on_tick is not None:
            on_tick()
        self._thread = threading.Thread(target=self._watch, name="udf-core-hang-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more, and wait until the last look is over; idempotent."""
        self._closed.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_S)

    def _watch(self) -> None:
        while not self._closed.wait(self._tick_s):
            if self._on_tick is not None:
                self._on_tick()
            now = time.monotonic()
            for worker in self._workers():
                self._look_at(worker, now)

    def _look_at(self, worker: Watched, now: float) -> None:
        thread = worker.thread
        if thread is None:
            self._seen.pop(worker.number, None)
            return
        here = (thread, worker.whereabouts())
        seen = self._seen.get(worker.number)
        if seen is None or seen.whereabouts != here:
            self._seen[worker.number] = _Sighting(here, now)
            return
        waited_s = now - seen.since
        due = [over for limit_s, over in self._limits if waited_s >= limit_s]
        if len(due) <= seen.n_reports:
            return
        seen.n_reports = len(due)
        frame = sys._current_frames().get(thread)
        if frame is None or worker.thread != thread or (thread, worker.whereabouts()) != here:
            return  # it went on just now
        where, stack = describe_stack(frame)
        self._report(
            WorkerHung(worker.number, f"{where}, {worker.describe()}", waited_s, stack, over_limit=any(due))
        )


def describe_stack(frame: FrameType) -> tuple[str, str]:
    """Return which method of a UDF runs on this stack, and the stack as text, innermost call last."""
    stack = "".join(traceback.format_stack(frame))
    where = "outside of any UDF"
    step: FrameType | None = frame
    while step is not None:
        owner = step.f_locals.get("self")
        if isinstance(owner, UDF):  # the outermost one is what the engine called
            where = f"in {type(owner).__name__}.{step.f_code.co_name}()"
        step = step.f_back
    return where, stack
