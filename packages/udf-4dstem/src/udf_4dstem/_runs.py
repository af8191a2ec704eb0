"""Selections of pixels as runs, so that only selected pixels are read and nothing is multiplied."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ._kernels import RUN_LIMIT

Index = npt.NDArray[np.int64]


def frame_runs(selection: npt.NDArray[np.bool_]) -> tuple[Index, Index]:
    """Return the runs of True in the flattened selection, cut where they exceed the kernel's limit.

    Returns
    -------
    starts, stops
        Each int64, shape ``(n_runs,)``, ascending.
    """
    edges = np.diff(selection.reshape(-1).astype(np.int8), prepend=0, append=0)
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    pieces = -(-(stops - starts) // RUN_LIMIT)
    nth = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    cut = np.repeat(starts, pieces) + nth * RUN_LIMIT
    return cut.astype(np.int64), np.minimum(cut + RUN_LIMIT, np.repeat(stops, pieces)).astype(np.int64)


def frame_spans(selection: npt.NDArray[np.bool_]) -> tuple[Index, Index, Index]:
    """Return the runs of True within each row of a 2-D selection as (row, start, stop), int64."""
    edges = np.diff(selection.astype(np.int8), axis=1, prepend=0, append=0)
    rows, starts = np.nonzero(edges == 1)
    _, stops = np.nonzero(edges == -1)
    return rows.astype(np.int64), starts.astype(np.int64), stops.astype(np.int64)
