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

    def __init__(self, sig_shape: Sequence[int], *, rows: int, depth: int | None, intent: Intent) -> None:
        self.sig_shape = tuple(sig_shape)
        height = self.sig_shape[0]
        self.bands = tuple((start, min(start + rows, height)) for start in range(0, height, rows))
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
        return Shape((self.depth or 0, *self._slices[0].shape), len(self.sig_shape))

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
    n_bands = -(-height // rows)
    return TilingScheme(sig_shape, rows=-(-height // n_bands), depth=depth, intent="tile")
