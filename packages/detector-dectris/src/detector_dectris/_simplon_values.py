"""Values of the SIMPLON interface: parameters with their metadata, and arrays; pure functions of JSON.

Arrays are ``{"__darray__": [1, 0, 0], "type": "<u4", "shape": [width, height], "filters": ["base64"],
"data": …}``; older units send nested lists of rows.  Source: SIMPLON API reference 1.8, version 3.2.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arraystream import LimitError, ProtocolError

#: The largest array that is read: sixteen megapixels of eight bytes, and half as much again.
MAX_ARRAY_BYTES = 192 << 20
_DTYPES = {
    order + kind for order in "<>|=" for kind in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8")
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of configuration or status, as the unit describes it.

    Parameters
    ----------
    value
        Number, text, truth value, or list of these.
    value_type
        The unit's name of the type, e.g. ``"float"``; empty if it tells none.
    unit
        E.g. ``"s"``; empty if it tells none.
    minimum, maximum
        Inclusive range of a number, ``None`` if the unit tells none.
    allowed_values
        All that is allowed, if these are few; empty otherwise.
    access_mode
        ``"r"``, ``"rw"`` or ``"w"``; empty if the unit does not tell.
    condition
        Only of a status: ``"normal"``, ``"invalid"``, ``"critical"`` or ``"disabled"``.
    """

    value: Any
    value_type: str = ""
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    allowed_values: tuple[Any, ...] = ()
    access_mode: str = ""
    condition: str = ""

    @classmethod
    def parse(cls, reply: object) -> Parameter:
        """Read a reply; what is unknown is ignored, wrong kinds of metadata count as absent.

        Raises
        ------
        ProtocolError
            If it is an object without a value.
        """
        if not isinstance(reply, Mapping) or "__darray__" in reply:
            return cls(reply)
        if "value" not in reply:
            raise ProtocolError(f"reply {_shown(reply)} of a DECTRIS control unit has no value")
        allowed = reply.get("allowed_values")
        return cls(
            value=reply["value"],
            value_type=_text(reply.get("value_type")),
            unit=_text(reply.get("unit")),
            minimum=_number(reply.get("min")),
            maximum=_number(reply.get("max")),
            allowed_values=tuple(allowed) if isinstance(allowed, list) else (),
            access_mode=_text(reply.get("access_mode")),
            condition=_text(reply.get("state")),
        )

    def describe_range(self) -> str:
        """Say in words which values are allowed; empty if the unit does not tell."""
        if self.access_mode == "r":
            return "it is read-only"
        if self.allowed_values:
            return "allowed: " + ", ".join(str(value) for value in self.allowed_values)
        if self.minimum is None and self.maximum is None:
            return ""
        low = "…" if self.minimum is None else f"{self.minimum:g}"
        high = "…" if self.maximum is None else f"{self.maximum:g}"
        return f"allowed: {low} to {high} {self.unit}".rstrip()


def decode_array(value: object) -> NDArray[Any] | None:
    """Return an array sent as ``__darray__`` or as a list of rows.

    Returns
    -------
    array or None
        In native byte order, shape (rows, columns), writable; ``None`` if the unit sends an empty one.

    Raises
    ------
    ProtocolError
        If the description is wrong or does not fit the data.
    LimitError
        If the array is larger than `MAX_ARRAY_BYTES`.
    """
    if isinstance(value, Mapping):
        return _decode_darray(value)
    if not isinstance(value, list):
        raise ProtocolError(f"{_shown(value)} is not an array as a DECTRIS control unit sends them")
    try:
        array = np.asarray(value)
    except ValueError:
        raise ProtocolError(f"the rows of array {_shown(value)} differ in length") from None
    if array.size == 0:
        return None
    if array.dtype.kind not in "uif" or array.ndim > 2:
        raise ProtocolError(f"array {_shown(value)} holds something else than rows of numbers")
    return array


def encode_array(array: NDArray[Any]) -> dict[str, Any]:
    """Describe an array of shape (rows, columns) as ``__darray__``.

    Examples
    --------
    >>> encode_array(np.array([[1, 2, 3]], "u1"))["shape"]
    [3, 1]
    """
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {
        "__darray__": [1, 0, 0],
        "type": f"<{array.dtype.kind}{array.dtype.itemsize}",
        "shape": list(array.shape[::-1]),
        "filters": ["base64"],
        "data": base64.b64encode(little.tobytes()).decode("ascii"),
    }


def _decode_darray(value: Mapping[str, Any]) -> NDArray[Any] | None:
    if "__darray__" not in value:
        raise ProtocolError(f"{_shown(value)} is not an array: it lacks __darray__")
    version, kind, filters, data = (value.get(key) for key in ("__darray__", "type", "filters", "data"))
    if not isinstance(version, list) or version[:1] != [1]:
        raise ProtocolError(f"array format __darray__={_shown(version)} is unknown; known is [1, 0, 0]")
    if not isinstance(kind, str) or kind not in _DTYPES:
        raise ProtocolError(f"array type {_shown(kind)} is not a plain number type such as '<u4'")
    if filters != ["base64"]:
        raise ProtocolError(f"array filters {_shown(filters)} are unknown; known is ['base64']")
    shape = _checked_shape(value.get("shape"))
    dtype = np.dtype(kind)
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes > MAX_ARRAY_BYTES:
        raise LimitError(f"an array of {n_bytes} bytes is too large, at most {MAX_ARRAY_BYTES} are read")
    if not isinstance(data, str) or len(data) > 2 * n_bytes + 1024:
        raise ProtocolError(f"the data of an array of {n_bytes} bytes are missing or too long")
    try:
        # Line breaks are allowed in base64; anything else that is foreign is an error.
        raw = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProtocolError(f"the data of an array of type {kind} are not base64: {error}") from None
    if len(raw) != n_bytes:
        raise ProtocolError(
            f"an array of shape {shape} and type {kind} needs {n_bytes} bytes, got {len(raw)}"
        )
    if n_bytes == 0:
        return None
    array: NDArray[Any] = np.frombuffer(raw, dtype).reshape(shape[::-1]).astype(dtype.newbyteorder("="))
    return array


def _checked_shape(shape: object) -> tuple[int, ...]:
    if not isinstance(shape, Sequence) or isinstance(shape, str) or not 1 <= len(shape) <= 3:
        raise ProtocolError(f"array shape {_shown(shape)} is not [width, height]")
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= 1 << 20 for n in shape):
        raise ProtocolError(f"array shape {_shown(shape)} is not made of lengths")
    return tuple(shape)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _shown(value: object) -> str:
    """Write a value from the wire for a message, no longer than a line."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "…"
