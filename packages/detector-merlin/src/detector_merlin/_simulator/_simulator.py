"""The whole simulated Merlin: command port, data port, trigger port, and their threads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy.typing as npt

from detector_merlin._encode import FrameFormat, Kind, Layout
from detector_merlin._variables import DetectorStatus, FileFormat, TriggerStart, Value

from ._acquisition import AcquisitionPlan
from ._detector import Detector, FrameStore
from ._faults import Faults
from ._port import ClientPort
from ._sender import Autostart, FrameSender
from ._servers import CommandServer, LineServer, TriggerServer

_JOIN_TIMEOUT_S = 5.0
# A control client that was active this recently is in charge: nothing starts by itself.
_CONTROL_HOLD_S = 10.0


class MerlinSimulator:
    """A Merlin server that sends your data: command port, data port, triggers, faults.

    Ordinary clients can't tell it from the real one: they connect to both ports, set variables, arm,
    trigger and receive, over many acquisitions.  Use it as a context manager.

    Parameters
    ----------
    data
        Array of shape ``(nav…, y, x)``, or path of a ``.npy`` file (memory-mapped), or of a ``.mib``
        file to be replayed.  An acquisition of more frames begins with the first one again.
    depth
        COUNTERDEPTH at start: 1, 6, 12 or 24 bit.  Higher counts saturate.
    raw
        Whether pixels travel as R64 at start (FILEFORMAT 2) or as plain numbers.
    layout
        ``1x1``, ``2x2``, ``2x2G``, ``Nx1``, ``Nx1G``.  Chips may have any size; real ones 256 × 256.
    rate
        Frames per second; ``"max"`` for as fast as the client takes them; ``"period"`` for a frame each
        ACQUISITIONPERIOD.  ``None``: as fast as possible until a period is set, by `period_ms` or by a
        client, then that.
    host
        Where to listen.
    data_port, control_port
        0 for any free one; see the attributes of the same names.
    trigger_port
        If not ``None``, a port on which a line ``TRIGGER`` is an external trigger, answered by a
        line ``FINISH`` when the burst is out.
    frames, frames_per_trigger
        NUMFRAMESTOACQUIRE and NUMFRAMESPERTRIGGER at start; the data's number of frames if ``None``.
    period_ms
        ACQUISITIONPERIOD and ACQUISITIONTIME at start.
    trigger_start
        TRIGGERSTART at start.
    n_chips
        For ``Nx1``.
    kind
        A plain pixel type other than the depth's own, e.g. ``"U64"``.
    scale
        Factor that makes counts of real numbers; without it data must be whole numbers.
    scan_shape
        ``(ScanY, ScanX)`` to announce in the acquisition header.
    autostart
        Acquire by itself when a data client connects, unless a control client set anything within the
        last ten seconds; once, or over and over with `repeat`.
    autostart_delay_s, pause_s
        Time from connecting to the first such acquisition, and between them.
    repeat
        ``True`` for ever, or how many acquisitions per client.
    auto_trigger
        External triggers come by themselves as soon as the detector is armed.
    cache_bytes
        How much memory encoded frames may take; by default 4 GiB or half of what is free.
    reset_s
        How long the ports stay closed after ``RESET``.
    faults
        Faults to inject; also changeable later through the attribute.
    report
        Called with a line of text whenever something happens.

    Attributes
    ----------
    data_port, control_port, trigger_port
        Where it listens, once started.
    faults
        The faults.

    Examples
    --------
    >>> import numpy as np
    >>> with MerlinSimulator(np.zeros((8, 8, 64, 64), "u2"), autostart=True) as simulator:
    ...     simulator.status.name
    'IDLE'
    """

    def __init__(
        self,
        data: npt.NDArray[Any] | str | Path,
        *,
        depth: int | None = None,
        raw: bool | None = None,
        layout: Layout = "1x1",
        rate: float | Literal["max", "period"] | None = None,
        host: str = "127.0.0.1",
        data_port: int = 0,
        control_port: int = 0,
        trigger_port: int | None = None,
        frames: int | None = None,
        frames_per_trigger: int | None = None,
        period_ms: float | None = None,
        trigger_start: TriggerStart | int = TriggerStart.INTERNAL,
        n_chips: int | None = None,
        kind: Kind | None = None,
        scale: float | None = None,
        scan_shape: tuple[int, int] | None = None,
        autostart: bool = False,
        autostart_delay_s: float = 0.0,
        repeat: bool | int = False,
        pause_s: float = 0.0,
        auto_trigger: bool = False,
        cache_bytes: int | None = None,
        reset_s: float = 10.0,
        faults: Faults | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        if isinstance(rate, int | float) and not rate > 0:
            raise ValueError(f"rate {rate} is not positive")
        if frames is not None and frames < 0:
            raise ValueError(f"frames {frames} is negative; 0 means until stopped")
        self.faults = Faults() if faults is None else faults
        self._report = report or (lambda text: None)
        store = FrameStore(
            data,
            layout=layout,
            n_chips=n_chips,
            kind=kind,
            scale=scale,
            cache_bytes=_default_cache_bytes() if cache_bytes is None else cache_bytes,
        )
        initial = _initial_values(store, depth, raw)
        initial["NUMFRAMESTOACQUIRE"] = store.n_frames if frames is None else frames
        initial["NUMFRAMESPERTRIGGER"] = frames_per_trigger or frames or store.n_frames
        initial["TRIGGERSTART"] = int(TriggerStart(trigger_start))
        if period_ms is not None:
            initial["ACQUISITIONPERIOD"] = initial["ACQUISITIONTIME"] = float(period_ms)
        if scan_shape is not None:
            initial["SCANY"], initial["SCANX"] = scan_shape
        self._detector = Detector(
            store,
            initial=initial,
            unpaced=_unpaced(rate, period_ms),
            rate_hz=float(rate) if isinstance(rate, int | float) else None,
            auto_trigger=auto_trigger,
            faults=self.faults,
            report=self._report,
        )
        self._addresses = (host, data_port, control_port, trigger_port)
        self._reset_s = reset_s
        self._autostart: Autostart | None = None
        if autostart:
            n_repeats = None if repeat is True else max(1, int(repeat))
            self._autostart = Autostart(self._plan_by_itself, autostart_delay_s, n_repeats, pause_s)
        self._sender: FrameSender | None = None
        self._servers: list[LineServer] = []

    # ---- life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen on all ports and start the threads.

        Raises
        ------
        OSError
            If a port can't be had.
        """
        if self._sender is not None:
            return
        host, data_port, control_port, trigger_port = self._addresses
        ports: list[ClientPort] = []
        try:
            for number in (data_port, control_port, trigger_port):
                if number is not None:
                    ports.append(ClientPort(host, number))
        except OSError:
            for port in ports:
                port.close()
            raise
        self._sender = FrameSender(
            ports[0],
            self.faults,
            idle_plan=self._detector.plan,
            autostart=self._autostart,
            report=self._report,
        )
        self._detector.readout = self._sender
        self._servers = [CommandServer(ports[1], self._detector, self._sender, self._reset_s)]
        if len(ports) > 2:
            self._servers.append(TriggerServer(ports[2], self._sender))
        for thread in (self._sender, *self._servers):
            thread.start()

    def encode_all(self) -> int:
        """Encode what fits into memory now rather than when first sent; return the frames encoded."""
        store = self._detector.store
        if store.recording is not None:
            return 0
        encoded = store.encoded(self._detector.frame_format())
        if not encoded.fits:
            return 0
        for index in range(encoded.n_blocks):
            encoded.block(index)
        return encoded.n_frames

    def close(self) -> None:
        """End everything within a moment.  Idempotent.

        Raises
        ------
        RuntimeError
            If a thread had failed.
        """
        threads: list[FrameSender | LineServer] = [] if self._sender is None else [self._sender]
        threads += self._servers
        for thread in threads:
            thread.close()
        for thread in threads:
            thread.join(_JOIN_TIMEOUT_S)
        self._servers = []
        failures = [thread.failure for thread in threads if thread.failure is not None]
        if failures:
            raise RuntimeError(f"the simulator failed: {failures[0]!r}") from failures[0]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- what tests use ---------------------------------------------------------------------

    @property
    def data_port(self) -> int:
        """Number of the data port."""
        return self._running.port.port

    @property
    def control_port(self) -> int:
        """Number of the command port."""
        return self._servers[0].port.port if self._servers else self._running.port.port

    @property
    def trigger_port(self) -> int | None:
        """Number of the trigger port, if there is one."""
        return self._servers[1].port.port if len(self._servers) > 1 else None

    @property
    def alive(self) -> bool:
        """Whether it is running and no thread has failed."""
        threads = [self._sender, *self._servers]
        return all(thread is not None and thread.is_alive() for thread in threads)

    @property
    def frame_format(self) -> FrameFormat:
        """How pixels travel with the present settings."""
        return self._detector.frame_format()

    @property
    def n_frames(self) -> int:
        """Frames in the data."""
        return self._detector.store.n_frames

    @property
    def status(self) -> DetectorStatus:
        """The detector's status."""
        return self._detector.status

    @property
    def client_connected(self) -> bool:
        """Whether a data client is there."""
        return self._running.connected

    @property
    def n_frames_sent(self) -> int:
        """Frames sent since the start, of all acquisitions."""
        return self._running.n_frames_sent

    @property
    def n_bytes_sent(self) -> int:
        """Bytes sent on the data port since the start."""
        return self._running.n_bytes_sent

    @property
    def n_acquisitions(self) -> int:
        """Acquisitions that have ended, in whatever way."""
        return self._running.n_acquisitions

    @property
    def n_missed_triggers(self) -> int:
        """Triggers that came when the detector was not armed for them."""
        return self._running.n_missed_triggers

    def trigger(self) -> bool:
        """Give an external trigger (TRIGGERSTART 1 … 4); false if it was missed."""
        return self._running.trigger(soft=False)

    def start_acquisition(self) -> bool:
        """Arm with the present variables as if a client had sent STARTACQUISITION."""
        return self._running.start_acquisition(self._detector.plan())

    def abort(self) -> None:
        """Abort as if a client had sent ABORT."""
        self._running.abort()

    def fail(self, code: int = 1) -> None:
        """Enter the error state, until CLEARERROR or RESET."""
        self._detector.fail(code)

    def wait_for_status(self, status: DetectorStatus, timeout: float = 10.0) -> bool:
        """Wait until the detector has a status; false if it has not in time."""
        return self._running.wait_for(lambda: self._detector.status is status, timeout)

    def wait(self, timeout: float) -> None:
        """Wait, at most `timeout` seconds, until the data port's thread ends."""
        self._running.join(timeout)

    def wait_for_client(self, connected: bool = True, timeout: float = 10.0) -> bool:
        """Wait until a data client is there, or gone; false if not in time."""
        port = self._running.port
        # Gone is also not about to be accepted.
        return self._running.wait_for(
            lambda: port.client is not None if connected else not port.connected, timeout
        )

    def wait_for_acquisitions(self, n: int, timeout: float = 10.0) -> bool:
        """Wait until `n` acquisitions have ended since the start; false if not in time."""
        return self._running.wait_for(lambda: self._running.n_acquisitions >= n, timeout)

    @property
    def _running(self) -> FrameSender:
        if self._sender is None:
            raise RuntimeError("the simulator is not running; call start() or use it in a with statement")
        return self._sender

    def _plan_by_itself(self) -> AcquisitionPlan | None:
        if (
            time.monotonic() - self._detector.last_control_s < _CONTROL_HOLD_S
            or self.status is DetectorStatus.ERROR
        ):
            return None
        return self._detector.plan(internal_trigger=True)


def _initial_values(store: FrameStore, depth: int | None, raw: bool | None) -> dict[str, Value]:
    """Return the variables that the data decide; 12 bit raw unless said otherwise."""
    if store.recording is not None:
        recorded = store.recording.frame_format
        if depth not in (None, recorded.depth) or raw not in (None, recorded.raw):
            raise ValueError(f"the recording is {recorded.depth} bit, raw {recorded.raw}, and stays so")
        frame_format = recorded
    else:
        frame_format = store.frame_format(12 if depth is None else depth, True if raw is None else raw, None)
    return {
        "COUNTERDEPTH": frame_format.depth,
        "FILEFORMAT": int(FileFormat.RAW_BINARY if frame_format.raw else FileFormat.BINARY),
        "ROIROWS": frame_format.chip_shape[0],
        "SELECTCHIPS": frame_format.chip_select,
    }


def _unpaced(rate: float | str | None, period_ms: float | None) -> bool | None:
    match rate:
        case "max":
            return True
        case None:
            return False if period_ms is not None else None
        case "period":
            return False
        case str():
            raise ValueError(f"rate {rate!r} is neither a number nor 'max' nor 'period'")
    return False


def _default_cache_bytes() -> int:
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 1 << 30
    return min(4 << 30, free // 2)
