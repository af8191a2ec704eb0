"""What may stand in a header: the kinds of values, and how dataclass fields name theirs.

`wire` ties a field of a message class to its key and kind; `to_header` and `from_header` do the rest
for all message classes.  A field that has its default value is not sent.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .limits import ErrorCode, wire_error

_M = TypeVar("_M")
_REQUIRED: Any = dataclasses.MISSING


def wire(key: str, kind: str, default: Any = _REQUIRED) -> Any:
    """Declare a dataclass field that travels in the header."""
    metadata = {"key": key, "kind": kind}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def _integer(low: int, high: int) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not int or not low <= value < high:
            raise ValueError(f"not an integer of [{low}, {high})")
        return value

    return check


def _plain(cls: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not cls:
            raise ValueError(f"not a {cls.__name__}")
        return value

    return check


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError("not a finite number")
    return float(value)


def _all(kind: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def check(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise ValueError("not a list")
        return tuple(kind(item) for item in value)

    return check


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("not a map")
    return value


KINDS: dict[str, Callable[[Any], Any]] = {
    "u32": _integer(0, 1 << 32),
    "u64": _integer(0, 1 << 64),
    "i64": _integer(-(1 << 63), 1 << 63),
    "index": _integer(0, 1 << 62),
    "number": _number,
    "bool": _plain(bool),
    "str": _plain(str),
    "map": _mapping,
}
KINDS |= {f"[{name}]": _all(check) for name, check in KINDS.items()}


def _check(kind: str, value: Any) -> Any:
    if kind.startswith("?"):
        return None if value is None else KINDS[kind[1:]](value)
    return KINDS[kind](value)


def wire_fields(cls: type) -> tuple[dataclasses.Field[Any], ...]:
    """Return the fields of a message class that travel in the header."""
    return tuple(f for f in dataclasses.fields(cls) if "key" in f.metadata)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def to_header(message: Any) -> dict[str, Any]:
    """Return the header of a message, without its buffer table.

    Raises
    ------
    ProtocolError
        If a field has a value that its kind does not allow.
    """
    header = {}
    for field in wire_fields(type(message)):
        value = getattr(message, field.name)
        try:
            value = _check(field.metadata["kind"], value)
        except ValueError as error:
            raise _bad(type(message), field, value, error) from None
        if value != _default(field):
            header[field.metadata["key"]] = value
    return header


def from_header(cls: type[_M], header: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a message of class `cls`; keys that aren't known are ignored.

    Raises
    ------
    ProtocolError
        If a required key is missing or a value is not of its kind.
    """
    values = {}
    for field in wire_fields(cls):
        value = header.get(field.metadata["key"], _default(field))
        if value is dataclasses.MISSING:
            raise wire_error(
                ErrorCode.MALFORMED_HEADER, f"{cls.__name__} has no {field.metadata['key']!r} in its header."
            )
        try:
            values[field.name] = _check(field.metadata["kind"], value)
        except ValueError as error:
            raise _bad(cls, field, value, error) from None
    return values


def _bad(cls: type, field: dataclasses.Field[Any], value: Any, error: ValueError) -> Exception:
    where, shown = f"{cls.__name__}.{field.name}", repr(value)
    shown = shown if len(shown) <= 40 else shown[:37] + "..."
    key = field.metadata["key"]
    return wire_error(ErrorCode.MALFORMED_HEADER, f"{where} ({key}): {shown} is {error}.")
