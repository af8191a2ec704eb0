"""Any stream, cut into any pieces, comes out as it went in."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arraystream import (
    Begin,
    Bye,
    Chunk,
    Describe,
    Encoded,
    End,
    Gap,
    Mark,
    StreamDecoder,
    StreamEncoder,
    TruncatedStream,
)
from arraystream._protocol.fields import to_header

text = st.text(max_size=12)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
meta = st.dictionaries(text, plain, max_size=4)
dense_dtypes = st.sampled_from(["|u1", ">u2", "<i4", "<f4", "<c16", "|b1"])


@st.composite
def dense_channels(draw, number):
    """A description, and what makes chunks for it."""
    dtype = draw(dense_dtypes)
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    describe = Describe(number, dtype, shape, units=draw(text), meta=draw(meta))

    def chunk(at, n, random_bytes):
        size = n * describe.n_columns * np.dtype(dtype).itemsize
        values = np.frombuffer(random_bytes.randbytes(size), np.dtype(dtype)).reshape(n, *shape)
        buffers = {"values": values}
        if random_bytes.random() < 0.3:
            buffers["item_time"] = np.arange(n, dtype="<i8")
        return Chunk(number, at, n, t0=draw(st.none() | st.integers(-5, 5)), buffers=buffers)

    return describe, chunk


@st.composite
def csr_channels(draw, number):
    columns = draw(st.integers(1, 300))
    describe = Describe(number, "<f4", (columns,), layout="csr", index_dtype="<u2", canonical=True)

    def chunk(at, n, random_bytes):
        rows = [sorted(random_bytes.sample(range(columns), min(columns, 3))) for _ in range(n)]
        indptr = np.cumsum([0, *map(len, rows)]).astype("<u8")
        indices = np.array([index for row in rows for index in row], "<u2")
        values = np.frombuffer(random_bytes.randbytes(4 * len(indices)), "<f4")
        return Chunk(number, at, n, buffers={"indptr": indptr, "indices": indices, "values": values})

    return describe, chunk


def encoded_channels(number):
    describe = Describe(number, "<u2", (8,), codecs=({"name": "c"}, {"name": "d", "level": 1}))

    def chunk(at, n, random_bytes):
        data = np.frombuffer(random_bytes.randbytes(random_bytes.randrange(100)), np.uint8)
        return Chunk(number, at, n, buffers={"values": Encoded(data, np.dtype("<u2"), n * 16, 1)})

    return st.just((describe, chunk))


@st.composite
def streams(draw):
    """Messages of a valid stream from BEGIN to BYE."""
    random_bytes = random.Random(draw(st.integers(0, 2**32)))
    messages = []
    for number in range(draw(st.integers(0, 2))):
        section = f"section-{number}"
        messages.append(Begin(section, kind=draw(text), meta=draw(meta)))
        kinds = [dense_channels(0), csr_channels(1), encoded_channels(2)]
        channels = [draw(kind) for kind in draw(st.lists(st.sampled_from(kinds), unique=True, max_size=3))]
        messages += [describe for describe, _ in channels]
        places = [0] * len(channels)
        for _ in range(draw(st.integers(0, 6)) if channels else 0):
            which = draw(st.integers(0, len(channels) - 1))
            describe, make = channels[which]
            n = draw(st.integers(1, 5))
            if draw(st.booleans()):
                messages.append(make(places[which], n, random_bytes))
            else:
                gap = Gap(describe.channel, places[which], places[which] + n, "overrun")
                messages += [Mark("comment", text=draw(text)), gap]
            places[which] += n
        messages.append(End(section, draw(st.sampled_from(["complete", "aborted", "failed"])), draw(text)))
    return [*messages, Bye()]


def encode(messages, **settings):
    encoder = StreamEncoder("producer", greeted=True, **settings)
    return [b"".join(encoder.encode(message)) for message in messages]


def same_buffers(ours, theirs):
    assert ours.keys() == theirs.keys()
    for role in ours:
        a, b = ours[role], theirs[role]
        if isinstance(a, Encoded):
            assert (a.codec, a.decoded_bytes, a.dtype) == (b.codec, b.decoded_bytes, b.dtype)
            a, b = a.data, b.data
        assert (a.dtype.str, a.shape) == (b.dtype.str, b.shape)
        assert a.tobytes() == b.tobytes()
        assert not b.flags.writeable


def same(sent, arrived):
    if not isinstance(sent, End):
        # The encoder adds counts and digest to an END.
        assert to_header(sent).keys() == to_header(arrived).keys()
    if isinstance(sent, Chunk | Describe):
        same_buffers(sent.buffers, arrived.buffers)
    if isinstance(sent, Begin | Mark | Gap | Bye):
        assert listed(to_header(sent)) == listed(to_header(arrived))


def listed(value):
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}
    return [listed(item) for item in value] if isinstance(value, list | tuple) else value


@settings(deadline=None, max_examples=60)
@given(streams(), st.integers(0, 2**32), st.booleans())
def test_any_fragmentation_gives_the_same_messages(messages, seed, grease):
    data = b"".join(encode(messages, grease=random.Random(seed) if grease else None))
    decoder, pieces, at = StreamDecoder("producer", greeted=True), random.Random(seed), 0
    arrived = []
    while at < len(data):
        target = decoder.want()
        assert 0 < len(target) <= len(data) - at, "the decoder wants more than the stream has"
        n = min(len(target), pieces.choice([1, 2, 31, 64, 1000]))
        target[:n] = data[at : at + n]
        decoder.advance(n)
        at += n
        arrived += decoder.events()
    decoder.eof()
    assert [arrival.seq for arrival in arrived] == list(range(len(messages)))
    for sent, arrival in zip(messages, arrived, strict=True):
        same(sent, arrival.message)


@settings(deadline=None, max_examples=30)
@given(streams(), st.data())
def test_a_stream_cut_anywhere_is_truncated(messages, data):
    whole = b"".join(encode(messages))
    cut = data.draw(st.integers(0, len(whole) - 1))
    decoder = StreamDecoder("producer", greeted=True)
    decoder.feed(whole[:cut])
    with pytest.raises(TruncatedStream):
        decoder.eof()
    with pytest.raises(TruncatedStream):
        decoder.want()


@settings(deadline=None, max_examples=60)
@given(streams(), st.data())
def test_a_changed_byte_never_crashes_and_never_changes_a_header(messages, data):
    parts = encode(messages)
    whole = bytearray(b"".join(parts))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    decoder = StreamDecoder("producer", greeted=True)
    try:
        decoder.feed(whole)
        decoder.eof()
        failed = False
    except (ValueError, EOFError, LookupError):
        failed = True
    arrived = list(decoder.events())
    for sent, arrival in zip(messages, arrived, strict=False):
        if not isinstance(sent, End):
            assert to_header(sent).keys() == to_header(arrival.message).keys()
    # Without checksums of buffers, changed pixels are the only thing that may pass.
    assert failed or any(isinstance(message, Chunk | Describe) and message.buffers for message in messages)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300))
def test_noise_is_refused(noise):
    decoder = StreamDecoder("producer", greeted=True)

    def decode():
        decoder.feed(noise)
        decoder.eof()

    with pytest.raises((ValueError, EOFError)):
        decode()


def test_arrays_are_sent_from_where_they_lie():
    encoder = StreamEncoder("producer", greeted=True)
    encoder.encode(Begin("a"))
    encoder.encode(Describe(0, "<u2", (64, 64)))
    array = np.zeros((3, 64, 64), "<u2")
    parts = encoder.encode(Chunk(0, 0, 3, buffers={"values": array}))
    assert any(np.shares_memory(np.frombuffer(part, np.uint8), array) for part in parts if part.nbytes)


def test_payload_is_received_where_the_allocator_says():
    memory = np.zeros(4096, np.uint8)
    asked = []

    def allocate(n_bytes, message):
        asked.append((n_bytes, message.at, message.n))
        return memory[:n_bytes]

    chunk = Chunk(0, 0, 2, buffers={"values": np.arange(200, dtype="|u1").reshape(2, 100)})
    decoder = StreamDecoder("producer", greeted=True, allocate=allocate)
    for part in encode([Begin("a"), Describe(0, "|u1", (100,)), chunk]):
        decoder.feed(part)
    *_, arrival = decoder.events()
    assert asked == [(256, 0, 2)]
    assert np.shares_memory(arrival.message.array, memory)
    assert np.array_equal(memory[:200], np.arange(200))
