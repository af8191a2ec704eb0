"""Headers: one MessagePack map, strictly.

Sent with sorted keys, so that equal messages have equal bytes.  Received with every bound checked: a
map with unique text keys, plain values only, nothing behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack

from .limits import ErrorCode, Limits, wire_error


def pack_header(header: Mapping[str, Any]) -> bytes:
    """Return the canonical bytes of a header.

    Raises
    ------
    ProtocolError
        If it holds anything but text, numbers, booleans, ``None``, lists and maps with text keys.
    """
    try:
        packed = msgpack.packb(_sorted(header), use_bin_type=True, strict_types=True)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _malformed(f"can't be sent: {error}") from error
    assert isinstance(packed, bytes)
    return packed


def unpack_header(data: bytes | memoryview, limits: Limits) -> dict[str, Any]:
    """Return the map in a header.

    Raises
    ------
    ProtocolError, LimitError
        If it is anything but what `pack_header` may produce within `limits`.
    """
    try:
        header = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=_unique,
            ext_hook=_no_extension,
            max_str_len=limits.string_bytes,
            max_bin_len=0,
            max_ext_len=0,
            max_array_len=limits.list_items,
            max_map_len=limits.map_keys,
        )
    except ValueError as error:
        text = str(error)
        exceeded = "exceeds max" in text and "max_ext" not in text and "max_bin" not in text
        raise wire_error(
            ErrorCode.LIMIT_EXCEEDED if exceeded else ErrorCode.MALFORMED_HEADER,
            f"The header is not allowed MessagePack: {type(error).__name__}: {error}",
        ) from error
    if not isinstance(header, dict):
        raise _malformed(f"is a {type(header).__name__}, not a map")
    _check_values(header, limits.header_depth)
    return header


def _malformed(what: str) -> Exception:
    return wire_error(ErrorCode.MALFORMED_HEADER, f"The header {what}.")


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        for key in value:
            if type(key) is not str:
                raise TypeError(f"key {key!r} is not text")
        return {key: _sorted(value[key]) for key in sorted(value, key=str.encode)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("bytes have no place in a header")
    return value


def _unique(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _no_extension(code: int, data: bytes) -> Any:
    raise ValueError("extension types are not allowed")


def _check_values(value: Any, depth_left: int) -> None:
    if isinstance(value, dict | list):
        if depth_left == 0:
            raise wire_error(ErrorCode.LIMIT_EXCEEDED, "The header is nested deeper than header_depth.")
        if isinstance(value, dict):
            if not all(type(key) is str for key in value):
                raise _malformed("has a key that is not text")
            value = list(value.values())
        for item in value:
            _check_values(item, depth_left - 1)
    elif value is not None and type(value) not in (str, int, float, bool):
        raise _malformed(f"holds a {type(value).__name__}")
