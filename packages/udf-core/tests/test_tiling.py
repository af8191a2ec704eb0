"""How frames are cut, and tiles made."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arraystream import ItemDescriptor, RawCodec
from udf_core._tile_reader import TileReader, is_plain
from udf_core._tiling import TilingPreference, TilingScheme, negotiate

KIB = 1024
preferences = st.builds(
    TilingPreference,
    st.sampled_from(["tile", "frame", "partition"]),
    st.one_of(st.none(), st.floats(0.5, 1e9), st.just(math.inf)),
    st.one_of(st.just(math.inf), st.floats(1, 1e9)),
)


@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=3),
    st.sampled_from([1, 2, 4, 8]),
    st.lists(preferences, max_size=4),
    st.integers(1, 1 << 20),
    st.booleans(),
)
def test_bands_cover_the_frame_once(shape, itemsize, wanted, tile_bytes, whole) -> None:
    scheme = negotiate(shape, itemsize, wanted, tile_bytes=tile_bytes, whole_frames=whole)
    rows = [row for start, stop in scheme.bands for row in range(start, stop)]
    assert rows == list(range(shape[0]))
    assert len(scheme) == len(scheme.slices) == len(list(scheme))
    methods = {p.method for p in wanted}
    assert scheme.intent == next(m for m in ("partition", "frame", "tile") if m in methods or m == "tile")
    assert (scheme.depth is None) == (scheme.intent == "partition")
    if scheme.intent != "tile" or whole:
        assert len(scheme) == 1
    else:
        budget = min([tile_bytes, *(p.total_size for p in wanted)])
        row_bytes = math.prod(shape[1:]) * itemsize
        tile = scheme.depth * scheme[0].shape[0] * row_bytes
        assert tile <= max(budget, row_bytes)


@pytest.mark.parametrize(
    ("shape", "itemsize", "wanted", "expected"),
    [
        ((256, 256), 4, TilingPreference("tile"), (32, 16)),
        ((256, 256), 4, TilingPreference("frame"), (2, 256)),
        ((256, 256), 4, TilingPreference("tile", 128, math.inf), (128, 4)),
        ((256, 256), 4, TilingPreference("tile", math.inf), (512, 1)),
        ((16, 16), 4, TilingPreference("tile"), (512, 16)),
        ((4096, 4096), 4, TilingPreference("tile"), (32, 1)),
        ((256, 256), 2, TilingPreference("tile", 4, 16 * KIB), (4, 8)),
    ],
)
def test_default_sizes(shape, itemsize, wanted, expected) -> None:
    scheme = negotiate(shape, itemsize, [wanted], tile_bytes=512 * KIB)
    assert (scheme.depth, scheme[0].shape[0]) == expected


@pytest.mark.parametrize(("depth", "expected"), [(None, 4), (16, 16), (100000, 64), (1, 1)])
def test_frames_that_need_no_decoding_are_not_cut(depth, expected) -> None:
    scheme = negotiate(
        (256, 256), 2, [TilingPreference("tile", depth)], tile_bytes=512 * KIB, whole_frames=True
    )
    assert (scheme.depth, len(scheme)) == (expected, 1)


def reader(dtype, stored=None) -> TileReader:
    stored = np.dtype(stored or dtype)
    params = {"dtype": stored.str}
    descriptor = ItemDescriptor(stored.newbyteorder("="), (4, 5), codec_params=params)
    scheme = TilingScheme((4, 5), rows=4, depth=3, intent="tile")
    return TileReader(descriptor, RawCodec(descriptor), np.dtype(dtype), scheme)


def test_plain_frames_are_looked_at_in_place() -> None:
    data = np.arange(60, dtype="u2").reshape(3, 4, 5)
    payload = data.reshape(-1).view("u1")
    offsets = np.arange(3, dtype="u8") * 40
    frames = reader("u2").whole(payload, offsets)
    assert np.shares_memory(frames, data)
    assert np.array_equal(frames, data)
    assert not frames.flags.writeable


@pytest.mark.parametrize(
    ("dtype", "stored", "offsets"),
    [
        ("f4", "u2", [0, 40]),
        ("u2", ">u2", [0, 40]),
        ("u2", "u2", [0, 41]),
        ("u2", "u2", [1, 41]),
        ("u2", "u2", [40, 0]),
        ("u2", "u2", [0, 80]),
        ("u2", "u2", [80, 120]),
    ],
)
def test_what_does_not_lie_right_is_decoded(dtype, stored, offsets) -> None:
    payload = np.zeros(121, "u1")
    payload = payload[-payload.ctypes.data % 8 :][:120]
    assert reader(dtype, stored).whole(payload, np.array(offsets, "u8")) is None


def test_other_codecs_are_never_plain() -> None:
    assert not is_plain(ItemDescriptor(np.dtype("u2"), (4, 5), codec="merlin"), "u2")
    assert is_plain(ItemDescriptor(np.dtype("u2"), (4, 5)), "u2")


def test_tile_memory_is_reused_and_aligned() -> None:
    tiles = reader("f4")
    first = tiles.buffer(3, 4)
    assert first.shape == (3, 4, 5)
    assert first.flags.c_contiguous
    assert first.ctypes.data % 64 == 0
    assert np.shares_memory(tiles.buffer(2, 4), first)
    assert tiles.buffer(3, 4) is first
    assert tiles.buffer(30, 4).shape == (30, 4, 5)
