"""Files: those that detectors wrote against independent readers, and files made here."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from arraystream import (
    ArraySource,
    CodecError,
    FeedEnd,
    ItemDescriptor,
    ProtocolError,
    SourceError,
    TruncatedStream,
    load_plugin,
    open_decoder,
)
from detector_dectris import open_dectris_h5
from detector_dectris._hdf5_source import is_dectris_h5

FOLDER = Path(os.environ.get("LIVESTEM_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
E1 = "dectris_h5/e1/eiger1_testmode10_2datafiles_4images_bslz4_data_000001.h5"
E2 = "dectris_h5/e2/eiger2_simread7_2datafiles_4images_{}_data_000001.h5"

BSLZ4, LZ4 = hdf5plugin.Bitshuffle(), hdf5plugin.LZ4()
FRAMES = np.random.default_rng(4).poisson(0.7, (10, 13, 11)).astype("<u2")
FRAMES[3, 2:5] = 65535


def read(source: ArraySource, dtype: Any = None, rows: slice = slice(None)) -> np.ndarray:
    """All frames of a source, through a feed as a worker does."""
    decoder, shape = open_decoder(source.descriptor), source.descriptor.item_shape
    start, stop, _ = rows.indices(shape[0])
    frames = np.empty((source.n_items, stop - start, *shape[1:]), dtype or source.descriptor.dtype)
    feed = source.feed()
    member = feed.join()
    while not isinstance(chunk := member.recv(5.0), FeedEnd):
        assert chunk is not None
        out = frames[chunk.first : chunk.first + chunk.n]
        decoder.decode(chunk.payload, chunk.offsets, (start, stop), out)
        feed.settle(member.number, [chunk.lease.token])
        chunk.lease.release()
    member.close()
    feed.close()
    return frames


def write_data(path: Path, frames: np.ndarray, first_number: int = 1, **options: Any) -> Path:
    """A data file as the detector's file writer leaves it."""
    usual = {} if "compression" in options else dict(BSLZ4)
    options = {"chunks": (1, *frames.shape[1:])} | usual | options
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("entry/data/data", data=frames, **options)
        dataset.attrs["image_nr_low"] = np.uint64(first_number)
        dataset.attrs["image_nr_high"] = np.uint64(first_number + len(frames) - 1)
    return path


def write_master(
    folder: Path,
    lengths: tuple[int, ...] = (4, 4, 2),
    *,
    frames: np.ndarray = FRAMES,
    group: str = "entry/data",
    detector: dict[str, Any] | None = None,
    **options: Any,
) -> Path:
    """A master file with its data files."""
    path = folder / "scan_master.h5"
    first = 0
    with h5py.File(path, "w") as file:
        specific = file.create_group("entry/instrument/detector/detectorSpecific")
        specific["nimages"], specific["ntrigger"] = np.uint64(1), np.uint64(sum(lengths))
        for name, value in (detector or {}).items():
            file[f"entry/instrument/detector/{name}"] = value
        for number, length in enumerate(lengths, 1):
            name = f"scan_data_{number:06d}.h5"
            write_data(folder / name, frames[first : first + length], first + 1, **options)
            file[f"{group}/data_{number:06d}"] = h5py.ExternalLink(name, "/entry/data/data")
            first += length
    return path


@pytest.fixture
def vendor_file() -> Callable[[str], Path]:
    """Gives the path of a file that a detector wrote; skips if they are not here."""
    if not FOLDER.is_dir():
        pytest.skip(f"files of detectors are not here: {FOLDER} (set LIVESTEM_TEST_DATA)")
    return lambda name: FOLDER / name


# -- what detectors wrote ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "total"),
    [
        (E1, "bslz4", 2511479273),
        (E2.format("bslz4"), "bslz4", 3648540),
        (E2.format("lz4"), "lz4", 3648540),
        (E2.format("bslz4_uint32"), "bslz4", 21891240),
    ],
)
def test_vendor_file_has_the_sum_an_independent_reader_gives(vendor_file, name, codec, total):
    source = open_dectris_h5(vendor_file(name))

    assert source.descriptor.codec == codec
    frames = read(source)
    assert int(frames[0].sum(dtype=np.uint64)) == total
    with h5py.File(vendor_file(name)) as file:
        assert_array_equal(frames, file["entry/data/data"][()])


def test_arina_master_file_says_what_the_detector_was(vendor_file):
    source = open_dectris_h5(vendor_file("dectris_arina/test_00_master.h5"))

    assert (source.n_items, source.descriptor.item_shape, source.index_shape) == (16, (192, 192), ())
    assert not read(source).any()
    meta = source.descriptor.meta
    assert meta["n_announced"] == 16
    assert meta["detector_description"] == "Dectris ARINA CZT"
    assert meta["pixel_size_m"] == (0.0001, 0.0001)
    assert meta["count_time_s"] == pytest.approx(9.95e-5)
    assert meta["header"]["trigger_mode"] == "exts"
    assert meta["header"]["bit_depth_readout"] == 8
    assert (meta["units"]["threshold_energy"], meta["units"]["sensor_thickness"]) == ("eV", "m")
    assert dict(source.correction_data()) == {}  # the mask is empty, the flat field all ones


def test_files_are_recognised_by_what_is_in_them(vendor_file, tmp_path):
    for name in ("dectris_arina/test_00_master.h5", "dectris_arina/test_00_data_000001.h5", E1):
        assert is_dectris_h5(vendor_file(name))
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["entry/data/data"] = FRAMES
    assert not is_dectris_h5(other)
    other.write_bytes(b"no HDF5 at all")
    assert not is_dectris_h5(other)
    auto = load_plugin("arraystream.sources", "auto")
    assert auto(vendor_file("dectris_arina/test_00_master.h5")).descriptor.codec == "bslz4"


# -- layouts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["entry/data", "entry"])
@pytest.mark.parametrize(("options", "codec"), [(BSLZ4, "bslz4"), (LZ4, "lz4")])
def test_files_of_a_master_are_one_source_of_compressed_images(tmp_path, group, options, codec):
    source = open_dectris_h5(write_master(tmp_path, group=group, **options))

    assert (source.n_items, source.descriptor.codec, source.index_shape) == (10, codec, ())
    assert_array_equal(read(source), FRAMES)
    assert_array_equal(read(source, "f4", slice(3, 9)), FRAMES[:, 3:9])
    assert source.ends == (4, 8, 10)


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (3, 13, 11), **BSLZ4},
        {"chunks": (1, 6, 11), **LZ4},
        hdf5plugin.Bitshuffle(cname="zstd"),
        hdf5plugin.Bitshuffle(cname="none"),
        hdf5plugin.Zstd(),
        {"compression": "gzip"},
        {"shuffle": True, **LZ4},
    ],
    ids=["images in one chunk", "image in chunks", "zstd", "bitshuffle", "zstd alone", "gzip", "two filters"],
)
def test_what_our_decoder_does_not_take_is_read_by_hdf5(tmp_path, options):
    source = open_dectris_h5(write_master(tmp_path, (5, 5), **options))

    assert source.descriptor.codec == "raw"
    assert_array_equal(read(source), FRAMES)


def test_uncompressed_images_are_read_as_they_lie_in_the_file(tmp_path):
    path = write_data(tmp_path / "plain.h5", FRAMES, chunks=None, compression=None)

    assert_array_equal(read(open_dectris_h5(path)), FRAMES)


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4", ">u2", ">u4"])
@pytest.mark.parametrize("options", [BSLZ4, LZ4], ids=["bslz4", "lz4"])
def test_every_type_of_pixel(tmp_path, dtype, options):
    frames = (FRAMES % 251).astype(dtype)
    source = open_dectris_h5(write_data(tmp_path / "data.h5", frames, **options))

    assert source.descriptor.codec in ("bslz4", "lz4")
    assert source.descriptor.dtype == frames.dtype.newbyteorder("=")
    assert_array_equal(read(source), frames)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_shape_of_image_and_block(tmp_path, data):
    shape = tuple(data.draw(st.integers(1, extent)) for extent in (4, 70, 70))
    dtype = data.draw(st.sampled_from(["u1", "<u2", "<u4"]))
    options = data.draw(
        st.sampled_from([BSLZ4, LZ4, hdf5plugin.Bitshuffle(nelems=256), hdf5plugin.LZ4(nbytes=512)])
    )
    seed = data.draw(st.integers(0, 99))
    frames = (
        np.random.default_rng(seed).poisson(data.draw(st.sampled_from([0.01, 2, 100])), shape).astype(dtype)
    )
    path = write_data(tmp_path / "any.h5", frames, **options)

    assert_array_equal(read(open_dectris_h5(path)), frames)


def test_single_image_without_an_axis_of_images(tmp_path):
    with h5py.File(tmp_path / "single.h5", "w") as file:
        file["entry/data/data"] = FRAMES[0]

    source = open_dectris_h5(tmp_path / "single.h5")

    assert_array_equal(read(source), FRAMES[:1])


CHANNELS = np.stack([FRAMES, FRAMES // 2, FRAMES - FRAMES // 2], axis=1)
NAMES = ["threshold_1", "threshold_2", "difference"]


def write_channels(path: Path, *, chunks: tuple[int, ...] = (1, 1, 13, 11)) -> Path:
    """A file of format v2024.2 that holds its images itself."""
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data/data", data=CHANNELS, chunks=chunks, **BSLZ4)
        file["entry/data/channel"] = NAMES
        for number, name in enumerate(NAMES):
            mask = np.zeros((13, 11), "u4")
            mask[number, 0] = 2
            file[f"entry/instrument/detector/{name}_channel/pixel_mask"] = mask
        file["entry"].attrs["DECTRIS_lab_geometry"] = "mcstas"
    return path


@pytest.mark.parametrize("chunks", [(1, 1, 13, 11), (1, 3, 13, 11)])
def test_threshold_channels_are_chosen_by_name(tmp_path, chunks):
    path = write_channels(tmp_path / "scan_master.h5", chunks=chunks)

    assert_array_equal(read(open_dectris_h5(path)), CHANNELS[:, 0])
    for number, name in enumerate(NAMES):
        source = open_dectris_h5(path, channel=name)
        assert source.descriptor.meta["channel"] == name
        assert_array_equal(read(source), CHANNELS[:, number])
        assert np.argwhere(source.correction_data()["excluded_pixels"]).tolist() == [[number, 0]]
        assert_array_equal(read(open_dectris_h5(path, channel=number)), CHANNELS[:, number])
    everything = open_dectris_h5(path, channel="all")
    assert everything.descriptor.item_shape == (3, 13, 11)
    assert_array_equal(read(everything), CHANNELS)
    with pytest.raises(SourceError, match="no channel 'threshold_3'; it has threshold_1, threshold_2, diff"):
        open_dectris_h5(path, channel="threshold_3")
    assert is_dectris_h5(path)


def test_virtual_data_sets_over_data_files_give_compressed_images(tmp_path):
    layout = h5py.VirtualLayout(CHANNELS.shape, CHANNELS.dtype)
    for number, (start, stop) in enumerate(((0, 6), (6, 10)), 1):
        name = f"scan_data_{number:06d}.h5"
        write_data(tmp_path / name, CHANNELS[start:stop], chunks=(1, 1, 13, 11))
        layout[start:stop] = h5py.VirtualSource(name, "entry/data/data", CHANNELS[start:stop].shape)
    path = tmp_path / "scan_master.h5"
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("entry/data/data", layout)
        file["entry/data/channel"] = NAMES

    source = open_dectris_h5(path, channel="difference", ignore_numbers=True)

    assert source.descriptor.codec == "bslz4"
    assert_array_equal(read(source), CHANNELS[:, 2])
    (tmp_path / "scan_data_000002.h5").unlink()
    with pytest.raises(TruncatedStream, match=r"scan_data_000002\.h5, which is not there"):
        open_dectris_h5(path)


def test_virtual_data_sets_of_another_order_are_read_by_hdf5(tmp_path):
    write_data(tmp_path / "data.h5", FRAMES)
    layout = h5py.VirtualLayout((5, 13, 11), FRAMES.dtype)
    layout[:] = h5py.VirtualSource(tmp_path / "data.h5", "entry/data/data", FRAMES.shape)[1::2]
    with h5py.File(tmp_path / "scan_master.h5", "w") as file:
        file.create_virtual_dataset("entry/data/data", layout)

    assert_array_equal(read(open_dectris_h5(tmp_path / "scan_master.h5")), FRAMES[1::2])


# -- numbers of frames ------------------------------------------------------------------------------


def test_index_space_is_triggers_and_images_of_each(tmp_path):
    path = write_master(tmp_path)
    with h5py.File(path, "a") as file:
        specific = file["entry/instrument/detector/detectorSpecific"]
        specific["nimages"][()], specific["ntrigger"][()] = 5, 2

    assert open_dectris_h5(path).index_shape == (2, 5)
    assert open_dectris_h5(path, n_items=9).index_shape == ()


def test_missing_data_file_is_named(tmp_path):
    path = write_master(tmp_path)
    (tmp_path / "scan_data_000003.h5").unlink()

    with pytest.raises(TruncatedStream, match=r"data_000003 leads to .*scan_data_000003\.h5.*n_items=8"):
        open_dectris_h5(path)
    assert_array_equal(read(open_dectris_h5(path, n_items=8)), FRAMES[:8])
    assert_array_equal(read(open_dectris_h5(path, n_items=3)), FRAMES[:3])


def test_file_missing_in_between_is_an_error_unless_numbers_are_ignored(tmp_path):
    path = write_master(tmp_path)
    with h5py.File(path, "a") as file:
        del file["entry/data/data_000002"]

    with pytest.raises(ProtocolError, match="after /entry/data/data_000001 comes data_000003"):
        open_dectris_h5(path)
    assert_array_equal(read(open_dectris_h5(path, ignore_numbers=True)), FRAMES[[0, 1, 2, 3, 8, 9]])


def test_image_numbers_that_do_not_follow_are_an_error(tmp_path):
    path = write_master(tmp_path)
    write_data(tmp_path / "scan_data_000002.h5", FRAMES[4:8], first_number=105)

    with pytest.raises(ProtocolError, match=r"scan_data_000002\.h5 begins with image number 105"):
        open_dectris_h5(path)


def test_frames_never_written_at_the_end_are_no_frames(tmp_path):
    path = write_master(tmp_path, (4, 6))
    with h5py.File(tmp_path / "scan_data_000002.h5", "w") as file:
        dataset = file.create_dataset("entry/data/data", (6, 13, 11), "<u2", chunks=(1, 13, 11), **BSLZ4)
        for number in range(3):
            dataset[number] = FRAMES[4 + number]

    source = open_dectris_h5(path)

    assert (source.n_items, source.descriptor.meta["n_announced"]) == (7, 10)
    assert_array_equal(read(source), FRAMES[:7])
    with pytest.raises(TruncatedStream, match="n_items is 10, but 7 frames of 10 announced were written"):
        open_dectris_h5(path, n_items=10)


def test_frame_never_written_in_the_middle_is_an_error(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        dataset = file.create_dataset("entry/data/data", (6, 13, 11), "<u2", chunks=(1, 13, 11), **BSLZ4)
        dataset[0], dataset[4] = FRAMES[0], FRAMES[4]

    with pytest.raises(TruncatedStream, match="frame 1 was never written, nor 2 others of 5"):
        open_dectris_h5(tmp_path / "data.h5")


def test_file_without_any_frame_is_an_empty_source(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_dataset("entry/data/data", (6, 13, 11), "<u2", chunks=(1, 13, 11), **BSLZ4)

    assert open_dectris_h5(tmp_path / "data.h5").n_items == 0


# -- corrections ---------------------------------------------------------------------------------------


def test_pixel_mask_is_offered_as_correction(tmp_path):
    mask = np.zeros((13, 11), "u4")
    mask[2:5] = 1  # a gap: its middle row has no neighbour with data
    mask[9, 9] = 4
    path = write_master(tmp_path, detector={"detectorSpecific/pixel_mask": mask, "pixel_mask_applied": 1})

    data = open_dectris_h5(path).correction_data()

    assert_array_equal(data["excluded_pixels"], mask != 0)
    assert_array_equal(np.unique(np.argwhere(data["gain"] == 0)[:, 0]), [3])


@pytest.mark.parametrize("applied", [0, 1])
def test_flat_field_is_offered_unless_the_detector_applied_it(tmp_path, applied):
    flatfield = np.full((13, 11), 1.5, "f4")
    detector = {"detectorSpecific/flatfield": flatfield, "flatfield_correction_applied": applied}

    data = open_dectris_h5(write_master(tmp_path, detector=detector)).correction_data()

    assert ("gain" in data) == (not applied)


def test_mask_of_another_region_is_not_for_these_frames(tmp_path):
    detector = {"detectorSpecific/pixel_mask": np.ones((20, 20), "u4")}

    data = open_dectris_h5(write_master(tmp_path, detector=detector)).correction_data()

    assert "excluded_pixels" not in data


# -- damage ----------------------------------------------------------------------------------------


def test_the_reader_travels_to_other_processes(tmp_path):
    source = open_dectris_h5(write_master(tmp_path))
    payload, offsets = pickle.loads(pickle.dumps(source.reader)).read(6, 3)
    out = np.empty((3, 13, 11), np.uint16)

    open_decoder(source.descriptor).decode(payload, offsets, (0, 13), out)

    assert_array_equal(out, FRAMES[6:9])
    assert not payload.flags.writeable


def test_a_file_cut_off_is_an_error(tmp_path):
    path = write_data(tmp_path / "data.h5", FRAMES)
    path.write_bytes(path.read_bytes()[:-200])

    with pytest.raises(TruncatedStream, match=r"data\.h5.* cut off"):
        open_dectris_h5(path)


def test_a_file_shortened_while_open_is_an_error(tmp_path):
    source = open_dectris_h5(write_data(tmp_path / "data.h5", FRAMES))
    (tmp_path / "data.h5").write_bytes(b"")

    with pytest.raises(TruncatedStream, match="shortened"):
        source.reader.read(8, 2)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_images_never_crash(tmp_path, data):
    path = write_data(tmp_path / "data.h5", FRAMES, **data.draw(st.sampled_from([BSLZ4, LZ4])))
    source = open_dectris_h5(path)
    payload, offsets = source.reader.read(0, 10)
    damaged = payload.copy()
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(0, len(damaged)))]
    try:
        open_decoder(source.descriptor).decode(damaged, offsets, (0, 13), np.empty((10, 13, 11), "u2"))
    except CodecError:
        return


def test_files_that_are_no_acquisition_are_an_error_with_their_name(tmp_path):
    wrong = tmp_path / "wrong.h5"
    wrong.write_bytes(b"no HDF5 file")
    with pytest.raises(SourceError, match=r"wrong\.h5 can't be opened as HDF5"):
        open_dectris_h5(wrong)
    with pytest.raises(FileNotFoundError):
        open_dectris_h5(tmp_path / "nowhere.h5")
    with h5py.File(wrong, "w") as file:
        file["picture"] = FRAMES
    with pytest.raises(SourceError, match="is no DECTRIS file"):
        open_dectris_h5(wrong)
    path = write_master(tmp_path)
    write_data(tmp_path / "scan_data_000002.h5", FRAMES[4:8].astype("u4"), 5)
    with pytest.raises(SourceError, match="not of one acquisition"):
        open_dectris_h5(path)
    with pytest.raises(SourceError, match="one threshold only"):
        open_dectris_h5(tmp_path / "scan_data_000001.h5", channel="threshold_2")


@pytest.mark.parametrize(
    "descriptor",
    [
        ItemDescriptor(np.dtype("u2"), (2, 2, 2), "bslz4"),
        ItemDescriptor(np.dtype("f4"), (2, 2), "lz4"),
        ItemDescriptor(np.dtype("u2"), (2, 2), "lz4", {"byteorder": "middle"}),
    ],
)
def test_codec_refuses_what_no_detector_writes(descriptor):
    with pytest.raises(CodecError):
        open_decoder(descriptor)
