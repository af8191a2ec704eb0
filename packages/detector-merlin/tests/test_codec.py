"""The codec against a NumPy model that is slow but obvious, and against real files."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from arraystream import CodecError, Decoder, ItemDescriptor
from detector_merlin import _merlin
from detector_merlin._codec import MerlinCodec
from detector_merlin._encode import FrameFormat, encode_frames

NATIVE = {1: "u1", 6: "u1", 12: "u2", 24: "u4"}
N_CHIPS = {"1x1": 1, "2x2": 4, "2x2G": 4, "Nx1": 3, "Nx1G": 3}


def encode_chip_row(pixels: np.ndarray, depth: int) -> bytes:
    """One row of one chip: 64-bit words in which the last pixel comes first."""
    if depth == 1:
        bits = pixels.reshape(-1, 64)[:, ::-1]
        return np.packbits(bits.astype(np.uint8), axis=1).tobytes()
    per_word, stored = {6: (8, ">u1"), 12: (4, ">u2")}[depth]
    return pixels.reshape(-1, per_word)[:, ::-1].astype(stored).tobytes()


def encode_raw(chips: np.ndarray, depth: int) -> bytes:
    """Chips ``(n, rows, columns)`` as read out: row by row, last chip first."""
    if depth == 24:
        return encode_raw(chips >> 12, 12) + encode_raw(chips & 0xFFF, 12)
    rows = range(chips.shape[1])
    return b"".join(encode_chip_row(chip[y], depth) for y in rows for chip in chips[::-1])


def assemble(chips: np.ndarray, layout: str) -> np.ndarray:
    """The picture: the lower chips of a quad are mounted upside down."""
    gap = 2 if layout.endswith("G") else 0
    _, rows, columns = chips.shape
    if layout.startswith("2x2"):
        image = np.zeros((2 * rows + gap, 2 * columns + gap), chips.dtype)
        image[:rows, :columns] = chips[0]
        image[:rows, columns + gap :] = chips[1]
        image[rows + gap :, :columns] = chips[2][::-1, ::-1]
        image[rows + gap :, columns + gap :] = chips[3][::-1, ::-1]
        return image
    image = np.zeros((rows, len(chips) * (columns + gap) - gap), chips.dtype)
    for i, chip in enumerate(chips):
        image[:, i * (columns + gap) : i * (columns + gap) + columns] = chip
    return image


def raw_descriptor(depth: int, layout: str, rows: int, columns: int = 256, **extra: object) -> ItemDescriptor:
    n_chips = N_CHIPS[layout]
    shape = assemble(np.zeros((n_chips, rows, columns), np.uint8), layout).shape
    params = {
        "kind": "R64",
        "depth": depth,
        "layout": layout,
        "n_chips": n_chips,
        "header_width": n_chips * columns * (2 if depth == 24 else 1),
        "header_height": rows,
    }
    return ItemDescriptor(np.dtype(NATIVE[depth]), shape, "merlin", params | extra)


def plain_descriptor(bits: int, shape: tuple[int, int]) -> ItemDescriptor:
    params = {
        "kind": f"U{bits:02d}",
        "depth": 12,
        "layout": "1x1",
        "n_chips": 1,
        "header_width": shape[1],
        "header_height": shape[0],
    }
    return ItemDescriptor(np.dtype(f"u{bits // 8}"), shape, "merlin", params)


def as_chunk(frames: list[bytes], gap: int = 399) -> tuple[np.ndarray, np.ndarray]:
    """Payload with something before each frame, and the frames' offsets."""
    payload, offsets = bytearray(), []
    for frame in frames:
        payload += b"\xff" * gap
        offsets.append(len(payload))
        payload += frame
    return np.frombuffer(bytes(payload), np.uint8), np.array(offsets, np.uint64)


def decode(descriptor: ItemDescriptor, frames: list[bytes], rows: tuple[int, int], dtype: str) -> np.ndarray:
    payload, offsets = as_chunk(frames)
    out = np.full((len(frames), rows[1] - rows[0], descriptor.item_shape[1]), 77, dtype)
    MerlinCodec(descriptor).decode(payload, offsets, rows, out)
    return out


@st.composite
def bands(draw: st.DrawFn, n_rows: int) -> tuple[int, int]:
    start = draw(st.integers(0, n_rows))
    return start, draw(st.integers(start, n_rows))


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    depth=st.sampled_from([1, 6, 12, 24]),
    layout=st.sampled_from(sorted(N_CHIPS)),
    dtype=st.sampled_from(["u1", "i2", "u2", "u4", "i8", "f4", "f8", "c8", ">f4"]),
    columns=st.sampled_from([64, 256]),
)
def test_raw_frames_decode_to_what_was_encoded(data, depth, layout, dtype, columns):
    rows = data.draw(st.integers(1, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    chips = rng.integers(0, 2**depth, (2, N_CHIPS[layout], rows, columns), dtype=np.uint32)
    expected = np.stack([assemble(frame, layout) for frame in chips])
    start, stop = data.draw(bands(expected.shape[1]))

    descriptor = raw_descriptor(depth, layout, rows, columns)
    found = decode(descriptor, [encode_raw(frame, depth) for frame in chips], (start, stop), dtype)

    assert_array_equal(found, expected[:, start:stop].astype(dtype))


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    bits=st.sampled_from([8, 16, 32, 64]),
    dtype=st.sampled_from(["u1", "i1", "u2", "u4", "i4", "u8", "f4", "f8"]),
)
def test_plain_frames_decode_to_what_was_encoded(data, bits, dtype):
    shape = (data.draw(st.integers(1, 5)), data.draw(st.integers(1, 100)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    frames = rng.integers(0, 2**bits, (3, *shape), dtype=f"u{bits // 8}")
    start, stop = data.draw(bands(shape[0]))

    found = decode(plain_descriptor(bits, shape), [f.astype(f">u{bits // 8}").tobytes() for f in frames],
                   (start, stop), dtype)  # fmt: skip

    assert_array_equal(found, frames[:, start:stop].astype(dtype))


def test_flip_y_turns_images_upside_down():
    chips = np.random.default_rng(5).integers(0, 4096, (4, 3, 256), dtype=np.uint16)
    descriptor = raw_descriptor(12, "2x2G", 3, flip_y=True)
    found = decode(descriptor, [encode_raw(chips, 12)], (0, 4), "u2")
    assert_array_equal(found[0], assemble(chips, "2x2G")[::-1][:4])


def test_the_codec_is_a_decoder_of_the_stream_protocol():
    assert isinstance(MerlinCodec(plain_descriptor(16, (4, 4))), Decoder)


def test_bytes_outside_the_payload_are_never_read():
    codec = MerlinCodec(plain_descriptor(16, (4, 4)))
    out = np.zeros((1, 4, 4), np.uint16)
    payload = np.zeros(40, np.uint8)
    for offset in (9, 40, 2**63, 2**64 - 1):
        with pytest.raises(CodecError, match="payload ends at 40"):
            codec.decode(payload, np.array([offset], np.uint64), (0, 4), out)
    codec.decode(payload, np.array([8], np.uint64), (0, 4), out)


@pytest.mark.parametrize(
    ("rows", "shape", "words"),
    [
        ((0, 5), (1, 5, 4), "rows 0..5"),
        ((3, 2), (1, 0, 4), "rows 3..2"),
        ((0, 4), (1, 4, 5), "out has shape"),
        ((0, 4), (2, 4, 4), "out has shape"),
        ((0, 4), (16,), "out has shape"),
    ],
)
def test_requests_that_do_not_fit_are_refused(rows, shape, words):
    codec = MerlinCodec(plain_descriptor(16, (4, 4)))
    with pytest.raises(CodecError, match=words):
        codec.decode(np.zeros(64, np.uint8), np.zeros(1, np.uint64), rows, np.zeros(shape, np.uint16))


def test_output_that_can_not_be_written_is_refused():
    out = np.zeros((1, 4, 4), np.uint16)
    out.flags.writeable = False
    codec = MerlinCodec(plain_descriptor(16, (4, 4)))
    with pytest.raises(CodecError, match="can't be written"):
        codec.decode(np.zeros(32, np.uint8), np.zeros(1, np.uint64), (0, 4), out)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "U01"},
        {"kind": "R64", "depth": 7},
        {"kind": "R64", "layout": "3x3"},
        {"header_width": 0},
        {"header_width": -1},
        {"n_chips": "many"},
        {"header_height": 5},
    ],
)
def test_a_descriptor_that_can_not_be_is_refused(change):
    good = plain_descriptor(16, (4, 4))
    params = {**good.codec_params, **change}
    with pytest.raises(CodecError, match="merlin"):
        MerlinCodec(ItemDescriptor(good.dtype, good.item_shape, "merlin", params))


def test_missing_parameters_are_named():
    with pytest.raises(CodecError, match="layout, n_chips"):
        MerlinCodec(ItemDescriptor(np.dtype("u1"), (4, 4), "merlin", {"kind": "U08", "depth": 6}))


def test_several_threads_may_decode_at_once():
    chips = np.random.default_rng(2).integers(0, 64, (16, 4, 32, 256), dtype=np.uint8)
    descriptor = raw_descriptor(6, "2x2", 32)
    payload, offsets = as_chunk([encode_raw(frame, 6) for frame in chips])
    codec = MerlinCodec(descriptor)
    out = np.zeros((4, 16, *descriptor.item_shape), np.float32)

    def run(i: int) -> None:
        codec.decode(payload, offsets, (0, 64), out[i])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    expected = np.stack([assemble(frame, "2x2") for frame in chips])
    for found in out:
        assert_array_equal(found, expected)


def test_vectorised_and_plain_code_agree_on_whole_quads():
    rng = np.random.default_rng(3)
    for depth, width in ((1, 1024), (6, 1024), (12, 1024), (24, 2048)):
        fast = _merlin.Decoder("R64", depth, "2x2G", 4, width, 256)
        slow = _merlin.Decoder("R64", depth, "2x2G", 4, width, 256, vectorise=False)
        payload = rng.integers(0, 16, fast.payload_bytes, dtype=np.uint8)
        for dtype in ("u1", "u2", "u4", "f4", "f8"):
            out = np.zeros((2, 1, 514, 514), dtype)
            for decoder, target in zip((fast, slow), out, strict=True):
                decoder.decode(payload, np.zeros(1, np.uint64), (0, 514), target)
            assert_array_equal(out[0], out[1])


@pytest.mark.parametrize("layout", ["1x1", "2x2", "2x2G", "Nx1", "Nx1G"])
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("depth", [1, 6, 12, 24])
def test_what_our_encoder_writes_decodes_to_the_same_frames(layout, raw, depth):
    n_chips = N_CHIPS[layout]
    shape = assemble(np.zeros((n_chips, 4, 64), np.uint8), layout).shape
    written = FrameFormat.for_frames(shape, depth=depth, raw=raw, layout=layout, n_chips=n_chips)
    chips = np.random.default_rng(6).integers(0, 2**depth, (3, n_chips, 4, 64), dtype=np.uint32)
    frames = np.stack([assemble(frame, layout) for frame in chips])
    width, height = written.header_size
    params = {
        "kind": written.kind,
        "depth": depth,
        "layout": layout,
        "n_chips": n_chips,
        "header_width": width,
        "header_height": height,
    }
    descriptor = ItemDescriptor(np.dtype(NATIVE[depth]), shape, "merlin", params)
    encoded = [bytes(frame) for frame in encode_frames(frames.astype(NATIVE[depth]), written)]
    assert_array_equal(decode(descriptor, encoded, (0, shape[0]), "u4"), frames)
