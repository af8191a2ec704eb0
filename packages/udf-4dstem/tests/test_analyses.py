"""Ready-made analyses of `udf_core.Context`, which finds the UDFs here by their names."""

from __future__ import annotations

import numpy as np
import pytest

from udf_4dstem import CoMUDF, RingUDF


@pytest.fixture
def dataset(context, counts):
    return context.load("memory", counts)


def test_masks(context, dataset, counts) -> None:
    masks = [lambda: np.ones((11, 13)), lambda: np.arange(143).reshape(11, 13)]
    result = context.run(context.create_mask_analysis(masks, dataset))
    assert result.keys() == ["mask_0", "mask_1"]
    np.testing.assert_allclose(result.mask_0.raw_data, counts.sum(axis=(2, 3)))
    np.testing.assert_allclose(result["mask_1"].raw_data, (counts * masks[1]()).sum(axis=(2, 3)))


def test_virtual_detectors(context, dataset, counts, run) -> None:
    ring = context.run(context.create_ring_analysis(dataset, cx=6, cy=5, ri=2, ro=4))
    expected = run(counts, RingUDF(cy=5, cx=6, inner=2, outer=4))["intensity"].data
    np.testing.assert_array_equal(ring.intensity.raw_data, expected)
    assert ring.keys() == ["intensity", "intensity_log"]
    point = context.run(context.create_point_analysis(dataset, x=6, y=5))
    np.testing.assert_array_equal(point.intensity, counts[:, :, 5, 6])
    disk = context.run(context.create_disk_analysis(dataset, cx=6, cy=5, r=50))
    np.testing.assert_array_equal(np.asarray(disk[0]), counts.sum(axis=(2, 3)))


def test_centre_of_mass(context, dataset, counts, run) -> None:
    analysis = context.create_com_analysis(dataset, cx=6, cy=5, mask_radius=4, scan_rotation=20, flip_y=True)
    result = context.run(analysis)
    expected = run(counts, CoMUDF.with_params(cy=5, cx=6, r=4, scan_rotation=20, flip_y=True))
    assert [r.key for r in result] == ["field", "magnitude", "divergence", "curl", "x", "y"]
    np.testing.assert_array_equal(result.field.raw_data[0], result.x.raw_data)
    np.testing.assert_array_equal(result.y.raw_data, expected["field_y"].data)
    np.testing.assert_array_equal(result.curl.raw_data, expected["curl"].data)


def test_sum_and_single_frame(context, dataset, counts) -> None:
    roi = np.zeros((5, 6), bool)
    roi[1, 2:4] = True
    result = context.run(context.create_sum_analysis(dataset), roi=roi)
    np.testing.assert_array_equal(result.intensity.raw_data, counts[roi].sum(axis=0))
    pick = context.create_pick_analysis(dataset, x=4, y=3)
    np.testing.assert_array_equal(context.run(pick).intensity.raw_data, counts[3, 4])
    with pytest.raises(ValueError, match="ROI"):
        context.run(pick, roi=roi)
    with pytest.raises(ValueError, match=r"position \(3, 6\)"):
        context.create_pick_analysis(dataset, x=6, y=3)


def test_results_by_name_number_and_attribute(context, dataset) -> None:
    result = context.run(context.create_sum_analysis(dataset))
    assert len(result) == 2
    assert result[0] is result["intensity"] is result.intensity
    with pytest.raises(KeyError, match=r"'curl'.*intensity"):
        result["curl"]
    with pytest.raises(AttributeError, match="curl"):
        _ = result.curl
