"""Units of the usual results, by the name of the result."""

from __future__ import annotations

_UNITS = {
    "intensity": "counts",
    "sum": "counts",
    "mean": "counts",
    "std": "counts",
    "var": "counts²",
    "varsum": "counts²",
    "field": "px",
    "field_y": "px",
    "field_x": "px",
    "magnitude": "px",
    "raw_com": "px",
    "raw_shifts": "px",
    "divergence": "px/step",
    "curl": "px/step",
}


def usual_unit(name: str) -> str:
    """Return the unit of a result, ``""`` if it isn't known.

    Parameters
    ----------
    name
        Name of the result.
    """
    return _UNITS.get(name, "")
