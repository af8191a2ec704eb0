"""What a file says of the axes of an array, as plain values for `ItemDescriptor.meta`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Axis = dict[str, Any]
"""``name``, ``units`` (both may be empty), ``scale`` and ``offset`` (position of index 0)."""


def axis(name: Any = "", units: Any = "", scale: float = 1.0, offset: float = 0.0) -> Axis:
    """Describe an axis with equal distances."""
    return {"name": text(name), "units": text(units), "scale": float(scale), "offset": float(offset)}


def axis_of(values: npt.ArrayLike, extent: int, name: Any = "", units: Any = "") -> Axis:
    """Describe an axis from the positions along it; if they are not equally spaced, only by name."""
    positions = np.asarray(values)
    if positions.dtype.kind not in "iuf" or positions.ndim != 1 or not 2 <= len(positions) <= extent:
        return axis(name)
    offset, scale = float(positions[0]), float(positions[1]) - float(positions[0])
    even = offset + scale * np.arange(len(positions))
    # EMD files may give the first two positions only.
    if scale == 0 or not np.allclose(positions, even, rtol=1e-4, atol=1e-4 * abs(scale)):
        return axis(name)
    return axis(name, units, scale, offset)


def text(value: Any) -> str:
    """Return an attribute of a file as text."""
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0] if value.size else ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)
