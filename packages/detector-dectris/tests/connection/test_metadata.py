"""What the header of a series becomes, under names that both stream versions share."""

from __future__ import annotations

import pytest

from detector_dectris._metadata import describe_series

V1 = {
    "description": "Dectris ARINA Si",
    "detector_number": "E-01-0001",
    "count_time": 8e-6,
    "frame_time": 1e-5,
    "incident_energy": 2e5,
    "threshold_energy": 1e5,
    "x_pixel_size": 1e-4,
    "y_pixel_size": 2e-4,
    "beam_center_x": 96.0,
    "beam_center_y": 95.5,
    "sensor_thickness": 4.5e-4,
    "detector_distance": 1.5,
    "countrate_correction_count_cutoff": 126634,
    "flatfield_correction_applied": 1,
    "pixel_mask_applied": 0,
}
V2 = {
    "detector_description": "Dectris ARINA Si",
    "detector_serial_number": "E-01-0001",
    "count_time": 8e-6,
    "frame_time": 1e-5,
    "incident_energy": 2e5,
    "threshold_energy": {"threshold_1": 1e5},
    "pixel_size_x": 1e-4,
    "pixel_size_y": 2e-4,
    "beam_center_x": 96.0,
    "beam_center_y": 95.5,
    "sensor_thickness": 4.5e-4,
    "detector_translation": [0.0, 0.0, 1.5],
    "saturation_value": 126634,
    "flatfield_enabled": True,
    "pixel_mask_enabled": False,
}


def test_both_versions_say_the_same():
    one, two = (describe_series({"header": header}) for header in (V1, V2))
    del one["header"], two["header"]
    assert one == two
    assert one == {
        "detector_description": "Dectris ARINA Si",
        "detector_number": "E-01-0001",
        "count_time_s": 8e-6,
        "frame_time_s": 1e-5,
        "beam_energy": 2e5,
        "threshold_energies": {"threshold_1": 1e5},
        "pixel_size_m": (2e-4, 1e-4),
        "beam_center": (95.5, 96.0),
        "sensor_thickness_m": 4.5e-4,
        "detector_distance_m": 1.5,
        "saturation_value": 126634,
        "flatfield_applied": True,
        "pixel_mask_applied": False,
    }


@pytest.mark.parametrize(
    "header", [{}, None, {"threshold_energy": True, "x_pixel_size": 1, "count_time": ""}]
)
def test_what_a_header_does_not_say_is_left_out(header):
    assert describe_series({"series": 3, "header": header}) == {"series": 3, "header": header}


def test_what_the_receiver_says_wins():
    assert describe_series({"count_time_s": 1, "header": V1})["count_time_s"] == 1
