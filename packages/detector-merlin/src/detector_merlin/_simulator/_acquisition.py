"""One acquisition as the simulator runs it, and the clock that spaces its frames."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from detector_merlin._variables import TriggerStart

from ._frames import FrameMessages

# Paced frames leave in slices of this many seconds at most, so that 1000 frames/s look smooth.
_SLICE_S = 0.004


@dataclass(frozen=True, slots=True)
class AcquisitionPlan:
    """What to send after arming; a snapshot of the variables.

    Parameters
    ----------
    make_hdr
        Returns the HDR message, framed, with the present time in it.
    messages
        Where frames come from.
    n_frames
        Frame messages in all; ``None`` until stopped.
    n_per_trigger
        Frame messages per trigger; ``None`` for all.
    trigger
        What starts a burst.
    interval_s
        From frame to frame; 0 for as fast as possible.
    nominal_interval_s
        The same if nobody receives.
    """

    make_hdr: Callable[[], bytes]
    messages: FrameMessages
    n_frames: int | None
    n_per_trigger: int | None
    trigger: TriggerStart
    interval_s: float
    nominal_interval_s: float

    def burst_size(self, n_done: int) -> float:
        """Return how many frames the next trigger starts; infinite until stopped."""
        remaining = math.inf if self.n_frames is None else self.n_frames - n_done
        return remaining if self.n_per_trigger is None else min(remaining, self.n_per_trigger)


class FrameClock:
    """Says how many frames are due since a burst began, and when each was taken.

    Parameters
    ----------
    interval_s
        From frame to frame; 0 for as fast as possible.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._start = time.monotonic()
        self._start_ns = time.time_ns()
        self._last_ns = self._start_ns

    @property
    def unlimited(self) -> bool:
        """Whether frames are due at any time."""
        return self._interval_s <= 0

    def due(self, n_sent: int) -> float:
        """Return how many frames may be sent now, beyond the `n_sent` of this burst."""
        if self._interval_s <= 0:
            return math.inf
        elapsed = time.monotonic() - self._start
        return max(0, math.floor(elapsed / self._interval_s) + 1 - n_sent)

    def wait_s(self, n_sent: int) -> float:
        """Return how long to wait until something is worth sending: a slice, or the next frame."""
        until_next = self._start + n_sent * self._interval_s - time.monotonic()
        return max(until_next, _SLICE_S / 2)

    def times_ns(self, n_sent: int, n: int) -> tuple[int, int]:
        """Return time of the first of `n` next frames and the step between them, in nanoseconds."""
        if self._interval_s > 0:
            step = round(self._interval_s * 1e9)
            return self._start_ns + n_sent * step, step
        # As fast as possible: spread evenly over the time since the frames before.
        now = max(time.time_ns(), self._last_ns + n)
        step = (now - self._last_ns) // n
        first = self._last_ns + step
        self._last_ns = now
        return first, step
