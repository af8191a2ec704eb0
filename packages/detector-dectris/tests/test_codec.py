"""The codec against what was encoded, worked examples, hdf5plugin, and vendor-written chunks."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from arraystream import CodecError, Decoder, ItemDescriptor
from detector_dectris import _dectris
from detector_dectris._codec import DectrisCodec

COMPRESSIONS = ["bslz4", "lz4", "lz4-block", "none"]
DTYPES = ["u1", "u2", "u4"]
OUT_DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", "c8", ">f4"]
_REPOSITORY = Path(__file__).resolve().parents[3]
_FOLDER = Path(os.environ.get("LIVESTEM_TEST_DATA", _REPOSITORY.parent / "shared" / "data"))


def describe(compression: str, dtype: str, shape: tuple[int, ...], **extra: Any) -> ItemDescriptor:
    params = {"compression": compression, "element_bytes": np.dtype(dtype).itemsize}
    return ItemDescriptor(np.dtype(dtype), shape, "dectris", params | extra)


def as_records(items: list[list[bytes]], gap: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Payload with something before each record, and the records' offsets."""
    payload, offsets = bytearray(), []
    for blobs in items:
        payload += b"\xff" * gap
        offsets.append(len(payload))
        payload += np.array([len(blobs), 0], "<u4").tobytes()
        payload += np.array([len(blob) for blob in blobs], "<u8").tobytes()
        for blob in blobs:
            payload += bytes(-len(payload) % 8) + blob
        if blobs is not items[-1]:
            payload += bytes(-len(payload) % 8)
    return np.frombuffer(bytes(payload), np.uint8), np.array(offsets, np.uint64)


def decode(
    descriptor: ItemDescriptor, items: list[list[bytes]], rows: tuple[int, int], dtype: str
) -> np.ndarray:
    payload, offsets = as_records(items)
    out = np.full((len(items), rows[1] - rows[0], *descriptor.item_shape[1:]), 77, dtype)
    DectrisCodec(descriptor).decode(payload, offsets, rows, out)
    return out


def decode_one(compression: str, blob: bytes, shape: tuple[int, int], dtype: str = "u2") -> np.ndarray:
    return decode(describe(compression, dtype, shape), [[blob]], (0, shape[0]), dtype)[0]


def counts(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, kind: str) -> np.ndarray:
    """Images as detectors make them, noise, or extremes (masked pixels read the highest number)."""
    highest = np.iinfo(dtype).max
    if kind == "noise":
        return rng.integers(0, highest, shape, dtype=dtype, endpoint=True)
    images = rng.poisson({"sparse": 0.05, "dense": 3.0}.get(kind, 0.0), shape).astype(dtype)
    if kind == "masked":
        images[..., :: max(1, shape[-1] // 3)] = highest
    return images


KINDS = ["sparse", "dense", "noise", "masked", "zeros"]


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    compression=st.sampled_from(COMPRESSIONS),
    dtype=st.sampled_from(DTYPES),
    byteorder=st.sampled_from("<>"),
    out=st.sampled_from(OUT_DTYPES),
    kind=st.sampled_from(KINDS),
)
def test_any_band_of_any_image_decodes_to_what_was_encoded(data, compression, dtype, byteorder, out, kind):
    shape = (data.draw(st.integers(1, 40)), data.draw(st.integers(1, 300)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    images = counts(rng, (3, *shape), dtype, kind)
    unit = 8 * images.itemsize
    block_bytes = data.draw(st.sampled_from([0, unit, 33 * unit, 4096, 8192, 65536]))
    start = data.draw(st.integers(0, shape[0]))
    stop = data.draw(st.integers(start, shape[0]))

    sent = images.byteswap() if byteorder == ">" else images
    blobs = _dectris.encode(sent, compression, block_bytes)
    found = decode(
        describe(compression, dtype, shape, byteorder=byteorder), [[b] for b in blobs], (start, stop), out
    )

    assert_array_equal(found, images[:, start:stop].astype(out))


@pytest.mark.parametrize(
    ("compression", "dtype", "byteorder", "out"),
    list(itertools.product(COMPRESSIONS, DTYPES, "<>", ["u1", "u2", "u4", "f4", "f8"])),
)
def test_each_format_decodes_to_each_type(compression, dtype, byteorder, out):
    images = counts(np.random.default_rng(3), (2, 96, 97), dtype, "dense")
    images[0, 5, 7] = np.iinfo(dtype).max
    sent = images.byteswap() if byteorder == ">" else images
    blobs = _dectris.encode(sent, compression)
    descriptor = describe(compression, dtype, (96, 97), byteorder=byteorder)
    for rows in [(0, 96), (0, 1), (40, 81), (95, 96), (7, 7)]:
        found = decode(descriptor, [[b] for b in blobs], rows, out)
        assert_array_equal(found, images[:, rows[0] : rows[1]].astype(out))


@pytest.mark.parametrize(
    ("compression", "dtype", "blob", "n"),
    [
        ("bslz4", "u2", "0000000000000010 00002000 00000012 f001 55667880" + "00" * 12, 8),
        ("bslz4", "u2", "0000000000000016 00002000 00000012 f001 55667880" + "00" * 12 + "09000a000b00", 11),
        ("bslz4", "u2", "0000000000000000 00000000 00000012 f001 55667880" + "00" * 12, 8),
        ("bslz4", "u4", "0000000000000020 00002000 00000022 f011 55667880" + "00" * 28, 8),
        ("lz4", "u2", "0000000000000008 00000008 00000008 0100020003000400", 4),
        ("lz4-block", "u2", "80 0100020003000400", 4),
        ("none", "u2", "0100020003000400", 4),
    ],
)
def test_worked_examples_of_the_protocol_decode(compression, dtype, blob, n):
    found = decode_one(compression, bytes.fromhex(blob), (1, n), dtype)
    assert_array_equal(found[0], np.arange(1, n + 1))


def test_encoding_gives_the_worked_example():
    image = np.arange(1, 9, dtype="u2").reshape(1, 2, 4)
    (blob,) = _dectris.encode(image, "bslz4")
    assert blob.hex() == "00000000000000100000200000000012f00155667880" + "00" * 12


@pytest.mark.parametrize(("blob", "expected"), [(0, [0]), (1, [1]), (2, [2]), (None, [0, 1, 2])])
def test_channels_of_an_exposure_are_chosen_by_number(blob, expected):
    images = counts(np.random.default_rng(4), (2, 3, 20, 30), "u2", "dense")
    items = [_dectris.encode(exposure, "bslz4") for exposure in images]
    shape = (3, 20, 30) if blob is None else (20, 30)
    descriptor = describe("bslz4", "u2", shape, n_blobs=3, blob=blob)
    found = decode(descriptor, items, (0, shape[0]), "f4")
    assert_array_equal(found.reshape(2, -1, 20, 30), images[:, expected])


def test_a_band_of_all_channels_is_whole_images():
    images = counts(np.random.default_rng(4), (2, 3, 20, 30), "u2", "dense")
    items = [_dectris.encode(exposure, "bslz4") for exposure in images]
    found = decode(describe("bslz4", "u2", (3, 20, 30), n_blobs=3, blob=None), items, (1, 3), "u2")
    assert_array_equal(found, images[:, 1:3])


def test_blobs_without_records_decode():
    images = counts(np.random.default_rng(4), (4, 20, 30), "u4", "dense")
    blobs = _dectris.encode(images, "bslz4")
    payload = np.frombuffer(b"".join(blobs), np.uint8)
    lengths = np.array([len(b) for b in blobs], np.uint64)
    starts = np.cumsum(lengths) - lengths
    out = np.empty((2, 7, 30), "f4")
    codec = DectrisCodec(describe("bslz4", "u4", (20, 30)))
    codec.decode_blobs(payload, starts[::2], lengths[::2], (3, 10), out)
    assert_array_equal(out, images[::2, 3:10])

    both = np.empty((2, 2, 20, 30), "u4")
    codec = DectrisCodec(describe("bslz4", "u4", (2, 20, 30), n_blobs=2, blob=None))
    codec.decode_blobs(payload, starts.reshape(2, 2), lengths.reshape(2, 2), (0, 2), both)
    assert_array_equal(both, images.reshape(2, 2, 20, 30))


def test_codec_is_registered_and_is_a_decoder():
    (entry,) = [e for e in entry_points(group="arraystream.codecs") if e.name == "dectris"]
    assert isinstance(entry.load()(describe("none", "u2", (2, 3))), Decoder)


def test_threads_decode_at_the_same_time():
    images = counts(np.random.default_rng(4), (8, 64, 64), "u2", "dense")
    payload, offsets = as_records([[b] for b in _dectris.encode(images, "bslz4")])
    codec = DectrisCodec(describe("bslz4", "u2", (64, 64)))
    outs = [np.empty(images.shape, "f4") for _ in range(4)]
    threads = [
        threading.Thread(target=codec.decode, args=(payload, offsets, (0, 64), out), daemon=True)
        for out in outs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for out in outs:
        assert_array_equal(out, images)


@pytest.mark.parametrize("length", [0, 5, 11, 12, 14, 16, 20, 33])
def test_a_blob_that_was_cut_off_names_item_and_blob(length):
    (blob,) = _dectris.encode(np.arange(1, 9, dtype="u2").reshape(1, 2, 4), "bslz4")
    with pytest.raises(CodecError, match="Codec dectris: item 0 of the request, blob 0: "):
        decode_one("bslz4", blob[:length], (2, 4))


def test_a_damaged_block_is_named():
    images = counts(np.random.default_rng(4), (2, 100, 100), "u2", "dense")
    good, bad = _dectris.encode(images, "bslz4")
    at = 12
    at += 4 + int.from_bytes(bad[at : at + 4], "big")
    bad = bad[: at + 4] + b"\x00\x00\x00" + bad[at + 7 :]
    with pytest.raises(CodecError, match=r"item 1 of the request, blob 0: block 1 of \d+ bytes"):
        decode(describe("bslz4", "u2", (100, 100)), [[good], [bad]], (0, 100), "u2")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"compression": "zip"}, "compression .zip. is not known"),
        ({"element_bytes": 3}, "elements of 3 bytes"),
        ({"byteorder": "!"}, "byteorder is '!'"),
        ({"n_blobs": 2, "blob": 2}, "blob 2 of 2"),
        ({"blob": None}, r"items of shape \(4, 5\)"),
        ({"element_bytes": 4}, "the descriptor says"),
        ({"element_bytes": "many"}, "codec_params"),
    ],
)
def test_descriptors_that_make_no_sense_are_refused(params, message):
    with pytest.raises(CodecError, match=message):
        DectrisCodec(describe(**{"compression": "bslz4", "dtype": "u2", "shape": (4, 5)} | params))


def test_missing_parameters_are_named():
    with pytest.raises(CodecError, match="lack element_bytes"):
        DectrisCodec(ItemDescriptor(np.dtype("u2"), (4, 5), "dectris", {"compression": "bslz4"}))


@pytest.mark.parametrize("offset", [0, 1, 7, 8, 40, 2**40, 2**63, 2**64 - 1])
def test_offsets_outside_of_the_payload_are_refused(offset):
    payload = np.zeros(40, np.uint8)
    codec = DectrisCodec(describe("none", "u2", (4, 5)))
    with pytest.raises(CodecError, match="item 0 of the request"):
        codec.decode(payload, np.array([offset], np.uint64), (0, 4), np.empty((1, 4, 5), "u2"))


def test_requests_that_do_not_fit_are_refused():
    payload, offsets = as_records([[bytes(40)]])
    codec = DectrisCodec(describe("none", "u2", (4, 5)))
    with pytest.raises(CodecError, match="out has shape"):
        codec.decode(payload, offsets, (0, 4), np.empty((1, 3, 5), "u2"))
    with pytest.raises(CodecError, match="rows 0 to 5"):
        codec.decode(payload, offsets, (0, 5), np.empty((1, 5, 5), "u2"))
    with pytest.raises(CodecError, match="starts have shape"):
        codec.decode_blobs(payload, offsets, np.zeros((1, 2), np.uint64), (0, 4), np.empty((1, 4, 5), "u2"))


@pytest.mark.parametrize(
    "images", [np.zeros((2, 3), "u2"), np.zeros((1, 2, 3), "f4"), np.zeros((1, 2, 3), "i2")]
)
def test_what_no_detector_sends_is_not_encoded(images):
    with pytest.raises(CodecError, match="can't be encoded"):
        _dectris.encode(images, "bslz4")


def test_block_sizes_that_do_not_fit_are_not_encoded():
    with pytest.raises(CodecError, match="multiples of 16"):
        _dectris.encode(np.zeros((1, 2, 3), "u2"), "bslz4", 24)


@settings(max_examples=300, deadline=None)
@given(
    blob=st.binary(max_size=400),
    compression=st.sampled_from(COMPRESSIONS),
    dtype=st.sampled_from(DTYPES),
    shape=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    has_header=st.booleans(),
)
def test_arbitrary_bytes_are_pixels_or_a_codec_error(blob, compression, dtype, shape, has_header):
    if has_header:
        size = shape[0] * shape[1] * np.dtype(dtype).itemsize
        blob = size.to_bytes(8, "big") + bytes(4) + len(blob).to_bytes(4, "big") + blob
    with contextlib.suppress(CodecError):
        decode_one(compression, blob, shape, dtype)


@settings(max_examples=200, deadline=None)
@given(payload=st.binary(max_size=200), offset=st.integers(0, 220), n_blobs=st.integers(1, 3))
def test_arbitrary_records_are_pixels_or_a_codec_error(payload, offset, n_blobs):
    codec = DectrisCodec(describe("none", "u1", (3, 4), n_blobs=n_blobs))
    with contextlib.suppress(CodecError):
        codec.decode(
            np.frombuffer(payload, np.uint8), np.array([offset], np.uint64), (0, 3), np.empty((1, 3, 4), "u1")
        )


@settings(max_examples=200, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(DTYPES), compression=st.sampled_from(COMPRESSIONS[:3]))
def test_damaged_blobs_are_pixels_or_a_codec_error(data, dtype, compression):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    (blob,) = _dectris.encode(counts(rng, (1, 50, 60), dtype, "dense"), compression, 1024)
    damaged = bytearray(blob)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CodecError):
        decode_one(compression, bytes(damaged), (50, 60), dtype)


# hdf5plugin is the filters' own implementation: what it writes we read, and the other way round.


def filters(hdf5plugin: Any, compression: str, block_bytes: int, itemsize: int) -> dict[str, Any]:
    if compression == "bslz4":
        return dict(hdf5plugin.Bitshuffle(nelems=block_bytes // itemsize, cname="lz4"))
    return dict(hdf5plugin.LZ4(nbytes=block_bytes))


@pytest.mark.parametrize("block_bytes", [0, 1024, 8192, 32768])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compression", ["bslz4", "lz4"])
@pytest.mark.parametrize("kind", ["sparse", "noise", "masked"])
@pytest.mark.parametrize("shape", [(96, 96), (7, 13), (1, 5)])
def test_chunks_written_by_the_hdf5_filters_decode(tmp_path, compression, dtype, block_bytes, kind, shape):
    h5py, hdf5plugin = pytest.importorskip("h5py"), pytest.importorskip("hdf5plugin")
    image = counts(np.random.default_rng(6), (1, *shape), dtype, kind)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        options = filters(hdf5plugin, compression, block_bytes, image.itemsize)
        dataset = file.create_dataset("data", data=image, chunks=image.shape, **options)
        skipped, blob = dataset.id.read_direct_chunk((0, 0, 0))
    assert not skipped
    assert_array_equal(decode_one(compression, blob, shape, dtype), image[0])


@pytest.mark.parametrize("block_bytes", [0, 1024, 8192])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compression", ["bslz4", "lz4"])
@pytest.mark.parametrize("kind", ["sparse", "noise"])
@pytest.mark.parametrize("shape", [(96, 96), (7, 13)])
def test_the_hdf5_filters_read_what_we_encode(tmp_path, compression, dtype, block_bytes, kind, shape):
    h5py, hdf5plugin = pytest.importorskip("h5py"), pytest.importorskip("hdf5plugin")
    image = counts(np.random.default_rng(6), (1, *shape), dtype, kind)
    (blob,) = _dectris.encode(image, compression, block_bytes or 8192)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        options = filters(hdf5plugin, compression, block_bytes, image.itemsize)
        dataset = file.create_dataset("data", image.shape, dtype, chunks=image.shape, **options)
        dataset.id.write_direct_chunk((0, 0, 0), blob)
    with h5py.File(tmp_path / "a.h5") as file:
        assert_array_equal(file["data"][:], image)


def vendor_chunks() -> list[Path]:
    return sorted((_FOLDER / "dectris_h5").glob("*/*data*.h5"))


@pytest.mark.skipif(not vendor_chunks(), reason=f"no vendor files in {_FOLDER} (set LIVESTEM_TEST_DATA)")
def test_chunks_written_by_detectors_decode_to_their_sums():
    """Each file's first image, as hdf5plugin reads it, and the sums that its publisher's data have."""
    h5py = pytest.importorskip("h5py")
    pytest.importorskip("hdf5plugin")
    sums = set()
    for path in vendor_chunks():
        with h5py.File(path) as file:
            dataset = file["entry/data/data"]
            number = dataset.id.get_create_plist().get_filter(0)[0]
            compression = {32008: "bslz4", 32004: "lz4"}[number]
            _, blob = dataset.id.read_direct_chunk((0, 0, 0))
            expected = dataset[0]
        found = decode_one(compression, blob, expected.shape, expected.dtype.str)
        assert_array_equal(found, expected)
        sums.add(int(found.sum(dtype="u8")))
    assert {2511479273, 3648540, 21891240} <= sums
