"""Hostile bytes: each limit just kept and just broken, refused before anything is allocated."""

from __future__ import annotations

import dataclasses
import tracemalloc

import msgpack
import numpy as np
import pytest

from arraystream import (
    Begin,
    Chunk,
    Describe,
    End,
    ErrorCode,
    Gap,
    Hello,
    LimitError,
    Limits,
    ProtocolError,
    StreamDecoder,
    StreamEncoder,
    StreamError,
)
from arraystream._protocol.framing import pack_prefix, padding

BEGIN, DESCRIBE, CHUNK, END = Begin.TYPE, Describe.TYPE, Chunk.TYPE, End.TYPE


def message(type_, header, payload=b"", *, seq=0, flags=1):
    packed = header if isinstance(header, bytes) else msgpack.packb(header)
    prefix, _ = pack_prefix(type_, flags, packed, len(payload), seq)
    return prefix + packed + bytes(padding(32 + len(packed))) + payload


def refusal(*messages, limits=None, sender="producer", greeted=True):
    """Return the error that the last of these messages causes."""
    decoder = StreamDecoder(sender, greeted=greeted, limits=limits, allocate=forbidden)
    for data in messages[:-1]:
        decoder.feed(data)
    with pytest.raises(StreamError) as caught:
        decoder.feed(messages[-1])
    return caught.value


def forbidden(n_bytes, message):
    raise AssertionError(f"{n_bytes} bytes were asked for")


def accepted(*messages, limits=None):
    decoder = StreamDecoder("producer", greeted=True, limits=limits)
    for data in messages:
        decoder.feed(data)


def section(depth):
    parent = f"s{depth - 1}" if depth else None
    return message(BEGIN, {"id": f"s{depth}"} | ({"parent": parent} if parent else {}), seq=depth)


def nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


BROKEN = {
    "header_bytes": (
        lambda n: [message(BEGIN, {"id": "a"}), pack_prefix(END, 1, bytes(n), 0, 1)[0]],
        64 << 10,
    ),
    "large_header_bytes": (lambda n: [pack_prefix(BEGIN, 1, bytes(n), 0, 0)[0]], 1 << 20),
    "header_depth": (lambda n: [message(BEGIN, {"id": "a", "x": nested(n - 1)})], 16),
    "map_keys": (lambda n: [message(BEGIN, {"id": "a"} | {str(i): 0 for i in range(n - 1)})], 1024),
    "list_items": (lambda n: [message(BEGIN, {"id": "a", "x": [0] * n})], 64 << 10),
    "string_bytes": (lambda n: [message(BEGIN, {"id": "a" * n})], 64 << 10),
    "payload_bytes": (lambda n: [pack_prefix(BEGIN, 1, b"\x80", -(-n // 64) * 64, 0)[0]], 256 << 20),
    "decoded_bytes": (
        lambda n: [
            message(BEGIN, {"id": "a", "b": [["x", "|u1", n, 4, 0, None]]}, bytes(64)),
        ],
        1 << 30,
    ),
    "buffers": (
        lambda n: [message(BEGIN, {"id": "a", "b": [[str(i), "|u1", 0, 0, None, None] for i in range(n)]})],
        64,
    ),
    "dimensions": (
        lambda n: [section(0), message(DESCRIBE, {"ch": 0, "dtype": "|u1", "item_shape": [1] * n}, seq=1)],
        16,
    ),
    "extent": (
        lambda n: [
            section(0),
            message(
                DESCRIBE, {"ch": 0, "dtype": "|u1", "item_shape": [1], "index_shape": [n], "rev": 0}, seq=1
            ),
        ],
        1 << 32,
    ),
    "channels": (
        lambda n: [
            section(0),
            *(
                message(DESCRIBE, {"ch": i, "dtype": "|u1", "item_shape": [1]}, seq=i + 1)
                for i in range(min(n, 1025))
            ),
        ],
        1024,
    ),
    "sections": (lambda n: [section(i) for i in range(n)], 8),
}


@pytest.mark.parametrize("name", BROKEN)
def test_one_more_than_a_limit_is_refused_before_anything_is_allocated(name):
    make, limit = BROKEN[name]
    assert getattr(Limits(), name) == limit
    error = refusal(*make(limit + 1))
    assert isinstance(error, LimitError)
    assert error.code == ErrorCode.LIMIT_EXCEEDED


@pytest.mark.parametrize("name", set(BROKEN) - {"payload_bytes", "decoded_bytes", "buffers"})
def test_a_limit_itself_is_allowed(name):
    make, limit = BROKEN[name]
    accepted(*make(limit))


@pytest.mark.parametrize("name", ["decoded_bytes", "buffers", "payload_bytes"])
def test_a_limit_itself_is_not_what_is_refused(name):
    make, limit = BROKEN[name]
    decoder = StreamDecoder("producer", greeted=True)
    try:
        for data in make(limit):
            decoder.feed(data)
    except ProtocolError as error:
        # BEGIN has no buffers, so something else is wrong, but only that.
        assert not isinstance(error, LimitError)  # noqa: PT017


def test_every_limit_has_a_case():
    assert set(BROKEN) | {"unwelcome_bytes"} == {field.name for field in dataclasses.fields(Limits)}


def test_limits_are_negotiable_downwards_only():
    narrow = Limits().narrowed({"payload_bytes": 100, "buffers": 1 << 40, "unheard-of": 1})
    assert (narrow.payload_bytes, narrow.buffers) == (100, 64)
    with pytest.raises(ProtocolError):
        Limits().narrowed({"buffers": "many"})
    with pytest.raises(LimitError):
        Limits(payload_bytes=(4 << 30) + 1)


def test_a_stranger_may_not_send_much_before_the_greeting():
    greeting = message(Hello.TYPE, {"versions": [1, 1], "token": "x" * 4200})
    assert refusal(greeting, sender="consumer", greeted=False).code == ErrorCode.LIMIT_EXCEEDED


def test_errors_before_the_greeting_count_together():
    complaint = message(3, {"code": 6, "fatal": False, "text": "x" * 1500}, seq=0)
    again = message(3, {"code": 6, "fatal": False, "text": "x" * 3000}, seq=1)
    assert refusal(complaint, again, greeted=False).code == ErrorCode.LIMIT_EXCEEDED


def test_shapes_that_overflow_64_bits_are_refused():
    shape = [1 << 32] * 16
    error = refusal(section(0), message(DESCRIBE, {"ch": 0, "dtype": "|u1", "item_shape": shape}, seq=1))
    assert isinstance(error, LimitError)


def test_a_decompression_bomb_is_refused_by_what_it_claims():
    describe = {"ch": 0, "dtype": "|u1", "item_shape": [1 << 29], "codecs": [{"name": "zip"}]}
    table = [["values", "|u1", 1 << 31, 8, 0, None]]
    bomb = message(CHUNK, {"at": 0, "b": table, "ch": 0, "n": 4}, bytes(64), seq=2)
    assert isinstance(refusal(section(0), message(DESCRIBE, describe, seq=1), bomb), LimitError)


def test_huge_claims_cost_no_memory():
    tracemalloc.start()
    try:
        for make, limit in BROKEN.values():
            if limit > 1 << 20:
                refusal(*make(limit + 1))
        refusal(message(BEGIN, b"\xdd\xff\xff\xff\xff"))
        refusal(message(BEGIN, b"\xdf\xff\xff\xff\xff"))
        refusal(message(BEGIN, b"\xdb\xff\xff\xff\xff"))
        refusal(message(BEGIN, b"\x91" * 60_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize(
    "header",
    [
        b"\xc1",
        b"\x81\xa2id",
        b"\x81\x01\x02",
        b"\x81\xa1\xff\x01",
        b"\x81\xa2id\xd6\xff\x00\x00\x00\x00",
        b"\x81\xc4\x01a\x01",
    ],
    ids=["never used", "cut", "number as key", "no UTF-8", "timestamp", "bytes as key"],
)
def test_other_messagepack_is_refused(header):
    assert refusal(message(BEGIN, header)).code in (ErrorCode.MALFORMED_HEADER, ErrorCode.LIMIT_EXCEEDED)


@pytest.mark.parametrize(
    "row",
    [
        ["values"],
        [1, "|u1", 4, 4, None, None],
        ["values", "O", 4, 4, None, None],
        ["values", ["|u1"], 4, 4, None, None],
        ["values", "|u1", -4, 4, None, None],
        ["values", "|u1", 4.0, 4, None, None],
        ["values", "|u1", True, 4, None, None],
        ["values", "|u1", 4, 4, None, -1],
        ["values", "|u1", 4, 4, "raw", None],
        "values",
    ],
    ids=str,
)
def test_a_wrong_row_of_the_buffer_table_is_refused(row):
    describe = message(DESCRIBE, {"ch": 0, "dtype": "|u1", "item_shape": [4]}, seq=1)
    chunk = message(CHUNK, {"at": 0, "b": [row], "ch": 0, "n": 1}, bytes(64), seq=2)
    assert refusal(section(0), describe, chunk).code == ErrorCode.MALFORMED_HEADER


def test_buffers_of_the_same_role_are_refused():
    row = ["values", "|u1", 4, 4, None, None]
    describe = message(DESCRIBE, {"ch": 0, "dtype": "|u1", "item_shape": [4]}, seq=1)
    chunk = message(CHUNK, {"at": 0, "b": [row, row], "ch": 0, "n": 1}, bytes(128), seq=2)
    assert refusal(section(0), describe, chunk).code == ErrorCode.MALFORMED_HEADER


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"dtype": "O"}, 5),
        ({"dtype": "u2"}, 5),
        ({"layout": "ragged"}, 5),
        ({"index_dtype": "<i4"}, 5),
        ({"index_order": "F"}, 5),
        ({"index_shape": [-2]}, 5),
        ({"dims": ["y", "x", "z"]}, 5),
        ({"axes": [{}]}, 5),
        ({"codecs": [{"level": 3}]}, 5),
        ({"tables": {"gain": "big"}}, 5),
        ({"item_shape": [1 << 31, 2]}, 6),
    ],
    ids=str,
)
def test_an_impossible_description_is_refused(change, code):
    header = {"ch": 0, "dtype": "|u1", "item_shape": [4, 4]} | change
    assert refusal(section(0), message(DESCRIBE, header, seq=1)).code == code


def test_every_error_names_code_and_message():
    error = refusal(section(0), message(CHUNK, {"at": 0, "ch": 3, "n": 1}, seq=1))
    assert (error.code, error.seq, error.channel) == (ErrorCode.UNKNOWN_CHANNEL, 1, 3)


def test_a_refused_stream_stays_refused():
    decoder = StreamDecoder("producer", greeted=True)
    with pytest.raises(ProtocolError):
        decoder.feed(b"GET / HTTP/1.1\r\n\r\n plus some more bytes")
    with pytest.raises(ProtocolError, match="starts with 47455420"):
        decoder.want()
    with pytest.raises(ProtocolError):
        decoder.advance(0)
    with pytest.raises(ProtocolError):
        decoder.eof()


def test_an_allocator_that_fails_ends_decoding_with_its_own_error():
    def allocate(n_bytes, message):
        raise MemoryError("no slot")

    decoder = StreamDecoder("producer", greeted=True, allocate=allocate)
    decoder.feed(section(0))
    decoder.feed(message(DESCRIBE, {"ch": 0, "dtype": "|u1", "item_shape": [4]}, seq=1))
    row = ["values", "|u1", 4, 4, None, None]
    with pytest.raises(MemoryError):
        decoder.feed(message(CHUNK, {"at": 0, "b": [row], "ch": 0, "n": 1}, bytes(64), seq=2))
    with pytest.raises(StreamError, match="no slot"):
        decoder.want()


@pytest.mark.parametrize("wrong", [lambda n: np.empty(n - 1, np.uint8), lambda n: frozen(n)])
def test_an_allocator_that_gives_the_wrong_memory_is_an_error(wrong):
    decoder = StreamDecoder("producer", greeted=True, allocate=lambda n, _: wrong(n))
    decoder.feed(section(0))
    decoder.feed(message(DESCRIBE, {"ch": 0, "dtype": "|u1", "item_shape": [4]}, seq=1))
    row = ["values", "|u1", 4, 4, None, None]
    with pytest.raises(StreamError, match="allocator"):
        decoder.feed(message(CHUNK, {"at": 0, "b": [row], "ch": 0, "n": 1}, bytes(64), seq=2))


def frozen(n_bytes):
    array = np.zeros(n_bytes, np.uint8)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "bad",
    [
        [Begin("a", meta={1: 2})],
        [Begin("a", meta={"x": b"bytes"})],
        [Begin("a", meta={"x": object()})],
        [Begin("a", meta={"x": 1 << 64})],
        [Begin("a", n_items=-1)],
        [Begin("a", meta={"x": "y" * 70_000})],
        [Begin("a"), Begin("a", parent="a")],
        [Begin("a"), Begin("b")],
        [Begin("a"), End("b", "complete")],
        [Begin("a"), End("a", "truncated")],
        [Begin("a"), Describe(0, "U3", ())],
        [Begin("a"), Describe(0, "|u1", (2,)), Describe(0, "|u1", (3,))],
        [Begin("a"), Describe(0, "|u1", (2,)), Chunk(0, 0, 1, buffers={"values": np.zeros(3, "u1")})],
        [Begin("a"), Describe(0, "|u1", (2,)), Chunk(0, 0, 0, buffers={"values": np.zeros((0, 2), "u1")})],
        [Begin("a"), Describe(0, "|u1", (2,)), Chunk(0, 0, 1, buffers={"values": np.zeros(2, "U1")})],
        [Begin("a"), Describe(0, "|u1", (2,)), Gap(0, 2, 2, "overrun")],
    ],
    ids=lambda bad: str(bad[-1])[:60],
)
def test_a_sender_cannot_send_what_its_receiver_would_refuse(bad):
    encoder = StreamEncoder("producer", greeted=True)
    for fine in bad[:-1]:
        encoder.encode(fine)
    state, seq = encoder.books.state, encoder.next_seq
    with pytest.raises(StreamError):
        encoder.encode(bad[-1])
    assert (encoder.books.state, encoder.next_seq) == (state, seq)
    if len(bad) > 1:
        encoder.encode(End("a", "failed"))
