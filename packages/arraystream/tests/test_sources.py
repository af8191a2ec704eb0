"""Arrays in files and memory as sources."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from arraystream import (
    ConnectionClosed,
    FeedEnd,
    MappedFile,
    SharedBytes,
    SourceError,
    TruncatedStream,
    open_decoder,
    open_memory,
    open_npy,
    open_raw,
)

DATA = np.arange(3 * 4 * 5 * 6, dtype=">i2").reshape(3, 4, 5, 6)


def read_all(source, chunk_items=None):
    """Decode all items of a source."""
    feed = source.feed(chunk_items)
    decoder, shape = open_decoder(feed.descriptor), feed.descriptor.item_shape
    out = np.zeros((source.n_items, *shape), feed.descriptor.dtype)
    member = feed.join()
    for chunk in iter(lambda: member.recv(1), FeedEnd()):
        decoder.decode(chunk.payload, chunk.offsets, (0, shape[0]), out[chunk.first : chunk.first + chunk.n])
    feed.close()
    return out.reshape(*source.index_shape, *shape)


@pytest.mark.parametrize("chunk_items", [None, 1, 5, 100])
def test_memory(chunk_items):
    with open_memory(DATA) as source:
        assert (source.n_items, source.index_shape) == (12, (3, 4))
        assert source.descriptor.dtype == np.dtype("i2")
        assert source.descriptor.item_shape == (5, 6)
        assert np.array_equal(read_all(source, chunk_items), DATA)


@pytest.mark.parametrize("sig_dims", [1, 2, 3, 4])
def test_any_number_of_item_axes(sig_dims):
    source = open_memory(DATA, sig_dims)
    assert np.array_equal(read_all(source).reshape(DATA.shape), DATA)


def test_an_array_that_is_not_contiguous_is_copied_once():
    assert np.array_equal(read_all(open_memory(DATA[:, ::2, :, ::-1])), DATA[:, ::2, :, ::-1])


def test_npy(tmp_path):
    np.save(tmp_path / "data.npy", DATA)
    assert np.array_equal(read_all(open_npy(tmp_path / "data.npy"), 5), DATA)


def test_an_empty_npy_file(tmp_path):
    np.save(tmp_path / "data.npy", DATA[:0])
    source = open_npy(tmp_path / "data.npy")
    assert source.n_items == 0
    assert read_all(source).shape == (0, 4, 5, 6)


def test_npy_in_fortran_order_is_refused(tmp_path):
    np.save(tmp_path / "data.npy", np.asfortranarray(DATA))
    with pytest.raises(ValueError, match="Fortran"):
        open_npy(tmp_path / "data.npy")


@pytest.mark.parametrize("dtype", ["?", "i1", ">u4", "<i8", "<f2", ">f8", "<c8", ">c16"])
@pytest.mark.parametrize("sig_dims", [1, 3])
def test_npy_and_memory_of_every_type_of_number(tmp_path, dtype, sig_dims):
    data = DATA.astype(dtype)
    np.save(tmp_path / "data.npy", data)
    for source in (open_npy(tmp_path / "data.npy", sig_dims), open_memory(data, sig_dims)):
        got = read_all(source)
        assert got.dtype == data.dtype.newbyteorder("=")
        assert np.array_equal(got, data)


def npy_with_header(path, text):
    header = text.encode().ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64))
    return path


@pytest.mark.parametrize(
    ("header", "error", "message"),
    [
        ("{'descr': '<u2', 'fortran_order': False, 'shape': (-4, -8)}", SourceError, "shape is"),
        ("{'descr': '<u2', 'fortran_order': False, 'shape': (9, 1 << 40)}", SourceError, "damaged"),
        (
            "{'descr': '<u2', 'fortran_order': False, 'shape': (99999999999999, 4, 4)}",
            TruncatedStream,
            "has 2",
        ),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (2, 4)}", SourceError, "no plain numbers"),
        ("{'descr': '<M8[s]', 'fortran_order': False, 'shape': (2, 4)}", SourceError, "no plain numbers"),
        ("nonsense", SourceError, "damaged"),
    ],
)
def test_a_npy_file_with_a_lying_header_is_refused(tmp_path, header, error, message):
    with pytest.raises(error, match=message):
        open_npy(npy_with_header(tmp_path / "data.npy", header))


def test_what_is_no_npy_file_is_refused(tmp_path):
    (tmp_path / "data.npy").write_bytes(b"no NumPy file")
    with pytest.raises(SourceError, match=r"data\.npy is no \.npy file"):
        open_npy(tmp_path / "data.npy")


def resident_file_bytes() -> int:
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssFile")
    )
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_a_large_file_is_read_without_growing(tmp_path):
    size, budget = 256 << 20, 16 << 20
    with (tmp_path / "sparse.raw").open("wb") as file:
        file.truncate(size)
    mapped = MappedFile(tmp_path / "sparse.raw", budget)
    before = most = resident_file_bytes()
    for start in range(0, size, 1 << 20):
        assert not mapped.view(start, start + (1 << 20))[::4096].any()
        most = max(most, resident_file_bytes())
    assert most - before < size / 3  # pages are counted and mapped in larger steps, too


def test_dropped_pages_come_back_when_somebody_looks(tmp_path):
    data = np.random.default_rng(0).integers(0, 255, 1 << 20, dtype="u1")
    data.tofile(tmp_path / "data.raw")
    mapped = MappedFile(tmp_path / "data.raw", 1 << 16)
    views = [mapped.view(start, start + 5000) for start in range(0, len(data) - 5000, 5000)]
    assert np.array_equal(np.concatenate(views), data[: 5000 * len(views)])


def test_a_shortened_npy_file_is_noticed(tmp_path):
    path = tmp_path / "data.npy"
    np.save(path, DATA)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(TruncatedStream, match="n_items is 12, the file has 11"):
        open_npy(path)


def test_raw(tmp_path):
    path = tmp_path / "data.raw"
    path.write_bytes(b"head" + DATA.tobytes())
    source = open_raw(path, ">i2", item_shape=(5, 6), index_shape=(3, 4), offset=4)
    assert np.array_equal(read_all(source), DATA)
    assert open_raw(str(path), ">i2", (5, 6), offset=4).index_shape == ()


def test_raw_with_headers_between_items(tmp_path):
    path = tmp_path / "data.raw"
    items = DATA.reshape(12, 5, 6)
    path.write_bytes(b"".join(b"header" + item.tobytes() for item in items))
    source = open_raw(path, ">i2", (5, 6), offset=6, gap_bytes=6, index_shape=(3, 4))
    assert np.array_equal(read_all(source, 5), DATA)


def test_what_does_not_fit_the_file_is_an_error_at_once(tmp_path):
    path = tmp_path / "data.raw"
    path.write_bytes(bytes(100))
    with pytest.raises(TruncatedStream, match="4 bytes are left over"):
        open_raw(path, "u1", (8, 12))
    assert open_raw(path, "u1", (8, 12), n_items=1).n_items == 1
    with pytest.raises(TruncatedStream, match="n_items is 2, the file has 1"):
        open_raw(path, "u1", (8, 12), n_items=2)
    with pytest.raises(TruncatedStream, match=r"index_shape \(3, 9\) needs 27 items, it has 25"):
        open_raw(path, "u1", (2, 2), index_shape=(3, 9))
    with pytest.raises(FileNotFoundError):
        open_raw(tmp_path / "none", "u1", (2, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"item_shape": (0, 2)}, "no bytes"),
        ({"item_shape": (-1, -2)}, "no bytes"),
        ({"item_shape": (2,), "offset": -1}, "negative"),
        ({"item_shape": (2,), "gap_bytes": -1}, "negative"),
    ],
)
def test_senseless_arguments_are_refused(tmp_path, arguments, message):
    path = tmp_path / "data.raw"
    path.write_bytes(bytes(100))
    with pytest.raises(ValueError, match=message):
        open_raw(path, "u1", **arguments)


@pytest.mark.parametrize("sig_dims", [0, 5])
def test_an_impossible_number_of_item_axes_is_refused(sig_dims):
    with pytest.raises(ValueError, match="allows 1 to 4"):
        open_memory(DATA, sig_dims)


def test_objects_are_refused():
    with pytest.raises(ValueError, match="no plain numbers"):
        open_memory(np.array([[object()]]))


def test_a_file_that_shrinks_while_it_is_open_is_noticed_by_a_new_reader(tmp_path):
    path = tmp_path / "data.raw"
    path.write_bytes(bytes(100))
    source = open_raw(path, "u1", (2, 5))
    path.write_bytes(bytes(50))
    member = source.feed(10).join()
    with pytest.raises(TruncatedStream, match="shortened"):
        member.recv(1)


def test_a_closed_source_gives_no_feeds_but_open_ones_go_on():
    source = open_memory(DATA)
    feed = source.feed()
    source.close()
    source.close()
    with pytest.raises(ConnectionClosed):
        source.feed()
    assert feed.join().recv(1).n == 12
    feed.close()


def test_shared_bytes_travel_by_value_outside_of_tickets():
    shared = pickle.loads(pickle.dumps(SharedBytes(np.arange(5, dtype=np.uint8))))
    assert shared.array.tolist() == [0, 1, 2, 3, 4]
    assert not shared.array.flags.writeable
