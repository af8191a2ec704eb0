"""Codec "csr": items that are mostly zero, the items of a chunk together as compressed sparse rows.

A payload is a header, then where each item's values start (and where the last one's end), the columns, and
the values.  A column counts the elements of an item in C order.  The offset of an item is where its start is
written, so any selection of items can be decoded without touching the rest::

    "CSR1"  i4 bytes of a column (4 or 8)  i8 items n  i8 values m   (24 bytes, little endian)
    i8 starts [n + 1]    i4 or i8 columns [m]    padding to 8 bytes    values [m]

Nothing is believed: sizes, starts and columns are checked before they are used.  There is no Python code per
item, and NumPy does the work.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from ._chunk import ItemDescriptor
from ._errors import CodecError

MAGIC = b"CSR1"
_HEADER = struct.Struct("<4siqq")
_Bytes = npt.NDArray[np.uint8]
_Offsets = npt.NDArray[np.uint64]


def encode_csr(
    values: npt.NDArray[Any], columns: npt.NDArray[Any], starts: npt.NDArray[Any]
) -> tuple[_Bytes, _Offsets]:
    """Return payload and offsets of a chunk for the codec "csr".

    Parameters
    ----------
    values, columns
        All values of the chunk that are not zero, and their columns; integers of 4 or 8 bytes.
    starts
        Where each item's values start in `values`, and where the last one's end; one more than items.

    Examples
    --------
    >>> values, columns = np.array([7, 8, 9], "u2"), np.array([1, 0, 3], "i4")
    >>> payload, offsets = encode_csr(values, columns, np.array([0, 1, 3]))
    >>> out = np.empty((2, 2, 2), np.float32)
    >>> CSRCodec(ItemDescriptor(np.dtype("u2"), (2, 2), "csr")).decode(payload, offsets, (0, 2), out)
    >>> out.tolist()
    [[[0.0, 7.0], [0.0, 0.0]], [[8.0, 0.0], [0.0, 9.0]]]
    """
    first, n_values, n = int(starts[0]), int(starts[-1] - starts[0]), len(starts) - 1
    column = np.dtype("<i8" if columns.dtype.itemsize > 4 else "<i4")
    columns_at = _HEADER.size + 8 * (n + 1)
    values_at = _aligned(columns_at + n_values * column.itemsize)
    payload = np.zeros(values_at + n_values * values.dtype.itemsize, np.uint8)
    payload[: _HEADER.size] = np.frombuffer(_HEADER.pack(MAGIC, column.itemsize, n, n_values), np.uint8)
    payload[_HEADER.size : columns_at].view("<i8")[:] = starts - first
    part = slice(first, first + n_values)
    payload[columns_at : columns_at + n_values * column.itemsize].view(column)[:] = columns[part]
    payload[values_at:].view(values.dtype)[:] = values[part]
    return payload, np.arange(n, dtype=np.uint64) * np.uint64(8) + np.uint64(_HEADER.size)


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // 8) * 8


class CSRCodec:
    """Decode sparse items to dense ones, or hand out their rows as they are.

    Parameters
    ----------
    descriptor
        ``codec_params["dtype"]`` may name the stored type with its byte order; without, values are stored as
        ``descriptor.dtype``.

    Raises
    ------
    CodecError
        If the stored type is not a plain number type.
    """

    def __init__(self, descriptor: ItemDescriptor) -> None:
        stored = descriptor.codec_params.get("dtype", descriptor.dtype)
        try:
            self._stored = np.dtype(stored)
        except TypeError as error:
            raise CodecError(f"Codec csr: stored type {stored!r} is no NumPy type.") from error
        if self._stored.kind not in "biufc":
            raise CodecError(f"Codec csr: stored type {self._stored} is not a number type; use one of biufc.")
        self._shape = descriptor.item_shape or (1,)
        self._row = math.prod(self._shape[1:])
        self._size = self._shape[0] * self._row

    def rows(
        self, payload: _Bytes, offsets: _Offsets
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """Return some items as the three arrays of compressed sparse rows.

        Returns
        -------
        values, columns
            Views of `payload` if the items follow one another.
        starts
            Where each item's values start, and where the last one's end; of the type of `columns`.

        Raises
        ------
        CodecError
            If the payload is not what it says, or a column is outside the item.
        """
        all_starts, columns, values = self._parts(payload)
        items = self._items(offsets, len(all_starts) - 1)
        starts, stops = all_starts[items], all_starts[items + 1]
        counts = stops - starts
        if len(items) and (starts.min() < 0 or stops.max() > len(values) or counts.min() < 0):
            raise CodecError(
                f"Codec csr: items claim values {starts.min()} to {stops.max()} of {len(values)}, or end "
                f"before they start; the payload is corrupt."
            )
        pointers = np.zeros(len(items) + 1, np.int64)
        np.cumsum(counts, out=pointers[1:])
        if pointers[-1] > len(values) and len(np.unique(items)) == len(items):
            raise CodecError("Codec csr: items overlap; the payload is corrupt.")
        if len(items) and np.array_equal(starts[1:], stops[:-1]):
            part = slice(int(starts[0]), int(stops[-1]))
            columns, values = columns[part], values[part]
        else:
            places = np.repeat(starts - pointers[:-1], counts) + np.arange(pointers[-1])
            columns, values = columns[places], values[places]
        if len(columns) and (columns.min() < 0 or columns.max() >= self._size):
            raise CodecError(
                f"Codec csr: columns are {columns.min()} to {columns.max()}, an item has {self._size} "
                f"elements; the payload is corrupt, or the descriptor does not fit."
            )
        return values, columns, pointers.astype(columns.dtype, copy=False)

    def decode(
        self,
        payload: _Bytes,
        offsets: _Offsets,
        rows: tuple[int, int],
        out: npt.NDArray[Any],
    ) -> None:
        """Decode a band of rows of some items and cast to ``out.dtype``; see `Decoder.decode`.

        Values of the same element are added.
        """
        start, stop = rows
        shape = (len(offsets), stop - start, *self._shape[1:])
        if not 0 <= start <= stop <= self._shape[0]:
            raise CodecError(f"Codec csr: rows {rows} are outside the item's {self._shape[0]} rows.")
        if out.shape != shape:
            raise CodecError(f"Codec csr: out has shape {out.shape}, the band has {shape}.")
        if self._stored.kind == "c" and out.dtype.kind != "c":
            raise CodecError(f"Codec csr: casting {self._stored} to {out.dtype} would drop imaginary parts.")
        values, columns, pointers = self.rows(payload, offsets)
        out[...] = 0
        first, size = start * self._row, (stop - start) * self._row
        items = np.repeat(np.arange(len(offsets), dtype=np.int64), np.diff(pointers))
        places = items * size + columns - first
        if size != self._size:
            inside = (columns >= first) & (columns < first + size)
            places, values = places[inside], values[inside]
        flat = out.reshape(-1)
        if bool(np.all(places[1:] > places[:-1])) or len(np.unique(places)) == len(places):
            flat[places] = values
        else:
            np.add.at(flat, places, values.astype(out.dtype))

    def _parts(self, payload: _Bytes) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """Starts, columns and values of the whole chunk; only the sizes are checked."""
        if payload.nbytes < _HEADER.size:
            raise CodecError(f"Codec csr: a payload of {payload.nbytes} bytes is shorter than its header.")
        payload = np.ascontiguousarray(payload)
        if payload.ctypes.data % 8:
            payload = payload.copy()
        magic, column, n, n_values = _HEADER.unpack_from(payload.data)
        if magic != MAGIC or column not in (4, 8) or n < 0 or n_values < 0:
            raise CodecError(
                f"Codec csr: header {magic!r}, columns of {column} bytes, {n} items, {n_values} values is "
                f"nothing this version knows."
            )
        columns_at = _HEADER.size + 8 * (n + 1)
        columns_end = columns_at + n_values * column
        values_at = _aligned(columns_end)
        end = values_at + n_values * self._stored.itemsize
        if end > payload.nbytes:
            raise CodecError(
                f"Codec csr: {n} items with {n_values} values take {end} bytes, the payload has "
                f"{payload.nbytes}; it was cut off, or the descriptor's type does not fit."
            )
        return (
            payload[_HEADER.size : columns_at].view("<i8"),
            payload[columns_at:columns_end].view(f"<i{column}"),
            payload[values_at:end].view(self._stored),
        )

    @staticmethod
    def _items(offsets: _Offsets, n: int) -> npt.NDArray[np.int64]:
        """Which items of the chunk the offsets mean."""
        places = offsets.astype(np.int64) - _HEADER.size
        items = places >> 3
        if len(items) and (items.min() < 0 or items.max() >= n or bool((places & 7).any())):
            raise CodecError(
                f"Codec csr: offsets {offsets.min()} to {offsets.max()} are not those of {n} items in the "
                f"payload."
            )
        return items
