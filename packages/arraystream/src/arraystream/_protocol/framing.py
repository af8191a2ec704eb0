"""The 32 bytes in front of every message."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .crc32c import crc32c_plain
from .limits import ErrorCode, Limits, wire_error
from .messages import Begin, Describe

MAGIC = b"\x89AS\n"
VERSION = 1
PREFIX = struct.Struct("<4sBBHIIQQ")
ALIGNMENT = 64
PADDING = bytes(ALIGNMENT)

CRITICAL, REPLAYED, LOSSY, HAS_PAYLOAD_SUMS = 1, 2, 4, 8
FLAGS = {"CRITICAL": CRITICAL, "REPLAYED": REPLAYED, "LOSSY": LOSSY, "HAS_PAYLOAD_SUMS": HAS_PAYLOAD_SUMS}
_ALL_FLAGS = CRITICAL | REPLAYED | LOSSY | HAS_PAYLOAD_SUMS

_LARGE_HEADERS = frozenset({Begin.TYPE, Describe.TYPE})


@dataclass(frozen=True, slots=True)
class Prefix:
    """What the prefix says."""

    type: int
    flags: int
    header_bytes: int
    crc: int
    payload_bytes: int
    seq: int

    @property
    def padded_header_bytes(self) -> int:
        """Header with the zeros behind it: the payload starts at a multiple of 64."""
        return self.header_bytes + -(PREFIX.size + self.header_bytes) % ALIGNMENT


def padding(n_bytes: int) -> int:
    """Return how many zeros follow `n_bytes` bytes of a buffer."""
    return -n_bytes % ALIGNMENT


def pack_prefix(type_: int, flags: int, header: bytes, payload_bytes: int, seq: int) -> tuple[bytes, int]:
    """Return the prefix of a message and the checksum in it."""
    blank = PREFIX.pack(MAGIC, VERSION, type_, flags, len(header), 0, payload_bytes, seq)
    crc = header_crc(blank, header)
    return PREFIX.pack(MAGIC, VERSION, type_, flags, len(header), crc, payload_bytes, seq), crc


def header_crc(prefix: bytes | memoryview, header: bytes | memoryview) -> int:
    """Checksum of prefix and header, without the checksum's own place."""
    return crc32c_plain(header, crc32c_plain(bytes(prefix[:12]) + bytes(prefix[16:32])))


def unpack_prefix(data: bytes | memoryview, limits: Limits) -> Prefix:
    """Parse a prefix; lengths are within limits then, but not yet proved by the checksum."""
    magic, version, type_, flags, header_bytes, crc, payload_bytes, seq = PREFIX.unpack(data)
    if magic != MAGIC:
        raise wire_error(
            ErrorCode.BAD_MAGIC,
            f"A message starts with {magic.hex()}, not with {MAGIC.hex()}: this is no arraystream, or "
            "bytes were lost or changed on the way.",
        )
    if version != VERSION:
        raise wire_error(
            ErrorCode.UNSUPPORTED_VERSION,
            f"Framing version is {version}, known is {VERSION}; update the older side.",
            seq=seq,
        )
    if flags & ~_ALL_FLAGS or type_ == 0:
        raise wire_error(
            ErrorCode.MALFORMED_HEADER, f"Message type {type_} with flags {flags:#06x} is reserved.", seq=seq
        )
    most = limits.large_header_bytes if type_ in _LARGE_HEADERS else limits.header_bytes
    _check_limit("header_bytes", header_bytes, most, seq)
    _check_limit("payload_bytes", payload_bytes, limits.payload_bytes, seq)
    if payload_bytes % ALIGNMENT:
        raise wire_error(
            ErrorCode.SIZE_MISMATCH, f"The payload of {payload_bytes} bytes is no multiple of 64.", seq=seq
        )
    return Prefix(type_, flags, header_bytes, crc, payload_bytes, seq)


def _check_limit(name: str, value: int, most: int, seq: int) -> None:
    if value > most:
        raise wire_error(
            ErrorCode.LIMIT_EXCEEDED,
            f"Limit {name}: message {seq} has {value}, at most {most} are allowed.",
            seq=seq,
        )
