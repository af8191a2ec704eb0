"""Which scan position an item belongs to: the only home of index arithmetic.

A source numbers its items from 0; a `Scan` turns those numbers into positions, or into none (flyback, before
the start, after the end), and into passes if it is scanned again and again.  A `ScanMap` puts a region of
interest on top, counts selected positions only, and cuts chunks into runs of neighbouring positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ._errors import CoverageError, ScanError
from ._grid import NOWHERE, SCATTERED, Positions, choose_nearest, order_of_positions, snap
from ._scan_fit import derived_size, fitting_shapes, fitting_text
from ._shape import prod


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """Order in which the positions of a scan are visited.

    Parameters
    ----------
    shape
        Navigation shape of one pass, slowest axis first; ``-1`` for what follows from the number of items
        (several ``-1`` get the same value).
    offset
        Positive: so many items at the start belong to no position.  Negative: so many positions at the start
        have no item.
    flyback
        Items at the end of each line (last axis) that belong to no position.
    snake
        Every second line is scanned backwards.  Each frame (last two axes) begins forwards.
    flyback_lines
        Whole lines, with their own flyback, at the end of each frame (last two axes) that belong to no
        position.
    repeats
        How often the shape is scanned.  If more than once, the navigation shape is ``(repeats, *shape)``.
    endless
        The shape is scanned again and again until the source ends; each pass replaces the one before, see
        `RollingResults`.
    order
        Position of each item of a pass instead of lines; made by `from_positions`.

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
    >>> Scan((2, 2), flyback_lines=1, repeats=2).nav_shape
    (2, 2, 2)
    >>> Scan((2, 2), endless=True, offset=1).positions(0, 6).tolist()
    [-1, 0, 1, 2, 3, 0]
    """

    shape: tuple[int, ...]
    offset: int = 0
    flyback: int = 0
    snake: bool = False
    flyback_lines: int = 0
    repeats: int = 1
    endless: bool = False
    order: Positions | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        shape = self.shape if isinstance(self.shape, Iterable) else (self.shape,)
        object.__setattr__(self, "shape", tuple(int(n) for n in shape))
        if not self.shape or any(n < -1 for n in self.shape):
            raise ScanError(
                f"scan shape {self.shape}: give at least one axis, with sizes >= 0, or -1 to derive one"
            )
        if self.flyback < 0:
            raise ScanError(f"flyback is {self.flyback} items per line, but can't be negative")
        if self.flyback_lines < 0:
            raise ScanError(f"flyback_lines is {self.flyback_lines} lines per frame, but can't be negative")
        if self.repeats < 1:
            raise ScanError(f"repeats is {self.repeats}, but a scan has at least one pass")
        if self.endless and self.repeats != 1:
            raise ScanError(f"a scan is either endless or has repeats={self.repeats}; choose one")
        if self.order is not None:
            if self.flyback or self.flyback_lines or self.snake:
                raise ScanError(
                    "a scan of given positions has no lines: leave out flyback, flyback_lines and snake, and "
                    "give -1 as position of items that belong to none"
                )
            object.__setattr__(self, "order", order_of_positions(self.order, self.shape))

    @classmethod
    def from_positions(
        cls,
        indices: npt.ArrayLike,
        shape: Iterable[int],
        *,
        offset: int = 0,
        repeats: int = 1,
        endless: bool = False,
    ) -> Self:
        """Make a scan from the position of each item: sparse, spiral or random scans.

        Parameters
        ----------
        indices
            For each item of a pass the flat position in `shape`, or -1 if it belongs to none.  Positions
            that are not listed have no item and stay invalid.
        shape, offset, repeats, endless
            As in `Scan`.

        Raises
        ------
        DuplicatePositionError
            If a position is listed twice.
        ScanError
            If a position is outside the shape.

        Examples
        --------
        >>> Scan.from_positions([3, 0, -1, 2], (2, 2)).positions(0, 5).tolist()
        [3, 0, -1, 2, -1]
        """
        order = np.array(indices)
        return cls(tuple(shape), offset=offset, repeats=repeats, endless=endless, order=order)

    @classmethod
    def from_coordinates(
        cls,
        coordinates: npt.ArrayLike,
        shape: Iterable[int],
        *,
        origin: npt.ArrayLike | None = None,
        step: npt.ArrayLike | None = None,
        on_duplicate: Literal["error", "nearest"] = "error",
        offset: int = 0,
        repeats: int = 1,
        endless: bool = False,
    ) -> Self:
        """Make a scan from coordinates in real units, each snapped to the nearest position of a grid.

        Position ``(i, j, …)`` of the grid is at ``origin + step * (i, j, …)``.  An item belongs to the
        position it is nearest to (``rint((coordinate - origin) / step)``), or to none if that is outside of
        `shape`, or if a coordinate is NaN.

        Parameters
        ----------
        coordinates
            For each item of a pass ``(y, x)``, or one number per axis of `shape`: ``(n_items, n_axes)``.
        shape
            Of the grid.
        origin
            Coordinate of the first position; by default the smallest along each axis.
        step
            Distance of neighbouring positions along each axis; by default so that the grid spans all
            coordinates.
        on_duplicate
            What to do with several items nearest to one position: ``"error"``, or ``"nearest"``: the one
            nearest to it (the earlier one if equal) gets it, the others belong to none.
        offset, repeats, endless
            As in `Scan`.

        Raises
        ------
        DuplicatePositionError
            If several items are nearest to one position, unless `on_duplicate` says otherwise.
        ScanError
            If the coordinates don't fit the shape.

        Examples
        --------
        >>> Scan.from_coordinates([(0.1, 10.2), (0.9, 0.1)], (2, 2), origin=0, step=(1, 10)).order.tolist()
        [1, 2]
        """
        grid = tuple(shape)
        indices, distances = snap(coordinates, grid, origin, step)
        if on_duplicate == "nearest":
            indices = choose_nearest(indices, distances)
        elif on_duplicate != "error":
            raise ScanError(f"on_duplicate is {on_duplicate!r}; choose 'error' or 'nearest'")
        return cls.from_positions(indices, grid, offset=offset, repeats=repeats, endless=endless)

    @property
    def is_resolved(self) -> bool:
        """Whether all sizes are known."""
        return -1 not in self.shape

    @property
    def nav_shape(self) -> tuple[int, ...]:
        """Navigation shape of the results: `shape`, with `repeats` in front if there are several."""
        return self.shape if self.repeats == 1 else (self.repeats, *self.shape)

    @property
    def n_positions(self) -> int:
        """Number of positions in `nav_shape`."""
        self._require_resolved()
        return prod(self.nav_shape)

    @property
    def items_per_pass(self) -> int:
        """Items of one pass, flyback included and `offset` not counted."""
        self._require_resolved()
        if self.order is not None:
            return len(self.order)
        return self._items_of(self.shape)

    @property
    def n_items(self) -> int:
        """Items of a whole scan, flyback included and `offset` not counted.

        Raises
        ------
        ScanError
            If the scan is endless.
        """
        if self.endless:
            raise ScanError(f"{self} has no last item")
        return self.items_per_pass * self.repeats

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
        if not self.is_resolved and (n_items is None or self.endless):
            why = "the number of items is unknown" if not self.endless else "an endless scan has no last item"
            raise ScanError(f"scan shape {self.shape} can't be derived: {why}; give it without -1")
        if n_items is None:
            return self
        if self.offset and not -n_items < self.offset < n_items:
            raise ScanError(f"a sync offset of {self.offset} leaves nothing of {n_items} items")
        if self.is_resolved:
            if not self._fits(n_items):
                raise ScanError(self._misfit(n_items))
            return self
        for candidate in dict.fromkeys((n_items, n_items - self.offset)):
            size = derived_size(self, candidate)
            if size is not None:
                return replace(self, shape=self._with_size(size))
        raise ScanError(self._misfit(n_items))

    def fitting_shapes(self, n_items: int) -> list[tuple[int, int]]:
        """Return shapes of two axes that would hold so many items, those most like this one first.

        Parameters
        ----------
        n_items
            How many items will come; flyback and repeats stay as they are.
        """
        return fitting_shapes(self, n_items)

    def positions(self, first: int, n: int) -> Positions:
        """Return the positions of items ``[first, first + n)``, flat; `NOWHERE` (-1) for none.

        Positions are those of `nav_shape`; see `passes` for which pass of an endless scan an item is of.
        """
        start = first - self.offset
        per_pass = self.items_per_pass
        last = None if self.endless else per_pass * self.repeats
        inside = start >= 0 and (last is None or start + n <= last)
        if inside and self.is_raster and (last is not None or start % max(per_pass, 1) + n <= per_pass):
            start = start if last is not None else start % max(per_pass, 1)
            return np.arange(start, start + n, dtype=np.int64)
        place = np.arange(start, start + n, dtype=np.int64)
        valid = place >= 0
        if last is not None:
            valid &= place < last
        elif per_pass:
            place %= per_pass
        if per_pass == 0:
            valid[:] = False
        elif self.order is not None:
            number, place = np.divmod(place, per_pass)
            position = self.order[place]
            valid &= position != NOWHERE
            place = position + number * prod(self.shape)
        elif not self.is_raster:
            place = self._of_lines(place, valid)
        place[~valid] = NOWHERE
        return place

    def passes(self, first: int, n: int) -> Iterator[tuple[int, int, int]]:
        """Cut items ``[first, first + n)`` into passes; yield the pass, its first item here, and how many.

        Only an endless scan has more than pass 0.  Items before the start count as pass 0.
        """
        per_pass = max(self.items_per_pass, 1)
        if not self.endless:
            yield 0, first, n
            return
        stop = first + n
        while first < stop:
            number = max(0, (first - self.offset) // per_pass)
            end = min(stop, self.offset + (number + 1) * per_pass)
            yield number, first, end - first
            first = end

    def n_surplus(self, first: int, n: int) -> int:
        """Count those of items ``[first, first + n)`` that come after the last pass."""
        if self.endless:
            return 0
        return max(0, first + n - max(first, self.offset + self.n_items))

    @property
    def is_raster(self) -> bool:
        """Whether positions follow each other as items do."""
        return self.order is None and not (self.flyback or self.flyback_lines or self.snake)

    # ---------------------------------------------------------------------------------------------

    def _of_lines(self, place: Positions, valid: npt.NDArray[np.bool_]) -> Positions:
        width = self.shape[-1]
        height = self.shape[-2] if len(self.shape) > 1 else 1
        line, column = np.divmod(place, width + self.flyback)
        valid &= column < width
        row = line
        if self.flyback_lines:
            frame, row = np.divmod(line, height + self.flyback_lines)
            valid &= row < height
            line = frame * height + row
        elif self.snake:
            row = line % height
        if self.snake:
            column = np.where(row % 2 == 1, width - 1 - column, column)
        return line * width + column

    def _items_of(self, shape: tuple[int, ...]) -> int:
        height = shape[-2] if len(shape) > 1 else 1
        return prod(shape[:-2]) * (height + self.flyback_lines) * (shape[-1] + self.flyback)

    def _with_size(self, size: int) -> tuple[int, ...]:
        """Fill in the placeholders."""
        return tuple(size if n == -1 else n for n in self.shape)

    def tails(self, size: int = 0) -> tuple[int, ...]:
        """Return how many items may be missing at the end since no position is waiting for them.

        Parameters
        ----------
        size
            What stands in for a placeholder.
        """
        lines = self.flyback_lines * (self._with_size(size)[-1] + self.flyback)
        return tuple(dict.fromkeys((0, self.flyback, lines, lines + self.flyback)))

    def items_with(self, size: int) -> int:
        """Return the items of all passes if placeholders have this size."""
        return self.repeats * self._items_of(self._with_size(size))

    def _fits(self, n_items: int) -> bool:
        if self.endless:
            return n_items - max(self.offset, 0) >= self.items_per_pass - self.tails()[-1]
        needed = self.n_items
        return any(n_items in (needed - tail, needed - tail + self.offset) for tail in self.tails())

    def _misfit(self, n_items: int) -> str:
        details = [f"sync offset {self.offset}"] if self.offset else []
        details += [f"{self.flyback} flyback items per line"] if self.flyback else []
        details += [f"{self.flyback_lines} flyback lines per frame"] if self.flyback_lines else []
        details += [f"{self.repeats} repeats"] if self.repeats > 1 else []
        extra = f" ({', '.join(details)})" if details else ""
        what = f"scan shape {self.shape}" if self.order is None else f"scan of {len(self.order)} given items"
        if not self.is_resolved:
            needs = ""
        elif self.endless:
            needs = f", which needs {self.items_per_pass} items per pass,"
        else:
            needs = f", which needs {self.n_items} items,"
        advice = fitting_text(self, n_items)
        return f"{what}{needs} does not fit the {n_items} items of the source{extra}" + (
            f"; {advice}" if advice else ""
        )

    def _require_resolved(self) -> None:
        if not self.is_resolved:
            raise ScanError(
                f"scan shape {self.shape} is not known yet; resolve() it with the number of items"
            )

    def _key(self) -> tuple[Any, ...]:
        order = None if self.order is None else self.order.tobytes()
        return (*(getattr(self, name) for name in self.__slots__[:-1]), order)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Scan) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())


class Stretch(NamedTuple):
    """Items of a chunk whose positions are consecutive.

    Parameters
    ----------
    first
        Position of the first one; `SCATTERED` if `where` tells the positions.
    items
        Which items of the chunk, in order of position: a slice or an array of indices.
    n
        How many.
    scan_pass
        Of which pass of an endless scan they are.
    where
        Their positions, if these are not consecutive after all.
    """

    first: int
    items: slice | npt.NDArray[np.intp]
    n: int
    scan_pass: int = 0
    where: Positions | None = None


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
        self._plain = scan.is_raster and roi is None
        self._per_pass = scan.items_per_pass
        self._n_items = None if scan.endless else scan.n_items

    def n_expected(self, scan_pass: int) -> int:
        """Return how many selected positions have an item in a pass of an endless scan."""
        first = self.scan.offset + scan_pass * self._per_pass
        start = max(0, first)
        return int(np.count_nonzero(self.positions(start, first + self._per_pass - start) != NOWHERE))

    def positions(self, first: int, n: int) -> Positions:
        """Return the compressed positions of items ``[first, first + n)``; -1 for none."""
        positions = self.scan.positions(first, n)
        if self._table is None:
            return positions
        return np.where(positions == NOWHERE, NOWHERE, self._table[positions])

    def stretches(self, first: int, n: int, *, scattered: bool = False) -> list[Stretch]:
        """Cut the selected items of a chunk into runs of consecutive positions, in order of position.

        Items of an endless scan come in order of pass, then of position.

        Parameters
        ----------
        first, n
            The items.
        scattered
            Return items that follow no lines as one stretch in the order of items, with all positions.
        """
        place = first - self.scan.offset
        if self._n_items is None:
            number, place = divmod(place, self._per_pass) if self._per_pass else (0, 0)
            if self._plain and number >= 0 and place + n <= self._per_pass:
                return [Stretch(place, slice(0, n), n, number)] if n else []
            return [
                stretch
                for number, start, count in self.scan.passes(first, n)
                for stretch in self._runs(self.positions(start, count), number, start - first, scattered)
            ]
        if self._plain and place >= 0 and place + n <= self._n_items:
            return [Stretch(place, slice(0, n), n)] if n else []
        return self._runs(self.positions(first, n), 0, 0, scattered)

    def _runs(self, positions: Positions, number: int, before: int, scattered: bool) -> list[Stretch]:
        """Cut items of one pass, which begins `before` items behind the chunk's first, into runs."""
        chosen = np.flatnonzero(positions != NOWHERE)
        if not len(chosen):
            return []
        where = positions[chosen]
        steps = np.diff(where)
        scattered &= self.scan.order is not None
        if scattered and np.count_nonzero(np.abs(steps) != 1) > len(where) // 8:
            items = _as_slice(chosen + before)
            return [Stretch(SCATTERED, items, len(where), number, np.ascontiguousarray(where))]
        if steps.size and steps.min() <= 0:
            order = np.argsort(where, kind="stable")
            chosen, where = chosen[order], where[order]
            steps = np.diff(where)
            if steps.min() <= 0:
                raise CoverageError(f"{self.scan} puts several items at one position; please report this")
        cuts = np.flatnonzero(steps != 1) + 1
        bounds = [0, *cuts.tolist(), len(chosen)]
        chosen += before
        return [Stretch(int(where[a]), _as_slice(chosen[a:b]), b - a, number) for a, b in pairwise(bounds)]


def _as_slice(items: npt.NDArray[np.intp]) -> slice | npt.NDArray[np.intp]:
    start, stop = int(items[0]), int(items[-1]) + 1
    ascending = stop - start == len(items) and (len(items) < 3 or bool(np.all(items[1:] > items[:-1])))
    return slice(start, stop) if ascending else items
