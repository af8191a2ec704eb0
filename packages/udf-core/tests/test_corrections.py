"""Dark, gain and dead pixels on arrays: against models in plain NumPy, and what is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy.sparse
import sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from arraystream import ItemDescriptor, RawCodec
from udf_core import (
    CorrectionError,
    CorrectionSet,
    CorrectionTypeError,
    RepairValueError,
    Slice,
    correct,
    correct_dot_masks,
)
from udf_core._corrections_decoder import CorrectingDecoder
from udf_core._corrections_kernels import _repair, _repair_numpy, correct_stored
from udf_core._tiling import TilingScheme, cut_rows
from udf_core.compat import _corrections as alias


def whole(data: np.ndarray, sig_dims: int) -> Slice:
    return Slice.from_shape(data.shape, sig_dims)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_apply_is_the_one_liner_for_any_number_of_signal_axes(modelled, draw) -> None:
    sig = tuple(draw.draw(st.lists(st.integers(1, 7), min_size=1, max_size=4)))
    dtype = np.dtype(draw.draw(st.sampled_from(["f4", "f8", "c8", "c16", "g"])))
    rng = np.random.default_rng(draw.draw(st.integers(0, 99)))
    frames = (rng.random((3, *sig)) * 100).astype(dtype)
    if dtype.kind == "c":
        frames += 1j * rng.random(frames.shape).astype(frames.real.dtype)
    dark = rng.random(sig) if draw.draw(st.booleans()) else None
    gain = rng.random(sig).astype("f4") if draw.draw(st.booleans()) else None
    excluded = rng.random(sig) < draw.draw(st.sampled_from([0.0, 0.1, 0.6, 1.0]))
    corrections = CorrectionSet(dark, gain, excluded, allow_empty=True)
    expected = modelled(frames, dtype, dark, gain, excluded)

    corrections.apply(frames, whole(frames, len(sig)))

    assert frames.dtype == dtype
    assert frames.tobytes() == expected.tobytes() or np.array_equal(frames, expected)


@pytest.mark.parametrize("stored", ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_stored_numbers_are_cast_as_numpy_casts_them(stored: str, dtype: str) -> None:
    rng = np.random.default_rng(1)
    raw = rng.integers(0, 256, (4, 6 * np.dtype(stored).itemsize)).astype("u1")
    numbers = (raw[:, :6] > 9) if stored == "?" else raw.view(stored)
    with np.errstate(all="ignore"):
        numbers = np.nan_to_num(numbers, posinf=1, neginf=1) if stored[0] == "f" else numbers
        dark, gain = rng.random(6).astype(dtype), rng.random(6).astype(dtype)
        expected = (numbers.astype(dtype) - dark) * gain
    out = np.empty((4, 6), dtype)
    layout = np.array([numbers.itemsize, 6, 0])
    offsets = np.arange(4, dtype=np.uint64) * np.uint64(6 * numbers.itemsize)

    assert correct_stored(numbers.reshape(-1), offsets, layout, dark, gain, out)
    np.testing.assert_array_equal(out, expected)


def test_large_integers_are_rounded_once() -> None:
    # Rounded to float64 first, this would end on a tie and then go the other way.
    numbers = np.array([(1 << 60) + (1 << 36) + 1, (1 << 60) + (1 << 36), (1 << 63) - 1], np.int64)
    out = np.empty((1, 3), np.float32)
    zeros, ones = np.zeros(3, np.float32), np.ones(3, np.float32)
    for values in (numbers, numbers.astype(np.uint64)):
        correct_stored(values, np.zeros(1, np.uint64), np.array([8, 3, 0]), zeros, ones, out)
        np.testing.assert_array_equal(out[0], values.astype(np.float32))


@pytest.mark.parametrize("offset", [1, 8, 1 << 63])
def test_stored_numbers_outside_or_askew_are_left_to_the_codec(offset: int) -> None:
    out = np.full((1, 4), -1, np.float32)
    maps = np.zeros(4, np.float32), np.ones(4, np.float32)
    offsets = np.array([offset], np.uint64)
    assert not correct_stored(np.zeros(6, "u2"), offsets, np.array([2, 4, 0]), *maps, out)
    assert (out == -1).all()


def test_both_repair_kernels_give_the_same_bits() -> None:
    rng = np.random.default_rng(2)
    excluded = rng.random((20, 30)) < 0.3
    targets = CorrectionSet(excluded_pixels=excluded, allow_empty=True).tile("f4", (0, 0), (20, 30)).repairs
    assert targets is not None
    one = rng.random((5, 600)).astype("f4")
    other = one.copy()
    _repair(one, *targets)
    _repair_numpy(other, *targets)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("byte_order", "<>")
@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("spaced", [True, False])
def test_every_way_through_the_decoder_gives_the_same_bits(modelled, byte_order, shift, spaced) -> None:
    rng = np.random.default_rng(3)
    data = rng.integers(0, 4000, (6, 16, 5)).astype("u2")
    dark, gain, excluded = rng.random((16, 5)), rng.random((16, 5)), rng.random((16, 5)) < 0.05
    stored = data.astype(f"{byte_order}u2")
    payload = np.zeros(stored.nbytes + 2, np.uint8)
    payload[shift : shift + stored.nbytes] = stored.reshape(-1).view("u1")
    order = np.arange(6) if spaced else np.array([4, 0, 1])
    offsets = (order * 160 + shift).astype(np.uint64)
    descriptor = ItemDescriptor(np.dtype("u2"), (16, 5), codec_params={"dtype": stored.dtype.str})
    corrections = CorrectionSet(dark, gain, excluded)
    scheme = TilingScheme((16, 5), rows=4, depth=8, intent="tile", forbidden=corrections.forbidden_cuts())
    decoder = CorrectingDecoder(descriptor, RawCodec(descriptor), corrections, np.dtype("f4"), scheme)

    expected = modelled(data[order], "f4", dark, gain, excluded)
    for start, stop in scheme.bands:
        out = np.empty((len(order), stop - start, 5), np.float32)
        decoder.decode(payload, offsets, (start, stop), out)
        np.testing.assert_array_equal(out, expected[:, start:stop])


def test_nothing_given_means_nothing_is_done() -> None:
    corrections = CorrectionSet()
    counts = np.arange(9).reshape(1, 3, 3)
    corrections.apply(counts, whole(counts, 2))
    assert not corrections.have_corrections()
    assert corrections.get_dark_frame() is corrections.get_gain_map() is None
    assert corrections.get_excluded_pixels() is None
    assert np.array_equal(counts.reshape(-1), np.arange(9))


@pytest.mark.parametrize("dtype", ["u2", "i8", "?"])
def test_integers_are_not_corrected_in_place(dtype: str) -> None:
    data = np.zeros((1, 3, 3), dtype)
    with pytest.raises(CorrectionTypeError, match=r"float32") as caught:
        CorrectionSet(dark=np.ones((3, 3))).apply(data, whole(data, 2))
    assert isinstance(caught.value, TypeError)


EXCLUDED = np.zeros((6, 7), bool)
EXCLUDED[[0, 3, 5], [0, 4, 6]] = True


@pytest.mark.parametrize(
    "pixels",
    [
        EXCLUDED,
        EXCLUDED.astype("u1"),
        EXCLUDED.astype(float),
        EXCLUDED.tolist(),
        sparse.COO(EXCLUDED),
        sparse.GCXS(EXCLUDED),
        sparse.DOK(EXCLUDED),
        scipy.sparse.csr_array(EXCLUDED),
        scipy.sparse.coo_matrix(EXCLUDED),
        [(5, 6), (0, 0), (3, 4), (3, 4)],
        [[0, 0], [3, 4], [5, 6]],
        np.argwhere(EXCLUDED),
    ],
    ids=lambda pixels: type(pixels).__name__,
)
def test_excluded_pixels_may_be_named_in_many_ways(pixels) -> None:
    corrections = CorrectionSet(excluded_pixels=pixels).for_frames((6, 7))
    found = corrections.get_excluded_pixels()
    assert isinstance(found, sparse.COO)
    np.testing.assert_array_equal(found.todense(), EXCLUDED)
    assert CorrectionSet(np.ones((6, 7)), None, pixels).sig_shape == (6, 7)


def test_no_pixels_at_all_count_as_a_correction() -> None:
    # The type of the data follows from what was given, not from how many pixels happen to be bad.
    for nothing in ([], np.zeros((6, 7), bool)):
        corrections = CorrectionSet(excluded_pixels=nothing).for_frames((6, 7))
        data = np.ones((1, 6, 7), np.float32)
        corrections.apply(data, whole(data, 2))
        assert corrections.have_corrections()
        assert corrections.get_excluded_pixels().nnz == 0
        assert corrections.adjust_tileshape((2, 1, 7), (6, 7), (1, 7)) == (2, 1, 7)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"dark": np.ones((4, 4)), "gain": np.ones((4, 5))},
            r"dark has shape \(4, 4\), but gain has \(4, 5\)",
        ),
        ({"dark": np.ones((4, 4)), "excluded_pixels": np.zeros((5, 4), bool)}, r"\(5, 4\).*\(4, 4\)"),
        ({"dark": np.ones((4, 4)), "excluded_pixels": [(4, 0)]}, r"\(4, 0\) is outside"),
        ({"excluded_pixels": [(-1, 0)]}, r"\(-1, 0\) is outside"),
        ({"dark": np.ones((4, 4)), "excluded_pixels": [(1, 2, 3)]}, "excluded_pixels"),
        ({"excluded_pixels": "dead.npy"}, "neither an image nor coordinates"),
        ({"excluded_pixels": sparse.full((4, 4), True)}, "fill value"),
        ({"dark": 3.0}, "single number"),
        ({"gain": ["x"]}, "give an array of numbers"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, text) -> None:
    with pytest.raises((CorrectionError, CorrectionTypeError), match=text):
        CorrectionSet(**arguments)


def test_frames_of_another_shape_are_refused() -> None:
    with pytest.raises(CorrectionError, match=r"\(dark\) are for frames of shape \(4, 4\).*\(4, 5\)"):
        CorrectionSet(dark=np.ones((4, 4))).for_frames((4, 5))
    with pytest.raises(CorrectionError, match="outside of a frame of shape"):
        CorrectionSet(excluded_pixels=[(9, 9)]).for_frames((4, 5))
    with pytest.raises(CorrectionError, match="not known yet"):
        CorrectionSet(excluded_pixels=[(9, 9)]).get_excluded_pixels()


def test_a_pixel_without_neighbours_is_refused_unless_allowed(repaired) -> None:
    block = np.zeros((6, 6), bool)
    block[2:5, 2:5] = True
    with pytest.raises(RepairValueError, match=r"\(3, 3\) has no neighbour left"):
        CorrectionSet(excluded_pixels=block)
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        CorrectionSet(excluded_pixels=np.argwhere(block)).for_frames((6, 6))
    data = np.random.default_rng(0).random((2, 6, 6))
    expected = repaired(data, block)
    CorrectionSet(excluded_pixels=block, allow_empty=True).apply(data, whole(data, 2))
    np.testing.assert_array_equal(data, expected)


def test_a_tile_that_cuts_through_a_repair_is_refused() -> None:
    corrections = CorrectionSet(excluded_pixels=EXCLUDED)
    for start, stop in ((3, 6), (2, 4)):
        tile = np.ones((1, stop - start, 7), np.float32)
        with pytest.raises(RepairValueError, match=r"\(3, 4\); cut elsewhere"):
            corrections.apply(tile, Slice((0, start, 0), whole(tile, 2).shape))
    outside = np.ones((1, 4, 7), np.float32)
    with pytest.raises(CorrectionError, match="not inside"):
        corrections.apply(outside, Slice((0, 4, 0), whole(outside, 2).shape))


def test_tiles_are_corrected_like_frames(modelled) -> None:
    rng = np.random.default_rng(4)
    data, dark, gain = rng.random((3, 6, 7)), rng.random((6, 7)), rng.random((6, 7))
    corrections = CorrectionSet(dark, gain, EXCLUDED)
    expected = modelled(data, "f8", dark, gain, EXCLUDED)
    for start, stop in ((0, 2), (2, 6)):
        tile = data[:, start:stop]
        corrections.apply(tile, Slice((0, start, 0), whole(tile, 2).shape))
    np.testing.assert_array_equal(data, expected)


@pytest.mark.parametrize(
    ("pixels", "tile", "base", "expected"),
    [
        ([(31, 5), (63, 100)], (2, 64, 128), (4, 128), (2, 60, 128)),
        ([(31, 5), (63, 100)], (2, 128, 128), (4, 128), (2, 128, 128)),
        ([(0, 0)], (1, 1, 128), (1, 128), (1, 2, 128)),
        ([(y, 3) for y in range(0, 128, 2)], (1, 32, 128), (1, 128), (1, 128, 128)),
    ],
)
def test_tile_shapes_are_moved_off_the_defects(pixels, tile, base, expected) -> None:
    assert CorrectionSet(excluded_pixels=pixels).adjust_tileshape(tile, (128, 128), base) == expected


@given(
    st.integers(1, 60).flatmap(
        lambda n: st.tuples(st.just(n), st.integers(1, n), st.sets(st.integers(0, n - 1), max_size=20))
    )
)
def test_bands_cover_the_frame_and_avoid_the_defects(case) -> None:
    height, rows, defects = case
    forbidden = CorrectionSet(excluded_pixels=[(y, 0) for y in defects]).for_frames((height, 3))
    bands = cut_rows(height, rows, forbidden.forbidden_cuts())
    assert [row for start, stop in bands for row in range(start, stop)] == list(range(height))
    for start, stop in bands:
        assert start not in {*defects, *(y + 1 for y in defects)} - {0}
        assert stop > start
    if not defects:
        assert all(stop - start <= rows for start, stop in bands)


def test_corrections_are_pickled_without_their_caches() -> None:
    corrections = CorrectionSet(np.ones((6, 7)), None, EXCLUDED)
    size = len(pickle.dumps(corrections))
    data = np.random.default_rng(0).random((1, 6, 7))
    corrections.apply(data.copy(), whole(data, 2))
    again = pickle.loads(pickle.dumps(corrections))
    one, other = data.copy(), data.copy()
    corrections.apply(one, whole(data, 2))
    again.apply(other, whole(data, 2))
    assert len(pickle.dumps(corrections)) == size
    np.testing.assert_array_equal(one, other)


def test_later_changes_of_the_users_arrays_have_no_effect() -> None:
    dark = np.ones((3, 3))
    corrections = CorrectionSet(dark)
    dark[:] = 7
    data = np.zeros((1, 3, 3))
    corrections.apply(data, whole(data, 2))
    assert (data == -1).all()


def test_correct_returns_corrected_frames(modelled) -> None:
    rng = np.random.default_rng(5)
    data, dark, gain = rng.integers(0, 99, (2, 3, 6, 7)).astype("u2"), rng.random((6, 7)), rng.random((6, 7))
    result = correct(data, dark, gain, EXCLUDED)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, modelled(data, "f4", dark, gain, EXCLUDED))
    with pytest.raises(TypeError):
        correct(data, dark, inplace=True)
    assert correct(data).dtype == np.float32
    only_pixels = correct(data, excluded_pixels=np.argwhere(EXCLUDED))
    np.testing.assert_array_equal(only_pixels, modelled(data, "f4", None, None, EXCLUDED))


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("gain", [None, np.random.default_rng(6).random((6, 7))])
@pytest.mark.parametrize("pixels", [None, EXCLUDED, [(3, 4)], []])
def test_corrected_masks_see_raw_frames_as_masks_see_corrected_ones(kind, gain, pixels) -> None:
    rng = np.random.default_rng(7)
    masks, frames = rng.random((3, 6, 7)), rng.random((5, 6, 7))
    moved = correct_dot_masks(masks if kind == "dense" else sparse.COO(masks), gain, pixels)
    assert isinstance(moved, np.ndarray if kind == "dense" else sparse.COO)
    moved = moved if kind == "dense" else moved.todense()
    expected = np.einsum("kyx,nyx->nk", masks, correct(frames, None, gain, pixels, sig_shape=(6, 7)))
    np.testing.assert_allclose(np.einsum("kyx,nyx->nk", moved, frames), expected, rtol=1e-12)


def test_masks_of_another_shape_are_refused() -> None:
    with pytest.raises(CorrectionError, match="frames"):
        correct_dot_masks(np.ones((2, 5, 5)), np.ones((6, 7)))


def test_the_alias_for_libertem_takes_coordinates_by_axis(modelled) -> None:
    rng = np.random.default_rng(8)
    data, dark = rng.random((2, 6, 7)), rng.random((6, 7))
    coords = sparse.COO(EXCLUDED).coords
    expected = modelled(data, "f8", dark, None, EXCLUDED)
    for pixels in (coords, EXCLUDED, sparse.COO(EXCLUDED)):
        np.testing.assert_array_equal(alias.correct(data, dark, excluded_pixels=pixels), expected)
    masks = np.ones((1, 6, 7))
    moved = alias.correct_dot_masks(masks, None, coords)
    np.testing.assert_array_equal(moved, correct_dot_masks(masks, None, EXCLUDED))
    with pytest.raises(TypeError, match="repair_descriptor"):
        alias.correct(data, repair_descriptor=object())
