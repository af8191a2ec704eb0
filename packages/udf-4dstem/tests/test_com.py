"""Centre of mass: moments, corrections, regression, derivatives."""

from __future__ import annotations

import numpy as np
import pytest

from udf_4dstem import CoMParams, CoMUDF, RegressionOptions, apply_correction, guess_corrections

Y, X = np.indices((11, 13))


def centers(data: np.ndarray, selection: np.ndarray, center: tuple[float, float]) -> np.ndarray:
    weights = data.astype(np.float64) * selection
    total = weights.sum(axis=(2, 3))
    moments = np.stack([(weights * axis).sum(axis=(2, 3)) for axis in (Y, X)], axis=-1)
    with np.errstate(invalid="ignore"):
        return np.where(total[..., np.newaxis] > 0, moments / total[..., np.newaxis], center)


@pytest.mark.parametrize(
    ("params", "center", "selection"),
    [
        ({}, (5, 6), np.ones((11, 13))),
        ({"cy": 4.5, "cx": 7.25}, (4.5, 7.25), np.ones((11, 13))),
        ({"r": 4}, (5, 6), np.hypot(Y - 5, X - 6) <= 4),
        ({"cy": 4, "cx": 7, "r": 5, "ri": 2}, (4, 7), abs(np.hypot(Y - 4, X - 7) - 3.5) <= 1.5),
        ({"ri": 3}, (5, 6), np.hypot(Y - 5, X - 6) > 3),
    ],
)
def test_centers_of_mass(run, counts, params, center, selection):
    if params.get("ri") == 2:
        selection = selection & (np.hypot(Y - 4, X - 7) > 2)
    result = run(counts, CoMUDF.with_params(**params))
    expected = centers(counts, selection, center)
    np.testing.assert_allclose(result["raw_com"].data, expected, rtol=1e-12)
    np.testing.assert_allclose(result["raw_shifts"].data, expected - center, atol=1e-12)
    np.testing.assert_allclose(result["field"].data, expected - center, atol=1e-12)
    assert (result["regression"].data == 0).all()


def test_an_empty_frame_sits_at_the_center(run, counts):
    result = run(counts, CoMUDF.with_params(cy=3, cx=4))
    assert result["raw_com"].data[2, 3].tolist() == [3, 4]
    assert result["raw_shifts"].data[2, 3].tolist() == [0, 0]


def test_derivatives_are_central_differences(run, counts):
    result = run(counts, CoMUDF())
    field_y, field_x = result["field_y"].data, result["field_x"].data
    np.testing.assert_array_equal(result["field"].data, np.stack([field_y, field_x], axis=-1))
    np.testing.assert_allclose(result["magnitude"].data, np.sqrt(field_y**2 + field_x**2))
    (yy, yx), (xy, xx) = np.gradient(field_y), np.gradient(field_x)
    np.testing.assert_allclose(result["divergence"].data, yy + xx)
    np.testing.assert_allclose(result["curl"].data, yx - xy)


@pytest.mark.parametrize("flip_y", [False, True])
@pytest.mark.parametrize("angle", [0, 30, 90, -135])
def test_vectors_are_flipped_then_turned(run, counts, angle, flip_y):
    result = run(counts, CoMUDF.with_params(scan_rotation=angle, flip_y=flip_y))
    theta = np.radians(angle)
    rotation = np.array([[np.cos(theta), np.sin(theta)], [-np.sin(theta), np.cos(theta)]])
    matrix = rotation @ np.diag([-1 if flip_y else 1, 1])
    expected = np.einsum("ij,abj->abi", matrix, result["raw_shifts"].data)
    np.testing.assert_allclose(result["field"].data, expected, atol=1e-12)


def test_a_right_angle_turns_right_into_down():
    y, x = apply_correction(0.0, 1.0, 90, flip_y=False)
    assert (y, x) == (pytest.approx(1), pytest.approx(0))


def test_the_mean_is_subtracted(run, counts):
    result = run(counts, CoMUDF.with_params(regression=0))
    shifts = result["raw_shifts"].data
    np.testing.assert_allclose(result["regression"].data[0], shifts.mean(axis=(0, 1)))
    np.testing.assert_allclose(result["field"].data, shifts - shifts.mean(axis=(0, 1)), atol=1e-12)


def test_a_plane_is_subtracted(run, counts):
    result = run(counts, CoMUDF.with_params(regression=RegressionOptions.SUBTRACT_LINEAR, scan_rotation=20))
    y, x = np.indices((5, 6))
    terms = np.stack([np.ones(30), y.ravel(), x.ravel()], axis=1)
    plain = run(counts, CoMUDF.with_params(scan_rotation=20))["field"].data.reshape(30, 2)
    matrix = np.linalg.pinv(terms) @ plain
    np.testing.assert_allclose(result["regression"].data, matrix, atol=1e-12)
    np.testing.assert_allclose(result["field"].data.reshape(30, 2), plain - terms @ matrix, atol=1e-12)


def test_a_given_plane_is_subtracted(run, counts):
    matrix = np.array([[1, 2], [0.5, 0], [0, -0.25]])
    result = run(counts, CoMUDF.with_params(regression=matrix))
    y, x = np.indices((5, 6))
    expected = result["raw_shifts"].data - np.stack([1 + 0.5 * y, 2 - 0.25 * x], axis=-1)
    np.testing.assert_allclose(result["field"].data, expected, atol=1e-12)
    np.testing.assert_array_equal(result["regression"].data, matrix)


def test_positions_outside_of_the_roi_are_nan_and_do_not_count(run, counts):
    roi = np.ones((5, 6), bool)
    roi[0, :3] = False
    result = run(counts, CoMUDF.with_params(regression=0), roi=roi)
    shifts = result["raw_shifts"].data
    assert np.isnan(shifts[~roi]).all()
    assert np.isfinite(shifts[roi]).all()
    np.testing.assert_allclose(result["regression"].data[0], shifts[roi].mean(axis=0))
    assert np.isnan(result["divergence"].data[1, 0])
    assert np.isfinite(result["divergence"].data[2:]).all()


def test_an_empty_roi_gives_nan_everywhere(run, counts):
    result = run(counts, CoMUDF.with_params(regression=1), roi=np.zeros((5, 6), bool))
    assert np.isnan(result["field"].data).all()
    assert (result["regression"].data == 0).all()


def test_partial_results_show_what_is_there(context, counts):
    dataset = context.load("memory", counts, sig_dims=2, chunk_items=6)
    full = context.run_udf(dataset, CoMUDF())["raw_shifts"].data
    seen = []
    for partial in context.run_udf_iter(dataset, CoMUDF.with_params(regression=0)):
        valid = partial.damage.data.copy()
        result = partial.buffers[0]
        shifts = result["raw_shifts"].data
        np.testing.assert_array_equal(shifts[valid], full[valid])
        assert np.isnan(shifts[~valid]).all()
        np.testing.assert_allclose(result["regression"].data[0], full[valid].mean(axis=0))
        seen.append(valid.sum())
    assert seen[-1] == 30


def test_large_frames_are_cut_into_tiles(run):
    data = np.random.default_rng(0).integers(0, 4096, (2, 3, 256, 256)).astype(np.uint16)
    y, x = np.indices((256, 256))
    whole, disk = run(data, [CoMUDF(), CoMUDF(r=60)], chunk_items=6)
    for result, selection in ((whole, np.ones((256, 256))), (disk, np.hypot(y - 128, x - 128) <= 60)):
        weights = data * selection
        total = weights.sum(axis=(2, 3))
        np.testing.assert_allclose(result["raw_com"].data[..., 0], (weights * y).sum(axis=(2, 3)) / total)
        np.testing.assert_allclose(result["raw_com"].data[..., 1], (weights * x).sum(axis=(2, 3)) / total)


def test_a_scan_of_one_line_has_no_slope_across(run, counts):
    result = run(counts[:1], CoMUDF())
    np.testing.assert_allclose(result["divergence"].data, np.gradient(result["field_x"].data, axis=1))


def test_parameters_may_be_given_as_object_and_singly():
    udf = CoMUDF(CoMParams(cy=3, r=9), cx=4)
    assert udf.params.com_params == CoMParams(cy=3, cx=4, r=9)
    assert udf.copy().params.com_params == udf.params.com_params


@pytest.mark.parametrize(
    "params", [{"r": 5, "ri": 5}, {"ri": -1}, {"regression": 2}, {"regression": np.zeros((2, 3))}]
)
def test_impossible_parameters_are_errors(params):
    with pytest.raises(ValueError):  # noqa: PT011
        CoMUDF.with_params(**params)


def test_frames_must_be_two_dimensional(run, counts):
    with pytest.raises(ValueError, match="two-dimensional"):
        run(counts, CoMUDF(), sig_dims=1)


def test_data_must_be_real(run, counts):
    with pytest.raises(ValueError, match="real data"):
        run(counts.astype(np.complex64), CoMUDF())


def test_repeats_of_a_scan_are_separate_fields(run, counts):
    repeated = run(np.stack([counts, counts[::-1]]), CoMUDF())
    for index, single in enumerate([run(counts, CoMUDF()), run(counts[::-1], CoMUDF())]):
        for name in ("raw_com", "field", "divergence", "curl"):
            np.testing.assert_array_equal(repeated[name].data[index], single[name].data)


def test_a_line_scan_has_no_y(run, counts):
    image, line = run(counts[:1], CoMUDF()), run(counts[0], CoMUDF())
    for name in ("raw_com", "field", "divergence", "curl"):
        np.testing.assert_array_equal(line[name].data, image[name].data[0])


def test_a_subclass_adds_maps_of_its_own(run, counts):
    class WithSquare(CoMUDF):
        def get_field_result_names(self):
            return *super().get_field_result_names(), "square"

        def get_field_results(self, field_y, field_x):
            return {**super().get_field_results(field_y, field_x), "square": field_y**2 + field_x**2}

    result = run(counts, WithSquare())
    np.testing.assert_allclose(result["square"].data, result["magnitude"].data ** 2)


# -- guess_corrections --------------------------------------------------------------------------------


def atoms() -> tuple[np.ndarray, np.ndarray]:
    """The field of some attracting atoms: it points towards them."""
    y, x = np.mgrid[:40, :50]
    potential = np.zeros((40, 50))
    for cy, cx in np.random.default_rng(0).uniform((0, 0), (40, 50), (12, 2)):
        potential += np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 8)
    slope_y, slope_x = np.gradient(potential)
    return slope_y, slope_x


@pytest.mark.parametrize("flip_y", [False, True])
@pytest.mark.parametrize("angle", [0, 17, 90, 180, -60, -179])
def test_rotation_and_flip_are_found(angle, flip_y):
    field_y, field_x = atoms()
    y, x = apply_correction(field_y, field_x, -angle, flip_y=False)
    y = -y if flip_y else y
    guess = guess_corrections(y + 0.25, x - 0.5)
    assert guess.scan_rotation == angle
    assert guess.flip_y == flip_y
    assert guess.cy == pytest.approx((y + 0.25)[:-1, :-1].mean())
    assert guess.cx == pytest.approx((x - 0.5)[:-1, :-1].mean())


def test_positions_without_data_do_not_disturb_the_guess():
    y, x = apply_correction(*atoms(), -25, flip_y=False)
    y[:5] = np.nan
    assert guess_corrections(y, x)[:2] == (25, False)
    junk = y.copy(), x.copy()
    for component in junk:
        component[30:] = np.random.default_rng(0).standard_normal((10, 50))
    roi = np.zeros((40, 50), bool)
    roi[:29] = True
    assert guess_corrections(*junk, roi=roi)[:2] == (25, False)
    assert guess_corrections(*junk, roi=np.s_[:29, :])[:2] == (25, False)


def test_a_field_of_zeros_needs_no_correction():
    assert guess_corrections(np.zeros((4, 4)), np.zeros((4, 4))) == (0, False, 0, 0)


def test_components_must_be_maps_of_one_scan():
    with pytest.raises(ValueError, match="one scan"):
        guess_corrections(np.zeros((4, 4)), np.zeros((4, 5)))
