"""A second, independent decoder of the framing: plain Python, slow and obvious, nothing of arraystream.

Written from PROTOCOL.md alone.  It knows framing and headers, not the meaning of messages.
"""

# ruff: noqa: N818

import struct


class Refused(Exception):
    """The bytes are not what the framing allows; ``args[0]`` is the number of the error."""


class Cut(Exception):
    """The bytes stop within a message."""


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def unpack(data, at):
    """One MessagePack value; returns it and where the next one starts."""
    if at >= len(data):
        raise Refused(5)
    tag = data[at]
    at += 1
    if tag < 0x80:
        return tag, at
    if tag >= 0xE0:
        return tag - 256, at
    if tag < 0x90:
        return unpack_map(data, at, tag & 15)
    if tag < 0xA0:
        return unpack_list(data, at, tag & 15)
    if tag < 0xC0:
        return unpack_text(data, at, tag & 31)
    if tag in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[tag], at
    numbers = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
    numbers |= {0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
    if tag in numbers:
        (value,) = struct.unpack_from(numbers[tag], data, at)
        return value, at + struct.calcsize(numbers[tag])
    sized = {0xD9: (">B", unpack_text), 0xDA: (">H", unpack_text), 0xDB: (">I", unpack_text)}
    sized |= {0xDC: (">H", unpack_list), 0xDD: (">I", unpack_list)}
    sized |= {0xDE: (">H", unpack_map), 0xDF: (">I", unpack_map)}
    if tag not in sized:
        raise Refused(5)
    size, take = sized[tag]
    (n,) = struct.unpack_from(size, data, at)
    return take(data, at + struct.calcsize(size), n)


def unpack_text(data, at, n):
    return data[at : at + n].decode("utf-8"), at + n


def unpack_list(data, at, n):
    items = []
    for _ in range(n):
        item, at = unpack(data, at)
        items.append(item)
    return items, at


def unpack_map(data, at, n):
    items = {}
    for _ in range(n):
        key, at = unpack(data, at)
        value, at = unpack(data, at)
        if not isinstance(key, str) or key in items:
            raise Refused(5)
        items[key] = value
    return items, at


def up64(n):
    return (n + 63) // 64 * 64


def decode(data):
    """Yield the messages in `data` as they stand in the vectors' JSON."""
    at = 0
    while at < len(data):
        if len(data) - at < 32:
            raise Cut
        prefix = data[at : at + 32]
        magic, version, type_, flags, n_header, crc, n_payload, seq = struct.unpack("<4sBBHIIQQ", prefix)
        if magic != b"\x89AS\n":
            raise Refused(1)
        if version != 1:
            raise Refused(2)
        if flags > 15 or type_ == 0:
            raise Refused(5)
        start = up64(32 + n_header)
        if n_payload % 64:
            raise Refused(9)
        if len(data) - at < start:
            raise Cut
        header_bytes = data[at + 32 : at + 32 + n_header]
        if crc32c(prefix[:12] + prefix[16:] + header_bytes) != crc:
            raise Refused(3)
        if any(data[at + 32 + n_header : at + start]):
            raise Refused(9)
        header, end = unpack(header_bytes, 0)
        if end != n_header or not isinstance(header, dict):
            raise Refused(5)
        payload = data[at + start : at + start + n_payload]
        if len(payload) < n_payload:
            raise Cut
        buffers, place = {}, 0
        for role, _, _, size, _, buffer_crc in header.get("b", []):
            buffer, zeros = payload[place : place + size], payload[place + size : place + up64(size)]
            if len(buffer) + len(zeros) != up64(size) or any(zeros):
                raise Refused(9)
            if buffer_crc is not None and crc32c(buffer) != buffer_crc:
                raise Refused(4)
            buffers[role] = buffer.hex()
            place += up64(size)
        if place != n_payload and type_ < 64:
            raise Refused(9)
        yield {"type": type_, "flags": flags, "seq": seq, "header": header, "buffers": buffers}
        at += start + n_payload
