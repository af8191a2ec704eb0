"""Scan positions that follow no lines: lists of positions, and coordinates snapped to a grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ._errors import DuplicatePositionError, ScanError
from ._shape import prod

NOWHERE = -1
"""The position of an item that belongs to none."""

SCATTERED = -2
"""Stands for the first position of items whose positions are not one unbroken run."""

Positions = npt.NDArray[np.int64]


def order_of_positions(indices: npt.ArrayLike, shape: tuple[int, ...]) -> Positions:
    """Check the position of each item of a pass; return a read-only copy.

    Parameters
    ----------
    indices
        Flat positions, -1 for none.
    shape
        Of the scan, without placeholders.

    Raises
    ------
    DuplicatePositionError
        If a position is listed twice.
    ScanError
        If these are no whole numbers in one axis, or outside the shape.
    """
    given = np.asarray(indices)
    if -1 in shape:
        raise ScanError(f"scan shape {shape}: positions of items need a shape without -1")
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise ScanError(
            f"positions have shape {given.shape} and dtype {given.dtype}; give one flat integer position per "
            f"item (np.ravel_multi_index makes them from coordinates, Scan.from_coordinates from real ones)"
        )
    n = prod(shape)
    wrong = np.flatnonzero((given < NOWHERE) | (given >= n)) if given.size else given
    if len(wrong):
        raise ScanError(
            f"item {wrong[0]} is at position {given[wrong[0]]}, outside of the {n} positions of {shape}; "
            f"items that belong to no position have -1"
        )
    order = given.astype(np.int64)
    there = order[order != NOWHERE]
    counts = np.bincount(there, minlength=1)
    if counts.max(initial=0) > 1:
        twice = int(np.argmax(counts > 1))
        items = np.flatnonzero(order == twice)
        raise DuplicatePositionError(
            f"items {items[0]} and {items[1]} are both at position {twice} "
            f"({', '.join(str(i) for i in np.unravel_index(twice, shape))}) of {shape}; "
            f"{int((counts > 1).sum())} positions are listed more than once; give -1 to all items but one"
        )
    order.flags.writeable = False
    return order


def snap(
    coordinates: npt.ArrayLike,
    shape: tuple[int, ...],
    origin: npt.ArrayLike | None = None,
    step: npt.ArrayLike | None = None,
) -> tuple[Positions, npt.NDArray[np.float64]]:
    """Find the nearest position of a grid for each coordinate.

    Parameters
    ----------
    coordinates
        Shape ``(n_items, n_axes)``, slowest axis first.
    shape
        Of the grid.
    origin, step
        Coordinate of its first position, and distance of neighbours; by default it spans all coordinates.

    Returns
    -------
    indices, distances
        Flat positions, -1 for none, and the distance from them in units of `step`.

    Raises
    ------
    ScanError
        If shapes don't fit, or a step is not a number above or below 0.
    """
    points = np.asarray(coordinates, dtype=np.float64)
    if points.ndim == 1 and len(shape) == 1:
        points = points[:, np.newaxis]
    if points.ndim != 2 or points.shape[1] != len(shape):
        raise ScanError(
            f"coordinates have shape {points.shape}, but a grid {shape} needs (n_items, {len(shape)}): "
            f"one number per axis for each item"
        )
    known = np.isfinite(points).all(axis=1)
    low, high = (f(points[known], axis=0, initial=s) for f, s in ((np.min, np.inf), (np.max, -np.inf)))
    start = low if origin is None else np.broadcast_to(np.asarray(origin, np.float64), (len(shape),))
    if step is None:
        cells = np.maximum(np.array(shape) - 1, 1)
        width = (high - start) / cells
        # All in one place along an axis: any step will do.
        steps = np.where(width > 0, width, 1.0)
    else:
        steps = np.broadcast_to(np.asarray(step, np.float64), (len(shape),))
    if known.any() and not (np.isfinite(steps).all() and np.all(steps != 0) and np.isfinite(start).all()):
        raise ScanError(f"origin {origin!r} and step {step!r} of a grid: numbers, and steps other than 0")
    indices = np.full(len(points), NOWHERE, np.int64)
    distances = np.full(len(points), np.inf)
    places = (points[known] - start) / steps
    nearest = np.rint(places)
    inside = np.all((nearest >= 0) & (nearest < np.array(shape)), axis=1)
    items = np.flatnonzero(known)[inside]
    chosen = nearest[inside].astype(np.int64)
    indices[items] = np.ravel_multi_index(tuple(chosen.T), shape) if len(items) else NOWHERE
    distances[items] = np.linalg.norm(places[inside] - chosen, axis=1)
    return indices, distances


def choose_nearest(indices: Positions, distances: npt.NDArray[np.float64]) -> Positions:
    """Leave each position to the item nearest to it, the earlier one of equals; others get -1."""
    order = np.lexsort((np.arange(len(indices)), distances, indices))
    ranked = indices[order]
    first = np.ones(len(ranked), bool)
    first[1:] = ranked[1:] != ranked[:-1]
    result = np.full(len(indices), NOWHERE, np.int64)
    result[order[first]] = ranked[first]
    return result
