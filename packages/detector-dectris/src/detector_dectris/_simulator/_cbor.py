"""As much CBOR (RFC 8949) as the header and end messages of stream V2 take; images are composed natively."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# Numbers, texts, bytes, `None`, tags, and sequences and mappings of these.
Item = Any

_MULTI_DIM_ARRAY = 40
_TYPED_ARRAYS = {"uint8": 64, "uint16": 69, "uint32": 70, "float32": 85}
_SELF_DESCRIBED = 55799
_DATE = 0


@dataclass(frozen=True, slots=True)
class Tag:
    """An item with a tag."""

    number: int
    item: Item


def dumps(item: Item) -> bytes:
    """Encode one item."""
    match item:
        case None:
            return b"\xf6"
        case bool():
            return b"\xf5" if item else b"\xf4"
        case int():
            return _head(0, item) if item >= 0 else _head(1, -1 - item)
        case float():
            return b"\xfb" + struct.pack(">d", item)
        case str():
            text = item.encode()
            return _head(3, len(text)) + text
        case bytes():
            return _head(2, len(item)) + item
        case Tag():
            return _head(6, item.number) + dumps(item.item)
        case Mapping():
            pairs = (dumps(key) + dumps(value) for key, value in item.items())
            return _head(5, len(item)) + b"".join(pairs)
        case Sequence():
            return _head(4, len(item)) + b"".join(dumps(one) for one in item)
    raise TypeError(f"{item!r} has no place in CBOR")


def message(item: Item) -> bytes:
    """Encode an item as a message of its own."""
    return dumps(Tag(_SELF_DESCRIBED, item))


def array(values: npt.NDArray[np.generic]) -> Tag:
    """Return a multi-dimensional typed array (RFC 8746), row-major, little endian."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return Tag(
        _MULTI_DIM_ARRAY, [list(values.shape), Tag(_TYPED_ARRAYS[values.dtype.name], little.tobytes())]
    )


def date(text: str) -> Tag:
    """Return a date and time, RFC 3339."""
    return Tag(_DATE, text)


def _head(kind: int, number: int) -> bytes:
    kind <<= 5
    if number < 24:
        return bytes([kind | number])
    for extra, code in ((24, "B"), (25, "H"), (26, "I")):
        if number < 1 << 8 * struct.calcsize(code):
            return bytes([kind | extra]) + struct.pack(">" + code, number)
    return bytes([kind | 27]) + struct.pack(">Q", number)
