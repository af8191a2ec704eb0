"""Bounds on what a peer may send, and the numbers of what goes wrong.

PROTOCOL.md prints both tables; a test compares them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from arraystream._errors import (
    AuthError,
    ChecksumError,
    CodecError,
    LimitError,
    ProtocolError,
    Stalled,
    StreamError,
)


class ErrorCode(enum.IntEnum):
    """Numbers of the protocol's errors, stable for ever."""

    BAD_MAGIC = 1
    UNSUPPORTED_VERSION = 2
    HEADER_CHECKSUM = 3
    PAYLOAD_CHECKSUM = 4
    MALFORMED_HEADER = 5
    LIMIT_EXCEEDED = 6
    UNKNOWN_CRITICAL = 7
    UNKNOWN_CHANNEL = 8
    SIZE_MISMATCH = 9
    BAD_SPARSE_STRUCTURE = 10
    CODEC = 11
    SEQUENCE = 12
    STATE = 13
    UNAUTHORISED = 14
    CREDIT_VIOLATION = 15
    TIMEOUT = 16
    INTERNAL = 17


_CLASSES: dict[int, type[StreamError]] = {
    ErrorCode.HEADER_CHECKSUM: ChecksumError,
    ErrorCode.PAYLOAD_CHECKSUM: ChecksumError,
    ErrorCode.LIMIT_EXCEEDED: LimitError,
    ErrorCode.CODEC: CodecError,
    ErrorCode.UNAUTHORISED: AuthError,
    ErrorCode.TIMEOUT: Stalled,
    ErrorCode.INTERNAL: StreamError,
}


def wire_error(code: int, message: str, *, seq: int | None = None, channel: int | None = None) -> StreamError:
    """Return the exception that belongs to an error number."""
    return _CLASSES.get(code, ProtocolError)(message, code=int(code), seq=seq, channel=channel)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a receiver accepts; checked before anything is allocated.

    Parameters
    ----------
    header_bytes, large_header_bytes
        Header of most messages; of BEGIN and DESCRIBE.
    header_depth, map_keys, list_items, string_bytes
        Of the MessagePack in a header.
    payload_bytes
        All buffers of one message with their padding.
    decoded_bytes
        All buffers of one message when decoded.
    buffers
        Buffers of one message.
    dimensions, extent
        Axes of an item or index space, and the length of one.
    channels
        Channels described at a time.
    sections
        Depth of nested sections.
    unwelcome_bytes
        Everything a peer may send before the WELCOME.
    """

    header_bytes: int = 64 << 10
    large_header_bytes: int = 1 << 20
    header_depth: int = 16
    map_keys: int = 1024
    list_items: int = 64 << 10
    string_bytes: int = 64 << 10
    payload_bytes: int = 256 << 20
    decoded_bytes: int = 1 << 30
    buffers: int = 64
    dimensions: int = 16
    extent: int = 1 << 32
    channels: int = 1024
    sections: int = 8
    unwelcome_bytes: int = 4096

    def __post_init__(self) -> None:
        if self.payload_bytes > HARD_PAYLOAD_BYTES:
            raise LimitError(
                f"Limit payload_bytes is {self.payload_bytes}; at most {HARD_PAYLOAD_BYTES} are possible."
            )

    def narrowed(self, peer: Mapping[str, Any]) -> Limits:
        """Return the smaller of these limits and a peer's; names not known here don't matter."""
        mine = asdict(self)
        for limit in fields(self):
            theirs = peer.get(limit.name, mine[limit.name])
            if not isinstance(theirs, int) or isinstance(theirs, bool) or theirs < 0:
                raise wire_error(
                    ErrorCode.MALFORMED_HEADER, f"The peer's limit {limit.name} is {theirs!r}, not a number."
                )
            mine[limit.name] = min(mine[limit.name], theirs)
        return Limits(**mine)


HARD_PAYLOAD_BYTES = 4 << 30
HELLO_TIMEOUT_S = 5.0
