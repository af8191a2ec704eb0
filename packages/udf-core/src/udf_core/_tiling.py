"""How frames are cut into tiles: a depth (frames) and bands of rows.

One scheme holds for a whole run, so that a UDF may keep things per tile.  A band always spans whole rows
(all signal axes but the first), hence the part of a signal buffer that belongs to a tile is contiguous.
Tiles are small enough to stay in a core's second-level cache while all UDFs look at them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ._shape import Shape, Slice, prod

Intent = Literal["tile", "frame", "partition"]

TILE_BYTES = 1024 * 1024
"""Size of a tile unless a UDF asks for another one."""

DEFAULT_DEPTH = 32
"""Frames of a tile, as far as they fit, for UDFs that don't say what they prefer."""


class TilingScheme:
    """Bands of rows and a depth.

    Parameters
    ----------
    sig_shape
        Shape of a frame.
    rows
        Height of a band; the last one may be lower.
    forbidden
        Rows at which no band may begin, shape ``(sig_shape[0] + 1,)``: pixels on both sides are needed at
        once.  Bands next to them get lower or higher than `rows`.
    depth
        Most frames of a tile; ``None`` for as many as the partition has.
    intent
        Made for tiles, frames or partitions.

    Examples
    --------
    >>> scheme = TilingScheme((6, 7), rows=4, depth=2, intent="tile")
    >>> [band.get() for band in scheme]
    [(slice(0, 4, None), slice(0, 7, None)), (slice(4, 6, None), slice(0, 7, None))]
    """

    __slots__ = ("_slices", "bands", "depth", "intent", "sig_shape")

    def __init__(
        self,
        sig_shape: Sequence[int],
        *,
        rows: int,
        depth: int | None,
        intent: Intent,
        forbidden: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self.sig_shape = tuple(sig_shape)
        self.bands = cut_rows(self.sig_shape[0], rows, forbidden)
        self.depth = depth
        self.intent = intent
        rest = self.sig_shape[1:]
        dims = len(self.sig_shape)
        self._slices = tuple(
            Slice((start, *(0,) * len(rest)), Shape((stop - start, *rest), dims))
            for start, stop in self.bands
        )

    @property
    def shape(self) -> Shape:
        """Shape of the largest tile; its depth is 0 if the partition decides."""
        largest = max(self._slices, key=lambda band: band.shape[0])
        return Shape((self.depth or 0, *largest.shape), len(self.sig_shape))

    @property
    def slices(self) -> tuple[Slice, ...]:
        """The bands as slices of the signal axes."""
        return self._slices

    def __getitem__(self, index: int) -> Slice:
        return self._slices[index]

    def __len__(self) -> int:
        return len(self._slices)

    def __iter__(self) -> Iterator[Slice]:
        return iter(self._slices)

    def __repr__(self) -> str:
        band = self[0].shape.to_tuple()
        return f"<TilingScheme depth={self.depth} bands={len(self)} of {band} for {self.intent}>"


def cut_rows(
    height: int, rows: int, forbidden: npt.NDArray[np.bool_] | None = None
) -> tuple[tuple[int, int], ...]:
    """Cut a frame into bands of rows that begin at no forbidden row.

    Bands get up to half lower than wanted where that avoids a forbidden row, else as high as needed.

    Examples
    --------
    >>> forbidden = np.zeros(13, bool)
    >>> forbidden[[4, 5, 6, 7, 8]] = True
    >>> cut_rows(12, 4, forbidden)
    ((0, 3), (3, 9), (9, 12))
    """
    if forbidden is None or not forbidden.any():
        return tuple((start, min(start + rows, height)) for start in range(0, height, rows))
    free = np.flatnonzero(~forbidden)
    bands = []
    start = 0
    while start < height:
        lower = free[(free > start) & (free >= start + (rows + 1) // 2) & (free <= start + rows)]
        if start + rows >= height:
            stop = height
        else:
            stop = int(lower[-1] if len(lower) else free[free > start + rows][0])
        bands.append((start, stop))
        start = stop
    return tuple(bands)


@dataclass(frozen=True, slots=True)
class TilingPreference:
    """What one UDF wants.

    Parameters
    ----------
    method
        What it sees at once.
    depth
        Wanted frames of a tile; ``None`` to leave it to the engine.
    total_size
        Most bytes of a tile, ``math.inf`` if it does not mind.
    """

    method: Intent
    depth: float | None = None
    total_size: float = math.inf


def negotiate(
    sig_shape: Sequence[int],
    itemsize: int,
    preferences: Sequence[TilingPreference],
    *,
    tile_bytes: int = TILE_BYTES,
    whole_frames: bool = False,
    forbidden: npt.NDArray[np.bool_] | None = None,
) -> TilingScheme:
    """Find the scheme that suits all UDFs of a run.

    Partitions go before frames, frames before tiles.  A wanted depth may take tiles up to the size wanted
    with it, else bands get lower so that the tile stays within `tile_bytes`.

    Parameters
    ----------
    sig_shape
        Shape of a frame.
    itemsize
        Bytes of a pixel as UDFs see it.
    preferences
        Of each UDF.
    tile_bytes
        Budget of a tile where nobody says otherwise.
    whole_frames
        Don't cut frames: tiles are views of what was received.
    forbidden
        Rows at which no band may begin, see `TilingScheme`.
    """
    methods = {preference.method for preference in preferences}
    height = sig_shape[0]
    frame_bytes = max(1, prod(sig_shape) * itemsize)
    if "partition" in methods:
        return TilingScheme(sig_shape, rows=height, depth=None, intent="partition")
    if "frame" in methods:
        depth = max(1, tile_bytes // frame_bytes)
        return TilingScheme(sig_shape, rows=height, depth=depth, intent="frame")
    budget = min(tile_bytes, *(p.total_size for p in preferences)) if preferences else tile_bytes
    wanted = [min(p.depth, 65536) for p in preferences if p.depth is not None]
    fitting = max(1, int(budget // frame_bytes))
    if whole_frames:
        depth = max(1, int(max(wanted))) if wanted else fitting
        depth = max(1, min(depth, 16 * tile_bytes // frame_bytes)) if wanted else depth
        return TilingScheme(sig_shape, rows=height, depth=depth, intent="tile")
    row_bytes = max(1, frame_bytes // height)
    depth = max(1, int(max(wanted, default=DEFAULT_DEPTH)))
    depth = max(1, min(depth, int(budget // row_bytes)))
    rows = max(1, min(height, int(budget // (depth * row_bytes))))
    if rows == height:
        depth = max(depth, fitting)
    rows = -(-height // -(-height // rows))
    highest = max(stop - start for start, stop in cut_rows(height, rows, forbidden))
    if highest > rows:
        depth = max(1, min(depth, int(budget // (highest * row_bytes))))
    return TilingScheme(sig_shape, rows=rows, depth=depth, intent="tile", forbidden=forbidden)
