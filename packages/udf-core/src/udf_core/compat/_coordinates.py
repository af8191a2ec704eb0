"""Transformations of ``(y, x)`` vectors, as 2x2 matrices to be multiplied from the left.

Positive angles turn clockwise on a screen where y points down.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


def identity() -> Matrix:
    """Leave vectors as they are."""
    return np.eye(2)


def scale(factor: float) -> Matrix:
    """Make vectors longer."""
    return np.eye(2) * factor


def rotate(radians: float) -> Matrix:
    """Turn vectors, angle in radians."""
    cos, sin = math.cos(radians), math.sin(radians)
    return np.array([(cos, sin), (-sin, cos)])


def rotate_deg(degrees: float) -> Matrix:
    """Turn vectors, angle in degrees."""
    return rotate(math.radians(degrees))


def flip_y() -> Matrix:
    """Mirror y."""
    return np.diag([-1.0, 1.0])


def flip_x() -> Matrix:
    """Mirror x."""
    return np.diag([1.0, -1.0])


def scale_rotate_flip_y(mat: npt.NDArray[Any]) -> tuple[float, float, bool]:
    """Take a matrix apart into ``scale(s) @ rotate(angle) @ flip_y()``.

    Returns
    -------
    scale, angle, flip
        Angle in radians.

    Raises
    ------
    ValueError
        If the matrix shears or scales the axes differently.
    """
    mat = np.asarray(mat, np.float64)
    determinant = float(np.linalg.det(mat))
    flip = determinant < 0
    turned = mat @ flip_y() if flip else mat
    size = math.sqrt(abs(determinant))
    angle = math.atan2(turned[0, 1], turned[0, 0])
    if not np.allclose(scale(size) @ rotate(angle), turned, atol=1e-8 * max(size, 1e-300)):
        raise ValueError(f"the matrix {mat.tolist()} is no combination of scale, rotation and flip in y")
    return size, angle, flip
