"""The data port's thread: accepts the client, runs acquisitions, sends frames in large pieces.

It alone writes to the data socket.  Other threads ask it through `start`, `stop`, `abort`, `trigger`,
which set flags and wake it.  An acquisition that is ended stops at the end of the frame being sent.
"""

from __future__ import annotations

import enum
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector_merlin._variables import DetectorStatus, TriggerStart

from ._acquisition import AcquisitionPlan, FrameClock
from ._channel import DataChannel
from ._faults import Faults
from ._port import ClientPort

# The real server buffers: it confirms arming even if the client does not take the header.
_ARM_TIMEOUT_S = 1.0
_REPORT_EVERY_S = 2.0


class _Ending(enum.Enum):
    """Why an acquisition ends before its last frame."""

    STOPPED = "stopped"
    ABORTED = "aborted"
    CLIENT_LOST = "the data client went away"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Autostart:
    """When to acquire without being told to.

    Parameters
    ----------
    make_plan
        Returns what to acquire, or ``None`` if a control client is in charge.
    delay_s
        From the connecting of a data client to the start.
    n_repeats
        Acquisitions per client; ``None`` for ever.
    pause_s
        Between acquisitions.
    """

    make_plan: Callable[[], AcquisitionPlan | None]
    delay_s: float
    n_repeats: int | None
    pause_s: float


class FrameSender(threading.Thread):
    """Serve the data port.

    Parameters
    ----------
    port
        Listening already; closed by this thread when it ends.
    faults
        Looked at before each frame.
    idle_plan
        Returns a plan for stale frames when none was run before.
    autostart
        Or ``None`` to wait for `start`.
    report
        Called with a line of text when something happens.
    """

    def __init__(
        self,
        port: ClientPort,
        faults: Faults,
        *,
        idle_plan: Callable[[], AcquisitionPlan],
        autostart: Autostart | None,
        report: Callable[[str], None],
    ) -> None:
        super().__init__(name="merlin-data", daemon=True)
        self.port = port
        self.n_frames_sent = 0
        self.n_acquisitions = 0
        self.n_missed_triggers = 0
        self.failure: BaseException | None = None
        self._faults = faults
        self._idle_plan = idle_plan
        self._autostart = autostart
        self._report = report
        self._changed = threading.Condition()
        self._status = DetectorStatus.IDLE
        self._start: tuple[AcquisitionPlan, threading.Event] | None = None
        self._running = False  # in _acquire; after ABORT the status is idle before that is left
        self._ending: _Ending | None = None
        self._trigger: TriggerStart | None = None
        self._triggered = False
        self._closing = False
        self._suspended = False
        self._n_seen = 0
        self._n_greeted = 0
        self._auto_at = math.inf
        self._auto_left = 0.0
        self._number = faults.first_number
        self._last_plan: AcquisitionPlan | None = None
        self._channel = DataChannel(
            port,
            faults,
            interrupted=lambda: self._ending is not None,
            closing=lambda: self._ending is _Ending.CLOSED,
            on_lost=self._lose_client,
        )

    # ---- asked by other threads -------------------------------------------------------------

    @property
    def status(self) -> DetectorStatus:
        """Idle, armed or busy."""
        return self._status

    @property
    def n_bytes_sent(self) -> int:
        """Bytes written to data clients."""
        return self._channel.n_bytes_sent

    @property
    def connected(self) -> bool:
        """Whether a data client is there."""
        return self.port.connected

    def burst_ended(self, timeout: float) -> bool:
        """Wait until no frames of a trigger are being sent; false if they still are."""
        return self.wait_for(lambda: self._status is not DetectorStatus.BUSY and not self._triggered, timeout)

    def wait_for(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until a condition on this object's state holds."""
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def start_acquisition(self, plan: AcquisitionPlan) -> bool:
        """Arm; return when the header is sent, or can't be sent yet.  False if busy."""
        armed = threading.Event()
        with self._changed:
            if self._start is not None or self._status is not DetectorStatus.IDLE:
                return False
            self._start = (plan, armed)
            self._announce(plan)
        self.port.wake()
        armed.wait(_ARM_TIMEOUT_S)
        return True

    def stop(self) -> None:
        """End the acquisition after the frame being sent."""
        self._end(_Ending.STOPPED)

    def abort(self) -> None:
        """Become idle at once; the frame that is being sent is sent to its end."""
        self._end(_Ending.ABORTED)

    def trigger(self, *, soft: bool) -> bool:
        """Start a burst; false, and nothing happens, unless armed for this kind of trigger."""
        with self._changed:
            wanted = self._trigger
            fits = wanted is not None and (wanted is TriggerStart.SOFT) == soft
            if fits and self._status is DetectorStatus.ARMED and not self._triggered:
                self._triggered = True
            else:
                self.n_missed_triggers += 1
                return False
        self.port.wake()
        return True

    def cancel_autostart(self) -> None:
        """Forget what was to start by itself."""
        self._auto_at = math.inf
        self._auto_left = 0

    def suspend(self) -> None:
        """Drop the client and refuse new ones until `resume`."""
        self._suspended = True
        self._end(_Ending.ABORTED)
        self.port.wake()

    def resume(self) -> None:
        """Listen again."""
        self._suspended = False
        self.port.wake()

    def close(self) -> None:
        """End the thread; the caller joins it."""
        self._closing = True
        self._end(_Ending.CLOSED)
        self.port.wake()

    # ---- the thread -------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until `close`."""
        try:
            while not self._closing:
                self._serve()
        except BaseException as error:
            self.failure = error
            self._report(f"data port failed: {error!r}")
        finally:
            self.port.close()
            self._set_status(DetectorStatus.IDLE)

    def _serve(self) -> None:
        if self._suspended:
            self._wait_while_suspended()
            return
        ordered = self._start
        timeout = 0.0 if ordered is not None else self._auto_at - time.monotonic()
        self._poll(None if math.isinf(timeout) else max(0.0, timeout))
        if self._n_greeted != self._n_seen:
            self._greet()
        start = None
        with self._changed:
            # An order that came during the poll waits for the next one: whoever connected before
            # giving it has been accepted then, and gets the header.
            if ordered is not None and self._start is ordered:
                start, self._start = ordered, None
                self._begin(start[0])
        if start is not None:
            self._acquire(*start)
        elif self._start is None and time.monotonic() >= self._auto_at:
            self._acquire_by_itself()

    def _wait_while_suspended(self) -> None:
        self.port.stop_listening()
        self._changed_now()
        while self._suspended and not self._closing:
            self.port.wait(None)
        if not self._closing:
            self.port.listen()
            self._changed_now()

    def _poll(self, timeout: float | None) -> None:
        """Wait for anything; take note of a new or lost client."""
        had_client = self.port.client is not None
        self.port.wait(timeout)
        arrived = self.port.n_connections != self._n_seen
        self._n_seen = self.port.n_connections
        if had_client and (arrived or self.port.client is None):
            self._lose_client()
        if arrived:
            self._report("data client connected")
            self._changed_now()

    def _greet(self) -> None:
        """Treat a new client as the faults and the autostart say; only while idle."""
        self._n_greeted = self._n_seen
        if self._faults.stale_frames:
            self._send_next(self._last_plan or self._idle_plan(), FrameClock(0), 0, self._faults.stale_frames)
        if self._autostart is not None:
            self._auto_at = time.monotonic() + self._autostart.delay_s
            self._auto_left = math.inf if self._autostart.n_repeats is None else self._autostart.n_repeats

    def _acquire_by_itself(self) -> None:
        assert self._autostart is not None
        plan = self._autostart.make_plan() if self.port.client is not None else None
        self._auto_at = math.inf
        if plan is None:
            return
        with self._changed:
            if self._start is not None:
                return
            self._announce(plan)
            self._begin(plan)
        self._acquire(plan, threading.Event())
        self._auto_left -= 1
        if self._auto_left > 0 and self.port.client is not None:
            self._auto_at = time.monotonic() + self._autostart.pause_s

    def _announce(self, plan: AcquisitionPlan) -> None:
        """Be armed from now on; what was aborted before may still be on its way out."""
        self._status = DetectorStatus.ARMED
        self._trigger = plan.trigger
        self._triggered = plan.trigger is TriggerStart.INTERNAL
        self._changed.notify_all()

    def _begin(self, plan: AcquisitionPlan) -> None:
        self._running = True
        self._number = self._faults.first_number
        self._last_plan = plan
        self._changed.notify_all()

    def _acquire(self, plan: AcquisitionPlan, armed: threading.Event) -> None:
        """Send the header, then a burst per trigger, until all is sent or something ends it."""
        for _ in range(1 + self._faults.duplicate_hdr):
            self._channel.send_bytes(plan.make_hdr())
        size = "frames until stopped" if plan.n_frames is None else f"{plan.n_frames} frames"
        self._report(f"armed: {size}, trigger {plan.trigger.name.lower()}")
        armed.set()
        progress = _Progress(self)
        n_done = 0
        while plan.burst_size(n_done) > 0 and self._wait_for_trigger():
            n_done += self._send_burst(plan, n_done, progress)
        ending = self._ending
        self._report(progress.summary("complete" if ending is None else ending.value))
        self.n_acquisitions += 1
        self._finish()
        if ending is _Ending.ABORTED and self._faults.late_frames:
            self._send_next(plan, FrameClock(0), n_done, self._faults.late_frames)

    def _wait_for_trigger(self) -> bool:
        """Return true when triggered, false when the acquisition is to end."""
        while self._ending is None:
            with self._changed:
                if self._ending is None and not self._triggered:
                    self._status = DetectorStatus.ARMED
                    self._changed.notify_all()
                elif self._ending is None:
                    self._triggered = self._trigger is TriggerStart.INTERNAL
                    self._status = DetectorStatus.BUSY
                    self._changed.notify_all()
                    return True
            self._poll(None)
        return False

    def _send_burst(self, plan: AcquisitionPlan, n_before: int, progress: _Progress) -> int:
        """Send the frames of one trigger as they fall due; return how many were taken."""
        size = plan.burst_size(n_before)
        clock = FrameClock(plan.interval_s if self.port.client is not None else plan.nominal_interval_s)
        n_done = 0
        while n_done < size and self._ending is None:
            n_due = min(clock.due(n_done), size - n_done)
            if n_due < 1:
                self._poll(clock.wait_s(n_done))
                continue
            n_done += self._send_next(plan, clock, n_before + n_done, n_due, n_in_burst=n_done)
            progress.look(self._report)
        return n_done

    def _send_next(
        self, plan: AcquisitionPlan, clock: FrameClock, n_before: int, n_most: float, n_in_burst: int = 0
    ) -> int:
        """Send up to `n_most` frames, all of one block; return how many were taken."""
        messages = plan.messages
        n_block = int(min(n_most, messages.n_frames))
        rows = messages.rows(n_before % messages.n_frames, n_block)
        numbers = np.arange(self._number, self._number + len(rows), dtype=np.int64)
        first_ns, step_ns = clock.times_ns(n_in_burst, len(rows))
        times = first_ns + step_ns * np.arange(len(rows), dtype=np.int64)
        messages.paint(rows, numbers, times, time.localtime().tm_gmtoff)
        self._number += len(rows)
        if self._faults.touch(int(numbers[0]), int(numbers[-1]) + 1):
            self._send_faulty(rows, int(numbers[0]), plan)
        else:
            self.n_frames_sent += self._channel.send_rows(rows)
        return len(rows)

    def _send_faulty(self, rows: npt.NDArray[np.uint8], first: int, plan: AcquisitionPlan) -> None:
        """Send frames one by one, with the faults that are due at each."""
        faults = self._faults
        held: npt.NDArray[np.uint8] | None = None
        for number, row in enumerate(rows, first):
            if self._has_ended():
                return
            if number == faults.abort_at:
                self._end(_Ending.ABORTED)
                return
            n_already = self._stall(row) if number == faults.stall_at else 0
            if self._has_ended():
                return
            if number in faults.garbage_before:
                self._channel.send_bytes(faults.garbage_before[number])
            if number == faults.disconnect_in:
                self._disconnect_inside(row)
                return
            if number in faults.lost:
                continue
            if number in faults.hdr_instead_of:
                self._channel.send_bytes(plan.make_hdr())
                continue
            if number in faults.swapped and held is None:
                held = row
                continue
            if number in faults.corrupted:
                row = row.copy()
                row[15:55] = ord("?")
            self._channel.send_bytes(row[n_already:])
            self.n_frames_sent += 1
            if number in faults.duplicated:
                self._channel.send_bytes(row)
            if held is not None:
                self._channel.send_bytes(held)
                self.n_frames_sent += 1
                held = None
        if held is not None:
            self._channel.send_bytes(held)
            self.n_frames_sent += 1

    def _stall(self, row: npt.NDArray[np.uint8]) -> int:
        n_sent = min(self._faults.stall_after_bytes, len(row) - 1)
        self._channel.send_bytes(row[:n_sent])
        self._report("stalled")
        while not self._faults.resumed and not self._has_ended():
            self._poll(0.02)
        self._faults.end_stall()
        if n_sent and self._ending in (_Ending.STOPPED, _Ending.ABORTED):
            self._channel.send_bytes(row[n_sent:])
        return n_sent

    def _disconnect_inside(self, row: npt.NDArray[np.uint8]) -> None:
        n = self._faults.disconnect_after_bytes
        self._faults.disconnect_in = None
        self._channel.send_bytes(row[: len(row) // 2 if n is None else n])
        self._report("disconnecting in the middle of a frame")
        self.port.drop()
        self._lose_client()

    def _lose_client(self) -> None:
        self._report("data client disconnected")
        self.cancel_autostart()
        self._changed_now()
        if not self._faults.keep_running:
            self._end(_Ending.CLIENT_LOST)

    def _end(self, ending: _Ending) -> None:
        with self._changed:
            if (self._running and self._ending is None) or ending is _Ending.CLOSED:
                self._ending = ending
            cancelled = self._start is not None and ending is not _Ending.CLIENT_LOST
            if cancelled:
                self._start = None
            if cancelled or ending is _Ending.ABORTED:
                self._status = DetectorStatus.IDLE
                self._changed.notify_all()
        self.port.wake()

    def _has_ended(self) -> bool:
        return self._ending is not None

    def _finish(self) -> None:
        with self._changed:
            self._running = False
            if self._start is None:
                self._status = DetectorStatus.IDLE
                self._trigger = None
                self._triggered = False
            if self._ending is not _Ending.CLOSED:
                self._ending = None
            self._changed.notify_all()

    def _set_status(self, status: DetectorStatus) -> None:
        with self._changed:
            self._status = status
            self._changed.notify_all()

    def _changed_now(self) -> None:
        with self._changed:
            self._changed.notify_all()


class _Progress:
    """Reports the rate of an acquisition now and then, and at its end."""

    def __init__(self, sender: FrameSender) -> None:
        self._sender = sender
        self._begun = self._marked = (time.monotonic(), sender.n_frames_sent, sender.n_bytes_sent)

    def look(self, report: Callable[[str], None]) -> None:
        """Report the rate if enough time has passed."""
        if time.monotonic() - self._marked[0] >= _REPORT_EVERY_S:
            report("sending: " + self._since(self._marked))
            self._marked = (time.monotonic(), self._sender.n_frames_sent, self._sender.n_bytes_sent)

    def summary(self, ending: str) -> str:
        """Say how many frames went out, how fast, and how it ended."""
        n = self._sender.n_frames_sent - self._begun[1]
        return f"{ending}: {n} frames, {self._since(self._begun)}"

    def _since(self, mark: tuple[float, int, int]) -> str:
        elapsed = max(time.monotonic() - mark[0], 1e-6)
        frames_per_s = (self._sender.n_frames_sent - mark[1]) / elapsed
        mib_per_s = (self._sender.n_bytes_sent - mark[2]) / elapsed / 2**20
        return f"{frames_per_s:.0f} frames/s, {mib_per_s:.0f} MiB/s"
