"""Sparse rows in memory as a source; see `_csr_codec` for how they travel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._chunk import ItemDescriptor
from ._csr_codec import CSRCodec, encode_csr
from ._shared_bytes import SharedBytes
from ._sources import ArraySource

_CHUNK_BYTES = 4 << 20
_MOST_ITEMS = 4096


class CSRReader:
    """Sparse rows in memory; a `RangeReader`.

    Parameters
    ----------
    values, columns, starts
        As in `open_csr`.
    """

    def __init__(self, values: npt.NDArray[Any], columns: npt.NDArray[Any], starts: npt.NDArray[Any]) -> None:
        self._types = values.dtype, columns.dtype
        self._values = SharedBytes(values.view(np.uint8))
        self._columns = SharedBytes(columns.view(np.uint8))
        self._starts = SharedBytes(starts.view(np.uint8))

    def read(self, first: int, n: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
        """Return the bytes of items ``[first, first + n)`` as the codec "csr" wants them."""
        values, columns = self._values.array.view(self._types[0]), self._columns.array.view(self._types[1])
        payload, offsets = encode_csr(values, columns, self._starts.array.view("i8")[first : first + n + 1])
        payload.flags.writeable = False
        return payload, offsets


def open_csr(
    values: npt.ArrayLike,
    columns: npt.ArrayLike,
    starts: npt.ArrayLike,
    item_shape: Sequence[int],
    *,
    index_shape: Sequence[int] = (),
) -> ArraySource:
    """Open compressed sparse rows in memory, one row per item.

    Parameters
    ----------
    values, columns, starts
        ``data``, ``indices`` and ``indptr`` of a SciPy CSR matrix; not copied if contiguous.  They must not
        change while the source is open.
    item_shape
        Shape of an item.
    index_shape
        The index space, if known.

    Raises
    ------
    ValueError
        If the arrays do not fit each other or the shapes.

    Examples
    --------
    >>> source = open_csr(np.ones(2), np.array([0, 3]), np.array([0, 1, 2]), (2, 2))
    >>> source.n_items
    2
    """
    stored = np.ascontiguousarray(values)
    places = np.ascontiguousarray(columns)
    bounds = np.ascontiguousarray(starts, np.int64)
    shape, index = tuple(int(n) for n in item_shape), tuple(int(n) for n in index_shape)
    _check(stored, places, bounds, shape, index)
    if places.dtype not in (np.dtype("i4"), np.dtype("i8")):
        places = places.astype(np.int64)
    n_items = len(bounds) - 1
    descriptor = ItemDescriptor(
        dtype=stored.dtype.newbyteorder("="),
        item_shape=shape,
        codec="csr",
        codec_params={"dtype": stored.dtype.str},
        index_shape=index,
        n_items=n_items,
        meta={"source": "memory"},
    )
    CSRCodec(descriptor)  # refuses what it could not decode
    per_item = (stored.nbytes + places.nbytes) // max(1, n_items) + 8
    step = min(max(1, _CHUNK_BYTES // per_item), _MOST_ITEMS, max(1, -(-n_items // 8)))
    ends = [*range(step, n_items, step), n_items] if n_items else None
    reader = CSRReader(stored.reshape(-1), places.reshape(-1), bounds)
    return ArraySource(descriptor, reader, n_items=n_items, index_shape=index, ends=ends)


def _check(
    values: npt.NDArray[Any],
    columns: npt.NDArray[Any],
    starts: npt.NDArray[np.int64],
    shape: tuple[int, ...],
    index: tuple[int, ...],
) -> None:
    if not shape or min(shape) < 0:
        raise ValueError(f"item_shape {shape} is no shape of an item; give at least one axis.")
    if columns.dtype.kind not in "iu":
        raise ValueError(f"columns have type {columns.dtype}; they must be integers.")
    if values.ndim != 1 or columns.shape != values.shape:
        raise ValueError(
            f"values have shape {values.shape}, columns {columns.shape}; both must be equal, 1-D."
        )
    if starts.ndim != 1 or not len(starts) or starts[0] != 0 or np.any(np.diff(starts) < 0):
        raise ValueError("starts must begin with 0 and never get smaller.")
    if starts[-1] > len(values):
        raise ValueError(f"starts end at {starts[-1]}, but there are {len(values)} values.")
    size = math.prod(shape)
    if len(columns) and (columns.min() < 0 or columns.max() >= size):
        raise ValueError(
            f"columns are {columns.min()} to {columns.max()}; an item of shape {shape} has {size} elements."
        )
    if index and math.prod(index) > len(starts) - 1:
        raise ValueError(f"index_shape {index} needs {math.prod(index)} items, there are {len(starts) - 1}.")
