"""Files: real ones against the sums other readers give, and files made here."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from arraystream import ArraySource, FeedEnd, ProtocolError, TruncatedStream, load_plugin, open_decoder
from detector_merlin import open_mib
from detector_merlin._merlin import parse_hdr, scan_mib

SINGLE = "Single_1_Frame_CounterDepth_{}_Rows_256{}.mib"
QUAD = "Quad_1_Frame_CounterDepth_{}_Rows_256{}.mib"


def read(source: ArraySource, dtype="f8", rows: tuple[int, int] | None = None) -> np.ndarray:
    """All frames of a source, through a feed as a worker does."""
    decoder = open_decoder(source.descriptor)
    start, stop = rows or (0, source.descriptor.item_shape[0])
    frames = np.empty((source.n_items, stop - start, source.descriptor.item_shape[1]), dtype)
    feed = source.feed(chunk_items=3)
    member = feed.join()
    while not isinstance(chunk := member.recv(5.0), FeedEnd):
        out = frames[chunk.first : chunk.first + chunk.n]
        decoder.decode(chunk.payload, chunk.offsets, (start, stop), out)
        feed.settle(member.number, [chunk.lease.token])
        chunk.lease.release()
    member.close()
    feed.close()
    return frames


def mib_frame(number: int, pixels: np.ndarray, text: str = "") -> bytes:
    height, width = pixels.shape
    bits = 8 * pixels.dtype.itemsize
    header = (
        f"MQ1,{number:06d},00384,01,{width:04d},{height:04d},U{bits:02d},   1x1,01,"
        f"2024-01-01 12:00:00.000000,0.001000,0,0,0,{text},MQ1A,2024-01-01T12:00:00.0Z,1000000ns,12,"
    )
    return header.encode().ljust(384, b"\0") + pixels.astype(f">u{bits // 8}").tobytes()


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2**16, (12, 5, 9), dtype=np.uint16)


@pytest.fixture
def mib(tmp_path, frames):
    path = tmp_path / "scan.mib"
    path.write_bytes(b"".join(mib_frame(i + 1, frame) for i, frame in enumerate(frames)))
    return path


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("merlin_read_mib/" + QUAD.format(12, ""), 845907),
        ("merlin_read_mib/" + QUAD.format(24, ""), 778764),
        ("merlin_read_mib/" + QUAD.format(6, ""), 115263),
        ("merlin_read_mib/" + QUAD.format(1, ""), 10331),
        ("merlin_read_mib/" + SINGLE.format(12, ""), 28911),
        ("merlin_read_mib/" + SINGLE.format(24, ""), 29416),
        ("merlin_read_mib/" + SINGLE.format(6, ""), 24336),
        ("merlin_read_mib/" + SINGLE.format(1, ""), 2398),
        ("merlin_rosettasciio/001_4x2_6bit.mib", 3623664),
        ("merlin_rosettasciio/002_4x2_6bit_roi128.mib", 3263829),
        ("merlin_scikit_ued/test.mib", 728470),
        ("merlin_epsic_quad/test_12bit_RAW_1frame.mib", 1),
        ("merlin_epsic_quad/test_12bit_notRAW_1frame.mib", 0),
        ("merlin_epsic_quad/test_6bit_RAW_1frame.mib", 0),
        ("merlin_epsic_quad/test_6bit_notRAW_1frame.mib", 0),
        ("merlin_epsic_quad/test_1bit_RAW_1frame.mib", 0),
    ],
)
def test_real_files_sum_up_to_what_other_readers_give(vendor_file, name, total):
    assert read(open_mib(vendor_file(name))).sum() == total


def test_the_one_hot_pixel_of_a_raw_quad_is_where_other_readers_see_it(vendor_file):
    source = open_mib(vendor_file("merlin_epsic_quad/test_12bit_RAW_1frame.mib"))
    assert source.descriptor.item_shape == (512, 512)
    assert np.argwhere(read(source)[0]).tolist() == [[158, 86]]


@pytest.mark.parametrize(("name", "n"), [(SINGLE, 1), (QUAD, 2)])
def test_raw_frames_show_the_same_picture_as_processed_ones(vendor_file, name, n):
    raw = read(open_mib(vendor_file("merlin_read_mib/" + name.format(1, "RAW"))))[0]
    plain = read(open_mib(vendor_file("merlin_read_mib/" + name.format(1, ""))))[0]
    assert raw.shape == plain.shape == (256 * n, 256 * n)
    # They are two exposures of the same picture: chip by chip, pixels agree only in this orientation.
    for y in range(n):
        for x in range(n):
            chip = np.s_[256 * y : 256 * (y + 1), 256 * x : 256 * (x + 1)]
            hit = plain[chip] > 0
            turned = (hit, hit[::-1], hit[:, ::-1], hit[::-1, ::-1])
            agreement = [raw[chip][pixels].mean() for pixels in turned]
            assert agreement[0] > 0.95
            assert max(agreement[1:]) < 0.6


def test_a_real_scan_takes_its_shape_from_the_user(vendor_file):
    vendor_file("merlin_rosettasciio/001_4x2_6bit.hdr")
    path = vendor_file("merlin_rosettasciio/001_4x2_6bit.mib")
    source = open_mib(path)
    assert (source.index_shape, source.n_items) == ((), 8)
    assert source.descriptor.item_shape == (256, 256)
    header = source.descriptor.meta["header"]
    assert header["Chip Type (Medipix 3.0, Medipix 3.1, Medipix 3RX)"] == "Medipix 3RX"
    assert open_mib(path, nav_shape=(2, 4)).index_shape == (2, 4)


def test_real_headers_are_read(vendor_file):
    for name in ("12bit_RAW", "1bit_RAW", "6bit_notRAW"):
        found = parse_hdr(vendor_file(f"merlin_epsic_quad/test_{name}_1frame.hdr").read_bytes())
        assert found["n_frames"] == 1
        assert found["header"]["Assembly Size (NX1, 2X2)"] == "2x2"


@pytest.mark.parametrize("rows", [(0, 5), (2, 4), (3, 3)])
def test_frames_of_a_file_decode_to_what_was_written(mib, frames, rows):
    assert_array_equal(read(open_mib(mib), "u2", rows), frames[:, rows[0] : rows[1]])


def test_it_is_found_by_name(mib):
    source = load_plugin("arraystream.sources", "mib")(mib)
    assert isinstance(source, ArraySource)
    assert (source.n_items, source.index_shape, source.descriptor.codec) == (12, (), "merlin")


def test_flip_y_turns_images_upside_down(mib, frames):
    assert_array_equal(read(open_mib(mib, flip_y=True), "u2"), frames[:, ::-1])


def test_the_index_space_is_that_of_the_scan_or_of_line_triggers_or_as_asked_for(mib):
    def written(*lines: str):
        text = ["HDR,\t", "Frames in Acquisition (Number):\t12", *lines, "End\t"]
        mib.with_suffix(".hdr").write_text("\r\n".join(text))
        return open_mib(mib).index_shape

    assert written("ScanX:\t6", "ScanY:\t2") == (2, 6)
    assert written("Frames per Trigger (Number):\t4") == (3, 4)
    assert written("Frames per Trigger (Number):\t1") == ()
    assert written("ScanX:\t5", "ScanY:\t5") == ()
    assert open_mib(mib, nav_shape=(4, 3)).index_shape == (4, 3)
    with pytest.raises(TruncatedStream, match="needs more frames"):
        open_mib(mib, nav_shape=(4, 4))


def test_another_header_may_be_named_and_its_errors_name_it(mib, tmp_path):
    other = tmp_path / "other.hdr"
    other.write_text("HDR,\t\nFrames in Acquisition (Number):\t12\nScanX:\t3\nScanY:\t4\nEnd\t")
    assert open_mib(mib, other).index_shape == (4, 3)
    other.write_text("nothing")
    with pytest.raises(ProtocolError, match=r"other\.hdr.*lacks"):
        open_mib(mib, other)


def test_the_reader_travels_to_other_processes(mib, frames):
    source = open_mib(mib)
    reader = pickle.loads(pickle.dumps(source._reader))
    payload, offsets = reader.read(4, 2)
    out = np.empty((2, 5, 9), np.uint16)
    open_decoder(source.descriptor).decode(payload, offsets, (0, 5), out)
    assert_array_equal(out, frames[4:6])
    assert not payload.flags.writeable


def test_a_file_cut_off_is_an_error_unless_only_whole_frames_are_asked_for(mib, frames):
    mib.write_bytes(mib.read_bytes()[:-1])
    with pytest.raises(TruncatedStream, match="n_items=11"):
        open_mib(mib)
    assert_array_equal(read(open_mib(mib, n_items=11), "u2"), frames[:11])
    with pytest.raises(TruncatedStream, match="11 whole frames"):
        open_mib(mib, n_items=12)


def test_a_file_shortened_while_open_is_an_error(mib):
    source = open_mib(mib)
    mib.write_bytes(mib.read_bytes()[:1000])
    with pytest.raises(TruncatedStream, match="shortened"):
        source._reader.read(10, 2)


def test_a_missing_frame_is_an_error_unless_numbers_are_ignored(mib, frames):
    mib.write_bytes(b"".join(mib_frame(i, frames[i]) for i in (1, 2, 4, 5)))
    with pytest.raises(ProtocolError, match="after frame number 2 comes 4"):
        open_mib(mib)
    assert open_mib(mib, n_items=2).n_items == 2
    assert_array_equal(read(open_mib(mib, ignore_numbers=True), "u2"), frames[[1, 2, 4, 5]])


def test_a_file_of_a_series_may_begin_with_any_number(mib, frames):
    mib.write_bytes(b"".join(mib_frame(i, frames[i - 7]) for i in (7, 8, 9)))
    assert open_mib(mib).n_items == 3


@pytest.fixture
def series(tmp_path, frames):
    """An acquisition in three files, the header beside them, and files of others."""
    for number, (start, stop) in enumerate(((0, 5), (5, 10), (10, 12)), 1):
        content = b"".join(mib_frame(i + 1, frames[i]) for i in range(start, stop))
        (tmp_path / f"fly_{4 - number:04d}.mib").write_bytes(content)
    (tmp_path / "fly_other.mib").write_bytes(b"of no matter")
    lines = ("HDR,\t", "Frames in Acquisition (Number):\t12", "ScanX:\t4", "ScanY:\t3", "End\t")
    (tmp_path / "fly.hdr").write_text("\n".join(lines))
    return tmp_path


def test_the_files_of_an_acquisition_are_one_source(series, frames):
    source = open_mib(series / "fly.hdr")
    assert (source.n_items, source.index_shape) == (12, (3, 4))
    assert_array_equal(read(source, "u2"), frames)
    names = [series / f"fly_{number:04d}.mib" for number in (3, 2, 1)]
    source = open_mib(names)
    assert (source.n_items, source.index_shape) == (12, ())
    assert_array_equal(read(source, "u2"), frames)
    assert open_mib(names, series / "fly.hdr").index_shape == (3, 4)
    assert_array_equal(read(open_mib(names, n_items=7), "u2"), frames[:7])
    assert load_plugin("arraystream.sources", "auto")(series / "fly.hdr").index_shape == (3, 4)


def test_a_missing_file_of_an_acquisition_is_an_error(series, frames):
    (series / "fly_0002.mib").unlink()
    with pytest.raises(ProtocolError, match=r"fly_0001\.mib begins with frame number 11, but .* ends with 5"):
        open_mib(series / "fly.hdr")
    source = open_mib(series / "fly.hdr", ignore_numbers=True)
    assert_array_equal(read(source, "u2"), frames[[0, 1, 2, 3, 4, 10, 11]])
    with pytest.raises(TruncatedStream, match="the files have 7 whole frames"):
        open_mib(series / "fly.hdr", ignore_numbers=True, n_items=8)


def test_files_that_differ_or_are_not_there_are_no_acquisition(series, frames):
    (series / "fly_0002.mib").write_bytes(mib_frame(6, frames[0].astype("u4")))
    with pytest.raises(ProtocolError, match=r"fly_0002\.mib: frames differ .*stride"):
        open_mib(series / "fly.hdr")
    with pytest.raises(ValueError, match=r"list of \.mib files is empty"):
        open_mib([])
    (series / "lonely.hdr").write_text("HDR,\t\nFrames in Acquisition (Number):\t12\nEnd\t")
    with pytest.raises(FileNotFoundError, match="'lonely'"):
        open_mib(series / "lonely.hdr")


@pytest.mark.parametrize("content", [b"", b"no Merlin file at all", b"MQ1,000001"])
def test_what_is_no_merlin_file_is_an_error_with_its_name(tmp_path, content):
    path = tmp_path / "wrong.mib"
    path.write_bytes(content)
    with pytest.raises(ProtocolError, match=r"wrong\.mib"):
        open_mib(path)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_files_never_crash(data):
    file = bytearray(mib_frame(1, np.zeros((3, 4), np.uint8)) + mib_frame(2, np.zeros((3, 4), np.uint8)))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    file = file[: data.draw(st.integers(0, len(file)))]
    try:
        found = scan_mib(np.frombuffer(bytes(file), np.uint8))
    except ProtocolError:
        return
    assert found["n_frames"] * found["stride"] + found["n_left_over"] == len(file)
