"""What a series says of itself, under the same names whichever stream version said it.

Names end in their unit (``_s``, ``_m``); energies are in eV; pairs are ``(y, x)``.  What a header does not
hold is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Our name, then the vendor's names for it: in stream version 2 (START), in version 1 (detector config).
_SAME = (
    ("series_unique_id", ("series_unique_id",)),
    ("detector_description", ("detector_description", "description")),
    ("detector_number", ("detector_serial_number", "detector_number")),
    ("software_version", ("software_version",)),
    ("armed", ("arm_date",)),
    ("count_time_s", ("count_time",)),
    ("frame_time_s", ("frame_time",)),
    ("beam_energy", ("incident_energy", "photon_energy")),
    ("sensor_material", ("sensor_material",)),
    ("sensor_thickness_m", ("sensor_thickness",)),
    ("detector_distance_m", ("detector_distance",)),
    ("trigger_mode", ("trigger_mode",)),
    ("saturation_value", ("saturation_value", "countrate_correction_count_cutoff")),
    ("user_data", ("user_data", "header_appendix")),
)
_APPLIED = (
    ("flatfield_applied", ("flatfield_enabled", "flatfield_correction_applied")),
    ("pixel_mask_applied", ("pixel_mask_enabled", "pixel_mask_applied")),
    ("countrate_correction_applied", ("countrate_correction_enabled", "countrate_correction_applied")),
    (
        "virtual_pixels_interpolated",
        ("virtual_pixel_interpolation_enabled", "virtual_pixel_correction_applied"),
    ),
)
_PAIRS = (
    ("pixel_size_m", ("pixel_size_y", "pixel_size_x"), ("y_pixel_size", "x_pixel_size")),
    ("beam_center", ("beam_center_y", "beam_center_x"), ("beam_center_y", "beam_center_x")),
)


def describe_series(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Add the common names to what the receiver says of a series.

    Parameters
    ----------
    meta
        Of the receiver's event ``armed``; ``header`` is the vendor's own: keys of stream version 1
        (detector configuration) or 2 (START message).

    Returns
    -------
    dict
        `meta`, and as far as the header says: detector_description, detector_number, software_version,
        count_time_s, frame_time_s, beam_energy (eV), threshold_energies (eV by channel), pixel_size_m and
        beam_center (pairs, pixels), sensor_material, sensor_thickness_m, detector_distance_m, trigger_mode,
        saturation_value (the largest count that means one), flatfield_applied, pixel_mask_applied,
        countrate_correction_applied, virtual_pixels_interpolated, user_data, armed, series_unique_id.

    Examples
    --------
    >>> found = describe_series({"series": 7, "header": {"x_pixel_size": 1e-4, "y_pixel_size": 2e-4}})
    >>> found["series"], found["pixel_size_m"]
    (7, (0.0002, 0.0001))
    """
    header = meta.get("header") or {}
    found: dict[str, Any] = dict(meta)
    for name, theirs in _SAME:
        _take(found, name, header, theirs)
    for name, theirs in _APPLIED:
        _take(found, name, header, theirs)
        if name in found:
            found[name] = bool(found[name])  # old firmware says 0 or 1
    for name, *pairs in _PAIRS:
        for y, x in pairs:
            if header.get(y) is not None and header.get(x) is not None:
                found.setdefault(name, (header[y], header[x]))
    energies = _threshold_energies(header)
    if energies:
        found.setdefault("threshold_energies", energies)
    translation = header.get("detector_translation")
    if isinstance(translation, list | tuple) and len(translation) == 3:
        found.setdefault("detector_distance_m", translation[2])
    return found


def _take(found: dict[str, Any], name: str, header: Mapping[str, Any], theirs: tuple[str, ...]) -> None:
    for key in theirs:
        if header.get(key) not in (None, ""):
            found.setdefault(name, header[key])


def _threshold_energies(header: Mapping[str, Any]) -> dict[str, float]:
    energies = header.get("threshold_energy")
    if isinstance(energies, Mapping):
        return dict(energies)
    if isinstance(energies, int | float) and not isinstance(energies, bool):
        return {"threshold_1": float(energies)}
    return {}
