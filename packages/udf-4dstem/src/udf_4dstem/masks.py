"""Mask generators: the weights of virtual detectors.

All masks are arrays ``(imageSizeY, imageSizeX)``; pixel centres are at integers; lengths are in detector
pixels.  Argument names and order, and the values except where a docstring says otherwise, are those of
``libertem.masks``, so that scripts run on.

A disk is closed (distance <= radius), a ring is open inside and closed outside.  Antialiased edges fall
linearly from 1 to 0 within one pixel, and neighbouring bins of `radial_bins` add up to 1.
"""

# ruff: noqa: N803  (the argument names are an interface)

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[Any]

#: `radial_bins` makes sparse masks on its own accord when a bin covers less than this part of a frame.
_SPARSE_BELOW = 0.1


def polar_map(
    centerX: float,
    centerY: float,
    imageSizeX: int,
    imageSizeY: int,
    stretchY: float = 1.0,
    angle: float = 0.0,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return radius and angle of every pixel.

    Parameters
    ----------
    centerX, centerY
        Origin, in pixels.
    imageSizeX, imageSizeY
        Shape of the frame.
    stretchY, angle
        For elliptical patterns: the frame is turned by `angle` (radians), then shrunk by `stretchY` along y.

    Returns
    -------
    radius, angle
        In pixels, and in radians ``(-π, π]``, zero along +x and growing towards +y (down).
    """
    dy, dx = np.mgrid[:imageSizeY, :imageSizeX].astype(np.float64)
    dy -= centerY
    dx -= centerX
    if stretchY != 1.0 or angle != 0.0:
        cos, sin = math.cos(angle), math.sin(angle)
        dy, dx = (dy * cos - dx * sin) / stretchY, dy * sin + dx * cos
    return np.hypot(dy, dx), np.arctan2(dy, dx)


def bounding_radius(centerX: float, centerY: float, imageSizeX: int, imageSizeY: int) -> int:
    """Return a radius around the centre that holds the whole frame, in full pixels."""
    y = max(centerY, imageSizeY - centerY)
    x = max(centerX, imageSizeX - centerX)
    return math.ceil(math.hypot(y, x)) + 1


def circular(
    centerX: float,
    centerY: float,
    imageSizeX: int,
    imageSizeY: int,
    radius: float,
    antialiased: bool = False,
) -> Mask:
    """Return a disk, closed (distance <= radius): bool, or float64 if antialiased."""
    if antialiased:
        return _bin(centerX, centerY, imageSizeX, imageSizeY, 0.0, radius)
    return _squared_distance(centerX, centerY, imageSizeX, imageSizeY) <= radius**2


def ring(
    centerX: float,
    centerY: float,
    imageSizeX: int,
    imageSizeY: int,
    radius: float,
    radius_inner: float,
    antialiased: bool = False,
) -> Mask:
    """Return a ring (radius_inner < distance <= radius): bool, or float64 if antialiased."""
    if antialiased:
        return _bin(centerX, centerY, imageSizeX, imageSizeY, radius_inner, radius)
    squared = _squared_distance(centerX, centerY, imageSizeX, imageSizeY)
    return (squared > radius_inner**2) & (squared <= radius**2)


def radial_gradient(
    centerX: float,
    centerY: float,
    imageSizeX: int,
    imageSizeY: int,
    radius: float,
    antialiased: bool = False,
) -> npt.NDArray[np.float64]:
    """Return ``distance / radius`` inside a disk, zero outside.

    With `antialiased` the gradient is multiplied with an antialiased disk (LiberTEM: it falls below zero).
    """
    disk = circular(centerX, centerY, imageSizeX, imageSizeY, radius, antialiased)
    rho, _ = polar_map(centerX, centerY, imageSizeX, imageSizeY)
    return rho / radius * disk


def radial_gradient_background_subtraction(
    r: npt.NDArray[np.floating[Any]], r0: float, r_outer: float, delta: float = 1
) -> npt.NDArray[np.float64]:
    """Return a disk-finding template: a radial gradient with a soft edge in a ring of -1.

    Parameters
    ----------
    r
        Distance of each pixel from the centre, e.g. from `polar_map`.
    r0
        Radius of the disk.
    r_outer
        Outer radius of the ring.
    delta
        Width of the edge, around `r0`.
    """
    r = np.asarray(r, np.float64)
    half = delta / 2
    return np.select(
        [r < r0 - half, r < r0 + half, r <= r_outer],
        [r / r0, (r0 - r) / half if half else np.zeros_like(r), -np.ones_like(r)],
        0.0,
    )


def background_subtraction(
    centerX: float,
    centerY: float,
    imageSizeX: int,
    imageSizeY: int,
    radius: float,
    radius_inner: float,
    antialiased: bool = False,
) -> npt.NDArray[np.float64]:
    """Return a disk of radius `radius_inner` less the mean of the ring around it; the sum is zero."""
    shape = centerX, centerY, imageSizeX, imageSizeY
    disk = circular(*shape, radius_inner, antialiased).astype(np.float64)
    around = ring(*shape, radius, radius_inner, antialiased).astype(np.float64)
    difference: npt.NDArray[np.float64] = disk - around * (disk.sum() / around.sum())
    return difference


def balance(template: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the template with its negative part scaled so that the sum is zero."""
    values = np.array(template, np.float64)
    negative = values < 0
    if negative.any():
        values[negative] *= -values[~negative].sum() / values[negative].sum()
    return values


def rectangular(
    X: float, Y: float, Width: float, Height: float, imageSizeX: int, imageSizeY: int
) -> npt.NDArray[np.bool_]:
    """Return a rectangle from corner (X, Y) to (X + Width, Y + Height), both inclusive, clipped to the frame.

    Negative extents reach to the left and up.
    """
    y, x = np.ogrid[:imageSizeY, :imageSizeX]
    left, right = sorted((X, X + Width))
    top, bottom = sorted((Y, Y + Height))
    selected: npt.NDArray[np.bool_] = (y >= top) & (y <= bottom) & (x >= left) & (x <= right)
    return selected


def gradient_x(imageSizeX: int, imageSizeY: int, dtype: npt.DTypeLike = np.float32) -> Mask:
    """Return the x index of every pixel."""
    return np.broadcast_to(np.arange(imageSizeX, dtype=dtype), (imageSizeY, imageSizeX)).copy()


def gradient_y(imageSizeX: int, imageSizeY: int, dtype: npt.DTypeLike = np.float32) -> Mask:
    """Return the y index of every pixel."""
    return np.broadcast_to(np.arange(imageSizeY, dtype=dtype)[:, np.newaxis], (imageSizeY, imageSizeX)).copy()


def radial_bins(
    centerX: float,
    centerY: float,
    imageSizeX: int,
    imageSizeY: int,
    radius: float | None = None,
    radius_inner: float = 0,
    n_bins: int | None = None,
    normalize: bool = False,
    use_sparse: bool | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Any:
    """Return antialiased rings side by side, shape ``(n_bins, imageSizeY, imageSizeX)``.

    Parameters
    ----------
    centerX, centerY, imageSizeX, imageSizeY
        Centre and shape of the frame.
    radius, radius_inner
        Outer and inner edge of all bins together; `radius` is `bounding_radius` by default.
    n_bins
        Number of rings; by default they are one pixel wide.
    normalize
        Scale each ring to a sum of 1.
    use_sparse
        Return a ``sparse.COO``; ``None`` for thin rings only.
    dtype
        float64 by default.

    Returns
    -------
    numpy.ndarray or sparse.COO
        A bin of width w around r0 has the value ``clip(w/2 + 1/2 - |distance - r0|, 0, 1)``.
    """
    if radius is None:
        radius = bounding_radius(centerX, centerY, imageSizeX, imageSizeY)
    if n_bins is None:
        n_bins = max(1, round(radius - radius_inner))
    width = (radius - radius_inner) / n_bins
    if use_sparse is None:
        outermost = math.pi * (radius**2 - (radius - width) ** 2)
        use_sparse = outermost / (imageSizeX * imageSizeY) < _SPARSE_BELOW
    rings = []
    for i in range(n_bins):
        inner = radius_inner + i * width
        weights = _bin(centerX, centerY, imageSizeX, imageSizeY, inner, inner + width)
        total = weights.sum()
        if normalize and total:
            weights /= total
        weights = weights.astype(dtype or np.float64, copy=False)
        rings.append(_coo(weights) if use_sparse else weights)
    return _coo_stack(rings) if use_sparse else np.stack(rings)


def sparse_template_multi_stack(
    mask_index: Sequence[int],
    offsetX: Sequence[int],
    offsetY: Sequence[int],
    template: npt.ArrayLike,
    imageSizeX: int,
    imageSizeY: int,
) -> Any:
    """Return a sparse stack of masks with a template stamped at many places, clipped at the borders.

    Parameters
    ----------
    mask_index
        To which mask each stamp belongs.
    offsetX, offsetY
        Where the first pixel of the template lands.
    template
        Two-dimensional weights.
    imageSizeX, imageSizeY
        Shape of the frame.

    Returns
    -------
    sparse.COO
        Shape ``(max(mask_index) + 1, imageSizeY, imageSizeX)``; overlapping stamps of a mask add up.
    """
    import sparse

    values = np.asarray(template)
    y, x = (axis.reshape(-1) for axis in np.indices(values.shape))
    index = np.asarray(mask_index, np.int64)
    at = [
        np.repeat(index, values.size),
        (np.asarray(offsetY, np.int64)[:, np.newaxis] + y).reshape(-1),
        (np.asarray(offsetX, np.int64)[:, np.newaxis] + x).reshape(-1),
    ]
    weights = np.tile(values.reshape(-1), index.size)
    inside = (at[1] >= 0) & (at[1] < imageSizeY) & (at[2] >= 0) & (at[2] < imageSizeX) & (weights != 0)
    n_masks = int(index.max()) + 1 if index.size else 0
    return sparse.COO(
        np.stack([axis[inside] for axis in at]), weights[inside], shape=(n_masks, imageSizeY, imageSizeX)
    )


def sparse_circular_multi_stack(
    mask_index: Sequence[int],
    centerX: Sequence[int],
    centerY: Sequence[int],
    imageSizeX: int,
    imageSizeY: int,
    radius: float,
) -> Any:
    """Return a sparse stack of masks with disks around many centres; see `sparse_template_multi_stack`."""
    reach = math.floor(radius)
    disk = circular(reach, reach, 2 * reach + 1, 2 * reach + 1, radius)
    return sparse_template_multi_stack(
        mask_index,
        [int(x) - reach for x in centerX],
        [int(y) - reach for y in centerY],
        disk,
        imageSizeX,
        imageSizeY,
    )


def _squared_distance(cx: float, cy: float, width: int, height: int) -> npt.NDArray[np.float64]:
    y, x = np.ogrid[:height, :width]
    squared: npt.NDArray[np.float64] = (y - cy) ** 2.0 + (x - cx) ** 2.0
    return squared


def _bin(
    cx: float, cy: float, width: int, height: int, inner: float, outer: float
) -> npt.NDArray[np.float64]:
    rho = np.sqrt(_squared_distance(cx, cy, width, height))
    weights: npt.NDArray[np.float64] = np.clip(
        (outer - inner) / 2 + 0.5 - np.abs(rho - (inner + outer) / 2), 0, 1
    )
    x, y = round(cx), round(cy)
    if inner < 0.5 and 0 <= y < height and 0 <= x < width:
        weights[y, x] = 1.0 - inner
    return weights


def _coo(weights: npt.NDArray[Any]) -> Any:
    import sparse

    return sparse.COO.from_numpy(weights)


def _coo_stack(rings: Sequence[Any]) -> Any:
    import sparse

    return sparse.stack(rings)
