"""Each kernel against a slow and obvious NumPy model."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from udf_4dstem import _kernels as kernels
from udf_4dstem._runs import frame_runs, frame_spans

DTYPES = ["u1", "u2", "u4", "i2", "i4", "f4", "f8"]
SHAPES = [(1, 3, 5), (9, 11, 67), (35, 40, 33)]


def make_tile(dtype: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    low = 0 if dtype[0] in "uf" else -100
    return np.random.default_rng(seed).integers(low, 200, shape).astype(dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_frames_are_summed_exactly(dtype, shape):
    tile = make_tile(dtype, shape)
    out = np.ones(shape[1:])
    kernels.add_frames(tile, out)
    np.testing.assert_array_equal(out, 1 + tile.astype(np.float64).sum(axis=0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_runs_of_pixels_are_summed_exactly(dtype):
    tile = make_tile(dtype, (9, 40, 67))
    selection = np.random.default_rng(1).random((40, 67)) < 0.7
    expected = tile.astype(np.float64)[:, selection].sum(axis=1)
    np.testing.assert_array_equal(kernels.sum_runs(tile, *frame_runs(selection)), expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_are_exact(dtype, shape):
    tile = make_tile(dtype, shape)
    y, x = np.indices(shape[1:])
    expected = [(tile * weight.astype(np.float64)).sum(axis=(1, 2)) for weight in (np.ones_like(y), y, x)]
    np.testing.assert_array_equal(kernels.moments(tile), np.stack(expected, axis=1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_of_spans_see_the_selected_pixels_only(dtype):
    tile = make_tile(dtype, (5, 20, 37))
    selection = np.random.default_rng(1).random((20, 37)) < 0.6
    y, x = np.indices(selection.shape)
    expected = [(tile * w.astype(np.float64) * selection).sum(axis=(1, 2)) for w in (np.ones_like(y), y, x)]
    moments = kernels.moments_of_spans(tile, *frame_spans(selection))
    np.testing.assert_array_equal(moments, np.stack(expected, axis=1))


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2"])
def test_full_scale_pixels_do_not_overflow(dtype):
    limits = np.iinfo(dtype)
    for value in (limits.max, limits.min):
        tile = np.full((9, 300, 70), value, dtype)
        y, x = np.indices(tile.shape[1:], np.int64)
        total = np.zeros(tile.shape[1:])
        kernels.add_frames(tile, total)
        assert (total == 9 * int(value)).all()
        assert (kernels.sum_runs(tile, *kernels.whole_frame(21000)) == 21000 * int(value)).all()
        expected = [int(value) * s for s in (y.size, int(y.sum()), int(x.sum()))]
        np.testing.assert_array_equal(kernels.moments(tile), [expected] * 9)


@pytest.mark.parametrize("n_masks", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f4", "f8"])
def test_dense_masks_are_multiplied(dtype, n_masks):
    tile = make_tile(dtype, (7, 40, 67))
    weights = np.random.default_rng(2).standard_normal((n_masks, 40 * 67))
    weights[-1, :2000] = 0
    weights = weights.astype(kernels.weight_dtype(tile.dtype))
    expected = tile.reshape(7, -1).astype(np.float64) @ weights.T.astype(np.float64)
    result = kernels.dot_dense(tile, weights, kernels.active_blocks(weights))
    scale = np.abs(tile.reshape(7, -1).astype(np.float64)) @ np.abs(weights.T)
    assert (np.abs(result - expected) <= 1e-6 * scale).all()


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_sparse_masks_are_multiplied(dtype):
    tile = make_tile(dtype, (7, 40, 67))
    masks = scipy.sparse.random(5, 40 * 67, density=0.05, format="csr", random_state=1)
    result = kernels.dot_sparse(
        tile, masks.data, masks.indices.astype(np.int64), masks.indptr.astype(np.int64)
    )
    np.testing.assert_allclose(result, tile.reshape(7, -1) @ masks.T, rtol=1e-12)


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-4, 5), (0, 67), (-40, 0), (100, 100)])
def test_shifted_masks_are_cut_off_at_the_border(shift):
    frame = make_tile("u2", (40, 67))
    masks = np.random.default_rng(2).random((2, 40, 67))
    moved = np.zeros_like(masks)
    for y in range(40):
        for x in range(67):
            if 0 <= y - shift[0] < 40 and 0 <= x - shift[1] < 67:
                moved[:, y, x] = masks[:, y - shift[0], x - shift[1]]
    expected = (moved * frame).sum(axis=(1, 2))
    np.testing.assert_allclose(kernels.dot_shifted(frame, masks, *shift), expected, rtol=1e-12)


@pytest.mark.parametrize("depth", [1, 3, 31, 33, 100])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f4", "f8"])
def test_variance_adds_up_over_tiles(dtype, depth):
    data = make_tile(dtype, (100, 13, 50)) + np.arange(13, dtype=dtype)[:, np.newaxis]
    total, varsum = np.zeros((2, 13, 50))
    for first in range(0, 100, depth):
        kernels.add_variance(data[first : first + depth], first, total, varsum)
    exact = data.astype(np.float64)
    np.testing.assert_array_equal(total, exact.sum(axis=0))
    np.testing.assert_allclose(varsum, 100 * exact.var(axis=0), rtol=2e-6)


def test_variance_survives_a_large_mean():
    data = (60000 + np.random.default_rng(0).integers(0, 5, (64, 8, 8))).astype(np.uint16)
    total, varsum = np.zeros((2, 8, 8))
    kernels.add_variance(data, 0, total, varsum)
    np.testing.assert_allclose(varsum, 64 * data.astype(np.float64).var(axis=0), rtol=1e-6)


def test_variance_of_merged_sets_is_that_of_their_union():
    data = np.random.default_rng(0).standard_normal((20, 4)) * (1 + 2j) + 5
    parts = data[:7], data[7:]
    totals = tuple(p.sum(axis=0) for p in parts)
    varsums = tuple((np.abs(p - p.mean(axis=0)) ** 2).sum(axis=0) for p in parts)
    total, varsum = kernels.merge_variance((7, 13), totals, varsums)
    np.testing.assert_allclose(total, data.sum(axis=0))
    np.testing.assert_allclose(varsum, 20 * data.var(axis=0))


@pytest.mark.parametrize(
    "disguise",
    [
        lambda tile: tile.astype(">u2"),
        lambda tile: np.asfortranarray(tile),
        lambda tile: np.repeat(tile, 2, axis=2)[:, :, ::2],
        lambda tile: tile.astype(np.float16),
        lambda tile: tile.astype(np.longdouble),
    ],
    ids=["big-endian", "fortran", "strided", "half", "long double"],
)
def test_unusual_memory_gives_the_same_sums(disguise):
    tile = make_tile("u2", (3, 8, 9))
    np.testing.assert_array_equal(kernels.moments(disguise(tile)), kernels.moments(tile))


def test_booleans_are_counted():
    tile = np.random.default_rng(0).random((3, 8, 9)) < 0.5
    assert (kernels.sum_runs(tile, *kernels.whole_frame(72)) == tile.sum(axis=(1, 2))).all()


def test_complex_frames_are_summed():
    tile = make_tile("f4", (5, 8, 9)) + 1j * make_tile("f4", (5, 8, 9), seed=1)
    out = np.zeros((8, 9), np.complex128)
    kernels.add_frames(tile.astype(np.complex64), out)
    np.testing.assert_array_equal(out, tile.sum(axis=0))
    np.testing.assert_array_equal(kernels.sum_runs(tile, *kernels.whole_frame(72)), tile.sum(axis=(1, 2)))


def test_empty_tiles_change_nothing():
    tile = np.zeros((0, 8, 9), np.uint16)
    out = np.ones((8, 9))
    kernels.add_frames(tile, out)
    assert (out == 1).all()
    assert kernels.moments(tile).shape == (0, 3)
    assert kernels.sum_runs(tile, *kernels.whole_frame(72)).shape == (0,)


def test_read_only_tiles_need_no_machine_code_of_their_own():
    from udf_4dstem._kernels._sums import _add_frames

    tile = make_tile("u2", (3, 8, 9))
    kernels.add_frames(tile, np.zeros((8, 9)))
    known = len(_add_frames.signatures)
    frozen = tile.copy()
    frozen.flags.writeable = False
    kernels.add_frames(frozen, np.zeros((8, 9)))
    assert len(_add_frames.signatures) == known


def test_objects_are_refused():
    with pytest.raises(TypeError, match="real numbers"):
        kernels.moments(np.zeros((1, 2, 2), object))


def test_runs_cover_the_selection_and_stay_short():
    selection = np.ones((70, 70), bool)
    selection[3, 5] = False
    starts, stops = frame_runs(selection)
    assert (stops - starts).max() <= kernels.RUN_LIMIT
    covered = np.zeros(4900, bool)
    for start, stop in zip(starts, stops, strict=True):
        assert not covered[start:stop].any()
        covered[start:stop] = True
    np.testing.assert_array_equal(covered.reshape(70, 70), selection)
