"""Shapes of scans as people pass, say and guess them; fitting them to frames is `udf_core.Scan`'s."""

from __future__ import annotations

import math
from collections.abc import Iterable

NavShape = tuple[int, ...]


def shape_text(shape: Iterable[int]) -> str:
    """Write a shape as people say it: ``128×128``.

    Parameters
    ----------
    shape
        Lengths of the axes.
    """
    return "×".join(str(length) for length in shape)


def check_lengths(shape: Iterable[int]) -> NavShape:
    """Return a shape as plain integers.

    Parameters
    ----------
    shape
        Lengths of the axes, slowest first; −1 stands for *fill this in*.

    Raises
    ------
    ValueError
        If it has no axis, or one of a length that makes no sense.
    """
    lengths = tuple(int(length) for length in shape)
    if not lengths or any(length < 1 and length != -1 for length in lengths):
        raise ValueError(
            f"the scan's shape {lengths} has no positions: every axis needs at least 1 (−1: to be filled in)"
        )
    return lengths


def square(n_frames: int | None) -> NavShape | None:
    """Return the square scan of that many frames, or ``None`` if there is none.

    Parameters
    ----------
    n_frames
        Frames announced.
    """
    if not n_frames:
        return None
    side = math.isqrt(n_frames)
    return (side, side) if side * side == n_frames else None


def suggestion(n_frames: int, shape: NavShape) -> NavShape | None:
    """Return a shape that holds the frames and is like the one that does not, if there is one.

    Parameters
    ----------
    n_frames
        Frames announced.
    shape
        That does not fit.

    Examples
    --------
    >>> suggestion(4096, (128, 128))
    (32, 128)
    """
    if len(shape) == 2 and shape[1] > 0 and n_frames >= shape[1] and n_frames % shape[1] == 0:
        return (n_frames // shape[1], shape[1])
    return square(n_frames)
