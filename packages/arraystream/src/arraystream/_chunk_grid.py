"""How an array in chunks meets flat ranges of items: pure index arithmetic.

The index space of an array is flattened in C order.  A range of items is cut into boxes, which one slicing
operation reads; and the places where ranges should be cut are those where a new row of chunks begins, so
that each chunk is read by one worker, once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Box = tuple[slice, ...]
Edges = tuple[npt.NDArray[np.int64], ...]

WANTED_BYTES = 4 << 20
"""Chunks of a feed are about this long, if those of the file are not longer."""

MOST_BYTES = 128 << 20
"""Ranges longer than this are cut, even if some chunks of the file are then read more than once."""

_MOST_PIECES = 1 << 20


def boxes(shape: Sequence[int], first: int, n: int) -> Iterator[tuple[int, Box]]:
    """Cut ``[first, first + n)`` of a C-ordered index space into boxes.

    Parameters
    ----------
    shape
        Of the index space.
    first, n
        The range.

    Yields
    ------
    position, box
        How far into the range the box begins, and the box; its items are consecutive.

    Examples
    --------
    >>> from arraystream._chunk_grid import boxes
    >>> [(at, [(s.start, s.stop) for s in box]) for at, box in boxes((3, 4), 2, 7)]
    [(0, [(0, 1), (2, 4)]), (2, [(1, 2), (0, 4)]), (6, [(2, 3), (0, 1)])]
    """
    position = 0
    for box in _cut(tuple(shape), first, first + n):
        yield position, box
        position += math.prod(part.stop - part.start for part in box)


def _cut(shape: tuple[int, ...], start: int, stop: int) -> Iterator[Box]:
    if stop <= start:
        return
    if not shape:
        yield ()
        return
    if len(shape) == 1:
        yield (slice(start, stop),)
        return
    inner, whole = math.prod(shape[1:]), tuple(slice(0, extent) for extent in shape[1:])
    row, head = divmod(start, inner)
    last_row, tail = divmod(stop, inner)
    if head:
        end = tail if row == last_row else inner
        yield from ((slice(row, row + 1), *box) for box in _cut(shape[1:], head, end))
        row += 1
    if row < last_row:
        yield (slice(row, last_row), *whole)
    if tail and row <= last_row:
        yield from ((slice(last_row, last_row + 1), *box) for box in _cut(shape[1:], 0, tail))


def regular_edges(shape: Sequence[int], chunks: Sequence[int]) -> Edges:
    """Return where chunks of equal shape begin along each axis, and where the axis ends."""
    return tuple(
        np.append(np.arange(0, extent, max(1, chunk), dtype=np.int64), extent)
        for extent, chunk in zip(shape, chunks, strict=True)
    )


def range_ends(
    edges: Edges, item_bytes: int, *, wanted: int = WANTED_BYTES, most: int = MOST_BYTES
) -> npt.NDArray[np.int64] | None:
    """Return where the ranges of a feed should end so that each chunk is read once.

    Parameters
    ----------
    edges
        Of the chunks along the axes of the index space.
    item_bytes
        Bytes of a decoded item.
    wanted, most
        Bytes of a range: at least, if there is that much, and at most.

    Returns
    -------
    ends
        Ascending; the last one is the number of items.  ``None`` if any place does.
    """
    shape = [int(edge[-1]) for edge in edges]
    n_items = math.prod(shape)
    axis = next((i for i, edge in enumerate(edges) if len(edge) - 1 < shape[i]), None)
    if axis is None or n_items == 0:
        return None
    inner, outer = math.prod(shape[axis + 1 :]), math.prod(shape[:axis])
    if outer * (len(edges[axis]) - 1) > _MOST_PIECES:
        return None
    within = edges[axis][1:] * inner
    starts = np.arange(outer, dtype=np.int64) * (shape[axis] * inner)
    pieces = (starts[:, np.newaxis] + within).reshape(-1)
    return _grouped(pieces, max(1, wanted // max(1, item_bytes)), max(1, most // max(1, item_bytes)))


def _grouped(ends: npt.NDArray[np.int64], wanted: int, most: int) -> npt.NDArray[np.int64]:
    """Join short pieces until they have `wanted` items, cut those with more than `most`."""
    chosen: list[int] = []
    last, total = 0, int(ends[-1])
    while last < total:
        end = int(ends[min(int(np.searchsorted(ends, last + wanted)), len(ends) - 1)])
        n_parts = -(-(end - last) // most)
        chosen.extend(last + (end - last) * part // n_parts for part in range(1, n_parts + 1))
        last = end
    return np.array(chosen, dtype=np.int64)
