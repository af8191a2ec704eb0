"""HDF5 files as sources: every way of storing an array gives the array back."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arraystream import (
    CodecError,
    FeedEnd,
    LimitError,
    PluginError,
    SourceError,
    TruncatedStream,
    load_plugin,
)
from arraystream._hdf5_reader import DecodedChunks, MappedChunks, SlicedDataset
from arraystream._hdf5_source import open_hdf5
from arraystream._range_reader import FileReader

h5py = pytest.importorskip("h5py")
import hdf5plugin  # noqa: E402

DATA = np.random.default_rng(1).integers(0, 5000, (5, 7, 6, 9)).astype("<u2")

LAYOUTS = {
    "contiguous": ({}, FileReader),
    "big-endian": ({"dtype": ">u2"}, FileReader),
    "float": ({"dtype": "<f4"}, FileReader),
    "chunked": ({"chunks": (2, 3, 6, 9)}, MappedChunks),
    "one frame per chunk": ({"chunks": (1, 1, 6, 9)}, MappedChunks),
    "chunks cut frames": ({"chunks": (2, 3, 4, 5)}, DecodedChunks),
    "gzip": ({"chunks": (1, 3, 6, 9), "compression": "gzip"}, DecodedChunks),
    "gzip and shuffle": ({"chunks": (2, 7, 3, 9), "compression": "gzip", "shuffle": True}, DecodedChunks),
    "checksum": ({"chunks": (2, 2, 6, 9), "fletcher32": True}, DecodedChunks),
    "all three": (
        {"chunks": (3, 2, 5, 5), "compression": "gzip", "shuffle": True, "fletcher32": True},
        DecodedChunks,
    ),
    "LZF": ({"chunks": (1, 7, 6, 9), "compression": "lzf"}, SlicedDataset),
    "bitshuffle": ({"chunks": (2, 3, 6, 9), **hdf5plugin.Bitshuffle()}, SlicedDataset),
    "LZ4": ({"chunks": (1, 1, 6, 9), **hdf5plugin.LZ4()}, SlicedDataset),
}


def write(path, data=DATA, name="data", **options):
    with h5py.File(path, "w", userblock_size=options.pop("userblock_size", 0)) as file:
        file.create_dataset(name, data=data, **options)
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_array_back(tmp_path, decode_all, layout):
    options, reader = LAYOUTS[layout]
    source = open_hdf5(write(tmp_path / "scan.h5", **options))
    assert isinstance(source._reader, reader)
    assert (source.index_shape, source.descriptor.item_shape) == ((5, 7), (6, 9))
    for chunk_items in (None, 1, 4, 100):
        assert np.array_equal(decode_all(source, chunk_items), DATA)


@pytest.mark.parametrize("layout", ["contiguous", "chunked", "gzip", "bitshuffle"])
def test_readers_travel_to_other_processes(tmp_path, layout):
    source = open_hdf5(write(tmp_path / "scan.h5", **LAYOUTS[layout][0]))
    source._reader.read(0, 1)
    payload, offsets = pickle.loads(pickle.dumps(source._reader)).read(8, 3)
    assert not payload.flags.writeable
    for offset, frame in zip(offsets, DATA.reshape(-1, 6, 9)[8:11], strict=True):
        assert payload[int(offset) :][: frame.nbytes].tobytes() == frame.tobytes()


@pytest.mark.parametrize("dtype", ["?", "i1", "<i8", ">f8", "<f2", "<c8", ">c16"])
@pytest.mark.parametrize("chunks", [None, (1, 7, 6, 9), (2, 2, 3, 9)])
def test_every_type_of_number(tmp_path, decode_all, dtype, chunks):
    data = DATA.astype(dtype)
    got = decode_all(open_hdf5(write(tmp_path / "scan.h5", data, chunks=chunks)))
    assert got.dtype == data.dtype.newbyteorder("=")
    assert np.array_equal(got, data)


@pytest.mark.parametrize("sig_dims", [1, 2, 3])
@pytest.mark.parametrize("chunks", [None, (2, 2, 3, 4)])
def test_any_number_of_item_axes(tmp_path, decode_all, sig_dims, chunks):
    source = open_hdf5(write(tmp_path / "scan.h5", chunks=chunks), sig_dims=sig_dims)
    assert source.index_shape == DATA.shape[:-sig_dims]
    assert np.array_equal(decode_all(source), DATA)


@pytest.mark.parametrize("chunks", [None, (2, 3, 6, 9)])
def test_a_user_block_in_front_shifts_everything(tmp_path, decode_all, chunks):
    path = write(tmp_path / "scan.h5", userblock_size=1024, chunks=chunks)
    assert np.array_equal(decode_all(open_hdf5(path)), DATA)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_shape_of_chunks(tmp_path, decode_all, data):
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=3, max_size=4)))
    chunks = tuple(data.draw(st.integers(1, extent)) for extent in shape)
    options = data.draw(st.sampled_from([{}, {"compression": "gzip"}, {"compression": "lzf"}]))
    array = np.arange(np.prod(shape), dtype="<i4").reshape(shape)
    path = write(tmp_path / "any.h5", array, chunks=chunks, **options)
    chunk_items = data.draw(st.sampled_from([None, 1, 3]))
    assert np.array_equal(decode_all(open_hdf5(path), chunk_items), array)


def test_each_chunk_is_decoded_once(tmp_path, decode_all, monkeypatch):
    path = write(tmp_path / "scan.h5", chunks=(2, 3, 4, 5), compression="gzip")
    decoded = []
    original = DecodedChunks._decoded
    monkeypatch.setattr(
        DecodedChunks, "_decoded", lambda self, chunk: decoded.append(chunk) or original(self, chunk)
    )
    assert np.array_equal(decode_all(open_hdf5(path)), DATA)
    assert len(decoded) == len(set(decoded)) == 3 * 3 * 2 * 2


@pytest.mark.parametrize("options", [{"compression": "gzip"}, {}, {"compression": "lzf"}])
def test_chunks_never_written_are_the_fill_value(tmp_path, decode_all, options):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(
            "data", (4, 3, 6, 9), "<u2", chunks=(1, 3, 6, 9), fillvalue=7, **options
        )
        dataset[1] = DATA[1, :3]
    expected = np.full((4, 3, 6, 9), 7, "u2")
    expected[1] = DATA[1, :3]
    assert np.array_equal(decode_all(open_hdf5(path)), expected)


def test_a_data_set_that_was_never_written_at_all(tmp_path, decode_all):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_dataset("data", (2, 3, 4), "<f4", fillvalue=1.5)
    assert np.all(decode_all(open_hdf5(tmp_path / "scan.h5")) == 1.5)


def test_an_empty_data_set(tmp_path, decode_all):
    source = open_hdf5(write(tmp_path / "scan.h5", DATA[:0], maxshape=(None, 7, 6, 9)))
    assert (source.n_items, decode_all(source).shape) == (0, (0, 7, 6, 9))


def test_virtual_data_sets_are_read_by_hdf5(tmp_path, decode_all):
    for row in range(5):
        write(tmp_path / f"row{row}.h5", DATA[row])
    layout = h5py.VirtualLayout(DATA.shape, DATA.dtype)
    for row in range(5):
        layout[row] = h5py.VirtualSource(tmp_path / f"row{row}.h5", "data", DATA[row].shape)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_virtual_dataset("data", layout)
    assert np.array_equal(decode_all(open_hdf5(tmp_path / "scan.h5")), DATA)


# -- which data set ---------------------------------------------------------------------------------


def test_the_largest_data_set_is_taken_unless_one_is_named(tmp_path, decode_all):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["big/picture"] = np.zeros((500, 500))
        file["some/where/scan"] = DATA
        file["small"] = DATA[:2]
        file["words"] = ["a", "b"]
        file["some/loop"] = h5py.SoftLink("/some")
        file["broken"] = h5py.ExternalLink("nowhere.h5", "/data")
    path = tmp_path / "scan.h5"
    assert np.array_equal(decode_all(open_hdf5(path)), DATA)
    assert np.array_equal(decode_all(open_hdf5(path, "small")), DATA[:2])
    assert np.array_equal(decode_all(open_hdf5(path, "some")), DATA)
    with pytest.raises(SourceError, match=r"no 'other'; it has /big/picture \(500, 500\)"):
        open_hdf5(path, "other")
    with pytest.raises(SourceError, match="no numeric data set with at least 3 axes"):
        open_hdf5(path, "big")
    with pytest.raises(SourceError, match="no array of numbers"):
        open_hdf5(path, "words")


def test_nexus_attributes_lead_to_the_signal_and_its_axes(tmp_path, decode_all):
    with h5py.File(tmp_path / "scan.nxs", "w") as file:
        file["entry/other"] = np.zeros((20, 20, 20, 20))
        group = file.create_group("entry/measurement")
        group["frames"] = DATA
        group["x"] = 0.5 * np.arange(7) + 2
        group["x"].attrs["units"] = "nm"
        group.attrs.update(signal="frames", axes=[".", "x", ".", "."])
        file.attrs["default"], file["entry"].attrs["default"] = "entry", "measurement"
    source = open_hdf5(tmp_path / "scan.nxs")
    assert np.array_equal(decode_all(source), DATA)
    assert source.descriptor.meta["axes"][1] == {"name": "x", "units": "nm", "scale": 0.5, "offset": 2.0}


def test_emd_files_are_recognised_with_their_axes(tmp_path, decode_all):
    with h5py.File(tmp_path / "scan.emd", "w") as file:
        file["other"] = np.zeros((20, 20, 20, 20))
        group = file.create_group("data/datacube")
        group.attrs["emd_group_type"] = 1
        group["data"] = DATA
        for number, (extent, name, units) in enumerate(
            zip(DATA.shape, ("y", "x", "ky", "kx"), ("nm", "nm", "mrad", "mrad"), strict=True), 1
        ):
            dim = group.create_dataset(f"dim{number}", data=np.arange(extent) * 0.25)
            dim.attrs.update(name=name, units=units)
    source = open_hdf5(tmp_path / "scan.emd")
    assert np.array_equal(decode_all(source), DATA)
    axes = source.descriptor.meta["axes"]
    assert [(a["name"], a["units"], a["scale"]) for a in axes] == [
        ("y", "nm", 0.25),
        ("x", "nm", 0.25),
        ("ky", "mrad", 0.25),
        ("kx", "mrad", 0.25),
    ]


def master(folder, lengths, **options):
    """A DECTRIS master file with as many data files."""
    frames, first = DATA.reshape(-1, 6, 9), 0
    with h5py.File(folder / "scan_master.h5", "w") as file:
        group = file.create_group("entry/data")
        group.attrs.update(NX_class="NXdata", signal="data_000001")
        file["entry/instrument/table"] = np.zeros((50, 50, 50))
        for number, length in enumerate(lengths, 1):
            name = f"scan_data_{number:06d}.h5"
            write(folder / name, frames[first : first + length], "entry/data/data", **options)
            group[f"data_{number:06d}"] = h5py.ExternalLink(name, "/entry/data/data")
            first += length
    return folder / "scan_master.h5"


@pytest.mark.parametrize("options", [{}, {"chunks": (1, 6, 9), **hdf5plugin.Bitshuffle()}])
def test_the_files_of_a_dectris_series_are_one_source(tmp_path, decode_all, options):
    source = open_hdf5(master(tmp_path, (10, 10, 10, 5), **options))
    assert source.index_shape == (35,)
    for chunk_items in (None, 1, 7, 35):
        assert np.array_equal(decode_all(source, chunk_items).reshape(DATA.shape), DATA)
    feed = source.feed()
    member = feed.join()
    assert [chunk.n for chunk in iter(lambda: member.recv(1), FeedEnd())] == [10, 10, 10, 5]


def test_a_missing_file_of_a_series_is_an_error(tmp_path):
    path = master(tmp_path, (10, 10))
    (tmp_path / "scan_data_000002.h5").unlink()
    with pytest.raises(TruncatedStream, match=r"data_000002 leads to scan_data_000002\.h5"):
        open_hdf5(path)
    assert open_hdf5(path, "entry/data/data_000001").n_items == 10


def test_files_of_a_series_that_differ_are_refused(tmp_path):
    path = master(tmp_path, (10, 10))
    write(tmp_path / "scan_data_000002.h5", DATA.astype("u4").reshape(-1, 6, 9), "entry/data/data")
    with pytest.raises(SourceError, match="uint32"):
        open_hdf5(path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("e1/eiger1_testmode10_2datafiles_4images_bslz4_data_000001.h5", 2511479273),
        ("e2/eiger2_simread7_2datafiles_4images_bslz4_data_000001.h5", 3648540),
        ("e2/eiger2_simread7_2datafiles_4images_bslz4_uint32_data_000001.h5", 21891240),
        ("e2/eiger2_simread7_2datafiles_4images_lz4_data_000001.h5", 3648540),
    ],
)
def test_real_dectris_files_sum_up_to_what_other_readers_give(test_data, decode_all, name, expected):
    frames = decode_all(open_hdf5(test_data / "dectris_h5" / name))
    assert frames[0].sum(dtype="u8") == expected


def test_a_real_arina_master_file(test_data, decode_all):
    source = open_hdf5(test_data / "dectris_arina" / "test_00_master.h5")
    frames = decode_all(source)
    assert (frames.shape, frames.dtype, frames.any()) == ((16, 192, 192), np.dtype("u4"), False)


# -- what can be wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"chunks": (1, 7, 6, 9)}, {"chunks": (1, 7, 6, 9), "compression": "gzip"}]
)
@pytest.mark.parametrize("keep", [0.1, 0.6, 0.95])
def test_a_file_cut_off_is_an_error(tmp_path, options, keep):
    path = write(tmp_path / "scan.h5", np.tile(DATA, (4, 4, 1, 1)), **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(TruncatedStream, match=r"scan\.h5"):
        open_hdf5(path)


def test_no_hdf5_file_at_all(tmp_path):
    path = tmp_path / "scan.h5"
    path.write_bytes(b"not HDF5 at all" * 100)
    with pytest.raises(SourceError, match=r"scan\.h5 can't be opened as HDF5"):
        open_hdf5(path)
    with pytest.raises(FileNotFoundError):
        open_hdf5(tmp_path / "none.h5")


def test_damaged_chunks_are_an_error_that_names_them(tmp_path, decode_all):
    path = write(tmp_path / "scan.h5", chunks=(1, 7, 6, 9), compression="gzip")
    with h5py.File(path) as file:
        info = file["data"].id.get_chunk_info(3)
    content = bytearray(path.read_bytes())
    content[info.byte_offset : info.byte_offset + info.size] = bytes(info.size)
    path.write_bytes(content)
    with pytest.raises(CodecError, match=r"scan\.h5: chunk \(3, 0, 0, 0\) is damaged"):
        decode_all(open_hdf5(path))


def test_a_chunk_that_grows_without_bound_is_stopped(tmp_path, decode_all):
    import zlib

    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("data", (2, 3, 4), "u1", chunks=(1, 3, 4), compression="gzip")
        dataset.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(1 << 24)))
        dataset.id.write_direct_chunk((1, 0, 0), zlib.compress(bytes(5)))
    source = open_hdf5(path)
    for item, length in ((0, 17), (1, 5)):
        with pytest.raises(CodecError, match=f"decodes to {length} bytes instead of 12"):
            source._reader.read(item, 1)


def test_absurd_items_are_refused_before_memory_is_allocated(tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_dataset("data", (2, 1 << 20, 1 << 20), "<u2", chunks=(1, 64, 64))
    with pytest.raises(LimitError, match="2199023255552 bytes"):
        open_hdf5(tmp_path / "scan.h5")


def test_without_h5py_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(PluginError, match=r'pip install "arraystream-protocol\[hdf5\]"'):
        load_plugin("arraystream.sources", "hdf5")("scan.h5")
