"""The simulated detector's variables: answers requests and plans acquisitions from them.

No sockets here.  Requests come in, replies go out; whatever has to happen on the data port is asked
of a `Readout`.
"""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from detector_merlin._control import Reply, Request, frame_message
from detector_merlin._encode import FrameFormat, Kind, Layout, to_counts
from detector_merlin._headers import AcquisitionHeader, FrameHeaders
from detector_merlin._variables import COMMANDS, VARIABLES, DetectorStatus, FileFormat, TriggerStart, Value

from ._acquisition import AcquisitionPlan
from ._faults import Faults
from ._frames import EncodedFrames, FrameMessages, PixelMessages, Recording

OK, BUSY, UNKNOWN, OUT_OF_RANGE = 0, 1, 2, 3

# May be set at any time; everything else only while nothing is armed.
_ALWAYS_SETTABLE = frozenset(
    {
        "FILEENABLE",
        "FILEDIRECTORY",
        "FILENAME",
        "FILECOUNTER",
        "IMAGESPERFILE",
        "USETIMESTAMPING",
        "RUNHEADLESS",
    }
)


class Readout(Protocol):
    """What the data port does for the detector."""

    @property
    def status(self) -> DetectorStatus:
        """Idle, armed or busy."""
        ...

    @property
    def connected(self) -> bool:
        """Whether a data client is there."""
        ...

    def start_acquisition(self, plan: AcquisitionPlan) -> bool:
        """Arm; false if that is impossible now."""
        ...

    def stop(self) -> None:
        """End after the present frame."""
        ...

    def abort(self) -> None:
        """End at once."""
        ...

    def trigger(self, *, soft: bool) -> bool:
        """Start a burst, if armed for it."""
        ...


class FrameStore:
    """The data to send, and the blocks encoded of it in the newest format.

    Parameters
    ----------
    data
        Array of shape ``(nav…, y, x)``, or path of a ``.npy``, ``.mib`` or ``.hdr`` file.
    layout, n_chips, kind, scale
        See `MerlinSimulator`.
    cache_bytes
        How much to keep encoded.
    """

    def __init__(
        self,
        data: npt.NDArray[Any] | str | Path,
        *,
        layout: Layout,
        n_chips: int | None,
        kind: Kind | None,
        scale: float | None,
        cache_bytes: int,
    ) -> None:
        self.recording: Recording | None = None
        self._layout = layout
        self._n_chips = n_chips
        self._kind = kind
        self._scale = scale
        self._cache_bytes = cache_bytes
        self._encoded: EncodedFrames | None = None
        frames = _open(data)
        if isinstance(frames, Recording):
            self.recording = frames
            self.nav_shape: tuple[int, ...] = (frames.n_frames,)
            self.n_frames = frames.n_frames
            return
        if frames.ndim < 2 or frames.size == 0:
            raise ValueError(f"data of shape {frames.shape} holds no frames; (nav…, y, x) is wanted")
        self.nav_shape = frames.shape[:-2]
        self._frames = frames.reshape(-1, *frames.shape[-2:])
        self.n_frames = len(self._frames)
        to_counts(self._frames[:1], 24, scale=scale)  # refuse unfit types at once

    def frame_format(self, depth: int, raw: bool, roi_rows: int | None) -> FrameFormat:
        """Return the format for these settings.

        Raises
        ------
        ValueError
            If the data can't be sent so.
        """
        if self.recording is not None:
            recorded = self.recording.frame_format
            rows = recorded.chip_shape[0]
            if (recorded.depth, recorded.raw) != (depth, raw) or roi_rows not in (None, rows):
                raise ValueError(f"the recording is {recorded.depth} bit, raw {recorded.raw}, {rows} rows")
            return recorded
        return FrameFormat.for_frames(
            (self._frames.shape[1], self._frames.shape[2]),
            depth=depth,
            raw=raw,
            layout=self._layout,
            n_chips=self._n_chips,
            roi_rows=roi_rows,
            kind=self._kind,
        )

    def encoded(self, frame_format: FrameFormat) -> EncodedFrames:
        """Return the data in a format; the blocks of the format before are forgotten."""
        if self._encoded is None or self._encoded.frame_format != frame_format:
            self._encoded = EncodedFrames(
                self._frames, frame_format, scale=self._scale, cache_bytes=self._cache_bytes
            )
        return self._encoded

    def messages(self, headers: FrameHeaders) -> FrameMessages:
        """Return the messages of an acquisition with these headers."""
        if self.recording is not None:
            return self.recording
        return PixelMessages(self.encoded(headers.frame_format), headers)


class Detector:
    """Variables and commands of the simulated server.  Thread-safe.

    Parameters
    ----------
    store
        The frames.
    initial
        Values of variables after start and ``RESET``, by upper-case name.
    unpaced
        ``True``: as fast as possible always; ``None``: until a period is set; ``False``: frames are
        spaced by ACQUISITIONPERIOD.
    rate_hz
        A rate that overrides ACQUISITIONPERIOD.
    auto_trigger
        External triggers come by themselves as soon as armed.
    faults
        For the headers.
    report
        Called with a line of text when a variable is set or a command executed.
    """

    def __init__(
        self,
        store: FrameStore,
        *,
        initial: Mapping[str, Value],
        unpaced: bool | None,
        rate_hz: float | None,
        auto_trigger: bool,
        faults: Faults,
        report: Callable[[str], None],
    ) -> None:
        self.store = store
        self.readout: Readout | None = None
        self.last_control_s = -1e9
        self._initial = {name: row.default for name, row in VARIABLES.items()} | dict(initial)
        self._values = dict(self._initial)
        self._unpaced = unpaced
        self._rate_hz = rate_hz
        self._auto_trigger = auto_trigger
        self._period_set = False
        self._faults = faults
        self._report = report
        self._lock = threading.Lock()
        self._error_code = 0
        self.initialising = False

    @property
    def status(self) -> DetectorStatus:
        """Value of DETECTORSTATUS."""
        if self.initialising:
            return DetectorStatus.INIT
        if self._error_code:
            return DetectorStatus.ERROR
        return DetectorStatus.IDLE if self.readout is None else self.readout.status

    def fail(self, code: int) -> None:
        """Enter the error state; ABORT what runs."""
        if self.readout is not None:
            self.readout.abort()
        self._error_code = code

    def reset(self) -> None:
        """Give all variables their initial values."""
        with self._lock:
            self._values = dict(self._initial)
            self._period_set = False
            self._error_code = 0

    def answer(self, request: Request) -> Reply:
        """Execute a request.  RESET only answers; the caller drops the connections."""
        match request.verb:
            case "GET":
                return self._get(request.name)
            case "SET":
                self.last_control_s = time.monotonic()
                code = self._set(request.name.upper(), request.value or "")
            case "CMD":
                self.last_control_s = time.monotonic()
                code = self._command(request.name.upper())
        self._report(f"{request.body} -> {code}")
        return Reply(request.verb, request.name, code)

    # ---- variables --------------------------------------------------------------------------

    def _get(self, name: str) -> Reply:
        variable = VARIABLES.get(name.upper())
        if variable is None:
            return Reply("GET", name, UNKNOWN, "0")
        return Reply("GET", name, OK, variable.format(self._value(variable.name.upper())))

    def _value(self, name: str) -> Value:
        match name:
            case "DETECTORSTATUS":
                return int(self.status)
            case "ERRORCODE":
                return self._error_code
            case "TCPCONNECTED":
                return int(self.readout is not None and self.readout.connected)
            case "IMAGEX":
                return self.frame_format().item_shape[1]
            case "IMAGEY":
                return self.frame_format().item_shape[0]
        with self._lock:
            return self._values[name]

    def _set(self, name: str, text: str) -> int:
        variable = VARIABLES.get(name)
        if variable is None or not variable.writable:
            return UNKNOWN
        if name not in _ALWAYS_SETTABLE and self.status in (DetectorStatus.ARMED, DetectorStatus.BUSY):
            return BUSY
        try:
            value = variable.parse(text)
        except ValueError:
            return OUT_OF_RANGE
        with self._lock:
            wanted = self._values | {name: value}
            try:
                self._format_of(wanted)
            except ValueError:
                return OUT_OF_RANGE
            if name == "CONTINUOUSRW" and value and self._values["COUNTERDEPTH"] == 24:
                return OUT_OF_RANGE
            self._values = wanted
            self._period_set = self._period_set or name == "ACQUISITIONPERIOD"
        return OK

    def frame_format(self) -> FrameFormat:
        """Return the format the present variables ask for."""
        with self._lock:
            return self._format_of(self._values)

    def _format_of(self, values: Mapping[str, Value]) -> FrameFormat:
        raw = values["FILEFORMAT"] == FileFormat.RAW_BINARY
        rows = int(values["ROIROWS"])
        n_all = int(self._initial["ROIROWS"])
        return self.store.frame_format(int(values["COUNTERDEPTH"]), raw, rows if rows != n_all else None)

    # ---- commands ---------------------------------------------------------------------------

    def _command(self, name: str) -> int:
        assert self.readout is not None
        if name not in COMMANDS:
            return UNKNOWN
        if name == "ABORT":
            self.readout.abort()
        elif name == "STOPACQUISITION":
            self.readout.stop()
        elif name in ("SOFTTRIGGER", "SWTRIGGER"):
            triggered = self.readout.trigger(soft=True)
            # While busy a trigger is dropped silently, as the hardware does.
            return OK if triggered or self.status is DetectorStatus.BUSY else BUSY
        elif name == "CLEARERROR":
            self._error_code = 0
        elif name == "RESET":
            return OK
        elif self.status is not DetectorStatus.IDLE:
            return BUSY
        elif name in ("STARTACQUISITION", "THSCAN"):
            return OK if self.readout.start_acquisition(self.plan(threshold_scan=name == "THSCAN")) else BUSY
        return OK

    def plan(self, *, internal_trigger: bool = False, threshold_scan: bool = False) -> AcquisitionPlan:
        """Return what an acquisition with the present variables sends."""
        with self._lock:
            values = dict(self._values)
            frame_format = self._format_of(values)
            unpaced = not self._period_set if self._unpaced is None else self._unpaced
        trigger = TriggerStart(int(values["TRIGGERSTART"]))
        external = trigger not in (TriggerStart.INTERNAL, TriggerStart.SOFT)
        if internal_trigger or threshold_scan or (external and self._auto_trigger):
            trigger = TriggerStart.INTERNAL
        n_exposures = _n_threshold_steps(values) if threshold_scan else int(values["NUMFRAMESTOACQUIRE"])
        n_layers = _n_layers(values)
        per_trigger = int(values["NUMFRAMESPERTRIGGER"])
        all_at_once = trigger is TriggerStart.INTERNAL or n_exposures == 0
        period_s = float(values["ACQUISITIONPERIOD"]) / 1000 / n_layers
        rate_period_s = period_s if self._rate_hz is None else 1 / self._rate_hz
        header = _acquisition_header(values, frame_format, n_exposures, per_trigger, threshold_scan)
        return AcquisitionPlan(
            make_hdr=lambda: self._hdr_message(header),
            messages=self.store.messages(self._frame_headers(values, frame_format, n_layers)),
            n_frames=n_exposures * n_layers or None,
            n_per_trigger=None if all_at_once else per_trigger * n_layers,
            trigger=trigger,
            interval_s=0.0 if unpaced else rate_period_s,
            nominal_interval_s=rate_period_s or 1e-3,
        )

    def _frame_headers(
        self, values: Mapping[str, Value], frame_format: FrameFormat, n_layers: int
    ) -> FrameHeaders:
        faults = self._faults
        return FrameHeaders(
            frame_format,
            shutter_ns=round(float(values["ACQUISITIONTIME"]) * 1e6),
            thresholds_kev=None if faults.missing_thresholds else _thresholds(values),
            with_dacs=not faults.missing_dacs,
            with_extension=not faults.missing_mq1a,
            n_layers=n_layers,
            colour_mode=bool(values["COLOURMODE"]),
            gain=int(values["GAIN"]),
            counter=int(values["ENABLECOUNTER1"] == 1),
        )

    def _hdr_message(self, header: AcquisitionHeader) -> bytes:
        old = self._faults.old_hdr
        if self.store.recording is not None:
            body = self.store.recording.hdr(header.n_frames, header.frames_per_trigger, old=old)
            if body is not None:
                return frame_message(body)
        return frame_message(header.encode(datetime.datetime.now(), old=old))


def _open(data: npt.NDArray[Any] | str | Path) -> npt.NDArray[Any] | Recording:
    if not isinstance(data, str | Path):
        return np.asanyarray(data)
    path = Path(data)
    if not path.exists():
        raise ValueError(f"there is no file {path}")
    if path.suffix.lower() in (".mib", ".hdr"):
        return Recording(path)
    if path.suffix.lower() != ".npy":
        raise ValueError(f"{path}: only .npy, .mib and .hdr files can be sent")
    frames: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return frames


def _thresholds(values: Mapping[str, Value]) -> tuple[float, ...]:
    return tuple(float(values[f"THRESHOLD{i}"]) for i in range(8))


def _n_layers(values: Mapping[str, Value]) -> int:
    """Return how many frames one exposure gives: both counters two, colours four."""
    return (4 if values["COLOURMODE"] else 1) * (2 if values["ENABLECOUNTER1"] == 2 else 1)


def _n_threshold_steps(values: Mapping[str, Value]) -> int:
    step = float(values["THSTEP"])
    if step <= 0:
        return max(1, int(values["THNUMSTEPS"]))
    return int(abs(float(values["THSTOP"]) - float(values["THSTART"])) / step + 1e-9) + 1


def _acquisition_header(
    values: Mapping[str, Value],
    frame_format: FrameFormat,
    n_frames: int,
    per_trigger: int,
    threshold_scan: bool,
) -> AcquisitionHeader:
    scan_shape = (int(values["SCANY"]), int(values["SCANX"]))
    return AcquisitionHeader(
        n_frames=n_frames,
        frames_per_trigger=per_trigger if n_frames else 0,
        frame_format=frame_format,
        gain=int(values["GAIN"]),
        trigger_start=int(values["TRIGGERSTART"]),
        trigger_stop=int(values["TRIGGERSTOP"]),
        fill_mode=int(values["FILLMODE"]),
        continuous_rw=bool(values["CONTINUOUSRW"]),
        charge_summing=bool(values["CHARGESUMMING"]),
        colour_mode=bool(values["COLOURMODE"]),
        counters=int(values["ENABLECOUNTER1"]),
        thresholds_kev=_thresholds(values),
        hv_bias_v=float(values["HVBIAS"]),
        scan_shape=scan_shape if all(scan_shape) else None,
        threshold_scan=threshold_scan,
        software_version=str(values["SOFTWAREVERSION"]),
    )
