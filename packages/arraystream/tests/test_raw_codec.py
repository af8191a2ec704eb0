"""The codec "raw" against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arraystream import CodecError, Decoder, ItemDescriptor, RawCodec

STORED = st.sampled_from(["|u1", "<u2", ">u2", ">i4", "<f4", ">f8", "|b1"])


def codec(dtype, shape):
    return RawCodec(ItemDescriptor(np.dtype(dtype).newbyteorder("="), shape, codec_params={"dtype": dtype}))


@settings(deadline=None)
@given(STORED, st.sampled_from([np.float32, np.float64, np.int64, np.uint16]), st.data())
def test_any_band_of_any_items_is_what_numpy_would_cut_out(dtype, out_dtype, data):
    shape = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 4)) | st.tuples(st.integers(1, 5)))
    gap = data.draw(st.integers(0, 5))
    lead = data.draw(st.integers(0, 5))
    items = (np.arange(7 * np.prod(shape)) % 100).reshape(7, *shape).astype(dtype)
    payload = np.frombuffer(bytes(lead) + b"".join(item.tobytes() + bytes(gap) for item in items), np.uint8)
    step = items[0].nbytes + gap
    which = data.draw(
        st.lists(st.integers(0, 6), max_size=9) | st.sampled_from([[0, 1, 2], [1, 3, 5], [6, 5], [2, 2], [4]])
    )
    offsets = np.array([lead + i * step for i in which], np.uint64)
    start = data.draw(st.integers(0, shape[0]))
    stop = data.draw(st.integers(start, shape[0]))
    out = np.full((len(which), stop - start, *shape[1:]), 77, out_dtype)
    codec(dtype, shape).decode(payload, offsets, (start, stop), out)
    assert np.array_equal(out, items[which][:, start:stop].astype(out_dtype))


@pytest.mark.parametrize(
    "which",
    [[0, 1, 2, 4, 5, 6, 9], [0, 2, 4, 5, 7, 9], [9, 3, 3, 1], [5, 4, 3, 8], [0, 0, 0, 1], [7, 1]],
)
@pytest.mark.parametrize("rows", [(0, 100), (20, 90)])
def test_large_items_anywhere(which, rows):
    items = np.random.default_rng(0).integers(0, 1000, (10, 100, 300)).astype(">u2")
    payload = np.frombuffer(items.tobytes(), np.uint8)
    offsets = np.array(which, np.uint64) * np.uint64(items[0].nbytes)
    out = np.empty((len(which), rows[1] - rows[0], 300), np.float32)
    codec(">u2", (100, 300)).decode(payload, offsets, rows, out)
    assert np.array_equal(out, items[which][:, rows[0] : rows[1]])


def test_items_without_axes_are_single_numbers():
    out = np.empty((3, 1), np.float32)
    codec("<u2", ()).decode(
        np.array([1, 2, 3], "<u2").view(np.uint8), np.array([0, 2, 4], np.uint64), (0, 1), out
    )
    assert out.tolist() == [[1], [2], [3]]


@pytest.mark.parametrize("offsets", [[0, 33], [33, 0], [2**63]])
def test_nothing_outside_the_payload_is_read(offsets):
    out = np.empty((len(offsets), 4, 4), np.uint8)
    with pytest.raises(CodecError, match="a payload of 48 bytes"):
        codec("|u1", (4, 4)).decode(np.zeros(48, np.uint8), np.array(offsets, np.uint64), (0, 4), out)


@pytest.mark.parametrize("rows", [(-1, 2), (3, 2), (0, 5)])
def test_rows_outside_the_item_are_an_error(rows):
    out = np.empty((1, 2, 4), np.uint8)
    with pytest.raises(CodecError, match="rows"):
        codec("|u1", (4, 4)).decode(np.zeros(48, np.uint8), np.zeros(1, np.uint64), rows, out)


def test_a_wrong_shape_of_out_is_an_error():
    out = np.empty((1, 4, 3), np.uint8)
    with pytest.raises(CodecError, match="out has shape"):
        codec("|u1", (4, 4)).decode(np.zeros(48, np.uint8), np.zeros(1, np.uint64), (0, 4), out)


def test_imaginary_parts_are_never_dropped():
    payload, out = np.ones(2, "<c8").view(np.uint8), np.empty((1, 2), np.float32)
    with pytest.raises(CodecError, match="imaginary"):
        codec("<c8", (2,)).decode(payload, np.zeros(1, np.uint64), (0, 2), out)


@pytest.mark.parametrize("stored", ["O", "U3", "nonsense", "M8[s]"])
def test_only_numbers_are_stored(stored):
    with pytest.raises(CodecError):
        RawCodec(ItemDescriptor(np.dtype("u1"), (2,), codec_params={"dtype": stored}))


def test_it_is_a_decoder():
    assert isinstance(codec("|u1", (2,)), Decoder)


def test_equally_spaced_items_are_cast_from_where_they_lie():
    items = np.arange(4 * 6 * 8, dtype=">u2").reshape(4, 6, 8)
    band = codec(">u2", (6, 8))._spaced_band(
        items.reshape(-1).view(np.uint8), np.arange(4, dtype=np.uint64) * np.uint64(96), 2, (4, 3, 8)
    )
    assert np.shares_memory(band, items)
    assert np.array_equal(band, items[:, 2:5])
