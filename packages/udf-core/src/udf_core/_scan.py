"""Which scan position an item belongs to: the only home of index arithmetic.

A source numbers its items from 0; a `Scan` turns those numbers into positions, or into none (flyback, before
the start, after the end).  A `ScanMap` puts a region of interest on top and counts selected positions only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ._errors import CoverageError, ScanError
from ._shape import prod

NOWHERE = -1
"""The position of an item that belongs to none."""

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scan:
    """Order in which the positions of a scan are visited.

    Parameters
    ----------
    shape
        Navigation shape, slowest axis first; ``-1`` for what follows from the number of items (several
        ``-1`` get the same value).
    offset
        Positive: so many items at the start belong to no position.  Negative: so many positions at the start
        have no item.
    flyback
        Items at the end of each line (last axis) that belong to no position.
    snake
        Every second line is scanned backwards.

    Raises
    ------
    ScanError
        If the parameters make no sense.

    Examples
    --------
    >>> Scan((2, 3), flyback=1).positions(0, 8).tolist()
    [0, 1, 2, -1, 3, 4, 5, -1]
    >>> Scan((-1, 3), snake=True).resolve(6).positions(0, 6).tolist()
    [0, 1, 2, 5, 4, 3]
    """

    shape: tuple[int, ...]
    offset: int = 0
    flyback: int = 0
    snake: bool = False

    def __post_init__(self) -> None:
        shape = self.shape if isinstance(self.shape, Iterable) else (self.shape,)
        object.__setattr__(self, "shape", tuple(int(n) for n in shape))
        if not self.shape or any(n < -1 for n in self.shape):
            raise ScanError(
                f"scan shape {self.shape}: give at least one axis, with sizes >= 0, or -1 to derive one"
            )
        if self.flyback < 0:
            raise ScanError(f"flyback is {self.flyback} items per line, but can't be negative")

    @property
    def is_resolved(self) -> bool:
        """Whether all sizes are known."""
        return -1 not in self.shape

    @property
    def n_positions(self) -> int:
        """Number of positions."""
        self._require_resolved()
        return prod(self.shape)

    @property
    def n_items(self) -> int:
        """Items of a whole scan, flyback included and `offset` not counted."""
        self._require_resolved()
        return prod(self.shape[:-1]) * (self.shape[-1] + self.flyback)

    def resolve(self, n_items: int | None) -> Scan:
        """Return this scan with all sizes known, checked against the announced number of items.

        Parameters
        ----------
        n_items
            How many items will come; ``None`` if nobody knows, then nothing is checked.

        Raises
        ------
        ScanError
            If the shape does not fit `n_items`, or has a ``-1`` while nobody knows the number of items.
        """
        if n_items is None:
            if not self.is_resolved:
                raise ScanError(f"scan shape {self.shape} can't be derived: the number of items is unknown")
            return self
        if self.offset and not -n_items < self.offset < n_items:
            raise ScanError(f"a sync offset of {self.offset} leaves nothing of {n_items} items")
        if self.is_resolved:
            if not self._fits(n_items):
                raise ScanError(self._misfit(n_items))
            return self
        for candidate in dict.fromkeys((n_items, n_items - self.offset)):
            size = self._derive(candidate)
            if size is not None:
                return replace(self, shape=tuple(size if n == -1 else n for n in self.shape))
        raise ScanError(self._misfit(n_items))

    def positions(self, first: int, n: int) -> Positions:
        """Return the positions of items ``[first, first + n)``, flat; `NOWHERE` (-1) for none."""
        place = np.arange(first - self.offset, first - self.offset + n, dtype=np.int64)
        valid = (place >= 0) & (place < self.n_items)
        if self.flyback or self.snake:
            width = self.shape[-1]
            line, column = np.divmod(place, width + self.flyback)
            valid &= column < width
            if self.snake:
                column = np.where(line % 2 == 1, width - 1 - column, column)
            place = line * width + column
        place[~valid] = NOWHERE
        return place

    def _derive(self, n_items: int) -> int | None:
        """Size that all placeholders must have, ``None`` if there is no such integer."""
        known = prod(n for n in self.shape[:-1] if n != -1)
        free = self.shape[:-1].count(-1)
        last = self.shape[-1]
        low, high = 0, max(n_items, 0)
        while low <= high:
            size = (low + high) // 2
            needed = known * size**free * ((size if last == -1 else last) + self.flyback)
            if needed == n_items or needed - self.flyback == n_items:
                return size
            low, high = (size + 1, high) if needed < n_items else (low, size - 1)
        return None

    def _fits(self, n_items: int) -> bool:
        needed = self.n_items
        return n_items in (
            needed,
            needed - self.flyback,
            needed + self.offset,
            needed - self.flyback + self.offset,
        )

    def _misfit(self, n_items: int) -> str:
        details = [f"sync offset {self.offset}"] if self.offset else []
        details += [f"{self.flyback} flyback items per line"] if self.flyback else []
        extra = f" ({', '.join(details)})" if details else ""
        needs = f", which needs {self.n_items} items," if self.is_resolved else ""
        return f"scan shape {self.shape}{needs} does not fit the {n_items} items of the source{extra}"

    def _require_resolved(self) -> None:
        if not self.is_resolved:
            raise ScanError(
                f"scan shape {self.shape} is not known yet; resolve() it with the number of items"
            )


class Stretch(NamedTuple):
    """Items of a chunk whose positions are consecutive.

    Parameters
    ----------
    first
        Position of the first one.
    items
        Which items of the chunk, in order of position: a slice or an array of indices.
    n
        How many.
    """

    first: int
    items: slice | npt.NDArray[np.intp]
    n: int


class ScanMap:
    """A resolved scan together with a region of interest.

    Positions count selected ones only (the *compressed* navigation axis).

    Parameters
    ----------
    scan
        The scan, resolved.
    roi
        Selected positions in navigation shape, or ``None`` for all.
    """

    def __init__(self, scan: Scan, roi: npt.NDArray[np.bool_] | None = None) -> None:
        self.scan = scan
        self.roi = roi
        self.n_selected = scan.n_positions if roi is None else int(np.count_nonzero(roi))
        self._table: Positions | None = None
        if roi is not None:
            inside = roi.reshape(-1)
            self._table = np.where(inside, np.cumsum(inside) - 1, NOWHERE)

    def positions(self, first: int, n: int) -> Positions:
        """Return the compressed positions of items ``[first, first + n)``; -1 for none."""
        positions = self.scan.positions(first, n)
        if self._table is None:
            return positions
        return np.where(positions == NOWHERE, NOWHERE, self._table[positions])

    def stretches(self, first: int, n: int) -> list[Stretch]:
        """Cut the selected items of a chunk into runs of consecutive positions, in order of position."""
        positions = self.positions(first, n)
        if (
            n
            and positions[0] != NOWHERE
            and np.array_equal(positions, np.arange(positions[0], positions[0] + n))
        ):
            return [Stretch(int(positions[0]), slice(0, n), n)]
        chosen = np.flatnonzero(positions != NOWHERE)
        if not len(chosen):
            return []
        where = positions[chosen]
        if np.any(where[1:] <= where[:-1]):
            order = np.argsort(where, kind="stable")
            chosen, where = chosen[order], where[order]
            if np.any(where[1:] == where[:-1]):
                raise CoverageError(f"{self.scan} puts several items at one position; please report this")
        cuts = np.flatnonzero(np.diff(where) != 1) + 1
        bounds = [0, *cuts.tolist(), len(chosen)]
        return [Stretch(int(where[a]), _as_slice(chosen[a:b]), b - a) for a, b in pairwise(bounds)]


def _as_slice(items: npt.NDArray[np.intp]) -> slice | npt.NDArray[np.intp]:
    start, stop = int(items[0]), int(items[-1]) + 1
    ascending = stop - start == len(items) and bool(np.all(items[1:] > items[:-1]))
    return slice(start, stop) if ascending else items
