"""The encoder against a decoder that goes pixel by pixel, and against the reference's examples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from detector_merlin._encode import DEPTHS, FrameFormat, encode_frames, pack_words, to_counts


def read_word_pixel(row: bytes, x: int, depth: int) -> int:
    """Pixel `x` of a chip row: within each 64-bit word the last pixel comes first."""
    if depth == 1:
        word = int.from_bytes(row[x // 64 * 8 : x // 64 * 8 + 8], "big")
        return word >> (x % 64) & 1
    if depth == 6:
        return row[x // 8 * 8 + 7 - x % 8]
    at = (x // 4 * 4 + 3 - x % 4) * 2
    return int.from_bytes(row[at : at + 2], "big")


def read_raw_rows(payload: bytes, n_chips: int, rows: int, columns: int, depth: int) -> list[np.ndarray]:
    """Chips 1 … N as read out: each row holds chip N first, chip 1 last."""
    if depth == 24:
        half = len(payload) // 2
        upper = read_raw_rows(payload[:half], n_chips, rows, columns, 12)
        lower = read_raw_rows(payload[half:], n_chips, rows, columns, 12)
        return [(a << 12) | b for a, b in zip(upper, lower, strict=True)]
    row_bytes = {1: columns // 8, 6: columns, 12: columns * 2}[depth]
    chips = [np.zeros((rows, columns), np.int64) for _ in range(n_chips)]
    for y in range(rows):
        for place in range(n_chips):
            start = (y * n_chips + place) * row_bytes
            row = payload[start : start + row_bytes]
            for x in range(columns):
                chips[n_chips - 1 - place][y, x] = read_word_pixel(row, x, depth)
    return chips


def decode_slowly(payload: bytes, fmt: FrameFormat) -> np.ndarray:
    """The assembled picture, by the reference's formulas."""
    if fmt.kind != "R64":
        size = {"U08": 1, "U16": 2, "U32": 4, "U64": 8}[fmt.kind]
        values = [int.from_bytes(payload[i : i + size], "big") for i in range(0, len(payload), size)]
        return np.array(values).reshape(fmt.item_shape)
    rows, columns = fmt.chip_shape
    chips = read_raw_rows(payload, fmt.n_chips, rows, columns, fmt.depth)
    gap = 2 if fmt.layout.endswith("G") else 0
    out = np.zeros(fmt.item_shape, np.int64)
    if fmt.layout.startswith("2x2"):
        height = 2 * rows + gap
        for y in range(rows):
            out[y, :columns] = chips[0][y]
            out[y, columns + gap :] = chips[1][y]
            out[height - 1 - y, :columns] = chips[2][y][::-1]
            out[height - 1 - y, columns + gap :] = chips[3][y][::-1]
        return out
    for number, chip in enumerate(chips):
        x = number * (columns + gap)
        out[:, x : x + columns] = chip
    return out


def picture_of(frame: np.ndarray, fmt: FrameFormat) -> np.ndarray:
    """What a receiver should see: the gap blank, only the rows that were read."""
    expected = np.zeros(fmt.item_shape, np.int64)
    rows, columns = fmt.chip_shape
    n_across = 2 if fmt.layout.startswith("2x2") else fmt.n_chips
    n_down = fmt.n_chips // n_across
    gap = 2 if fmt.layout.endswith("G") else 0
    step = (frame.shape[1] - columns) // (n_across - 1) if n_across > 1 else 0
    for down in range(n_down):
        source_y = slice(0, rows) if down == 0 else slice(frame.shape[0] - rows, frame.shape[0])
        y = down * (rows + gap)
        for across in range(n_across):
            x = across * (columns + gap)
            chip = frame[source_y, across * step : across * step + columns]
            expected[y : y + rows, x : x + columns] = chip
    return expected


@settings(max_examples=150, deadline=None)
@given(
    layout=st.sampled_from(["1x1", "2x2", "2x2G", "Nx1", "Nx1G"]),
    depth=st.sampled_from(DEPTHS),
    raw=st.booleans(),
    with_gap=st.booleans(),
    chip_rows=st.integers(1, 4),
    n_words=st.integers(1, 2),
    roi=st.none() | st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_decoding_slowly_gives_the_pixels_back(
    layout: str,
    depth: int,
    raw: bool,
    with_gap: bool,
    chip_rows: int,
    n_words: int,
    roi: int | None,
    seed: int,
) -> None:
    columns = n_words * {1: 64, 6: 8, 12: 4, 24: 4}[depth]
    across, down = {"1x1": (1, 1), "2x2": (2, 2), "2x2G": (2, 2)}.get(layout, (3, 1))
    gap = 2 if layout.endswith("G") and with_gap else 0
    shape = (down * chip_rows + (down - 1) * gap, across * columns + (across - 1) * gap)
    frames = np.random.default_rng(seed).integers(0, 1 << depth, (2, *shape))
    fmt = FrameFormat.for_frames(
        shape,
        depth=depth,
        raw=raw,
        layout=layout,  # type: ignore[arg-type]
        n_chips=3 if layout.startswith("N") else None,
        roi_rows=roi,
    )
    payloads = encode_frames(to_counts(frames, depth), fmt)
    assert payloads.shape == (2, fmt.payload_bytes)
    for frame, payload in zip(frames, payloads, strict=True):
        assert_array_equal(decode_slowly(payload.tobytes(), fmt), picture_of(frame, fmt))


@pytest.mark.parametrize(
    ("depth", "pixels", "expected"),
    [
        (12, [0x001, 0x002, 0xABC, 0xFFF], "0f ff 0a bc 00 02 00 01"),
        (6, [1, 2, 3, 4, 5, 6, 7, 8], "08 07 06 05 04 03 02 01"),
        (1, [int(i in (0, 2, 63)) for i in range(64)], "80 00 00 00 00 00 00 05"),
    ],
)
def test_words_are_those_of_the_reference(depth: int, pixels: list[int], expected: str) -> None:
    assert pack_words(np.array(pixels), depth).tobytes().hex(" ") == expected


@pytest.mark.parametrize(
    ("layout", "shape", "depth", "raw", "length"),
    [
        ("1x1", (256, 256), 12, False, 131457),
        ("2x2G", (514, 514), 12, False, 529161),
        ("2x2", (512, 512), 12, True, 525057),
        ("2x2G", (514, 514), 12, True, 525057),
        ("2x2", (512, 512), 6, True, 262913),
        ("2x2", (512, 512), 1, True, 33537),
        ("2x2", (512, 512), 24, True, 1049345),
    ],
)
def test_lengths_are_those_of_the_reference(
    layout: str, shape: tuple[int, int], depth: int, raw: bool, length: int
) -> None:
    fmt = FrameFormat.for_frames(shape, depth=depth, raw=raw, layout=layout)  # type: ignore[arg-type]
    assert fmt.message_bytes - 14 == length
    assert fmt.item_shape == shape


def test_24_bit_raw_doubles_the_width_in_the_header() -> None:
    assert FrameFormat.for_frames((256, 256), depth=24, raw=True).header_size == (512, 256)
    assert FrameFormat.for_frames((512, 512), depth=24, raw=True, layout="2x2").header_size == (2048, 256)


def test_counts_saturate_and_negative_ones_are_zero() -> None:
    counts = to_counts(np.array([-5, 0, 63, 64, 100_000], np.int32), 6)
    assert counts.dtype == np.uint8
    assert_array_equal(counts, [0, 0, 63, 63, 63])
    assert_array_equal(to_counts(np.array([-3, 127], np.int8), 12), [0, 127])
    assert_array_equal(to_counts(np.array([False, True]), 1), [0, 1])


def test_real_numbers_need_a_scale() -> None:
    with pytest.raises(ValueError, match="scale"):
        to_counts(np.array([0.5]), 12)
    assert_array_equal(to_counts(np.array([0.5, np.nan, -1.0, 1e9]), 12, scale=100), [50, 0, 0, 4095])


@pytest.mark.parametrize(
    ("shape", "options", "match"),
    [
        ((10, 10), {"depth": 12, "raw": True}, "multiple"),
        ((16, 16), {"depth": 8}, "depth"),
        ((16, 16), {"layout": "3x3"}, "layout"),
        ((15, 16), {"layout": "2x2"}, "chips"),
        ((16, 20000), {}, "digits"),
        ((16, 16), {"layout": "2x2", "n_chips": 3}, "4 chips"),
    ],
)
def test_format_that_can_not_be_is_refused(
    shape: tuple[int, int], options: dict[str, object], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        FrameFormat.for_frames(shape, **options)  # type: ignore[arg-type]


def test_frames_of_another_shape_are_refused() -> None:
    fmt = FrameFormat.for_frames((16, 16), layout="2x2")
    with pytest.raises(ValueError, match="fit"):
        encode_frames(np.zeros((1, 16, 24), np.uint16), fmt)


@pytest.mark.parametrize("depth", [6, 12])
def test_real_plain_frame_is_encoded_to_the_same_bytes(
    vendor_file: Callable[[str], Path], depth: int
) -> None:
    data = vendor_file(f"merlin_epsic_quad/test_{depth}bit_notRAW_1frame.mib").read_bytes()
    fmt = FrameFormat.for_frames((512, 512), depth=depth, layout="2x2")
    pixels = np.frombuffer(data, f">u{fmt.dtype.itemsize}", offset=768).reshape(1, 512, 512)
    assert len(data) == fmt.data_offset + fmt.payload_bytes
    assert encode_frames(pixels, fmt).tobytes() == data[768:]
