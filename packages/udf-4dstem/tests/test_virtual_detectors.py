"""Disk, ring and point detectors."""

from __future__ import annotations

import numpy as np
import pytest

from udf_4dstem import DiskUDF, PointUDF, RingUDF


def distance(cy: float, cx: float) -> np.ndarray:
    y, x = np.indices((11, 13))
    return np.hypot(y - cy, x - cx)


@pytest.mark.parametrize(
    ("udf", "selection"),
    [
        (DiskUDF(), distance(5.5, 6.5) <= 0.3 * 5.5),
        (DiskUDF(cy=4, cx=7, r=2), distance(4, 7) <= 2),
        (DiskUDF(cy=-5, cx=7, r=7.5), distance(-5, 7) <= 7.5),
        (DiskUDF(r=100), distance(0, 0) >= 0),
        (DiskUDF(cy=50, cx=50, r=1), distance(0, 0) < 0),
        (RingUDF(), (distance(5.5, 6.5) <= 5.5) & (distance(5.5, 6.5) > 0.8 * 5.5)),
        (RingUDF(cy=5, cx=6, inner=2, outer=4), (distance(5, 6) <= 4) & (distance(5, 6) > 2)),
        (PointUDF(), distance(5, 6) == 0),
        (PointUDF(cy=2.9, cx=0), distance(2, 0) == 0),
    ],
)
def test_selected_pixels_are_summed(run, counts, udf, selection):
    result = run(counts, udf)["intensity"].data
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, counts[..., selection].sum(axis=-1, dtype=np.int64))


def test_detectors_work_on_large_frames_that_are_cut_into_tiles(run):
    data = np.random.default_rng(0).integers(0, 4096, (3, 4, 256, 256)).astype(np.uint16)
    y, x = np.indices((256, 256))
    rho = np.hypot(y - 128, x - 128)
    disk, ring = run(data, [DiskUDF(r=60), RingUDF(inner=60, outer=120)], chunk_items=12)
    np.testing.assert_array_equal(disk["intensity"].data, data[..., rho <= 60].sum(axis=-1))
    np.testing.assert_array_equal(ring["intensity"].data, data[..., (rho > 60) & (rho <= 120)].sum(axis=-1))


def test_a_ring_needs_room_between_its_radii():
    with pytest.raises(ValueError, match="inner < outer"):
        RingUDF(inner=5, outer=5)


def test_a_point_outside_of_the_frame_is_an_error(run, counts):
    with pytest.raises(ValueError, match="outside of the frame"):
        run(counts, PointUDF(cy=11, cx=0))


def test_virtual_detectors_need_images(run, counts):
    with pytest.raises(ValueError, match="two axes"):
        run(counts, DiskUDF(), sig_dims=1)
