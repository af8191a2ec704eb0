"""Sum, frame sums, variance and raw frames."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from udf_4dstem import PickUDF, StdDevUDF, SumSigUDF, SumUDF


@pytest.fixture
def roi() -> np.ndarray:
    return np.random.default_rng(5).random((5, 6)) < 0.5


def test_sum_over_the_scan(run, counts):
    result = run(counts, SumUDF())
    assert result["intensity"].data.dtype == np.float64
    np.testing.assert_array_equal(result["intensity"].data, counts.sum(axis=(0, 1)))


def test_counts_beyond_single_precision_are_not_lost(run):
    data = np.full((20, 20, 4, 4), 60001, np.uint16)
    assert (run(data, SumUDF())["intensity"].data == 400 * 60001).all()
    assert (
        run(np.full((1, 1, 512, 512), 65535, np.uint16), SumSigUDF())["intensity"].data == 65535 << 18
    ).all()


def test_sum_in_an_integer_type(run, counts):
    result = run(counts, SumUDF(dtype=np.uint64))["intensity"].data
    assert result.dtype == np.uint64
    np.testing.assert_array_equal(result, counts.sum(axis=(0, 1)))


def test_sum_of_complex_data(run, counts):
    waves = counts.astype(np.complex64) * (1 - 2j)
    results = run(waves, [SumUDF(), SumSigUDF(), StdDevUDF()])
    np.testing.assert_allclose(results[0]["intensity"].data, waves.sum(axis=(0, 1)))
    np.testing.assert_allclose(results[1]["intensity"].data, waves.sum(axis=(2, 3)))
    np.testing.assert_allclose(results[2]["var"].data, waves.var(axis=(0, 1)), rtol=1e-5)


def test_sum_within_a_roi(run, counts, roi):
    sums, frame_sums = run(counts, [SumUDF(), SumSigUDF()], roi=roi)
    np.testing.assert_array_equal(sums["intensity"].data, counts[roi].sum(axis=0))
    np.testing.assert_array_equal(frame_sums["intensity"].data[roi], counts[roi].sum(axis=(1, 2)))
    assert np.isnan(frame_sums["intensity"].data[~roi]).all()


@pytest.mark.parametrize("sig_dims", [1, 3])
def test_frames_may_have_any_number_of_axes(run, counts, sig_dims):
    nav = tuple(range(4 - sig_dims))
    results = run(counts, [SumUDF(), SumSigUDF(), StdDevUDF(), PickUDF()], sig_dims=sig_dims)
    np.testing.assert_array_equal(results[0]["intensity"].data, counts.sum(axis=nav))
    np.testing.assert_array_equal(
        results[1]["intensity"].data, counts.sum(axis=tuple(range(4 - sig_dims, 4)))
    )
    np.testing.assert_allclose(results[2]["std"].data, counts.std(axis=nav), rtol=1e-6)
    np.testing.assert_array_equal(results[3]["intensity"].data.reshape(-1), counts.reshape(-1))


def test_results_do_not_depend_on_a_udf_that_wants_floats(run, counts):
    class WantsFloats(SumSigUDF):
        def get_preferred_input_dtype(self):
            return np.float32

    alone = run(counts, [SumUDF(), SumSigUDF(), StdDevUDF()])
    together = run(counts, [SumUDF(), SumSigUDF(), StdDevUDF(), WantsFloats()])
    for a, b in zip(alone, together, strict=False):
        for name in a:
            np.testing.assert_allclose(a[name].data, b[name].data, rtol=1e-6)


@pytest.mark.parametrize("chunk_items", [1, 4, 30])
def test_variance_of_each_pixel(run, counts, chunk_items):
    result = run(counts, StdDevUDF(), chunk_items=chunk_items)
    exact = counts.reshape(30, 11, 13).astype(np.float64)
    assert set(result) == {"var", "std", "mean", "varsum", "num_frames", "sum"}
    assert result["num_frames"].data.tolist() == [30]
    np.testing.assert_array_equal(result["sum"].data, exact.sum(axis=0))
    np.testing.assert_allclose(result["mean"].data, exact.mean(axis=0))
    np.testing.assert_allclose(result["var"].data, exact.var(axis=0), rtol=1e-6)
    np.testing.assert_allclose(result["std"].data, exact.std(axis=0), rtol=1e-6)
    np.testing.assert_allclose(result["varsum"].data, 30 * exact.var(axis=0), rtol=1e-6)


def test_variance_of_no_frames_is_not_a_number(run, counts):
    result = run(counts, StdDevUDF(), roi=np.zeros((5, 6), bool))
    assert result["num_frames"].data.tolist() == [0]
    assert np.isnan(result["var"].data).all()
    assert (result["sum"].data == 0).all()


def test_picked_frames_are_as_recorded(run, counts, roi):
    result = run(counts, PickUDF(), roi=roi)["intensity"].data
    assert result.dtype == counts.dtype
    np.testing.assert_array_equal(result, counts[roi])


def test_picking_without_a_roi_gives_all_frames(run, counts):
    np.testing.assert_array_equal(run(counts, PickUDF())["intensity"].data, counts.reshape(30, 11, 13))


def test_picking_very_much_is_logged(run, caplog):
    data = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (3, 1 << 14, 1 << 13), (0, 0, 0))
    udf = PickUDF()
    with caplog.at_level(logging.WARNING, logger="udf_4dstem"):
        run(data[:, :10, :10], udf)
        assert not caplog.records
        run(data, udf)
    assert "384 MiB" in caplog.text
