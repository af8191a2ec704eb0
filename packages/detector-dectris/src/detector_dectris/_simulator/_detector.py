"""The control unit: parameters of all modules, the state machine, the series that is running.

Any thread may call it.  Semantics: SIMPLON API reference 1.8.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from detector_dectris._dectris import Sender

from ._faults import Faults
from ._frames import Frames, ImageKind
from ._messages import Series
from ._models import Model
from ._parameters import (
    Parameter,
    RefusedValueError,
    detector_config,
    filewriter_config,
    from_darray,
    monitor_config,
    rfc3339,
    stream_config,
)
from ._series import SeriesRun

_DISARM_TIMEOUT_S = 5.0
_END_TIMEOUT_S = 15.0
EXTERNAL = ("exts", "exte", "extg", "eies")
_COMMANDS = {
    "detector": [
        "abort",
        "arm",
        "cancel",
        "check_connections",
        "disarm",
        "hv_reset",
        "initialize",
        "trigger",
    ],
    "stream": ["initialize"],
    "filewriter": ["clear", "initialize"],
    "monitor": ["clear", "initialize"],
    "system": ["restart"],
}


class RefusedCommandError(RuntimeError):
    """A command doesn't fit the state."""


class UnknownNameError(LookupError):
    """There is no such parameter or command."""


class Detector:
    """A control unit without its network.

    Parameters
    ----------
    model, frames
        What it looks like, and what it sees.
    initial
        Configuration of the detector beyond the defaults; survives ``initialize``.
    stream
        The same for the stream module, at power-up.
    senders
        The sockets of stream 1 and 2.
    rate
        Images per second; ``None`` for as fast as the client takes them; ``period`` for one every
        ``frame_time``.
    auto_trigger
        External triggers come as soon as armed.
    initialized
        Whether ``initialize`` was called already.
    faults, report
        As in `DectrisSimulator`.
    """

    def __init__(
        self,
        model: Model,
        frames: Frames,
        *,
        initial: Mapping[str, Any],
        stream: Mapping[str, Any],
        senders: Mapping[int, Sender],
        rate: float | str | None,
        auto_trigger: bool,
        initialized: bool,
        faults: Faults,
        report: Callable[[str], None],
    ) -> None:
        self._model, self._frames, self._senders = model, frames, senders
        self._initial, self._rate, self._auto_trigger = dict(initial), rate, auto_trigger
        self.faults, self._report = faults, report
        self._changed = threading.Condition(threading.RLock())
        self._state = "idle" if initialized else "na"
        self._run: SeriesRun | None = None
        self._n_previous = {"n_sent": 0, "n_dropped": 0}
        self.series_number = 0
        self.n_series = 0
        self.last_command_s = -np.inf
        self._configs: dict[str, dict[str, Parameter]] = {}
        self._reset()
        self._set("stream", stream)

    # ---- parameters -------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """State of the detector module."""
        return self._state

    def keys(self, module: str, task: str) -> list[str]:
        """Return the names of a task's parameters."""
        if module not in _COMMANDS or task not in ("config", "status", "command"):
            raise UnknownNameError(f"there is no {module}/{task}")
        if task == "command":
            return _COMMANDS[module]
        return sorted(self._configs.get(module, {}) if task == "config" else self._status(module))

    def describe(self, module: str, task: str, key: str) -> dict[str, Any]:
        """Return what is told about a parameter."""
        with self._changed:
            found = self._configs.get(module, {}) if task == "config" else self._status(module)
            if key not in found:
                raise UnknownNameError(f"{module}/{task} has no parameter {key!r}")
            told = found[key].describe()
        return told | ({} if task == "config" else {"state": "normal", "time": rfc3339()})

    def value(self, key: str, module: str = "detector") -> Any:
        """Return a parameter's value."""
        return self._configs[module][key].value

    def put(self, module: str, key: str, value: Any) -> list[str]:
        """Set a parameter; return the names of all that changed or may have.

        Raises
        ------
        UnknownNameError
            If there is none of this name.
        RefusedValueError
            If it can't have this value.
        RefusedCommandError
            If the state forbids it.
        """
        with self._changed:
            if key not in self._configs.get(module, {}):
                raise UnknownNameError(f"{module}/config has no parameter {key!r}")
            # Clients change the stream also while armed; it counts from the next series on.
            if module == "detector" and self._state != "idle":
                raise RefusedCommandError(f"{key} can't be set in state {self._state}")
            parameter = self._configs[module][key]
            if isinstance(parameter.value, np.ndarray):
                if parameter.access == "r":
                    raise RefusedValueError(f"{key} is read-only")
                parameter.value = from_darray(value, key, parameter.value)
                return [key]
            parameter.value = parameter.accept(key, value)
            return [key, *(self._follow(key) if module == "detector" else [])]

    def reset_table(self, module: str, key: str) -> None:
        """Give a flat field or pixel mask its default again.

        Raises
        ------
        UnknownNameError
            If there is no such table.
        RefusedCommandError
            If the state forbids it.
        """
        with self._changed:
            parameter = self._configs.get(module, {}).get(key)
            if parameter is None or not key.endswith(("flatfield", "pixel_mask")):
                raise UnknownNameError(f"{module}/config has no table {key!r}")
            if self._state != "idle":
                raise RefusedCommandError(f"{key} can't be reset in state {self._state}")
            parameter.value = np.full_like(parameter.value, 1 if key.endswith("flatfield") else 0)

    def _follow(self, key: str) -> list[str]:
        """Change what depends on a parameter of the detector; return the names."""
        config = self._configs["detector"]
        readout = config["detector_readout_time"].value
        count, frame = config["count_time"], config["frame_time"]
        match key:
            case "count_time":
                config["frame_count_time"].value = count.value
                if frame.value < count.value + readout:
                    frame.value = count.value + readout
                return ["frame_time", "frame_count_time"]
            case "frame_time":
                if count.value > frame.value - readout:
                    count.value = max(frame.value - readout, 1e-9)
                return ["count_time", "frame_count_time"]
            case "photon_energy" | "incident_energy":
                energy = config[key].value
                for name in ("photon_energy", "incident_energy"):
                    config[name].value = energy
                config["threshold_energy"].value = energy / 2
                config["wavelength"].value = 12398.42 / energy if energy else 0.0
                return ["element", "flatfield", "photon_energy", "incident_energy", "threshold_energy"]
            case "binning_mode":
                return self._resize()
        return []

    def _resize(self) -> list[str]:
        config = self._configs["detector"]
        factor = 2 if config["binning_mode"].value == "2x2" else 1
        rows, columns = (n // factor for n in self._frames.shape)
        config["x_pixels_in_detector"].value, config["y_pixels_in_detector"].value = columns, rows
        names = ["x_pixels_in_detector", "y_pixels_in_detector"]
        for name, parameter in config.items():
            if name.endswith(("flatfield", "pixel_mask")):
                fill = 1 if name.endswith("flatfield") else 0
                parameter.value = np.full((rows, columns), fill, parameter.value.dtype)
                names.append(name)
        return names

    def _status(self, module: str) -> dict[str, Parameter]:
        match module:
            case "detector":
                return {
                    "error": Parameter([], "r"),
                    "high_voltage/state": Parameter("READY", "r"),
                    "humidity": Parameter(2.0, "r", "%"),
                    "state": Parameter(self._state, "r"),
                    "temperature": Parameter(22.0, "r", "degree C"),
                    "time": Parameter(rfc3339(), "r"),
                }
            case "stream":
                return {
                    "dropped": Parameter(0 if self._run is None else self._run.n_dropped, "r"),
                    "error": Parameter([], "r"),
                    "state": Parameter(self._stream_state(), "r"),
                }
            case "filewriter":
                enabled = self.value("mode", "filewriter") == "enabled"
                return {
                    "buffer_free": Parameter(10**9, "r"),
                    "error": Parameter([], "r"),
                    "files": Parameter([], "r"),
                    "state": Parameter("ready" if enabled else "disabled", "r"),
                }
            case "monitor":
                enabled = self.value("mode", "monitor") == "enabled"
                return {
                    "buffer_fill_level": Parameter([0, 100], "r"),
                    "buffer_free": Parameter(100, "r"),
                    "dropped": Parameter(0, "r"),
                    "error": Parameter([], "r"),
                    "state": Parameter("normal" if enabled else "disabled", "r"),
                }
        return {}

    def _stream_state(self) -> str:
        if self.value("mode", "stream") == "disabled":
            return "disabled"
        return "acquire" if self._state in ("ready", "acquire") else "ready"

    # ---- commands ---------------------------------------------------------------------------

    def command(self, module: str, name: str, value: Any = None) -> dict[str, int]:
        """Do what a command says; return what it answers.

        Raises
        ------
        UnknownNameError
            If there is no such command.
        RefusedCommandError
            If it doesn't fit the state.
        RefusedValueError
            If its value makes no sense.
        """
        if name not in _COMMANDS.get(module, []):
            raise UnknownNameError(f"{module} has no command {name!r}")
        self._report(f"{module}: {name}")
        if module == "system":
            self.restart()
        elif module == "stream":
            self._end_run()
            self._configs["stream"] = stream_config()
        elif module == "detector":
            return self._detector_command(name, value)
        return {}

    def _detector_command(self, name: str, value: Any) -> dict[str, int]:
        match name:
            case "initialize":
                self._end_run()
                with self._changed:
                    self._reset()
                    self._to("idle")
            case "arm":
                return {"sequence id": self.arm()}
            case "trigger":
                self.trigger(value)
            case "disarm" | "cancel" | "abort":
                number = self.series_number
                self._end_run(_DISARM_TIMEOUT_S if name == "disarm" else 0.0)
                return {"sequence id": number}
        return {}

    def arm(self) -> int:
        """Begin a series: its header is sent now.  Return its number."""
        with self._changed:
            if self._state != "idle":
                advice = "initialize first" if self._state == "na" else "disarm first"
                raise RefusedCommandError(f"can't arm in state {self._state}; {advice}")
            mode = self.value("trigger_mode")
            series = self.make_series()
            previous, self.series_number = self.series_number, series.number
            enabled = self.value("mode", "stream") == "enabled"
            rate = 1 / self.value("frame_time") if self._rate == "period" else self._rate
            run = SeriesRun(
                series,
                self._senders[series.version] if enabled else None,
                rate=rate if isinstance(rate, int | float) else None,
                faults=self.faults,
                previous=previous,
                on_change=self._to,
                on_over=self._over,
            )
            if enabled:
                self._senders[series.version].resume()
            self._run = run
            run.send_start()
            self._to("ready")
            run.start()
        kind = f"V{series.version}" if enabled else "stream disabled"
        self._report(f"series {series.number} armed: {series.n_images} images, {mode}, {kind}")
        if self._auto_trigger and mode in EXTERNAL:
            run.trigger(series.n_images)
        return series.number

    def trigger(self, count_time: Any = None) -> None:
        """Give a software trigger; return when its images are out."""
        with self._changed:
            run, mode = self._run, self.value("trigger_mode")
            if run is None or self._state not in ("ready", "acquire"):
                raise RefusedCommandError(f"can't trigger in state {self._state}; arm first")
            if mode not in ("ints", "inte"):
                raise RefusedCommandError(f"the trigger command is not for trigger mode {mode}")
            if count_time is not None and not (isinstance(count_time, int | float) and count_time > 0):
                raise RefusedValueError(f"trigger takes a positive count_time, not {count_time!r}")
        if mode == "inte" and count_time is not None and self._rate == "period":
            time.sleep(min(float(count_time), 3600.0))
        n_images = run.trigger()
        while not run.wait_until_done(n_images, 1.0):
            pass
        if n_images == run.series.n_images:
            run.join(_END_TIMEOUT_S)

    def trigger_external(self, n: int) -> bool:
        """Give `n` external triggers; false if the detector isn't armed for them."""
        with self._changed:
            run = self._run
            if run is None or self.value("trigger_mode") not in EXTERNAL:
                return False
        run.trigger(n)
        return True

    def trigger_all(self) -> None:
        """Give all triggers of the series, whatever its mode."""
        run = self._run
        if run is not None:
            run.trigger(run.series.n_images)

    def restart(self) -> None:
        """Restart the control unit: nothing is left but the power."""
        self._end_run()
        with self._changed:
            self._reset()
            self.series_number = 0
            self._to("na")

    def close(self) -> None:
        """End what is running."""
        if self._run is not None:
            self._run.give_up()
        self._end_run()

    def wait_for(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until a condition on this object's state holds."""
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    @property
    def run(self) -> SeriesRun | None:
        """The series that is running, or ran last."""
        return self._run

    # ---- inside -----------------------------------------------------------------------------

    def _reset(self) -> None:
        self._configs = {
            "detector": detector_config(self._model, self._frames.shape, self._frames.dtype),
            "stream": stream_config(),
            "filewriter": filewriter_config(),
            "monitor": monitor_config(),
        }
        compression = self._configs["detector"]["compression"]
        compression.allowed = list(self._frames.compressions)
        compression.value = self._frames.compressions[0]
        self._set("detector", self._initial)

    def _set(self, module: str, values: Mapping[str, Any]) -> None:
        for key, value in values.items():
            parameter = self._configs[module][key]
            parameter.value = value if isinstance(value, np.ndarray) else parameter.accept(key, value)
            if module == "detector":
                self._follow(key)

    def make_series(self) -> Series:
        """Return what would be armed now, images encoded.

        Raises
        ------
        RefusedCommandError
            If settings don't go together.
        """
        mode = self.value("trigger_mode")
        if mode in ("inte", "exte") and self.value("nimages") != 1:
            raise RefusedCommandError(f"nimages must be 1 in trigger mode {mode}")
        config = {name: parameter.value for name, parameter in self._configs["detector"].items()}
        stream = {name: parameter.value for name, parameter in self._configs["stream"].items()}
        version = 2 if stream["format"] == "cbor" else 1
        channels = self._channels() if version == 2 else ("threshold_1",)
        mask = config["pixel_mask"] != 0
        dtype = self._frames.dtype
        kind = ImageKind(
            config["compression"],
            version,
            channels,
            binned=config.get("binning_mode") == "2x2",
            mask=mask.tobytes() if config["pixel_mask_applied"] and mask.any() else None,
            no_data=0 if config["mask_to_zero"] else int(np.iinfo(dtype).max),
        )
        try:
            blobs = self._frames.blobs(kind)
        except ValueError as error:
            raise RefusedCommandError(str(error)) from error
        number = self.series_number + 1
        return Series(
            number,
            f"01SIMULATED{number:015d}",
            rfc3339(),
            version,
            config,
            channels,
            config["compression"],
            dtype,
            (config["y_pixels_in_detector"], config["x_pixels_in_detector"]),
            blobs,
            stream["header_detail"],
            stream["header_appendix"],
            stream["image_appendix"],
        )

    def _channels(self) -> tuple[str, ...]:
        config = self._configs["detector"]
        numbers = range(1, self._model.thresholds + 1)
        found = [f"threshold_{n}" for n in numbers if config[f"threshold/{n}/mode"].value == "enabled"]
        if "threshold/difference/mode" in config and config["threshold/difference/mode"].value == "enabled":
            found.append("difference")
        return tuple(found) or ("threshold_1",)

    def _end_run(self, timeout: float = 0.0) -> None:
        run = self._run
        if run is None:
            return
        if timeout:
            run.finish(timeout)
        run.end()
        run.join(_END_TIMEOUT_S)
        if run.failure is not None:
            raise RuntimeError(f"the series failed: {run.failure!r}") from run.failure

    def _to(self, state: str) -> None:
        with self._changed:
            self._state = state
            self._changed.notify_all()

    def _over(self, restarted: bool) -> None:
        """Take note, in the series' thread, that it is over."""
        run = self._run
        with self._changed:
            self.n_series += 1
            if restarted:
                self._reset()
                self.series_number = 0
            self._to("na" if restarted else "idle")
        if run is not None:
            dropped = f", {run.n_dropped} dropped" if run.n_dropped else ""
            self._report(f"series {run.series.number} over: {run.n_sent} images sent{dropped}")
