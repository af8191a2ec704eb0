"""Polar coordinates and lattices of diffraction spots, as in ``libertem.utils``; vectors are ``(y, x)``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def make_cartesian(polar: npt.ArrayLike) -> Array:
    """Return ``(y, x)`` for ``(r, angle)`` along the last axis; the angle is zero along +x."""
    vectors = np.asarray(polar)
    r, angle = vectors[..., 0], vectors[..., 1]
    return np.stack((r * np.sin(angle), r * np.cos(angle)), axis=-1)


def make_polar(cartesian: npt.ArrayLike) -> Array:
    """Return ``(r, angle)`` for ``(y, x)`` along the last axis."""
    vectors = np.asarray(cartesian)
    y, x = vectors[..., 0], vectors[..., 1]
    return np.stack((np.hypot(y, x), np.arctan2(y, x)), axis=-1)


def rotate_rad(y: Any, x: Any, radians: float) -> tuple[Any, Any]:
    """Turn vectors clockwise on a screen where y points down."""
    cos, sin = math.cos(radians), math.sin(radians)
    return y * cos + x * sin, -y * sin + x * cos


def rotate_deg(y: Any, x: Any, degrees: float) -> tuple[Any, Any]:
    """Turn vectors by an angle in degrees."""
    return rotate_rad(y, x, math.radians(degrees))


def regularize_indices(indices: npt.ArrayLike) -> Array:
    """Return Miller indices as a list ``(n, 2)``; takes also what ``np.mgrid[...]`` makes.

    Raises
    ------
    ValueError
        If they have another shape.
    """
    given = np.asarray(indices)
    if given.ndim == 3 and given.shape[0] == 2:
        # The first index changes fastest, as LiberTEM orders them.
        return given.transpose(2, 1, 0).reshape(-1, 2)
    if given.ndim == 2 and given.shape[1] == 2:
        return given
    raise ValueError(f"indices have shape {given.shape}; give (n, 2), or (2, n, m) from numpy.mgrid")


def calc_coords(zero: npt.ArrayLike, a: npt.ArrayLike, b: npt.ArrayLike, indices: npt.ArrayLike) -> Array:
    """Return ``zero + i * a + j * b`` for each pair of indices, shape ``(n, 2)``."""
    offsets: Array = np.asarray(indices) @ np.stack((np.asarray(a), np.asarray(b)))
    return np.asarray(zero) + offsets


def within_frame(peaks: npt.ArrayLike, r: float, fy: int, fx: int) -> npt.NDArray[np.bool_]:
    """Tell which positions are at least `r` away from the edges of a frame ``(fy, fx)``."""
    positions = np.asarray(peaks)
    inside = (positions >= (r, r)) & (positions < (fy - r, fx - r))
    return np.asarray(inside.all(axis=-1))


def frame_peaks(
    fy: int,
    fx: int,
    zero: npt.ArrayLike,
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    r: float,
    indices: npt.ArrayLike,
) -> tuple[Array, Array]:
    """Return indices and positions of the lattice points within a frame, see `within_frame`."""
    pairs = regularize_indices(indices)
    peaks = calc_coords(zero, a, b, pairs)
    inside = within_frame(peaks, r, fy, fx)
    return pairs[inside], peaks[inside]
