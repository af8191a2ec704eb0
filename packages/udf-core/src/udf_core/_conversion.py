"""Tiles as the array types of a plan, made once per type and shared by all UDFs that take it.

Used only where a plan is not plain: then the UDFs at work in a partition are grouped by their array type, and
each group is preceded by a `TileConversion`, which sees the tile as it is read and makes the group's.
"""

from __future__ import annotations

from typing import Any

from ._backends import converter, frames_of
from ._meta import UDFMeta
from ._plan import PlanStep
from ._tiling import TilingScheme


class TileConversion:
    """Makes the tiles of one type.

    Parameters
    ----------
    step
        What is made from what.
    origin
        The conversion that makes what this one starts from; ``None`` for tiles as they are read.
    scheme
        How frames are cut.
    meta
        Shared by all UDFs in the partition.

    Attributes
    ----------
    tile
        The newest one.
    """

    def __init__(
        self, step: PlanStep, origin: TileConversion | None, scheme: TilingScheme, meta: UDFMeta
    ) -> None:
        self.backend = step.backend
        self.tile: Any = None
        self._origin = origin
        self._meta = meta
        self._convert = None
        if step.backend != step.origin:
            shapes = [tuple(band.shape) for band in scheme]
            self._convert = [converter(step.origin, step.backend, shape) for shape in shapes]

    @property
    def where(self) -> str:
        """Name for error texts."""
        return f"the conversion of tiles to {self.backend!r}"

    def move_to(self, at: int, n: int, first: int) -> None:
        """Do nothing: only UDFs have results."""

    def see(self, band: int, tile: Any) -> None:
        """Make the group's tile, and tell its UDFs what it is."""
        self._meta.array_backend = self.backend
        given = tile if self._origin is None else self._origin.tile
        self.tile = given if self._convert is None else self._convert[band](given)

    def frames(self) -> Any:
        """Return the frames of the newest tile, one by one."""
        return frames_of(self.tile, self.backend)
