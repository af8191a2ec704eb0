"""The parts of a frame that tiles show, as index expressions in the order of the tiling scheme."""

from __future__ import annotations

import math

from udf_core import UDFMeta

Band = tuple[slice, ...]

DEPTH = 32
"""Frames per tile for UDFs whose results have the shape of a frame."""


def bands_of(meta: UDFMeta) -> list[Band]:
    """Return the signal part of each tile of the run; the whole frame if frames are not cut."""
    if meta.tiling_scheme is None:
        return [tuple(slice(0, n) for n in meta.dataset_shape.sig)]
    return [band.get() for band in meta.tiling_scheme]


def n_pixels(band: Band) -> int:
    """Return how many pixels of a frame a band has."""
    return math.prod(part.stop - part.start for part in band)
