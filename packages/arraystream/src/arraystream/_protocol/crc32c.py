"""CRC-32C (Castagnoli), the checksum of headers and, if asked for, of payloads.

Headers are small: slicing by eight in plain Python does.  Payloads are not: they are summed only if
``google-crc32c`` or ``crc32c`` is installed.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Callable
from typing import Any

_POLYNOMIAL = 0x82F63B78


def _tables() -> tuple[tuple[int, ...], ...]:
    first = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
        first.append(crc)
    tables = [tuple(first)]
    for _ in range(7):
        tables.append(tuple((crc >> 8) ^ first[crc & 255] for crc in tables[-1]))
    return tuple(tables)


_TABLES = _tables()


def crc32c_plain(data: bytes | bytearray | memoryview, crc: int = 0) -> int:
    """Return the checksum of `data`, continued from `crc`; about 10 MB/s."""
    t0, t1, t2, t3, t4, t5, t6, t7 = _TABLES
    crc ^= 0xFFFFFFFF
    n_whole = len(data) & ~7
    for low, high in struct.iter_unpack("<II", data[:n_whole]):
        low ^= crc
        crc = (
            t7[low & 255]
            ^ t6[low >> 8 & 255]
            ^ t5[low >> 16 & 255]
            ^ t4[low >> 24]
            ^ t3[high & 255]
            ^ t2[high >> 8 & 255]
            ^ t1[high >> 16 & 255]
            ^ t0[high >> 24]
        )
    for byte in bytes(data[n_whole:]):
        crc = (crc >> 8) ^ t0[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def _fast() -> Callable[[Any], int] | None:
    for name in ("crc32c", "google_crc32c"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        if name == "crc32c":
            return lambda data: int(module.crc32c(data))
        if module.implementation == "c":
            return lambda data: int(module.value(bytes(data)))
    return None


crc32c_fast = _fast()
"""Checksum of a large buffer, ``None`` if no C implementation is installed."""
