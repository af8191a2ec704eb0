"""Shapes of scans as people pass and say them; fitting them to frames is `udf_core.Scan`'s."""

from __future__ import annotations

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
