"""Shapes that fit a number of items: for placeholders, and for advice to who gave one that doesn't."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ._scan import Scan

_MOST_ITEMS = 10**12
_MOST_SHAPES = 3


def derived_size(scan: Scan, n_items: int) -> int | None:
    """Return the size that all placeholders of a scan must have, ``None`` if there is no such integer.

    Parameters
    ----------
    scan
        With placeholders.
    n_items
        How many items will come.
    """
    for number in range(len(scan.tails())):
        low, high = 0, max(n_items, 0)
        while low <= high:
            size = (low + high) // 2
            tails = scan.tails(size)
            needed = scan.items_with(size) - tails[min(number, len(tails) - 1)]
            if needed == n_items:
                return size
            low, high = (size + 1, high) if needed < n_items else (low, size - 1)
    return None


def fitting_shapes(scan: Scan, n_items: int) -> list[tuple[int, int]]:
    """Return shapes of two axes that hold so many items and are like the shape of a scan, nearest first.

    Parameters
    ----------
    scan
        Its flyback and repeats stay as they are.
    n_items
        How many items will come.

    Examples
    --------
    >>> from udf_core import Scan
    >>> fitting_shapes(Scan((256, 255)), 65536)[0]
    (256, 256)
    """
    if scan.order is not None or not 0 < n_items <= _MOST_ITEMS or n_items % scan.repeats:
        return []
    n = n_items // scan.repeats
    wanted = _as_picture(scan.shape, n)
    divisors = np.arange(1, math.isqrt(n) + 1)
    small = divisors[n % divisors == 0]
    lines = np.concatenate((small, n // small))
    pairs = {(int(a) - scan.flyback_lines, n // int(a) - scan.flyback) for a in lines}
    pairs = {(h, w) for h, w in pairs if h > 0 and w > 0}

    def distance(shape: tuple[int, int]) -> float:
        return sum(abs(math.log(a / b)) for a, b in zip(shape, wanted, strict=True))

    return sorted(pairs, key=lambda shape: (distance(shape), shape))


def fitting_text(scan: Scan, n_items: int) -> str:
    """Say which shapes would fit, e.g. ``65536 items = 256 x 256``; empty if none is worth a word.

    Parameters
    ----------
    scan
        That does not fit.
    n_items
        How many items will come.
    """
    if scan.endless and n_items < scan.items_per_pass:
        return "not even one pass would be complete"
    shapes = fitting_shapes(scan, n_items)[:_MOST_SHAPES]
    if not shapes:
        return ""
    before = f"{scan.repeats} x " if scan.repeats > 1 else ""
    after = " plus flyback" if scan.flyback or scan.flyback_lines else ""
    return f"{n_items} items = " + " or ".join(f"{before}{h} x {w}" for h, w in shapes) + after


def _as_picture(shape: tuple[int, ...], n: int) -> tuple[float, float]:
    """Return the height and width that somebody has in mind, for `n` items."""
    width = float(shape[-1])
    if width > 0:
        lines = math.prod(shape[:-1]) if len(shape) > 1 else 1
        return (float(lines) if lines > 0 else n / width), width
    height = float(math.prod(shape[:-1])) if len(shape) > 1 else -1.0
    return (height, n / height) if height > 0 else (math.sqrt(n), math.sqrt(n))
