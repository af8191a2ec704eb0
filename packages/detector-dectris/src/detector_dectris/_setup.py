"""The settings of a series: given once, set and compared whenever the detector is armed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np

from arraystream import StreamError

from ._settings import (
    ENABLE_MODES,
    SeriesPlan,
    as_trigger_mode,
    check_settings,
    in_order,
    longest_series,
    matches,
    plan_series,
)
from ._simplon import Module, SimplonClient
from ._simplon_errors import SimplonSettingError, SimplonUnknownKeyError

# Names that older interfaces have for the same thing.
_OLDER_NAMES = {"incident_energy": "photon_energy", "threshold/1/energy": "threshold_energy"}
_MODULES: tuple[Module, ...] = ("stream", "filewriter", "monitor", "detector")


class Assignment(NamedTuple):
    """A parameter that was set, by the name that the unit has for it."""

    module: Module
    key: str
    value: Any


class DetectorSetup:
    """What is to be set before a series.

    Parameters
    ----------
    detector, stream, filewriter
        Values by parameter; ``None`` leaves a parameter as it is.
    extra
        Further parameters, of the detector or as ``"<module>/config/<parameter>"``; arrays of shape
        (rows, columns) where the parameter is one.

    Raises
    ------
    ValueError
        If settings contradict each other.
    """

    def __init__(
        self,
        *,
        detector: Mapping[str, Any],
        stream: Mapping[str, Any],
        filewriter: Mapping[str, Any],
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        given: dict[Module, dict[str, Any]] = {
            "stream": dict(stream),
            "filewriter": dict(filewriter),
            "monitor": {},
            "detector": dict(detector),
        }
        for name, value in (extra or {}).items():
            module, key = _split(name)
            given[module][key] = value
        present = {
            module: {key: value for key, value in settings.items() if value is not None}
            for module, settings in given.items()
        }
        check_settings(present["detector"])
        self.nimages: int | None = present["detector"].pop("nimages", None)
        self.ntrigger: int | None = present["detector"].pop("ntrigger", None)
        self.detector = in_order(present["detector"])
        self._others = {module: present[module] for module in _MODULES if module != "detector"}
        self._check_channels()

    @property
    def trigger_mode(self) -> str | None:
        """The trigger mode, ``None`` if it stays as it is."""
        return self.detector.get("trigger_mode")

    def plan(self, n_items: int) -> SeriesPlan | None:
        """Return what these images take, ``None`` if only the detector can tell.  Raises `ValueError`."""
        if self.trigger_mode is None:
            return None
        return plan_series(self.trigger_mode, n_items, self.nimages, self.ntrigger)

    def apply(
        self, client: SimplonClient, n_items: int | None, check: Callable[[], None]
    ) -> tuple[SeriesPlan, list[Assignment]]:
        """Set everything in order: the stream before the detector, images and triggers last.

        Parameters
        ----------
        n_items
            Images of the series; ``None`` for as many as the detector takes.
        check
            Called before each parameter; may raise.

        Raises
        ------
        SimplonError, ValueError, StreamError
            As `SimplonClient.set_config` and `plan_series`.
        """
        done = []

        def assign(module: Module, key: str, value: Any) -> None:
            check()
            done.append(_set(client, module, key, value))

        for module, settings in self._others.items():
            for key, value in settings.items():
                assign(module, key, value)
        if self._has_channels() and "format" not in self._others["stream"]:
            assign("stream", "format", "cbor")  # the other one sends the first threshold only
        for key, value in self.detector.items():
            assign("detector", key, value)
        plan = self._plan_with(client, n_items)
        assign("detector", "nimages", plan.nimages)
        assign("detector", "ntrigger", plan.ntrigger)
        return plan, done

    def _plan_with(self, client: SimplonClient, n_items: int | None) -> SeriesPlan:
        mode = self.trigger_mode or as_trigger_mode(client.get_config("trigger_mode"))
        if n_items is not None:
            return plan_series(mode, n_items, self.nimages, self.ntrigger)
        counts_triggers = mode in ENABLE_MODES or self.nimages is not None
        limit = client.describe_config("ntrigger" if counts_triggers else "nimages").maximum
        n_most = longest_series(float(client.get_config("frame_time")))
        n_most = n_most if limit is None else min(n_most, int(limit))
        if not counts_triggers:
            return SeriesPlan(max(1, n_most // (self.ntrigger or 1)), self.ntrigger or 1)
        n_each = self.nimages or 1
        return SeriesPlan(n_each, self.ntrigger or max(1, n_most // n_each))

    def _has_channels(self) -> bool:
        """Tell whether more than the first threshold is to be sent."""
        modes = ("threshold/2/mode", "threshold/difference/mode")
        return any(self.detector.get(key) == "enabled" for key in modes)

    def _check_channels(self) -> None:
        if self._has_channels() and self._others["stream"].get("format") == "legacy":
            raise ValueError("stream_format='legacy' sends the first threshold only; use 'cbor' for several")


def compare(client: SimplonClient, done: Sequence[Assignment], check: Callable[[], None]) -> None:
    """Read back what was set.

    Raises
    ------
    SimplonSettingError
        If a parameter has another value than was set, beyond the detector's own rounding.
    """
    for module, key, wanted in done:
        check()
        if isinstance(wanted, np.ndarray):
            found = client.get_array(key, module)
            same = found is not None and np.array_equal(wanted, found)
        else:
            found = client.get_config(key, module)
            same = matches(key, wanted, found)
        if not same:
            raise SimplonSettingError(
                f"{module} parameter {key} was set to {wanted!r} but reads back {found!r}: the detector "
                "can't do this value, another setting has changed it, or another client does",
                url=client.url(module, "config", key),
                parameter=key,
                value=wanted,
            )


def _set(client: SimplonClient, module: Module, key: str, value: Any) -> Assignment:
    try:
        if isinstance(value, np.ndarray):
            client.set_array(key, value, module)
        else:
            client.set_config(key, value, module)
        return Assignment(module, key, value)
    except SimplonUnknownKeyError as error:
        older = _OLDER_NAMES.get(key)
        if module == "detector" and older is not None:
            client.set_config(older, value)
            return Assignment(module, older, value)
        if (module, key, value) == ("stream", "format", "legacy"):
            return Assignment("stream", "mode", "enabled")  # this unit has no other format
        raise _with_similar_names(client, error, module, key) from error


def _with_similar_names(
    client: SimplonClient, error: SimplonUnknownKeyError, module: Module, key: str
) -> SimplonUnknownKeyError:
    names: list[str] = []
    with suppress(StreamError):
        names = get_close_matches(key, client.keys("config", module), 3, 0.6)
    if not names:
        return error
    return SimplonUnknownKeyError(
        f"{error}. Is one of these meant: {', '.join(names)}?",
        url=error.url,
        parameter=key,
        value=error.value,
        http_status=error.http_status,
        reply=error.reply,
    )


def _split(name: str) -> tuple[Module, str]:
    """Return module and parameter of a further parameter's name."""
    owner, slash, key = name.partition("/config/")
    if not slash:
        return "detector", name
    for module in _MODULES:
        if owner == module and key:
            return module, key
    raise ValueError(f"extra parameter {name!r}: {owner!r} is none of {', '.join(_MODULES)}")
