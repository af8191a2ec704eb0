"""What a run cost and achieved, in figures: frames, losses, rates, latency, CPU time.

Counters of a connection count since it was opened; a `Meter` notes them at the start of a run and
reports differences, so that one connection can serve many runs.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from arraystream import ConnectionStatistics

MIB = 2**20
RATE_WINDOW_S = 1.0
FULL_SHARE = 0.8
LATE_S = 0.05
_COUNTERS = ("n_lost", "n_stale", "n_duplicate", "n_out_of_order", "n_corrupt", "n_discarded")


@dataclass(frozen=True)
class Figures:
    """One run in figures.

    Parameters
    ----------
    n_frames, n_frames_expected
        Frames that are in the result, and that the scan wants.  Of an endless scan: of one pass.
    n_received, n_bytes
        What the connection received meanwhile.
    n_lost, n_stale, n_duplicate, n_out_of_order, n_corrupt, n_discarded
        As in `arraystream.ConnectionStatistics`, of this run.
    duration_s
        First to last frame received; ``None`` if there were fewer than two.
    n_passes
        Passes that have begun; more than 1 if the scan is endless.
    n_surplus
        Frames behind the last pass, which are in no result.
    first_result_s
        First frame received to first partial result.
    latency_s
        Last frame received to final result.
    buffer_high_water
        Share of the buffer that was full at most, as far as it was looked at.
    cpu_s
        CPU time of this process and its workers, simulators excluded.
    executor, n_workers
        Who did the work.
    """

    n_frames: int
    n_frames_expected: int
    n_received: int
    n_bytes: int
    n_lost: int = 0
    n_stale: int = 0
    n_duplicate: int = 0
    n_out_of_order: int = 0
    n_corrupt: int = 0
    n_discarded: int = 0
    n_passes: int = 1
    n_surplus: int = 0
    duration_s: float | None = None
    first_result_s: float | None = None
    latency_s: float | None = None
    buffer_high_water: float = 0.0
    cpu_s: float = 0.0
    executor: str = ""
    n_workers: int = 0

    @property
    def frames_per_s(self) -> float | None:
        """Mean rate of frames received."""
        return None if not self.duration_s else (self.n_received - 1) / self.duration_s

    @property
    def mib_per_s(self) -> float | None:
        """Mean rate of bytes received, in MiB/s."""
        return None if not self.duration_s else self.n_bytes / MIB / self.duration_s

    @property
    def kept_up(self) -> bool:
        """Whether frames were processed as fast as they came: if not, they piled up in the buffer."""
        return self.buffer_high_water < FULL_SHARE or (self.latency_s or LATE_S) < LATE_S

    @property
    def cpu_us_per_frame(self) -> float | None:
        """CPU time per frame in microseconds."""
        return None if not self.n_received else 1e6 * self.cpu_s / self.n_received

    def as_dict(self) -> dict[str, Any]:
        """Return all figures as plain values."""
        return asdict(self) | {"frames_per_s": self.frames_per_s, "mib_per_s": self.mib_per_s}


class Meter:
    """Measures one run.

    Parameters
    ----------
    statistics
        Gives the connection's counters.
    strangers
        Processes whose CPU time is not ours, e.g. a simulator.
    since
        Counters up to which frames belong to earlier runs; by default what they are now.  A scan may
        have begun before anybody is ready for it.

    Attributes
    ----------
    last
        Counters when the run was summed up; `since` of the next run.
    """

    def __init__(
        self,
        statistics: Callable[[], ConnectionStatistics],
        strangers: tuple[int, ...] = (),
        since: ConnectionStatistics | None = None,
    ) -> None:
        self._statistics = statistics
        self._strangers = strangers
        self._before = statistics() if since is None else since
        self.last = self._before
        self._cpu_before = tree_cpu_s(os.getpid(), strangers)
        self._first_result_s: float | None = None
        self._samples: deque[tuple[float, int]] = deque()
        self._peak_fill = 0.0

    def saw_result(self) -> None:
        """Note that there is a partial result: when the first one came, and how full the buffer is."""
        if self._first_result_s is None:
            self._first_result_s = time.monotonic()
        self._look()

    def _look(self) -> ConnectionStatistics:
        counters = self._statistics()
        self._peak_fill = max(self._peak_fill, counters.buffer_fill)
        return counters

    def status(self) -> str:
        """Say in one line how it goes now: received, rate, lost, buffer fill."""
        now, counters = time.monotonic(), self._look()
        received = counters.n_items - self._before.n_items
        self._samples.append((now, received))
        while len(self._samples) > 2 and self._samples[1][0] < now - RATE_WINDOW_S:
            self._samples.popleft()
        began, earlier = self._samples[0]
        rate = (received - earlier) / (now - began) if now > began else 0.0
        lost = counters.n_lost - self._before.n_lost
        corrupt = counters.n_corrupt - self._before.n_corrupt
        parts = [f"{received} frames received", f"{rate:,.0f} frames/s", f"{lost} lost"]
        if corrupt:
            parts.append(f"{corrupt} corrupt")
        parts.append(f"buffer {counters.buffer_fill:.0%}")
        if counters.buffer_fill >= FULL_SHARE:
            parts.append("this machine can't keep up")
        return " · ".join(parts)

    def figures(
        self,
        *,
        n_frames: int,
        n_frames_expected: int,
        executor: str,
        n_workers: int,
        ended_s: float | None,
        n_passes: int = 1,
        n_surplus: int = 0,
    ) -> Figures:
        """Sum up the run.

        Parameters
        ----------
        n_frames, n_frames_expected, executor, n_workers, n_passes, n_surplus
            As in `Figures`.
        ended_s
            ``time.monotonic()`` when the final result was there, ``None`` without one.
        """
        counters, before = self._look(), self._before
        self.last = counters
        # The connection's own mark is exact, but may be of an earlier run.
        rose = counters.buffer_high_water > before.buffer_high_water
        first, last = counters.first_item_time_s, counters.last_item_time_s
        received = counters.n_items - before.n_items
        if not received:
            first = last = None
        differences = {name: getattr(counters, name) - getattr(before, name) for name in _COUNTERS}
        return Figures(
            n_frames=n_frames,
            n_frames_expected=n_frames_expected,
            n_passes=n_passes,
            n_surplus=n_surplus,
            n_received=received,
            n_bytes=counters.n_bytes - before.n_bytes,
            duration_s=_difference(last, first),
            first_result_s=_difference(self._first_result_s, first),
            latency_s=_difference(ended_s, last),
            buffer_high_water=counters.buffer_high_water if rose else self._peak_fill,
            cpu_s=max(0.0, tree_cpu_s(os.getpid(), self._strangers) - self._cpu_before),
            executor=executor,
            n_workers=n_workers,
            **differences,
        )


def _difference(later: float | None, earlier: float | None) -> float | None:
    return None if later is None or earlier is None else max(0.0, later - earlier)


def tree_cpu_s(root: int, without: tuple[int, ...] = ()) -> float:
    """Return the CPU time of a process, its living descendants, and its buried children.

    Parameters
    ----------
    root
        Process id.
    without
        Processes to leave out together with their descendants.
    """
    tick = os.sysconf("SC_CLK_TCK")
    parents: dict[int, int] = {}
    times: dict[int, float] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                # After the name in parentheses, which may itself hold spaces: state, ppid, …
                words = (Path(entry.path) / "stat").read_text().rpartition(")")[2].split()
                number = int(entry.name)
                parents[number] = int(words[1])
                times[number] = sum(int(word) for word in words[11:15]) / tick
    total, family = times.get(root, 0.0), [root]
    for number in family:
        for child, parent in parents.items():
            if parent == number and child not in without:
                family.append(child)
                total += times[child]
    return total
