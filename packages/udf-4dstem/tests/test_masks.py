"""Mask generators against their formulas."""

from __future__ import annotations

import numpy as np
import pytest

from udf_4dstem import masks

Y, X = np.indices((9, 11))


def test_a_disk_is_closed():
    disk = masks.circular(5, 4, 11, 9, 2)
    assert disk.dtype == bool
    assert disk.sum() == 13
    np.testing.assert_array_equal(disk, (Y - 4) ** 2 + (X - 5) ** 2 <= 4)


def test_a_ring_is_open_inside_and_closed_outside():
    ring = masks.ring(5, 4, 11, 9, 3, 2)
    rho2 = (Y - 4) ** 2 + (X - 5) ** 2
    np.testing.assert_array_equal(ring, (rho2 > 4) & (rho2 <= 9))


def test_antialiased_edges_fall_within_a_pixel():
    disk = masks.circular(5, 4, 11, 9, 2, antialiased=True)
    np.testing.assert_allclose(disk, np.clip(2.5 - np.hypot(Y - 4, X - 5), 0, 1))
    ring = masks.ring(5, 4, 11, 9, 4, 2, antialiased=True)
    np.testing.assert_allclose(ring, np.clip(1.5 - np.abs(np.hypot(Y - 4, X - 5) - 3), 0, 1))


def test_neighbouring_bins_add_up_to_one():
    bins = masks.radial_bins(5, 4, 11, 9)
    np.testing.assert_allclose(np.asarray(bins).sum(axis=0), 1)
    assert masks.radial_bins(5, 4, 11, 9, radius=3, n_bins=2).shape == (2, 9, 11)


def test_bins_can_be_normalized():
    bins = masks.radial_bins(5, 4, 11, 9, radius=4, n_bins=3, normalize=True, use_sparse=False)
    np.testing.assert_allclose(bins.sum(axis=(1, 2)), 1)


def test_thin_bins_of_large_frames_are_sparse():
    bins = masks.radial_bins(64, 64, 128, 128, dtype=np.float32)
    assert bins.shape[1:] == (128, 128)
    assert bins.dtype == np.float32
    np.testing.assert_allclose(bins.sum(axis=0).todense(), 1, rtol=1e-6)


def test_the_bounding_radius_holds_the_frame():
    radius = masks.bounding_radius(3, 4, 11, 9)
    assert masks.circular(3, 4, 11, 9, radius).all()


def test_a_radial_gradient_ends_at_one():
    gradient = masks.radial_gradient(5, 4, 11, 9, 3)
    np.testing.assert_allclose(gradient, np.hypot(Y - 4, X - 5) / 3 * masks.circular(5, 4, 11, 9, 3))
    assert masks.radial_gradient(5, 4, 11, 9, 3, antialiased=True).min() == 0


def test_a_disk_template_has_gradient_edge_and_ring():
    r = np.array([0, 1.5, 1.75, 2, 2.25, 2.5, 4, 4.1])
    template = masks.radial_gradient_background_subtraction(r, 2, 4)
    np.testing.assert_allclose(template, [0, 1, 0.5, 0, -0.5, -1, -1, 0])


def test_background_subtraction_and_balance_add_up_to_zero():
    assert masks.background_subtraction(5, 4, 11, 9, 4, 2).sum() == pytest.approx(0)
    assert masks.background_subtraction(5, 4, 11, 9, 4, 2, antialiased=True).sum() == pytest.approx(0)
    balanced = masks.balance([[1, -2], [3, -5]])
    np.testing.assert_allclose(balanced, [[1, -8 / 7], [3, -20 / 7]])


@pytest.mark.parametrize(("corner", "extent"), [((2, 3), (4, 2)), ((6, 5), (-4, -2)), ((2, 5), (4, -2))])
def test_a_rectangle_includes_both_corners(corner, extent):
    rectangle = masks.rectangular(*corner, *extent, 11, 9)
    np.testing.assert_array_equal(rectangle, (Y >= 3) & (Y <= 5) & (X >= 2) & (X <= 6))


def test_a_rectangle_is_clipped():
    assert masks.rectangular(9, 7, 10, 10, 11, 9).sum() == 4


def test_gradients_are_indices():
    np.testing.assert_array_equal(masks.gradient_x(11, 9), X)
    np.testing.assert_array_equal(masks.gradient_y(11, 9, dtype=np.float64), Y)


def test_polar_map():
    rho, phi = masks.polar_map(5, 4, 11, 9)
    np.testing.assert_allclose(rho, np.hypot(Y - 4, X - 5))
    assert phi[4, 10] == 0
    assert phi[8, 5] == pytest.approx(np.pi / 2)
    rho, phi = masks.polar_map(5, 4, 11, 9, stretchY=2, angle=0.3)
    dy, dx = Y - 4.0, X - 5.0
    y = (dy * np.cos(0.3) - dx * np.sin(0.3)) / 2
    x = dy * np.sin(0.3) + dx * np.cos(0.3)
    np.testing.assert_allclose(rho, np.hypot(y, x))
    np.testing.assert_allclose(phi, np.arctan2(y, x))


def test_stamped_templates_are_clipped_and_added_up():
    stack = masks.sparse_template_multi_stack(
        [0, 0, 1], [0, 1, -1], [3, 3, 7], np.array([[1, 2, 3], [4, 5, 6]]), 11, 9
    )
    expected = np.zeros((2, 9, 11))
    expected[0, 3:5, 0:3] += [[1, 2, 3], [4, 5, 6]]
    expected[0, 3:5, 1:4] += [[1, 2, 3], [4, 5, 6]]
    expected[1, 7:9, 0:2] = [[2, 3], [5, 6]]
    np.testing.assert_array_equal(stack.todense(), expected)


def test_stamped_disks():
    stack = masks.sparse_circular_multi_stack([0, 1], [0, 4], [3, 7], 11, 9, 1.5)
    expected = [masks.circular(0, 3, 11, 9, 1.5), masks.circular(4, 7, 11, 9, 1.5)]
    np.testing.assert_array_equal(stack.todense(), expected)
