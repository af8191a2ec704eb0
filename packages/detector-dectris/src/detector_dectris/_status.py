"""How a detector is doing: state, high voltage, temperature, humidity, stream."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ._simplon import Module, SimplonClient
from ._simplon_errors import SimplonUnknownKeyError


@dataclass(frozen=True, slots=True)
class DectrisStatus:
    """What a control unit tells; ``None`` where it tells nothing.

    Parameters
    ----------
    state
        ``"na"``, ``"initialize"``, ``"idle"``, ``"configure"``, ``"ready"`` (armed), ``"acquire"``,
        ``"error"`` or ``"test"``.
    errors
        The errors it reports.
    high_voltage
        ``"READY"``, ``"RAMPING"``, ``"OFF"`` or ``"NA"``.
    temperature_c
        In degrees Celsius.
    humidity_percent
        Relative humidity.
    stream_state
        ``"disabled"``, ``"ready"``, ``"acquire"`` or ``"error"``.
    n_dropped
        Images that the stream has lost since the detector was armed.
    """

    state: str
    errors: tuple[str, ...] = ()
    high_voltage: str | None = None
    temperature_c: float | None = None
    humidity_percent: float | None = None
    stream_state: str | None = None
    n_dropped: int | None = None

    @property
    def is_high_voltage_ready(self) -> bool:
        """Whether the sensor's bias is on; true also for detectors that tell nothing about it."""
        return self.high_voltage in (None, "", "READY")


def read_status(client: SimplonClient) -> DectrisStatus:
    """Ask for everything at once.  Raises as `SimplonClient.get_status`."""
    high_voltage = _first_known(client, "high_voltage/state")
    stream_state = _first_known(client, "state", module="stream")
    n_dropped = _first_known(client, "dropped", module="stream")
    return DectrisStatus(
        state=str(client.get_status("state")),
        errors=read_errors(client),
        high_voltage=None if high_voltage is None else str(high_voltage).upper(),
        # The second name of each is that of interface 1.6.
        temperature_c=_as_float(_first_known(client, "temperature", "board_000/th0_temp")),
        humidity_percent=_as_float(_first_known(client, "humidity", "board_000/th0_humidity")),
        stream_state=None if stream_state is None else str(stream_state),
        n_dropped=n_dropped if isinstance(n_dropped, int) else None,
    )


def read_errors(client: SimplonClient) -> tuple[str, ...]:
    """Return the errors that the detector reports.  Raises as `SimplonClient.get_status`."""
    errors = _first_known(client, "error")
    if isinstance(errors, list):
        return tuple(str(error) for error in errors)
    return (str(errors),) if errors else ()


def _first_known(client: SimplonClient, *keys: str, module: Module = "detector") -> Any:
    for key in keys:
        with suppress(SimplonUnknownKeyError):
            return client.get_status(key, module)
    return None


def _as_float(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
