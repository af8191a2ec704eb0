"""Write the golden vectors: ``python spec/generate_vectors.py``.

Each vector is a ``.bin`` with the bytes of one direction of a stream, and a ``.json`` that says what a
decoder makes of it: the messages it hands out, then a clean end, a cut, or the number of an error.
Vectors of a released version never change.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from arraystream import (
    Ack,
    Begin,
    Bye,
    Chunk,
    Credit,
    Describe,
    Encoded,
    End,
    Error,
    Gap,
    Heartbeat,
    Hello,
    Mark,
    Message,
    StreamEncoder,
    Sync,
    Welcome,
)
from arraystream._protocol.buffers import TABLE_KEY
from arraystream._protocol.crc32c import crc32c_plain
from arraystream._protocol.framing import HAS_PAYLOAD_SUMS, PADDING, PREFIX, Prefix, pack_prefix, padding

HERE = Path(__file__).parent / "vectors"
BEGIN, DESCRIBE, CHUNK, END, BYE = 16, 17, 18, 21, 7


def raw(type_: int, header: Any, payload: bytes = b"", *, seq: int, flags: int = 1) -> bytes:
    """Return a message that no encoder would make; `header` is packed as it stands."""
    packed = header if isinstance(header, bytes) else msgpack.packb(header)
    prefix, _ = pack_prefix(type_, flags, packed, len(payload), seq)
    zeros = Prefix(type_, flags, len(packed), 0, 0, 0).padded_header_bytes - len(packed)
    return prefix + packed + PADDING[:zeros] + payload


def encode(messages: Iterable[Message], sender: str, *, greeted: bool) -> list[bytes]:
    """Return the bytes of each message."""
    encoder = StreamEncoder(sender, greeted=greeted)  # type: ignore[arg-type]
    return [b"".join(encoder.encode(message)) for message in messages]


def parsed(data: bytes) -> dict[str, Any]:
    """Say what a message of a valid vector is, from its bytes."""
    _, _, type_, flags, n_header, _, _, seq = PREFIX.unpack(data[:32])
    header = msgpack.unpackb(data[32 : 32 + n_header])
    start = 32 + n_header + -(32 + n_header) % 64
    buffers = {}
    for role, _, _, size, _, _ in header.get(TABLE_KEY, []):
        buffers[role] = data[start : start + size].hex()
        start += size + padding(size)
    return {"type": type_, "flags": flags, "seq": seq, "header": header, "buffers": buffers}


def write(name: str, parts: list[bytes], **expected: Any) -> None:
    """Write one vector; `parts` are whole messages, those to be handed out first."""
    handed_out = expected.pop("handed_out", len(parts))
    skipped = expected.pop("skipped", ())
    messages = [parsed(part) for i, part in enumerate(parts[:handed_out]) if i not in skipped]
    data = b"".join(parts)[: expected.pop("cut", None)]
    facts = {"sender": "producer", "greeted": True, "end": "clean", "error": None} | expected
    HERE.joinpath(f"{name}.bin").write_bytes(data)
    text = json.dumps(facts | {"messages": messages}, indent=1, ensure_ascii=False)
    HERE.joinpath(f"{name}.json").write_text(text + "\n", encoding="utf-8")


def values(*shape: int, dtype: str) -> np.ndarray[Any, Any]:
    """Return some numbers."""
    return (np.arange(np.prod(shape)) % 251).astype(dtype).reshape(shape)


DENSE = Describe(0, ">u2", (3, 5), name="frames", dims=("y", "x"), index_shape=(2, 4), units="counts")
CSR = Describe(1, "<f4", (10,), layout="csr", canonical=True)
CSR_CHUNK = {
    "indptr": np.array([0, 2, 2, 3], "<u4"),
    "indices": np.array([1, 9, 0], "<u4"),
    "values": np.array([0.5, 1.5, -2.0], "<f4"),
}


def dense_chunk(at: int, n: int) -> Chunk:
    """Return a chunk of the channel `DENSE`."""
    return Chunk(0, at, n, buffers={"values": values(n, 3, 5, dtype=">u2")})


def write_valid() -> None:
    """Streams that end well."""
    short: list[Message] = [Begin("a"), End("a", "complete"), Bye()]
    write("minimal", encode(short, "producer", greeted=True))
    dense: list[Message] = [
        Sync(0, 0, "arraystream-SYNC"),
        Begin(
            "a",
            n_items=8,
            clock={"kind": "device", "tick": [1, 1000000]},
            meta={"ü": [1, -1, 2.5, None, True]},
        ),
        DENSE,
        Chunk(0, 0, 3, buffers=dense_chunk(0, 3).buffers | {"item_time": np.array([7, 8, 9], "<i8")}),
        Gap(0, 3, 5, "overrun"),
        Chunk(0, 5, 2, t0=-5, dt=10, buffers=dense_chunk(5, 2).buffers),
        Mark("trigger", channel=0, at=7, text="again"),
        dense_chunk(7, 1),
        End("a", "complete"),
        Bye(),
    ]
    write("dense", encode(dense, "producer", greeted=True))
    sparse: list[Message] = [
        Begin("a"),
        CSR,
        Describe(2, "|u1", (4, 4), layout="coo", index_dtype="|u1", canonical=True),
        Describe(3, "<u2", (16,), layout="events", index_dtype="<u2"),
        Chunk(1, 0, 3, buffers=CSR_CHUNK),
        Chunk(
            1, 3, 1, buffers={k: np.zeros((k == "indptr" and 2) or 0, v.dtype) for k, v in CSR_CHUNK.items()}
        ),
        Chunk(
            2,
            0,
            2,
            buffers={
                "item": np.array([0, 0, 1], "|u1"),
                "index": np.array([3, 15, 0], "|u1"),
                "values": np.array([1, 2, 3], "|u1"),
            },
        ),
        Chunk(3, 0, 5, buffers={"index": np.array([15, 0], "<u2"), "time": np.array([-1, 4], "<i8")}),
        End("a", "complete"),
        Bye(),
    ]
    write("sparse", encode(sparse, "producer", greeted=True))
    nested: list[Message] = [
        Begin("a", "stream"),
        Begin("b", "acquisition", parent="a"),
        Describe(0, "|b1", (8,)),
        Chunk(0, 0, 1, buffers={"values": np.ones((1, 8), "?")}),
        Describe(0, "<c16", (), rev=1),
        Chunk(0, 1, 2, rev=1, buffers={"values": np.array([1j, 2.0], "<c16")}),
        End("b", "aborted", "stopped by hand"),
        End("a", "failed", "no more"),
        Bye("enough"),
    ]
    write("nested", encode(nested, "producer", greeted=True))
    packed = Encoded(np.arange(9, dtype=np.uint8), np.dtype("<u2"), 2 * 15 * 2, 0)
    encoded: list[Message] = [
        Begin("a"),
        Describe(
            0,
            "<u2",
            (3, 5),
            codecs=({"name": "some-codec", "level": 3},),
            table_shapes={"gain": [3, 5]},
            buffers={"gain": values(15, dtype="<f4")},
        ),
        Chunk(0, 0, 2, buffers={"values": packed, "offsets": np.array([0, 4], "<u8")}),
        End("a", "complete"),
        Bye(),
    ]
    write("encoded", encode(encoded, "producer", greeted=True))
    greeting: list[Message] = [
        Hello((1, 1), ("x",), ("raw",), {"payload_bytes": 1 << 20}, token="secret", resume={"stream": "a"}),
        Credit(100, 1 << 30),
        Heartbeat(123456789, 5, 2, 0),
        Ack(7),
        Error(6, "not so bad", fatal=False, seq=3),
        Bye(),
    ]
    write("consumer", encode(greeting, "consumer", greeted=False), sender="consumer", greeted=False)
    answer: list[Message] = [Welcome(1, limits={"payload_bytes": 1 << 20}), Heartbeat(-1), *short]
    write("producer", encode(answer, "producer", greeted=False), greeted=False)
    write_tolerated()


def write_tolerated() -> None:
    """What a receiver doesn't know but must bear."""
    unknown = raw(100, {"whatever": [1, 2]}, bytes(range(64)), seq=0, flags=0)
    rest = [
        raw(BEGIN, {"grease-12ab": 7, "id": "a"}, seq=1),
        raw(END, {"id": "a", "status": "complete"}, seq=2),
        raw(BYE, {}, seq=3, flags=0),
    ]
    write("unknown-type-and-key", [unknown, *rest], skipped=(0,))
    data = values(2, 15, dtype="|u1").tobytes()
    table = [["values", "|u1", 30, 30, None, crc32c_plain(data)]]
    header = {"at": 0, "b": table, "ch": 0, "n": 2}
    payload = data + bytes(padding(len(data)))
    summed = [
        raw(BEGIN, {"id": "a"}, seq=0),
        raw(DESCRIBE, {"ch": 0, "dtype": "|u1", "item_shape": [15]}, seq=1),
        raw(CHUNK, header, payload, seq=2, flags=1 | HAS_PAYLOAD_SUMS),
        raw(END, {"id": "a", "status": "complete"}, seq=3),
        raw(BYE, {}, seq=4, flags=0),
    ]
    write("payload-sums", summed)


def write_cut() -> None:
    """Streams that stop."""
    messages: list[Message] = [Begin("a"), DENSE, dense_chunk(0, 3), End("a", "complete"), Bye()]
    parts = encode(messages, "producer", greeted=True)
    write("cut-in-chunk", parts, handed_out=2, cut=sum(map(len, parts[:3])) - 1, end="truncated")
    write("cut-before-end", parts[:3], end="truncated")
    write("cut-before-bye", parts[:4], end="truncated")
    write("cut-at-start", [], end="truncated")


def write_refused() -> None:
    """Streams that end with an error."""
    begin = raw(BEGIN, {"id": "a"}, seq=0)
    describe = raw(DESCRIBE, {"ch": 0, "dtype": "|u1", "item_shape": [4]}, seq=1)

    def refuse(name: str, error: int, *parts: bytes) -> None:
        write(f"bad-{name}", list(parts), handed_out=len(parts) - 1, end="error", error=error)

    def patched(data: bytes, at: int, new: bytes) -> bytes:
        return data[:at] + new + data[at + len(new) :]

    def chunk(table: list[list[Any]], payload: bytes, n: int = 2, **more: Any) -> bytes:
        return raw(CHUNK, {"at": 0, "b": table, "ch": 0, "n": n, **more}, payload, seq=2)

    full = bytes(64)
    refuse("magic", 1, patched(begin, 0, b"\x89AS\r"))
    refuse("version", 2, patched(begin, 4, b"\x02"))
    refuse("header-checksum", 3, patched(begin, 34, bytes([begin[34] ^ 1])))
    refuse("checksum-covers-payload-length", 3, patched(begin, 16, struct.pack("<Q", 64)))
    table = [["values", "|u1", 8, 8, None, 0x12345678]]
    summed = raw(CHUNK, {"at": 0, "b": table, "ch": 0, "n": 2}, full, seq=2, flags=1 | HAS_PAYLOAD_SUMS)
    refuse("payload-checksum", 4, begin, describe, summed)
    refuse("flags", 5, raw(BEGIN, {"id": "a"}, seq=0, flags=17))
    refuse("type-0", 5, raw(0, {}, seq=0, flags=0))
    refuse("duplicate-key", 5, raw(BEGIN, b"\x82\xa2id\xa1a\xa2id\xa1b", seq=0))
    refuse("extension", 5, raw(BEGIN, b"\x82\xa2id\xa1a\xa1x\xd4\x01\x00", seq=0))
    refuse("binary", 5, raw(BEGIN, b"\x82\xa2id\xa1a\xa1x\xc4\x00", seq=0))
    refuse("trailing-bytes", 5, raw(BEGIN, b"\x81\xa2id\xa1a\xc0", seq=0))
    refuse("header-is-a-list", 5, raw(BEGIN, b"\x91\x01", seq=0))
    refuse("empty-header", 5, raw(BEGIN, b"", seq=0))
    refuse("required-key", 5, raw(BEGIN, {"kind": "x"}, seq=0))
    refuse("kind", 5, raw(BEGIN, {"id": 1}, seq=0))
    refuse("gap-reason", 5, begin, describe, raw(20, {"ch": 0, "first": 0, "reason": "-", "stop": 1}, seq=2))
    refuse("depth", 6, raw(BEGIN, {"id": "a", "x": _nested(16)}, seq=0))
    refuse("header-length", 6, raw(END, bytes(65537), seq=0)[:64])
    refuse("payload-length", 6, pack_prefix(BEGIN, 1, b"\x80", (256 << 20) + 64, 0)[0])
    refuse("unknown-critical", 7, raw(100, {}, seq=0))
    refuse("channel", 8, begin, raw(CHUNK, {"at": 0, "ch": 5, "n": 1}, seq=1))
    refuse("rev", 8, begin, describe, chunk([["values", "|u1", 8, 8, None, None]], full, rev=1))
    refuse("payload-not-64", 9, raw(BEGIN, {"id": "a"}, b"1", seq=0))
    refuse("hole", 9, begin, describe, chunk([["values", "|u1", 8, 8, None, None]], full + full))
    refuse("overlap", 9, begin, describe, chunk([["values", "|u1", 80, 80, None, None]], full))
    refuse("padding", 9, begin, describe, chunk([["values", "|u1", 8, 8, None, None]], full[:63] + b"\x01"))
    refuse("size", 9, begin, describe, chunk([["values", "|u1", 7, 7, None, None]], full))
    refuse("no-values", 9, begin, describe, chunk([], b""))
    refuse("decoded-bytes", 6, begin, describe, chunk([["values", "|u1", 1 << 40, 8, 0, None]], full))
    refuse("codec", 11, begin, describe, chunk([["values", "|u1", 8, 3, 0, None]], full))
    refuse("order", 12, begin, raw(DESCRIBE, {"ch": 0}, seq=2))
    hole = raw(CHUNK, {"at": 1, "b": [["values", "|u1", 4, 4, None, None]], "ch": 0, "n": 1}, full, seq=2)
    refuse("silent-hole", 12, begin, describe, hole)
    refuse("digest", 12, begin, raw(END, {"digest": "00000000", "id": "a", "status": "complete"}, seq=1))
    refuse("counts", 12, begin, raw(END, {"counts": [0, 1, 0, 0], "id": "a", "status": "complete"}, seq=1))
    refuse("state", 13, raw(END, {"id": "a", "status": "complete"}, seq=0))
    refuse("after-bye", 13, raw(BYE, {}, seq=0, flags=0), raw(BEGIN, {"id": "a"}, seq=1))
    refuse("parent", 13, raw(BEGIN, {"id": "a", "parent": "b"}, seq=0))
    refuse_sparse(refuse)


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def refuse_sparse(refuse: Callable[..., None]) -> None:
    """Sparse chunks that would make a kernel write anywhere."""
    head = encode([Begin("a"), CSR], "producer", greeted=True)
    wrong = {
        "csr-start": {"indptr": [1, 2, 2, 3]},
        "csr-falls": {"indptr": [0, 2, 1, 3]},
        "csr-end": {"indptr": [0, 2, 2, 4]},
        "csr-column": {"indices": [1, 10, 0]},
        "csr-not-canonical": {"indices": [1, 1, 0]},
    }
    for name, change in wrong.items():
        buffers = {k: np.array(change.get(k, v), v.dtype) for k, v in CSR_CHUNK.items()}
        table = [[k, v.dtype.str, v.nbytes, v.nbytes, None, None] for k, v in buffers.items()]
        payload = b"".join(v.tobytes() + bytes(padding(v.nbytes)) for v in buffers.values())
        refuse(name, 10, *head, raw(CHUNK, {"at": 0, "b": table, "ch": 1, "n": 3}, payload, seq=2))


def main() -> None:
    """Write all vectors."""
    HERE.mkdir(exist_ok=True)
    write_valid()
    write_cut()
    write_refused()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        HERE = Path(sys.argv[1])
    main()
