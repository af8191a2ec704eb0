"""Active mode: sets a detector's parameters, checks them, arms and triggers.

Parameters are set in the order of `_settings`, then read back and compared; what is not given stays as it
is on the detector, except that the stream is always enabled: ``initialize`` disables it.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from arraystream import AcquisitionAborted, ConnectionClosed, Stalled, StateError, StreamError

from ._corrections import PixelCorrections, read_corrections
from ._settings import ENABLE_MODES, SOFTWARE_TRIGGER_MODES, SeriesPlan, TriggerMode
from ._setup import DetectorSetup, compare
from ._simplon import SimplonClient
from ._simplon_errors import (
    ADVICE,
    DetectorWarning,
    SimplonStateError,
    SimplonUnknownKeyError,
)
from ._status import DectrisStatus, read_errors, read_status
from ._trigger import TriggerRun

_T = TypeVar("_T")
_POLL_S = 0.02
_IDLE_TIMEOUT_S = 10.0
_INITIALIZE_TIMEOUT_S = 180.0
_GRACE_S = 2.0
_TRIGGER_MARGIN_S = 60.0
# What decides the size of the images, beside the detector itself.
_SHAPING = ("roi_mode", "binning_mode", "roi_y_size")


class DectrisController:
    """Sets up, arms and triggers a DECTRIS detector (implements `arraystream.Controller`).

    Parameters that are ``None`` stay as they are on the detector.

    Parameters
    ----------
    api_host, api_port
        The control unit's REST interface.
    timeout
        Seconds to wait for ordinary replies.
    api_version
        ``"1.8.0"`` or ``"1.6.0"``; by default what the unit says.
    trigger_mode
        ``"exte"`` (a TTL gate per image, as scan engines give them), ``"exts"`` (a TTL edge starts
        `nimages` images), ``"ints"``, ``"inte"`` (`trigger` does), ``"extg"``, ``"eies"``.
    count_time, frame_time
        Exposure, and time from image to image, in seconds.
    nimages, ntrigger
        Images per trigger, e.g. the length of a scan line with ``"exts"``, and triggers.  The other one
        follows from the number of images when arming.
    roi_mode, roi_y_size, roi_bit_depth, binning_mode
        Region of interest, its height in rows, bits per pixel (8 or 16), binning; if the detector has them.
    incident_energy, photon_energy
        Energy of the beam in eV, by the name that the detector has for it.
    threshold_energies
        Energies of the first, second … threshold in eV; with more than one, all of them are enabled.
    threshold_difference
        Whether the difference of two thresholds is a channel.
    compression
        ``"bslz4"``, ``"lz4"`` or ``"none"``.
    mask_to_zero
        Whether masked pixels read 0 instead of the largest value.
    stream_format
        ``"legacy"`` (version 1, the first threshold only), ``"cbor"`` (version 2); by default as it is,
        except that several thresholds need ``"cbor"``.
    header_detail
        ``"none"``, ``"basic"`` or ``"all"``, which sends masks and flat fields in each header.
    channel
        What the receiving side takes of each image: ``"threshold_1"`` …, ``"difference"``, or ``"all"``.
    enable_corrections
        Whether the receiving side is to apply the detector's pixel mask and flat field.
    enable_file_writing, name_pattern, nimages_per_file
        Whether the unit also writes files, their name (``$id`` is the series), and images per file.
    extra
        Any further parameters by their own names: ``{"counting_mode": "retrigger"}``, or with the module
        ``{"stream/config/image_appendix": "…"}``.

    Raises
    ------
    ValueError
        If settings contradict each other.

    Examples
    --------
    >>> controller = DectrisController("127.0.0.1", trigger_mode="exts", nimages=256, count_time=1e-4)
    >>> controller.determine_nav_shape(65536)
    (256, 256)
    >>> controller.close()
    """

    def __init__(
        self,
        api_host: str = "localhost",
        api_port: int = 80,
        *,
        timeout: float = 10.0,
        api_version: str | None = None,
        trigger_mode: TriggerMode | None = "exte",
        count_time: float | None = None,
        frame_time: float | None = None,
        nimages: int | None = None,
        ntrigger: int | None = None,
        roi_mode: str | None = None,
        roi_y_size: int | None = None,
        roi_bit_depth: int | None = None,
        binning_mode: str | None = None,
        incident_energy: float | None = None,
        photon_energy: float | None = None,
        threshold_energies: Sequence[float] = (),
        threshold_difference: bool | None = None,
        compression: str | None = None,
        mask_to_zero: bool | None = None,
        stream_format: Literal["legacy", "cbor"] | None = None,
        header_detail: Literal["none", "basic", "all"] = "basic",
        channel: str | None = None,
        enable_corrections: bool = False,
        enable_file_writing: bool | None = None,
        name_pattern: str | None = None,
        nimages_per_file: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        if name_pattern is not None and enable_file_writing is False:
            raise ValueError(f"name_pattern={name_pattern!r} does not go with enable_file_writing=False")
        n_thresholds = len(threshold_energies)
        self._setup = DetectorSetup(
            detector={
                "trigger_mode": trigger_mode,
                "count_time": count_time,
                "frame_time": frame_time,
                "nimages": nimages,
                "ntrigger": ntrigger,
                "roi_mode": roi_mode,
                "roi_y_size": roi_y_size,
                "roi_bit_depth": roi_bit_depth,
                "binning_mode": binning_mode,
                "incident_energy": incident_energy,
                "photon_energy": photon_energy,
                **{f"threshold/{n}/energy": ev for n, ev in enumerate(threshold_energies, 1)},
                **{f"threshold/{n}/mode": "enabled" for n in range(1, n_thresholds + 1) if n_thresholds > 1},
                "threshold/difference/mode": _switch(threshold_difference),
                "compression": compression,
                "mask_to_zero": mask_to_zero,
            },
            stream={
                "mode": "enabled",
                "format": _one_of("stream_format", stream_format, (None, "legacy", "cbor")),
                "header_detail": _one_of("header_detail", header_detail, ("none", "basic", "all")),
            },
            filewriter={
                "mode": _switch(True if name_pattern is not None else enable_file_writing),
                "name_pattern": name_pattern,
                "nimages_per_file": nimages_per_file,
            },
            extra=extra,
        )
        self.channel = channel
        self.enable_corrections = enable_corrections
        self._client = SimplonClient(api_host, api_port, api_version=api_version, timeout=timeout)
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._abort_wanted = threading.Event()
        self._plan: SeriesPlan | None = None
        self._triggers: TriggerRun | None = None
        self._n_triggers_given = 0
        self._series: int | None = None

    # ---- the protocol -------------------------------------------------------------------------

    @property
    def client(self) -> SimplonClient:
        """The REST interface itself, for everything else."""
        return self._client

    @property
    def settings(self) -> dict[str, Any]:
        """What will be set on the detector when arming, in this order; without the number of images."""
        return dict(self._setup.detector)

    @property
    def series(self) -> int | None:
        """Number of the series that was armed last, ``None`` before the first one."""
        return self._series

    def determine_nav_shape(self, n_items: int | None) -> tuple[int, ...] | None:
        """Return the scan shape that `nimages` and `ntrigger` tell: a trigger per line.

        Returns
        -------
        nav_shape
            ``(rows, columns)``; ``None`` if the settings tell nothing or do not give `n_items` images.
        """
        columns, rows = self._setup.nimages, self._setup.ntrigger
        if n_items is not None and n_items > 0:
            if rows is None and columns is not None:
                rows = n_items // columns
            elif columns is None and rows is not None and self._setup.trigger_mode not in ENABLE_MODES:
                columns = n_items // rows
        if rows is None or columns is None or rows < 2 or columns < 2:
            return None
        return (rows, columns) if n_items in (None, rows * columns) else None

    def determine_item_shape(self) -> tuple[int, ...] | None:
        """Return ``(rows, columns)`` of the images, ``None`` if arming may change it.

        It may if the detector is yet to be initialised, or its region of interest or binning to be set.
        Of all channels together nothing is told: there are as many as thresholds are enabled.

        Raises
        ------
        StreamError
            If the control unit can't be asked.
        """
        if self.channel == "all" or self._state() in ("na", "initialize"):
            return None
        for key in _SHAPING:
            if key in self._setup.detector and self._setup.detector[key] != self._client.get_config(key):
                return None
        rows = self._client.get_config("y_pixels_in_detector")
        columns = self._client.get_config("x_pixels_in_detector")
        return (rows, columns) if isinstance(rows, int) and isinstance(columns, int) else None

    def arm(self, *, n_items: int | None) -> None:
        """Set all parameters, compare them, and arm; return when the detector is armed.

        A series that is running or armed is aborted first.  A detector that is not initialised is, which
        takes up to two minutes.  `series` is the new series' number.

        Parameters
        ----------
        n_items
            Images to receive; ``None`` arms the longest series the detector takes, to be aborted.

        Raises
        ------
        SimplonError
            `SimplonUnknownKeyError`, `SimplonValueError`, `SimplonStateError` if the unit refuses;
            `SimplonSettingError` if a parameter reads back differently.
        ValueError
            If `n_items` images do not fit `nimages` and `ntrigger`.
        AcquisitionAborted
            If `abort` was called meanwhile.
        ConnectionFailed, ConnectionClosed, Stalled
            If the unit can't be reached, this controller was closed, or something took too long.
        """
        if n_items is not None:
            self._setup.plan(n_items)  # refuses before anything is touched
        with self._lock:
            self._abort_wanted.clear()
            self._make_idle()
            plan, done = self._setup.apply(self._client, n_items, self._check_wanted)
            compare(self._client, done, self._check_wanted)
            self._warn_of_high_voltage()
            self._check_wanted()
            try:
                self._series = self._client.arm()
                self._n_triggers_given = 0
                self._check_wanted()
                self._check_armed()
                self._plan = plan
            except BaseException:
                with suppress(StreamError):
                    self._client.disarm()
                raise

    def trigger(self, n_triggers: int | None = None, *, count_time: float | None = None) -> None:
        """Start the armed series by software; return when the detector has begun.

        The detector answers a trigger only when its images are done: a thread waits for that, see
        `wait_for_triggers`.

        Parameters
        ----------
        n_triggers
            How many, one after the other; by default all that the series has left.
        count_time
            Exposure of each in seconds, only in trigger mode ``inte``.

        Raises
        ------
        StateError
            If this controller has not armed, or the trigger mode wants external triggers.
        SimplonError, ConnectionFailed, ConnectionClosed
            As `arm`.
        Stalled
            If the detector does not begin in time.
        """
        with self._lock:
            plan, mode = self._plan, self._client.get_config("trigger_mode")
            if plan is None or self._series is None:
                raise StateError("nothing was armed by this controller; call arm(n_items=…) before trigger()")
            if mode not in SOFTWARE_TRIGGER_MODES:
                raise StateError(
                    f"trigger_mode={mode!r} is triggered from outside; for trigger() use 'ints' or 'inte'"
                )
            if self._triggers is not None and not self._triggers.is_over:
                raise StateError("the triggers given before are not done; call wait_for_triggers()")
            n_left = plan.ntrigger - self._n_triggers_given
            wanted = n_left if n_triggers is None else n_triggers
            if not 1 <= wanted <= n_left:
                raise StateError(
                    f"{wanted} triggers were asked for, but series {self._series} has {n_left} left"
                )
            self._n_triggers_given += wanted
            timeout = self._trigger_timeout(plan, count_time)
            run = TriggerRun(self._client, wanted, count_time=count_time, timeout=timeout)
            self._triggers = run
        self._wait_until_begun(run)

    def wait_for_triggers(self, timeout: float | None = None) -> None:
        """Wait until the detector has done the images of all triggers given.

        Raises
        ------
        Stalled
            If it has not within `timeout` seconds.
        StreamError
            What went wrong with a trigger.
        """
        run = self._triggers
        if run is None:
            return
        if not run.wait(timeout):
            raise Stalled(f"{run.n_done} triggers are done within {timeout:g} s, the next is not")
        if run.error is not None:
            raise run.error

    def disarm(self) -> None:
        """End the series; images on their way are still sent.  Raises as `SimplonClient.command`."""
        self._client.disarm()
        self._end_series()

    def cancel(self) -> None:
        """End the series after the present image.  Raises as `SimplonClient.command`."""
        self._client.cancel()
        self._end_series()

    def abort(self) -> None:
        """End the series at once and wait until the detector is idle.  Any thread.

        Raises
        ------
        Stalled
            If the detector does not become idle in time.
        SimplonError, ConnectionFailed, ConnectionClosed
            If it does not take the command.
        """
        self._abort_wanted.set()
        if self._triggers is not None:
            self._triggers.stop()
        if self._state() != "na":
            self._client.abort()
            self._wait_until_idle(_IDLE_TIMEOUT_S, "abort")
        self._end_series()

    def initialize(self) -> None:
        """Initialise the detector: up to two minutes; most of its configuration is reset.

        A series that is running ends.

        Raises
        ------
        SimplonError, ConnectionFailed, ConnectionClosed, Stalled
            As `SimplonClient.command`; also if the detector is in its error state afterwards.
        """
        self._client.initialize()
        self._wait_until_idle(_INITIALIZE_TIMEOUT_S, "initialize")
        self._end_series()

    def status(self) -> DectrisStatus:
        """Return how the detector is doing; warn if its high voltage is not on.

        Warns
        -----
        DetectorWarning
            If the high voltage is not ``READY``.
        """
        status = read_status(self._client)
        _warn_of_high_voltage(status.high_voltage, status.is_high_voltage_ready)
        return status

    def corrections(self, channel: str | None = None) -> PixelCorrections:
        """Return pixel mask, flat field and count-rate cut-off of a channel, by default the first.

        Raises
        ------
        ValueError
            If there is no channel of this name.
        SimplonError, ConnectionFailed, ConnectionClosed, Stalled, ProtocolError, LimitError
            As `SimplonClient.get_array`.
        """
        return read_corrections(self._client, channel)

    def close(self) -> None:
        """End every wait; a series goes on.  Idempotent."""
        self._closed.set()
        if self._triggers is not None:
            self._triggers.stop()
        self._client.close()
        if self._triggers is not None:
            self._triggers.finish(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- steps ----------------------------------------------------------------------------------

    def _state(self) -> str:
        return str(self._client.get_status("state"))

    def _check_wanted(self) -> None:
        if self._abort_wanted.is_set():
            raise AcquisitionAborted("abort() was called while the detector was being armed")

    def _make_idle(self) -> None:
        state = self._state()
        if state in ("ready", "acquire", "configure"):
            self._client.abort()
            self._wait_until_idle(_IDLE_TIMEOUT_S, "abort")
        elif state == "initialize":
            self._wait_until_idle(_INITIALIZE_TIMEOUT_S, "initialize")
        elif state == "na":
            self._client.initialize()
            self._wait_until_idle(_INITIALIZE_TIMEOUT_S, "initialize")
        elif state != "idle":
            raise self._state_error("arm", state)
        self._end_series()

    def _wait_until_idle(self, timeout: float, command: str) -> None:
        deadline = time.monotonic() + timeout
        while (state := self._state()) != "idle":
            if state == "error":
                raise self._state_error(command, state)
            if state == "ready":
                with suppress(SimplonStateError):  # it has become idle meanwhile
                    self._client.disarm()
            if time.monotonic() > deadline:
                raise Stalled(f"{self._client} is still in state {state!r} {timeout:g} s after {command}")
            if self._closed.wait(_POLL_S):
                raise ConnectionClosed(f"the controller was closed while waiting for {command}")

    def _check_armed(self) -> None:
        state = self._state()
        if state == "error":
            raise self._state_error("arm", state)

    def _warn_of_high_voltage(self) -> None:
        with suppress(SimplonUnknownKeyError):
            high_voltage = str(self._client.get_status("high_voltage/state")).upper()
            _warn_of_high_voltage(high_voltage, high_voltage in ("", "READY"))

    def _state_error(self, command: str, state: str) -> SimplonStateError:
        errors = "; ".join(read_errors(self._client)) if state == "error" else ""
        return SimplonStateError(
            f"{command}: {ADVICE.get(state, f'the detector is in state {state!r}')}"
            + (f". It says: {errors}" if errors else ""),
            url=self._client.url("detector", "status", "state"),
            parameter=command,
            reply=errors,
        )

    def _trigger_timeout(self, plan: SeriesPlan, count_time: float | None) -> float:
        frame_time = self._client.get_config("frame_time")
        seconds = float(frame_time) if isinstance(frame_time, int | float) else 1.0
        return _TRIGGER_MARGIN_S + 2 * plan.nimages * max(seconds, count_time or 0.0)

    def _wait_until_begun(self, run: TriggerRun) -> None:
        deadline = time.monotonic() + self._client.timeout
        while not run.wait(_POLL_S) and run.n_done == 0:
            if self._state() == "acquire":
                return
            if time.monotonic() > deadline:
                run.finish(0)
                raise Stalled(
                    f"a software trigger was sent, but after {self._client.timeout:g} s the detector has not "
                    f"begun (state {self._state()!r})"
                )
        if run.error is not None:
            raise run.error

    def _end_series(self) -> None:
        """Forget the series: no more triggers; the present one ends by itself, or is let go of."""
        self._plan = None
        run, self._triggers = self._triggers, None
        if run is not None:
            run.finish(_GRACE_S)


def _switch(wanted: bool | None) -> str | None:
    return None if wanted is None else "enabled" if wanted else "disabled"


def _one_of(name: str, value: _T, allowed: Sequence[object]) -> _T:
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is none of {', '.join(str(one) for one in allowed)}")
    return value


def _warn_of_high_voltage(high_voltage: str | None, is_ready: bool) -> None:
    if not is_ready:
        warnings.warn(
            f"the detector's high voltage is {high_voltage}, not READY: counts will be wrong or missing; "
            "wait for it, or look at the control unit",
            DetectorWarning,
            stacklevel=4,
        )
