"""The codec "csr" against SciPy, and against payloads that lie."""

from __future__ import annotations

import contextlib
import struct

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from arraystream import CodecError, CSRCodec, ItemDescriptor, encode_csr, open_csr, open_decoder

ITEMS = (np.arange(7 * 12).reshape(7, 4, 3) % 5 == 0) * np.arange(7 * 12).reshape(7, 4, 3)


def codec(dtype="u2", shape=(4, 3)):
    return CSRCodec(ItemDescriptor(np.dtype(dtype), shape, "csr", {"dtype": dtype}))


def encoded(items=ITEMS, dtype="u2", columns="i4"):
    rows = scipy.sparse.csr_array(items.reshape(len(items), -1).astype(dtype))
    return encode_csr(rows.data, rows.indices.astype(columns), rows.indptr)


@settings(deadline=None)
@given(
    st.sampled_from(["<u1", "<u2", ">u2", "<i4", "<f4", ">f8", "|b1", "<c8"]),
    st.sampled_from([np.float32, np.uint16, np.int64, np.complex128]),
    st.sampled_from(["i4", "i8"]),
    st.lists(st.integers(0, 6), max_size=9),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_any_band_of_any_items_is_what_numpy_would_cut_out(dtype, out_dtype, columns, which, a, b):
    start, stop = sorted((a, b))
    payload, offsets = encoded(dtype=np.dtype(dtype).newbyteorder("="), columns=columns)
    native = np.dtype(dtype).newbyteorder("=")
    if np.dtype(dtype) != native:
        rows = scipy.sparse.csr_array(ITEMS.reshape(7, -1).astype(native))
        payload, offsets = encode_csr(rows.data.astype(dtype), rows.indices, rows.indptr)
    out = np.full((len(which), stop - start, 3), 77, out_dtype)
    decode = codec(dtype).decode
    if dtype == "<c8" and out.dtype.kind != "c":
        with pytest.raises(CodecError, match="imaginary"):
            decode(payload, offsets[which], (start, stop), out)
        return
    decode(payload, offsets[which], (start, stop), out)
    assert np.array_equal(out, ITEMS[which][:, start:stop].astype(dtype).astype(out_dtype))


def test_rows_in_order_are_views():
    payload, offsets = encoded()
    values, columns, starts = codec().rows(payload, offsets[2:6])
    assert np.shares_memory(values, payload)
    assert np.shares_memory(columns, payload)
    assert np.array_equal(
        scipy.sparse.csr_array((values, columns, starts), (4, 12)).toarray(), ITEMS[2:6].reshape(4, -1)
    )


def test_values_of_the_same_element_are_added():
    payload, offsets = encode_csr(np.array([1, 2, 4], "u2"), np.array([5, 5, 0], "i4"), np.array([0, 2, 3]))
    out = np.empty((2, 4, 3), np.float32)
    codec().decode(payload, offsets, (0, 4), out)
    assert out.reshape(2, 12)[:, [0, 5]].tolist() == [[0, 3], [4, 0]]


def test_columns_may_be_in_any_order():
    payload, offsets = encode_csr(np.array([1, 2], "u2"), np.array([5, 0], "i4"), np.array([0, 2]))
    out = np.empty((1, 4, 3), np.float32)
    codec().decode(payload, offsets, (0, 4), out)
    assert out.reshape(12)[[0, 5]].tolist() == [2, 1]


def lie(payload, place, form, value):
    payload = payload.copy()
    raw = np.frombuffer(struct.pack(form, value), np.uint8)
    payload[place : place + len(raw)] = raw
    return payload


@pytest.mark.parametrize(
    ("place", "form", "value"),
    [
        (0, "4s", b"CSR2"),
        (4, "<i", 3),
        (8, "<q", -1),
        (8, "<q", 2**60),
        (16, "<q", -1),
        (16, "<q", 2**61),
        (24, "<q", -5),
        (32, "<q", 10**9),
        (40, "<q", 0),
        (24 + 8 * 8, "<i", -1),
        (24 + 8 * 8, "<i", 12),
    ],
)
def test_payload_that_lies_is_refused(place, form, value):
    payload, offsets = encoded()
    out = np.empty((7, 4, 3), np.float32)
    with pytest.raises(CodecError):
        codec().decode(lie(payload, place, form, value), offsets, (0, 4), out)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 250), st.integers(0, 255)), max_size=8), st.integers(0, 400))
def test_damaged_payload_gives_numbers_or_a_typed_error(changes, length):
    payload, offsets = encoded()
    payload = payload[:length].copy()
    for place, value in changes:
        if place < len(payload):
            payload[place] = value
    out = np.empty((7, 4, 3), np.float32)
    with contextlib.suppress(CodecError):
        codec().decode(payload, offsets, (0, 4), out)


@pytest.mark.parametrize("offset", [0, 23, 25, 24 + 8 * 7, 2**63])
def test_offset_that_is_none_is_refused(offset):
    payload, _ = encoded()
    with pytest.raises(CodecError, match="offsets"):
        codec().rows(payload, np.array([offset], np.uint64))


def test_source_gives_the_items():
    rows = scipy.sparse.csr_array(ITEMS.reshape(7, -1).astype("u2"))
    source = open_csr(rows.data, rows.indices, rows.indptr, (4, 3))
    decoder = open_decoder(source.descriptor)
    feed = source.feed(chunk_items=3)
    member = feed.join()
    seen = np.empty((7, 4, 3), "u2")
    for _ in range(3):
        chunk = member.recv(5.0)
        decoder.decode(chunk.payload, chunk.offsets, (0, 4), seen[chunk.first : chunk.first + chunk.n])
    feed.close()
    assert np.array_equal(seen, ITEMS)


@pytest.mark.parametrize(
    ("values", "columns", "starts", "text"),
    [
        ([1.0], [12], [0, 1], "columns are 12 to 12"),
        ([1.0], [-1], [0, 1], "columns are -1 to -1"),
        ([1.0], [0.5], [0, 1], "must be integers"),
        ([1.0, 2.0], [0], [0, 1], "both must be equal"),
        ([1.0], [0], [1, 1], "begin with 0"),
        ([1.0], [0], [0, 1, 0], "never get smaller"),
        ([1.0], [0], [0, 2], "there are 1 values"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(values, columns, starts, text):
    with pytest.raises(ValueError, match=text):
        open_csr(values, columns, starts, (4, 3))
