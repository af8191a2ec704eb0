"""A synthetic scan: a disc of electrons that moves with the position, so that results show a picture.

Its position is known, so that a centre of mass can be compared: the beam is bent by a vortex around
the middle of the scan, and fewer electrons arrive where the specimen is.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def disc_center(scan: tuple[int, int], shape: tuple[int, int], index: int) -> tuple[int, int]:
    """Return the pixel (y, x) in the middle of the disc at a position of a raster scan."""
    row, column = divmod(index, scan[1])
    y, x = 2 * row / max(scan[0] - 1, 1) - 1, 2 * column / max(scan[1] - 1, 1) - 1
    reach = 0.1 * min(shape) * math.exp(-2 * (x * x + y * y))
    return round(shape[0] / 2 + reach * x), round(shape[1] / 2 - reach * y)


def synthetic_scan(
    scan: tuple[int, int], shape: tuple[int, int], *, electrons: float, dtype: str, seed: int = 1
) -> npt.NDArray[np.unsignedinteger]:
    """Return counted frames of a scan, shape ``(*scan, *shape)``.

    Parameters
    ----------
    scan, shape
        Positions and pixels, rows first.
    electrons
        Mean number per frame in vacuum.
    dtype
        Unsigned; counts beyond its range stay at its largest valid value.
    seed
        The same seed gives the same frames.
    """
    random = np.random.default_rng(seed)
    n, n_pixels = scan[0] * scan[1], shape[0] * shape[1]
    largest = np.iinfo(dtype).max - 1
    frames = np.empty((n, *shape), dtype)
    reach = int(0.15 * min(shape))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    inside = x * x + y * y <= reach * reach
    disc = (y * shape[1] + x)[inside]
    for index in range(n):
        row, column = divmod(index, scan[1])
        y, x = 2 * row / max(scan[0] - 1, 1) - 1, 2 * column / max(scan[1] - 1, 1) - 1
        count = random.poisson(electrons * (0.4 if 0.3 < x * x + y * y < 0.6 else 1.0))
        center = disc_center(scan, shape, index)
        hits = disc[random.integers(0, len(disc), count)] + center[0] * shape[1] + center[1]
        counts = np.bincount(hits, minlength=n_pixels)
        frames[index] = np.minimum(counts, largest).reshape(shape)
    return frames.reshape(*scan, *shape)
