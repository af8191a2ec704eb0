"""The texts of acquisition and frame headers: positions, sizes, growing numbers, real files."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector_merlin._encode import FrameFormat
from detector_merlin._headers import AcquisitionHeader, FrameHeaders, digits, render_hdr, scientific

QUAD = FrameFormat.for_frames((512, 512), raw=True, layout="2x2")
SINGLE = FrameFormat.for_frames((256, 256))
STARTED = datetime.datetime(2020, 5, 18, 16, 51, 48)
NOW_NS = 1_618_497_827_008_505_401  # 2021-04-15T14:43:47.008505401Z


def fields_of(headers: FrameHeaders, number: int = 1, offset_s: int = 0) -> list[str]:
    text = headers.render(np.array([number]), np.array([NOW_NS]), offset_s)[0].tobytes()
    return text.rstrip(b"\0").decode("ascii").split(",")


def parse_hdr(body: bytes) -> dict[str, str]:
    lines = [line.split("\t", 1) for line in body.decode("latin-1").splitlines()]
    return {line[0].rstrip(":"): line[1] for line in lines if len(line) == 2}


@pytest.mark.parametrize(("old", "size", "end"), [(False, 2048, b"\r\n"), (True, 2020, b"\n")])
@pytest.mark.parametrize("frame_format", [SINGLE, QUAD])
def test_acquisition_header_has_its_size_and_line_ends(
    frame_format: FrameFormat, old: bool, size: int, end: bytes
) -> None:
    header = AcquisitionHeader(n_frames=16384, frames_per_trigger=128, frame_format=frame_format)
    body = header.encode(STARTED, old=old)
    assert len(body) == size
    assert body.startswith(b"HDR,\t" + end)
    assert body.rstrip(b" ").endswith(end + b"End\t")
    assert body.count(b"\r\n") == (0 if old else body.count(b"\n"))


def test_acquisition_header_says_what_a_receiver_needs() -> None:
    header = AcquisitionHeader(
        n_frames=16384, frames_per_trigger=128, frame_format=QUAD, scan_shape=(100, 120)
    )
    found = parse_hdr(header.encode(STARTED))
    assert found["Frames in Acquisition (Number)"] == "16384"
    assert found["Frames per Trigger (Number)"] == "128"
    assert found["Counter Depth (number)"] == "12"
    assert (found["ScanX"], found["ScanY"]) == ("120", "100")
    assert found["Time and Date Stamp (day, mnth, yr, hr, min, s)"] == "18/05/2020 16:51:48"
    assert found["DACs"].count("; ") == 3


def test_header_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="exceeds"):
        render_hdr(["x" * 2048])


def test_frame_header_stands_where_the_reference_says() -> None:
    headers = FrameHeaders(SINGLE, thresholds_kev=(2.0, 511.0, 0, 0, 0, 0, 0, 0))
    text = headers.render(np.array([7]), np.array([NOW_NS]), 3600)[0].tobytes()
    assert len(text) == 384
    fixed = b"MQ1,000007,00384,01,0256,0256,U16,   1x1,01,2021-04-15 15:43:47.008505,0.001000,0,0,0,"
    assert text.startswith(fixed + b"2.000000E+0,5.110000E+2,")
    assert b",MQ1A,2021-04-15T14:43:47.008505401Z,1000000ns,12,\0" in text
    assert text.count(b"3RX") == 1


def test_quad_header_has_four_chips() -> None:
    fields = fields_of(FrameHeaders(QUAD))
    assert fields[2:9] == ["00768", "04", "1024", "0256", "R64", "   2x2", "0F"]
    assert fields.count("3RX") == 4


def test_missing_thresholds_leave_an_empty_field_as_in_2019() -> None:
    fields = fields_of(FrameHeaders(QUAD, thresholds_kev=None, shutter_ns=10_000_000))
    assert fields[13:16] == ["0", "", "MQ1A"]
    assert fields[17:] == ["10000000ns", "12", ""]


def test_missing_dacs_and_missing_extension() -> None:
    assert "3RX" not in fields_of(FrameHeaders(QUAD, with_dacs=False))
    assert "MQ1A" not in fields_of(FrameHeaders(QUAD, with_extension=False))


@pytest.mark.parametrize(
    ("number", "wraps", "text"),
    [
        (999_999, False, "999999"),
        (1_000_000, False, "1000000"),
        (12_345_678, False, "12345678"),
        (1_000_002, True, "000002"),
    ],
)
def test_frame_number_grows_or_wraps_beyond_six_digits(number: int, wraps: bool, text: str) -> None:
    fields = fields_of(FrameHeaders(QUAD, number_wraps=wraps), number)
    assert fields[1] == text
    assert fields[2] == "00768"


def test_stack_across_the_growing_number_is_right_in_every_row() -> None:
    headers = FrameHeaders(SINGLE, n_layers=2)
    numbers = np.arange(999_997, 1_000_003)
    times = NOW_NS + 500_000_000 * np.arange(6)
    rows = headers.render(numbers, times)
    for row, number, ns in zip(rows, numbers, times, strict=True):
        fields = row.tobytes().rstrip(b"\0").decode().split(",")
        assert fields[1] == str(number)
        assert fields[11] == str((number - 1) % 2)
        second = datetime.datetime.fromtimestamp(int(ns) // 10**9, datetime.UTC)
        stamp = f"{second:%Y-%m-%dT%H:%M:%S}.{int(ns) % 10**9:09d}Z"
        assert fields[fields.index("MQ1A") + 1] == stamp


@given(st.lists(st.integers(0, 10**9 - 1), min_size=1))
def test_digits_are_zero_padded_decimals(values: list[int]) -> None:
    rows = digits(np.array(values, np.int64), 9)
    assert [row.tobytes() for row in rows] == [b"%09d" % value for value in values]


@pytest.mark.parametrize(("value", "text"), [(2, "2.000000E+0"), (511, "5.110000E+2"), (0, "0.000000E+0")])
def test_thresholds_are_written_as_the_server_does(value: float, text: str) -> None:
    assert scientific(value) == text


@pytest.mark.parametrize(
    ("name", "thresholds"),
    [("test_12bit_notRAW_1frame", True), ("test_12bit_RAW_1frame", False), ("test_1bit_RAW_1frame", False)],
)
def test_header_has_the_fields_of_a_real_file(
    vendor_file: Callable[[str], Path], name: str, thresholds: bool
) -> None:
    data = vendor_file(f"merlin_epsic_quad/{name}.mib").read_bytes()[:768]
    real = data.rstrip(b"\0").decode("ascii").split(",")
    raw, depth = real[6] == "R64", int(real[real.index("MQ1A") + 3])
    fmt = FrameFormat.for_frames((512, 512), depth=depth, raw=raw, layout="2x2")
    kev = (10.0, 500.0, 0, 0, 0, 0, 0, 0) if thresholds else None
    ours = fields_of(FrameHeaders(fmt, shutter_ns=10_000_000, thresholds_kev=kev))
    assert [len(field) for field in ours] == [len(field) for field in real]
    assert ours[:9] == real[:9]
    assert ours[10:22] == real[10:22] if thresholds else ours[10:16] == real[10:16]
    assert ours[-3:] == real[-3:]
