"""Excluded pixels: how users name them, who their neighbours are, and where tiles must not be cut."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._errors import CorrectionError, RepairValueError

Indices = npt.NDArray[np.int64]

_MOST_COORDINATES = 4
_SHOWN = 5


def read_pixels(pixels: Any, sig_shape: tuple[int, ...] | None) -> tuple[Indices, tuple[int, ...] | None]:
    """Return coordinates of excluded pixels, and the shape of a frame if it is known by now.

    Parameters
    ----------
    pixels
        A sparse array or an image in the frame's shape, non-zero where excluded; or coordinates: a list of
        them, or an integer array of shape ``(n, sig_dims)``.
    sig_shape
        Shape of a frame, ``None`` if it is not known.

    Returns
    -------
    coordinates : numpy.ndarray
        Shape ``(n, sig_dims)``, each one once, in C order.
    sig_shape : tuple of int or None
        As given, or that of the image.

    Raises
    ------
    CorrectionError
        If it is neither, or does not fit the frame.
    """
    image = _sparse_image(pixels)
    if image is None:
        array = np.asarray(pixels)
        if array.dtype.kind not in "biuf" and array.size:
            raise CorrectionError(
                f"excluded_pixels of type {array.dtype} are neither an image nor coordinates; give a boolean "
                f"image, a sparse one, or a list of coordinates such as [(12, 7), (12, 8)]"
            )
        if _are_coordinates(pixels, array, sig_shape):
            return _check_coordinates(array, sig_shape), sig_shape
        image = np.stack(np.nonzero(array), axis=-1).astype(np.int64), array.shape
    coordinates, shape = image
    if sig_shape is not None and shape != sig_shape:
        raise CorrectionError(f"excluded_pixels have shape {shape}, but a frame has {sig_shape}")
    return coordinates, shape


def _sparse_image(pixels: Any) -> tuple[Indices, tuple[int, ...]] | None:
    """Coordinates and shape of a sparse array of any kind; ``None`` if it is something else."""
    if hasattr(pixels, "fill_value") and hasattr(pixels, "asformat"):  # sparse.COO, GCXS, DOK
        pixels = pixels.asformat("coo")
        coordinates, values, fill = pixels.coords, pixels.data, pixels.fill_value
    elif hasattr(pixels, "tocoo"):  # SciPy
        pixels = pixels.tocoo()
        coordinates, values, fill = np.stack((pixels.row, pixels.col)), pixels.data, 0
    else:
        return None
    if fill:
        raise CorrectionError(
            f"excluded_pixels have fill value {fill!r}: all pixels that are not listed would be excluded"
        )
    found = np.asarray(coordinates, np.int64).T[np.asarray(values) != 0]
    return np.unique(found, axis=0), tuple(int(extent) for extent in pixels.shape)


def _are_coordinates(pixels: Any, array: npt.NDArray[Any], sig_shape: tuple[int, ...] | None) -> bool:
    if array.dtype.kind == "b" or (sig_shape is not None and array.shape == sig_shape):
        return False
    if array.size == 0:
        return array.ndim <= 2 and not (array.ndim == 2 and isinstance(pixels, np.ndarray))
    if array.ndim != 2 or array.dtype.kind == "f":
        return False
    n: int = array.shape[1]
    return n == len(sig_shape) if sig_shape is not None else n <= _MOST_COORDINATES


def _check_coordinates(array: npt.NDArray[Any], sig_shape: tuple[int, ...] | None) -> Indices:
    if array.size == 0:
        return np.empty((0, 0 if sig_shape is None else len(sig_shape)), np.int64)
    coordinates = np.unique(array.astype(np.int64), axis=0)
    check_inside(coordinates, sig_shape)
    return coordinates


def check_inside(coordinates: Indices, sig_shape: tuple[int, ...] | None) -> None:
    """Raise `CorrectionError` unless all coordinates are those of pixels of a frame."""
    if not len(coordinates):
        return
    if sig_shape is not None and coordinates.shape[1] != len(sig_shape):
        raise CorrectionError(
            f"excluded_pixels have {coordinates.shape[1]} coordinates each, but a frame has shape {sig_shape}"
        )
    outside = (coordinates < 0).any(axis=1)
    if sig_shape is not None:
        outside |= (coordinates >= sig_shape).any(axis=1)
    if outside.any():
        where = "the frame" if sig_shape is None else f"a frame of shape {sig_shape}"
        raise CorrectionError(f"excluded pixel {as_text(coordinates[outside])} is outside of {where}")


def as_text(coordinates: Indices) -> str:
    """Return the first few of some coordinates as text."""
    shown = ", ".join(str(tuple(int(x) for x in one)) for one in coordinates[:_SHOWN])
    left = len(coordinates) - _SHOWN
    return shown if left <= 0 else f"{shown} and {left} more"


class Neighbourhoods:
    """Excluded pixels with the neighbours that replace them.

    A pixel has up to ``3**sig_dims - 1`` neighbours: those inside of the frame that are not excluded
    themselves.

    Parameters
    ----------
    coordinates
        Excluded pixels, shape ``(n, sig_dims)``, each one once.
    sig_shape
        Shape of a frame.
    allow_empty
        Leave pixels without neighbours as they are, instead of raising.

    Raises
    ------
    RepairValueError
        If a pixel has no neighbours.
    """

    def __init__(self, coordinates: Indices, sig_shape: Sequence[int], *, allow_empty: bool) -> None:
        self.sig_shape = tuple(sig_shape)
        dims = len(self.sig_shape)
        coordinates = coordinates.reshape(-1, dims)
        excluded = np.zeros(self.sig_shape, bool)
        excluded[tuple(coordinates.T)] = True
        steps = [step for step in itertools.product((-1, 0, 1), repeat=dims) if any(step)]
        around = coordinates[:, None, :] + np.array(steps, np.int64).reshape(1, -1, dims)
        inside = np.all((around >= 0) & (around < self.sig_shape), axis=-1)
        usable: npt.NDArray[np.bool_] = inside.copy()
        usable[inside] = ~excluded[tuple(around[inside].T)]
        lonely = ~np.any(usable, axis=1)
        if lonely.any() and not allow_empty:
            raise RepairValueError(
                f"excluded pixel {as_text(coordinates[lonely])} has no neighbour left that is not excluded "
                f"itself, so there is nothing to repair it with; allow_empty=True leaves such pixels as "
                f"they are"
            )
        self.coordinates = coordinates
        self.repairable = coordinates[~lonely]
        self._around = around[~lonely]
        self._usable = usable[~lonely]

    def in_tile(self, origin: Sequence[int], shape: Sequence[int]) -> tuple[Indices, Indices, Indices]:
        """Return what `repair` needs for a tile: targets, bounds and neighbours, counted within the tile.

        Raises
        ------
        RepairValueError
            If a neighbour of a pixel in the tile is not in the tile.
        """
        low, high = np.array(origin, np.int64), np.array(origin, np.int64) + np.array(shape, np.int64)
        here = ((self.repairable >= low) & (self.repairable < high)).all(axis=1)
        targets, around, usable = self.repairable[here], self._around[here], self._usable[here]
        outside = usable & ~((around >= low) & (around < high)).all(axis=-1)
        if outside.any():
            raise RepairValueError(
                f"the tile at {tuple(low.tolist())} of shape {tuple(shape)} cuts through the neighbourhood "
                f"of excluded pixel {as_text(targets[outside.any(axis=1)])}; cut elsewhere, see "
                f"CorrectionSet.adjust_tileshape"
            )
        bounds = np.concatenate(([0], np.cumsum(usable.sum(axis=1)))).astype(np.int64)
        neighbours = np.ravel_multi_index(tuple((around[usable] - low).T), tuple(shape))
        flat = np.ravel_multi_index(tuple((targets - low).T), tuple(shape))
        return flat.astype(np.int64), bounds, neighbours.astype(np.int64)

    def forbidden_cuts(self, axis: int) -> npt.NDArray[np.bool_]:
        """Return where tiles must not begin along an axis, shape ``(extent + 1,)``."""
        extent = self.sig_shape[axis]
        forbidden = np.zeros(extent + 2, bool)
        forbidden[self.repairable[:, axis]] = True
        forbidden[self.repairable[:, axis] + 1] = True
        forbidden[0] = forbidden[extent] = False
        return forbidden[: extent + 1]


def fit_extent(target: int, extent: int, base: int, forbidden: npt.NDArray[np.bool_]) -> int:
    """Return the multiple of `base` nearest to `target` whose multiples avoid all forbidden cuts.

    The whole extent is returned if there is none, or if defects leave too little room to look for one.
    """
    if 3 * np.count_nonzero(forbidden) > 2 * extent:
        return extent
    candidates = sorted(range(base, extent, base), key=lambda size: (abs(size - target), size))
    for size in candidates:
        if not forbidden[size::size].any():
            return size
    return extent
