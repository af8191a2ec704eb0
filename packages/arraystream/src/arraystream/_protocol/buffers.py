"""Buffers of a message: their table in the header, and where they lie in the payload.

Each buffer starts at a multiple of 64 bytes; with their padding they fill the payload exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .crc32c import crc32c_fast
from .framing import PADDING, padding
from .limits import ErrorCode, Limits, wire_error
from .messages import Encoded

TABLE_KEY = "b"
DTYPES = (
    *("|b1", "|u1", "|i1"),
    *("<u2", "<u4", "<u8", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8", "<c8", "<c16"),
    *(">u2", ">u4", ">u8", ">i2", ">i4", ">i8", ">f4", ">f8"),
)
"""Element types that may be sent."""

Buffers = Mapping[str, npt.NDArray[Any] | Encoded]


@dataclass(frozen=True, slots=True)
class BufferEntry:
    """One row of the buffer table."""

    role: str
    dtype: str
    decoded_bytes: int
    encoded_bytes: int
    codec: int | None
    crc: int | None


def pack_buffers(buffers: Buffers, *, sums: bool) -> tuple[list[list[Any]], list[memoryview]]:
    """Return the table, and the buffers with their padding, in the same order."""
    table: list[list[Any]] = []
    parts: list[memoryview] = []
    for role, buffer in buffers.items():
        encoded = isinstance(buffer, Encoded)
        data = np.ascontiguousarray(buffer.data if isinstance(buffer, Encoded) else buffer)
        dtype = wire_dtype(buffer.dtype)
        view = data.reshape(-1).view(np.uint8).data if data.size else memoryview(b"")
        decoded = buffer.decoded_bytes if isinstance(buffer, Encoded) else view.nbytes
        codec = buffer.codec if isinstance(buffer, Encoded) else None
        if encoded and data.dtype != np.uint8:
            raise wire_error(ErrorCode.SIZE_MISMATCH, f"Encoded buffer {role!r} is {data.dtype}, not uint8.")
        crc = crc32c_fast(view) if sums and crc32c_fast is not None else None
        table.append([role, dtype, decoded, view.nbytes, codec, crc])
        if view.nbytes:
            parts.append(view)
        if padding(view.nbytes):
            parts.append(memoryview(PADDING)[: padding(view.nbytes)])
    return table, parts


def payload_size(buffers: Buffers) -> int:
    """Return the size of the payload that these buffers make."""
    sizes = (b.data.nbytes if isinstance(b, Encoded) else b.nbytes for b in buffers.values())
    return sum(size + padding(size) for size in sizes)


def wire_dtype(dtype: np.dtype[Any]) -> str:
    """Return how a type is written, e.g. ``"<u2"``; an error if it can't be sent."""
    if dtype.str not in DTYPES:
        raise wire_error(
            ErrorCode.SIZE_MISMATCH, f"Elements of type {dtype} can't be sent; use one of {DTYPES}."
        )
    return dtype.str


def parse_table(
    header: Mapping[str, Any], payload_bytes: int, limits: Limits, *, sums: bool
) -> list[BufferEntry]:
    """Check the buffer table against the payload's size and the limits, before anything is allocated."""
    table = header.get(TABLE_KEY, [])
    if not isinstance(table, list):
        raise wire_error(ErrorCode.MALFORMED_HEADER, "The buffer table is not a list.")
    if len(table) > limits.buffers:
        raise wire_error(ErrorCode.LIMIT_EXCEEDED, f"Limit buffers: {len(table)}, at most {limits.buffers}.")
    entries = [_parse_entry(row, sums=sums) for row in table]
    if len({entry.role for entry in entries}) != len(entries):
        raise wire_error(ErrorCode.MALFORMED_HEADER, "Two buffers have the same role.")
    total = sum(entry.encoded_bytes + padding(entry.encoded_bytes) for entry in entries)
    if total != payload_bytes:
        raise wire_error(
            ErrorCode.SIZE_MISMATCH,
            f"The buffers with their padding have {total} bytes, the payload has {payload_bytes}.",
        )
    decoded = sum(entry.decoded_bytes for entry in entries)
    if decoded > limits.decoded_bytes:
        raise wire_error(
            ErrorCode.LIMIT_EXCEEDED, f"Limit decoded_bytes: {decoded}, at most {limits.decoded_bytes}."
        )
    return entries


def _parse_entry(row: Any, *, sums: bool) -> BufferEntry:
    if not isinstance(row, list) or len(row) != 6:
        raise wire_error(ErrorCode.MALFORMED_HEADER, "A row of the buffer table has not six columns.")
    role, dtype, decoded, encoded, codec, crc = row
    numbers = (decoded, encoded, 0 if codec is None else codec, 0 if crc is None else crc)
    if type(role) is not str or dtype not in DTYPES or any(type(v) is not int or v < 0 for v in numbers):
        raise wire_error(
            ErrorCode.MALFORMED_HEADER, f"The buffer table has {str(row)[:80]}: wrong role, type or number."
        )
    if codec is None and decoded != encoded:
        raise wire_error(
            ErrorCode.SIZE_MISMATCH, f"Buffer {role!r} without codec has {encoded} bytes for {decoded}."
        )
    if decoded % np.dtype(dtype).itemsize:
        raise wire_error(
            ErrorCode.SIZE_MISMATCH, f"Buffer {role!r}: {decoded} bytes are no whole number of {dtype}."
        )
    if sums and crc is None:
        raise wire_error(
            ErrorCode.MALFORMED_HEADER, f"Buffer {role!r} has no checksum, the flags promise one."
        )
    return BufferEntry(role, dtype, decoded, encoded, codec, crc)


def cut_payload(
    payload: npt.NDArray[np.uint8], entries: list[BufferEntry], *, sum_of: Callable[[Any], int] | None
) -> Buffers:
    """Return read-only views of the buffers; checks padding, and checksums if it is told how."""
    buffers: dict[str, npt.NDArray[Any] | Encoded] = {}
    start = 0
    for entry in entries:
        stop = start + entry.encoded_bytes
        following = stop + padding(entry.encoded_bytes)
        data, zeros = payload[start:stop], payload[stop:following]
        if zeros.any():
            raise wire_error(
                ErrorCode.SIZE_MISMATCH, f"The padding behind buffer {entry.role!r} is not zero."
            )
        if sum_of is not None and entry.crc is not None and sum_of(data.data) != entry.crc:
            raise wire_error(
                ErrorCode.PAYLOAD_CHECKSUM,
                f"Buffer {entry.role!r} does not match its checksum; ask for it again.",
            )
        dtype = np.dtype(entry.dtype)
        data.flags.writeable = False
        if entry.codec is None:
            buffers[entry.role] = data.view(dtype)
        else:
            buffers[entry.role] = Encoded(data, dtype, entry.decoded_bytes, entry.codec)
        start = following
    return buffers
