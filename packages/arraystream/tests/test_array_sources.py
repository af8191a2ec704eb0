"""Zarr, dask and found-by-content sources."""

from __future__ import annotations

import pickle
import sys
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arraystream import CodecError, PluginError, SourceError, load_plugin
from arraystream._auto_source import open_auto, recognise
from arraystream._dask_source import open_dask_array
from arraystream._zarr_source import open_zarr

da = pytest.importorskip("dask.array")
zarr = pytest.importorskip("zarr")

DATA = np.random.default_rng(2).integers(0, 5000, (5, 7, 6, 9)).astype("<u2")

ZARR_LAYOUTS = {
    "v3": {"chunks": (2, 3, 6, 9)},
    "v3 one frame per chunk": {"chunks": (1, 1, 6, 9)},
    "v3 plain": {"chunks": (2, 3, 4, 5), "compressors": None},
    "v3 shards": {"chunks": (1, 1, 6, 9), "shards": (2, 4, 6, 9)},
    "v2": {"chunks": (2, 3, 4, 9), "zarr_format": 2},
}


def write_zarr(path, data=DATA, name=None, **options):
    array = zarr.create_array(path, name=name, shape=data.shape, dtype=data.dtype, **options)
    array[...] = data
    return path


@pytest.mark.parametrize("layout", ZARR_LAYOUTS)
@pytest.mark.parametrize("dtype", ["<u2", ">i4", "<f4", "<c8", "?"])
def test_every_layout_of_zarr_gives_the_array_back(tmp_path, decode_all, layout, dtype):
    data = DATA.astype(dtype)
    source = open_zarr(write_zarr(tmp_path / "scan.zarr", data, **ZARR_LAYOUTS[layout]))
    assert (source.index_shape, source.descriptor.item_shape) == ((5, 7), (6, 9))
    for chunk_items in (None, 4):
        assert np.array_equal(decode_all(source, chunk_items), data)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_shape_of_zarr_chunks(tmp_path, decode_all, data):
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=3, max_size=4)))
    chunks = tuple(data.draw(st.integers(1, extent)) for extent in shape)
    array = np.arange(np.prod(shape), dtype="<i4").reshape(shape)
    path = write_zarr(tmp_path / "any.zarr", array, chunks=chunks, overwrite=True)
    assert np.array_equal(decode_all(open_zarr(path), data.draw(st.sampled_from([None, 1, 3]))), array)


@pytest.mark.parametrize("layout", ["v3", "v2", "v3 shards"])
def test_zarr_readers_travel_to_other_processes(tmp_path, layout):
    source = open_zarr(write_zarr(tmp_path / "scan.zarr", **ZARR_LAYOUTS[layout]))
    payload, offsets = pickle.loads(pickle.dumps(source._reader)).read(8, 3)
    assert payload.tobytes() == DATA.reshape(-1, 6, 9)[8:11].tobytes()
    assert offsets.tolist() == [0, 108, 216]


def test_a_zarr_store_behind_a_url(decode_all):
    pytest.importorskip("fsspec")
    write_zarr("memory://scans/a.zarr", chunks=(1, 7, 6, 9))
    assert np.array_equal(decode_all(open_zarr("memory://scans/a.zarr")), DATA)
    assert np.array_equal(decode_all(open_auto("memory://scans/a.zarr")), DATA)


def test_the_largest_array_of_a_zarr_group_is_taken_unless_one_is_named(tmp_path, decode_all):
    group = zarr.create_group(tmp_path / "all.zarr")
    group.create_array("picture", data=np.zeros((300, 300)))
    group.create_array("deep/scan", data=DATA, dimension_names=["y", "x", "ky", "kx"])
    group.create_array("small", data=DATA[:1])
    source = open_zarr(tmp_path / "all.zarr")
    assert np.array_equal(decode_all(source), DATA)
    assert [axis["name"] for axis in source.descriptor.meta["axes"]] == ["y", "x", "ky", "kx"]
    assert np.array_equal(decode_all(open_zarr(tmp_path / "all.zarr", "small")), DATA[:1])
    with pytest.raises(SourceError, match="no Zarr array or group at 'other'"):
        open_zarr(tmp_path / "all.zarr", "other")
    with pytest.raises(FileNotFoundError):
        open_zarr(tmp_path / "none.zarr")


def test_a_zarr_group_without_a_suitable_array_lists_what_there_is(tmp_path):
    zarr.create_group(tmp_path / "all.zarr").create_array("picture", data=np.zeros((3, 3)))
    with pytest.raises(SourceError, match=r"it has picture \(3, 3\) float64"):
        open_zarr(tmp_path / "all.zarr")


def test_a_chunk_missing_from_a_zarr_store_is_its_fill_value(tmp_path, decode_all):
    path = write_zarr(tmp_path / "scan.zarr", chunks=(1, 7, 6, 9), fill_value=3)
    (path / "c" / "2" / "0" / "0" / "0").unlink()
    expected = DATA.copy()
    expected[2] = 3
    assert np.array_equal(decode_all(open_zarr(path)), expected)


def test_a_damaged_zarr_chunk_is_an_error(tmp_path, decode_all):
    path = write_zarr(tmp_path / "scan.zarr", chunks=(1, 7, 6, 9))
    chunk = path / "c" / "2" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:40])
    with pytest.raises(CodecError, match=r"scan\.zarr.*can't be read"):
        decode_all(open_zarr(path))


# -- dask -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [(2, 3, 6, 9), ((1, 3, 1), (2, 5), (4, 2), (9,)), -1, 1])
def test_dask_arrays_give_their_values(decode_all, chunks):
    source = open_dask_array(da.from_array(DATA, chunks=chunks) + 1)
    for chunk_items in (None, 4):
        assert np.array_equal(decode_all(source, chunk_items), DATA + 1)


def test_each_dask_chunk_is_computed_once_and_in_the_reading_thread(decode_all):
    computed = []

    def frames(block_info=None):
        place = block_info[None]["chunk-location"]
        computed.append((place, threading.get_ident()))
        return DATA[tuple(slice(a, b) for a, b in block_info[None]["array-location"])]

    array = da.map_blocks(frames, chunks=((1, 3, 1), (2, 5), (6,), (9,)), dtype="<u2", meta=DATA[:0])
    assert computed == []
    assert np.array_equal(decode_all(open_dask_array(array)), DATA)
    assert sorted(place for place, _ in computed) == [(i, j, 0, 0) for i in range(3) for j in range(2)]
    assert {thread for _, thread in computed} == {threading.get_ident()}


def test_dask_readers_travel_even_with_local_functions():
    source = open_dask_array(da.from_array(DATA, chunks=3).map_blocks(lambda block: block * 2))
    payload, _ = pickle.loads(pickle.dumps(source._reader)).read(3, 2)
    assert payload.tobytes() == (DATA.reshape(-1, 6, 9)[3:5] * 2).tobytes()


def test_what_is_no_dask_array_of_numbers_is_refused():
    with pytest.raises(SourceError, match=r"wants a dask\.array\.Array, got ndarray"):
        open_dask_array(DATA)
    unknown = da.from_array(DATA, chunks=3)
    with pytest.raises(SourceError, match="unknown size"):
        open_dask_array(unknown[da.from_array(np.arange(5) > 2, chunks=2)])
    with pytest.raises(SourceError, match="no array of numbers"):
        open_dask_array(da.from_array(np.full((2, 3, 4), "a"), chunks=2))


# -- auto -------------------------------------------------------------------------------------------


def test_things_are_recognised_by_what_they_are(tmp_path):
    h5py = pytest.importorskip("h5py")
    np.save(tmp_path / "a.npy", DATA)
    (tmp_path / "a.npy").rename(tmp_path / "a.bin")
    with h5py.File(tmp_path / "b", "w", userblock_size=512) as file:
        file["data"] = DATA
    write_zarr(tmp_path / "c")
    (tmp_path / "d.mib").write_bytes(b"MQ1,000001,00384,01,0256,0256,U16")
    (tmp_path / "d.hdr").write_text("HDR,\t\n")
    found = {name: recognise(tmp_path / name)[0] for name in ("a.bin", "b", "c", "d.mib", "d.hdr")}
    assert found == {"a.bin": "npy", "b": "hdf5", "c": "zarr", "d.mib": "mib", "d.hdr": "mib"}
    assert recognise(str(tmp_path / "d.hdr"))[1] == tmp_path / "d.hdr"
    assert recognise((tmp_path / "a.bin").as_uri())[0] == "npy"
    assert recognise(DATA)[0] == "memory"
    assert recognise(da.from_array(DATA))[0] == "dask-array"
    assert recognise(zarr.open(tmp_path / "c"))[0] == "zarr"


def test_what_is_found_is_opened(tmp_path, decode_all):
    np.save(tmp_path / "a.npy", DATA)
    assert np.array_equal(decode_all(open_auto(tmp_path / "a.npy")), DATA)
    assert np.array_equal(decode_all(open_auto(write_zarr(tmp_path / "c"))), DATA)
    assert open_auto(DATA, sig_dims=1).index_shape == (5, 7, 6)


def test_what_is_not_recognised_says_what_was_looked_for(tmp_path):
    (tmp_path / "x.raw").write_bytes(bytes(100))
    with pytest.raises(SourceError, match=r"Looked for: .*HDF5.*use the source \"raw\""):
        open_auto(tmp_path / "x.raw")
    with pytest.raises(SourceError, match="folder without a Zarr"):
        open_auto(tmp_path)
    with pytest.raises(SourceError, match="A list is no source"):
        open_auto([1, 2])
    with pytest.raises(FileNotFoundError):
        open_auto(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("zarr", "zarr", "zarr"),
        ("dask-array", "dask.array", "dask"),
        ("rosettasciio", "rsciio", "rosettasciio"),
    ],
)
def test_a_missing_package_is_named_with_what_installs_it(monkeypatch, name, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PluginError, match=rf'pip install "arraystream-protocol\[{extra}\]"'):
        load_plugin("arraystream.sources", name)("scan")
