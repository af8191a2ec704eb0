"""Active mode: sets a Merlin's parameters, checks them, arms and triggers.

Each operation opens the command port, does its work and closes it again, because the server serves
one client at a time.  Parameters are set in the order of the table below, read back and compared;
what is not given stays as it is on the detector.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import IntEnum
from types import TracebackType
from typing import Self

from arraystream import ConnectionClosed, ConnectionFailed, Stalled, StreamError

from ._control import MerlinControl, MerlinSettingError, MerlinUnknownCommandError
from ._variables import VARIABLES, DetectorStatus, FileFormat, Gain, TriggerStart, Value

# In this order they are set: what limits others comes first.
_ORDER = (
    "HVBIAS",
    "GAIN",
    "OPERATINGENERGY",
    *(f"THRESHOLD{i}" for i in range(8)),
    "CHARGESUMMING",
    "COLOURMODE",
    "ENABLECOUNTER1",
    "CONTINUOUSRW",
    "COUNTERDEPTH",
    "FILEFORMAT",
    "ROIROWS",
    "FILLMODE",
    "ACQUISITIONTIME",
    "ACQUISITIONPERIOD",
    "SCANX",
    "SCANY",
    "NUMFRAMESTOACQUIRE",
    "TRIGGERSTART",
    "TRIGGERSTOP",
    "NUMFRAMESPERTRIGGER",
    "FILEENABLE",
    "RUNHEADLESS",
)
_POLL_S = 0.05
_IDLE_TIMEOUT_S = 3.0


class MerlinController:
    """Sets up, arms and triggers a Merlin (implements `arraystream.Controller`).

    Parameters
    ----------
    host, port
        The command port.
    timeout
        Seconds to wait for each reply.
    settle_s
        Seconds to wait after each connecting; old server software wants 1 s.
    counter_depth
        Bits: 1, 6, 12 or 24.
    continuous_rw
        Continuous read-write, no dead time between frames; not with 24 bit.
    acquisition_time_ms, acquisition_period_ms
        Exposure, and time from frame to frame.
    trigger_start, trigger_stop
        A `TriggerStart`, its number, or its name as ``"internal"``, ``"rising_ttl"``, ``"soft"`` …
    frames_per_trigger
        1 for pixel triggers, the line's length for line triggers, all for one trigger per scan.  If
        not given, all with software triggers; else as it is on the detector.
    hv_bias
        Sensor bias in V.
    thresholds
        Up to eight, in keV, from THRESHOLD0 on.
    operating_energy
        In keV.
    gain
        A `Gain`, its number or name.
    raw
        Whether pixels are sent as they come from the chips (FILEFORMAT 2), the fastest way.
    roi_rows
        Rows read per chip.
    charge_summing, colour_mode, enable_counter1, fill_mode
        As the variables of these names.
    scan_shape
        ``(rows, columns)``, for servers with a scan interface (SCANY, SCANX).
    file_enable
        Whether the server also saves files.
    run_headless
        Whether the server stops refreshing its own display, for the highest rate.
    variables
        Any further variables by their own names; set last.

    Raises
    ------
    ValueError
        If settings contradict each other or are none of the allowed choices.

    Examples
    --------
    >>> from detector_merlin._simulator import MerlinSimulator
    >>> import numpy as np
    >>> with MerlinSimulator(np.zeros((2, 2, 64, 64), "u2")) as simulator:
    ...     controller = MerlinController(
    ...         "127.0.0.1", simulator.control_port, counter_depth=6, trigger_start="soft"
    ...     )
    ...     controller.arm(n_items=4)
    ...     controller.status().name
    'ARMED'
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 6341,
        *,
        timeout: float = 5.0,
        settle_s: float = 0.0,
        counter_depth: int | None = None,
        continuous_rw: bool | None = None,
        acquisition_time_ms: float | None = None,
        acquisition_period_ms: float | None = None,
        trigger_start: TriggerStart | int | str | None = None,
        trigger_stop: TriggerStart | int | str | None = None,
        frames_per_trigger: int | None = None,
        hv_bias: float | None = None,
        thresholds: Sequence[float] = (),
        operating_energy: float | None = None,
        gain: Gain | int | str | None = None,
        raw: bool | None = None,
        roi_rows: int | None = None,
        charge_summing: bool | None = None,
        colour_mode: bool | None = None,
        enable_counter1: int | None = None,
        fill_mode: int | None = None,
        scan_shape: tuple[int, int] | None = None,
        file_enable: bool | None = None,
        run_headless: bool | None = None,
        variables: Mapping[str, Value] | None = None,
    ) -> None:
        if len(thresholds) > 8:
            raise ValueError(f"{len(thresholds)} thresholds are too many; a Merlin has eight")
        self._address = (host, port, timeout, settle_s)
        self._lock = threading.RLock()
        self._closed = threading.Event()
        given: dict[str, Value | None] = {
            "COUNTERDEPTH": counter_depth,
            "CONTINUOUSRW": continuous_rw,
            "ACQUISITIONTIME": acquisition_time_ms,
            "ACQUISITIONPERIOD": acquisition_period_ms,
            "TRIGGERSTART": _member(TriggerStart, "trigger_start", trigger_start),
            "TRIGGERSTOP": _member(TriggerStart, "trigger_stop", trigger_stop),
            "NUMFRAMESPERTRIGGER": frames_per_trigger,
            "HVBIAS": hv_bias,
            **{f"THRESHOLD{i}": kev for i, kev in enumerate(thresholds)},
            "OPERATINGENERGY": operating_energy,
            "GAIN": _member(Gain, "gain", gain),
            "FILEFORMAT": None if raw is None else int(FileFormat.RAW_BINARY if raw else FileFormat.BINARY),
            "ROIROWS": roi_rows,
            "CHARGESUMMING": charge_summing,
            "COLOURMODE": colour_mode,
            "ENABLECOUNTER1": enable_counter1,
            "FILLMODE": fill_mode,
            "SCANY": None if scan_shape is None else scan_shape[0],
            "SCANX": None if scan_shape is None else scan_shape[1],
            "FILEENABLE": file_enable,
            "RUNHEADLESS": run_headless,
        }
        settings = {name: value for name, value in given.items() if value is not None}
        self._settings: dict[str, Value] = settings | dict(variables or {})
        _check_settings(self._settings)

    @property
    def settings(self) -> dict[str, Value]:
        """What will be set when arming, by variable; without the number of frames."""
        return dict(self._settings)

    def determine_nav_shape(self, n_items: int | None) -> tuple[int, ...] | None:
        """Return the scan shape the settings or the server's scan interface tell.

        Parameters
        ----------
        n_items
            Frames of the acquisition, ``None`` if endless.

        Returns
        -------
        nav_shape
            ``(rows, columns)``; ``None`` if nothing tells or it does not give `n_items` frames.
        """
        rows, columns = self._settings.get("SCANY"), self._settings.get("SCANX")
        if rows is None or columns is None:
            with self.control() as control:
                rows, columns = _read_number(control, "SCANY"), _read_number(control, "SCANX")
        if rows and columns and n_items in (None, int(rows) * int(columns)):
            return int(rows), int(columns)
        per_line = int(self._settings.get("NUMFRAMESPERTRIGGER", 0))
        if n_items is not None and 1 < per_line < n_items and n_items % per_line == 0:
            return n_items // per_line, per_line
        return None

    def arm(self, *, n_items: int | None) -> None:
        """Set all parameters, compare them, and arm; return when the server has armed.

        An acquisition that is running or armed is aborted first; an error state is cleared.

        Parameters
        ----------
        n_items
            Frame messages to receive; ``None`` acquires until aborted.

        Raises
        ------
        MerlinCommandError
            `MerlinBusyError`, `MerlinUnknownCommandError`, `MerlinOutOfRangeError` if the server
            refuses; `MerlinSettingError` if a parameter reads back differently.
        ConnectionFailed, Stalled
            If the server can't be reached, or does not answer or become idle in time.
        """
        assignments = self._assignments(n_items)
        with self.control() as control:
            self._make_idle(control)
            for name, value in assignments.items():
                control.set(name, _wire_text(name, value))
            for name, value in assignments.items():
                _compare(control, name, value)
            control.cmd("STARTACQUISITION")
            if self._read_status(control) is DetectorStatus.ERROR:
                raise _error_state(control)

    def trigger(self) -> None:
        """Give a software trigger.

        Raises
        ------
        MerlinCommandError
            If the server refuses, e.g. as it is not armed for software triggers.
        """
        with self.control() as control:
            try:
                control.cmd("SOFTTRIGGER")
            except MerlinUnknownCommandError:
                control.cmd("SWTRIGGER")  # its name in other versions of the server

    def stop(self) -> None:
        """End the acquisition after the frame being read."""
        with self.control() as control:
            control.cmd("STOPACQUISITION")

    def abort(self) -> None:
        """End the acquisition at once and wait until the detector is idle.  Any thread."""
        with self.control() as control:
            self._abort(control)

    def clear_error(self) -> None:
        """Leave the error state.

        Raises
        ------
        StreamError
            If the detector stays in it.
        """
        with self.control() as control:
            control.cmd("CLEARERROR")
            if self._read_status(control) is DetectorStatus.ERROR:
                raise _error_state(control)

    def reset(self, timeout: float = 60.0) -> None:
        """Re-initialise the readout and wait until the server answers again.

        The server drops all connections, the data port's too, for about ten seconds.

        Raises
        ------
        Stalled
            If it does not come back in time.
        """
        with self.control() as control, suppress(ConnectionFailed):
            control.cmd("RESET")
        deadline = time.monotonic() + timeout
        while not self._is_up():
            if time.monotonic() > deadline:
                raise Stalled(f"the Merlin server at {self._where()} is not back {timeout:g} s after RESET")
            if self._closed.wait(_POLL_S):
                raise ConnectionClosed("the controller was closed while waiting for RESET")

    def status(self) -> DetectorStatus | None:
        """Return what the detector does; ``None`` if the server does not tell."""
        with self.control() as control:
            return self._read_status(control)

    @contextmanager
    def control(self) -> Iterator[MerlinControl]:
        """Lend the command port for the time of a ``with`` block; others wait meanwhile.

        Raises
        ------
        ConnectionClosed
            If this controller is closed.
        ConnectionFailed
            If nothing listens there.
        """
        host, port, timeout, settle_s = self._address
        with self._lock:
            if self._closed.is_set():
                raise ConnectionClosed("the Merlin controller is closed; make a new one")
            with MerlinControl(host, port, timeout, settle_s=settle_s) as control:
                yield control

    def close(self) -> None:
        """End every wait; an acquisition goes on.  Idempotent."""
        self._closed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- steps ------------------------------------------------------------------------------

    def _assignments(self, n_items: int | None) -> dict[str, Value]:
        """Return all variables to set, in order."""
        wanted = dict(self._settings)
        n_layers = _n_layers(wanted)
        if n_items is not None and (n_items < 1 or n_items % n_layers):
            raise ValueError(f"n_items={n_items} is no positive multiple of {n_layers} frames per exposure")
        n_exposures = 0 if n_items is None else n_items // n_layers
        wanted["NUMFRAMESTOACQUIRE"] = n_exposures
        if wanted.get("TRIGGERSTART") == TriggerStart.SOFT and "NUMFRAMESPERTRIGGER" not in wanted:
            wanted["NUMFRAMESPERTRIGGER"] = max(1, n_exposures)
        rank = {name: i for i, name in enumerate(_ORDER)}
        return dict(sorted(wanted.items(), key=lambda item: rank.get(item[0].upper(), len(rank))))

    def _make_idle(self, control: MerlinControl) -> None:
        status = self._read_status(control)
        if status in (DetectorStatus.BUSY, DetectorStatus.ARMED):
            self._abort(control)
        elif status is DetectorStatus.ERROR:
            control.cmd("CLEARERROR")
            if self._read_status(control) is DetectorStatus.ERROR:
                raise _error_state(control)

    def _abort(self, control: MerlinControl) -> None:
        control.cmd("ABORT")
        deadline = time.monotonic() + _IDLE_TIMEOUT_S
        while self._read_status(control) in (DetectorStatus.BUSY, DetectorStatus.ARMED):
            if time.monotonic() > deadline:
                raise Stalled(f"the Merlin at {self._where()} is busy {_IDLE_TIMEOUT_S:g} s after ABORT")
            if self._closed.wait(_POLL_S):
                raise ConnectionClosed("the controller was closed while waiting for ABORT")

    def _read_status(self, control: MerlinControl) -> DetectorStatus | None:
        number = _read_number(control, "DETECTORSTATUS")
        try:
            return None if number is None else DetectorStatus(int(number))
        except ValueError:
            return None

    def _is_up(self) -> bool:
        try:
            return self.status() is not DetectorStatus.INIT
        except (ConnectionFailed, Stalled):
            return False

    def _where(self) -> str:
        return f"{self._address[0]}:{self._address[1]}"


def _member(kind: type[IntEnum], parameter: str, value: IntEnum | int | str | None) -> int | None:
    """Return the number of an enumeration's member given as member, number or name."""
    if value is None:
        return None
    try:
        return int(kind[value.upper()] if isinstance(value, str) else kind(value))
    except (KeyError, ValueError):
        names = ", ".join(f"{member.name.lower()} ({member.value})" for member in kind)
        raise ValueError(f"{parameter}={value!r} is none of {names}") from None


def _check_settings(settings: Mapping[str, Value]) -> None:
    """Refuse what no Merlin allows; ranges are left to the server, which may be newer."""
    for name, value in settings.items():
        variable = VARIABLES.get(name.upper())
        if variable is None or variable.kind == "text":
            continue
        number = float(value)
        if not math.isfinite(number) or (variable.kind == "int" and number != int(number)):
            raise ValueError(f"{name}={value!r} is no {'whole ' if variable.kind == 'int' else ''}number")
        if variable.choices and int(number) not in variable.choices:
            raise ValueError(f"{name}={value!r} is not in {variable.describe_range()}")
    if settings.get("COUNTERDEPTH") == 24 and settings.get("CONTINUOUSRW"):
        raise ValueError("counter_depth=24 does not go with continuous_rw=True; use 12 bit or False")
    time_ms, period_ms = settings.get("ACQUISITIONTIME"), settings.get("ACQUISITIONPERIOD")
    if time_ms is not None and period_ms is not None and float(period_ms) < float(time_ms):
        raise ValueError(f"acquisition_period_ms={period_ms} is shorter than acquisition_time_ms={time_ms}")


def _n_layers(settings: Mapping[str, Value]) -> int:
    """Return how many frame messages one exposure gives."""
    both_counters = settings.get("ENABLECOUNTER1") == 2
    return (4 if settings.get("COLOURMODE") else 1) * (2 if both_counters else 1)


def _wire_text(name: str, value: Value) -> str:
    """Write a value for SET; reals as short as they are exact."""
    variable = VARIABLES.get(name.upper())
    if isinstance(value, str):
        return value
    if variable is not None and variable.kind == "int":
        return str(int(value))
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _compare(control: MerlinControl, name: str, wanted: Value) -> None:
    variable = VARIABLES.get(name.upper())
    text = control.get(name)
    try:
        if variable is None or variable.kind == "text":
            same = text == str(wanted)
        else:
            same = variable.matches(float(wanted), float(text))
    except ValueError:
        same = False
    if not same:
        raise MerlinSettingError(
            f"{name} was set to {wanted} but reads back {text!r}; the detector can't do this value, "
            "or another client changes it",
            request=f"SET,{name},{_wire_text(name, wanted)}",
            parameter=name,
            value=str(wanted),
        )


def _read_number(control: MerlinControl, name: str) -> float | None:
    """Return a number, ``None`` if this server does not know the variable or has none."""
    try:
        return float(control.get(name))
    except (MerlinUnknownCommandError, ValueError):
        return None


def _error_state(control: MerlinControl) -> StreamError:
    code = _read_number(control, "ERRORCODE")
    shown = "unknown" if code is None else f"{code:g}"
    return StreamError(
        f"the Merlin is in its error state, ERRORCODE {shown}; look at the Merlin software, "
        "then clear_error() or reset()"
    )
