"""Arrays in files and in memory as sources: what the items are, and feeds over them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ._axes import Axis
from ._chunk import ItemDescriptor
from ._chunk_grid import WANTED_BYTES
from ._errors import ConnectionClosed, SourceError, TruncatedStream
from ._range_feed import RangeFeed
from ._range_reader import FileReader, MemoryReader, RangeReader
from ._shared_bytes import SharedBytes

#: Chunks are so large that handing one out costs little beside reading it, and so small that a data set of a
#: few hundred MiB still has some for each core.
_MOST_CHUNK_BYTES = 16 << 20
_CHUNKS_WANTED = 256


class ArraySource:
    """Data that is already there: any number of feeds can be opened over it.

    Parameters
    ----------
    descriptor
        What the items look like.
    reader
        Gives the bytes of any range of items.
    n_items
        How many items there are.
    index_shape
        The index space the source itself states; empty if it states none.
    ends
        Where chunks of a feed best end, the last one at `n_items`; by default anywhere.
    corrections
        What the source itself says is wrong with its pixels, see `correction_data`.
    """

    def __init__(
        self,
        descriptor: ItemDescriptor,
        reader: RangeReader,
        *,
        n_items: int,
        index_shape: tuple[int, ...] = (),
        ends: Sequence[int] | npt.NDArray[np.int64] | None = None,
        corrections: Mapping[str, Any] | None = None,
    ) -> None:
        self.descriptor = descriptor
        self._corrections = dict(corrections or {})
        self._ends = None if ends is None else [int(end) for end in ends]
        self.n_items = n_items
        self.index_shape = index_shape
        self._reader: RangeReader | None = reader

    @property
    def reader(self) -> RangeReader:
        """Gives the bytes of any range of items; for sources made of other sources.

        Raises
        ------
        ConnectionClosed
            After `close`.
        """
        if self._reader is None:
            raise ConnectionClosed("The source has been closed; open it again.")
        return self._reader

    @property
    def ends(self) -> tuple[int, ...] | None:
        """Where chunks of a feed best end; ``None`` for anywhere."""
        return None if self._ends is None else tuple(self._ends)

    def correction_data(self) -> Mapping[str, Any]:
        """Return what the source itself says is wrong with its pixels; mostly nothing.

        Returns
        -------
        mapping
            As of `Connection.correction_data`.
        """
        return self._corrections

    def feed(self, chunk_items: int | None = None) -> RangeFeed:
        """Open a feed over all items.

        Parameters
        ----------
        chunk_items
            Items per chunk; by default what the chunks of the file suggest, else 4 to 16 MiB of decoded
            items, the more data the larger.

        Raises
        ------
        ConnectionClosed
            After `close`.
        """
        reader = self.reader
        if chunk_items is None and self._ends is not None:
            return RangeFeed(self.descriptor, reader, n_items=self.n_items, ends=self._ends)
        if chunk_items is None:
            item_bytes = self.descriptor.item_size * self.descriptor.dtype.itemsize
            wanted = self.n_items * item_bytes // _CHUNKS_WANTED
            chunk_bytes = min(max(wanted, WANTED_BYTES), _MOST_CHUNK_BYTES)
            chunk_items = max(1, chunk_bytes // max(1, item_bytes))
        return RangeFeed(self.descriptor, reader, n_items=self.n_items, chunk_items=chunk_items)

    def close(self) -> None:
        """Let go of the data; feeds that are open keep working.  Idempotent."""
        self._reader = None

    def __enter__(self) -> ArraySource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_raw(
    path: str | os.PathLike[str],
    dtype: npt.DTypeLike,
    item_shape: tuple[int, ...],
    *,
    index_shape: tuple[int, ...] = (),
    offset: int = 0,
    gap_bytes: int = 0,
    n_items: int | None = None,
) -> ArraySource:
    """Open a file of plain items in C order; the file is mapped, never read as a whole.

    Parameters
    ----------
    path
        The file.  It must not be shortened while it is open.
    dtype
        Stored type with its byte order, e.g. ``">u2"``.
    item_shape
        Shape of one item.
    index_shape
        The index space, if known.
    offset
        Bytes in front of the first item.
    gap_bytes
        Bytes between one item and the next, e.g. a header per item.
    n_items
        How many items; by default as many as the file holds.

    Raises
    ------
    TruncatedStream
        If the file holds fewer items than `n_items` or `index_shape` say, or ends within an item.
    """
    if offset < 0 or gap_bytes < 0:
        raise ValueError(f"offset is {offset}, gap_bytes is {gap_bytes}; neither may be negative.")
    stored, item_shape = np.dtype(dtype), tuple(int(extent) for extent in item_shape)
    item_bytes = math.prod(item_shape) * stored.itemsize
    if item_bytes <= 0 or min(item_shape, default=1) < 0:
        raise ValueError(f"An item of shape {item_shape} has no bytes; correct item_shape.")
    n_items = _count_items(Path(path), offset, item_bytes, gap_bytes, n_items)
    index_shape = tuple(int(extent) for extent in index_shape)
    if index_shape and math.prod(index_shape) > n_items:
        raise TruncatedStream(
            f"{path}: index_shape {index_shape} needs {math.prod(index_shape)} items, it has {n_items}. "
            "Correct index_shape, dtype, item_shape or offset."
        )
    reader = FileReader(path, offset, item_bytes + gap_bytes, item_bytes)
    return array_source(stored, item_shape, reader, n_items, index_shape, name=os.fspath(path))


def _count_items(path: Path, offset: int, item_bytes: int, gap_bytes: int, wanted: int | None) -> int:
    """Items in the file; the last one need not be followed by a gap."""
    there, rest = divmod(max(0, path.stat().st_size - offset + gap_bytes), item_bytes + gap_bytes)
    if wanted is None and rest not in (0, gap_bytes):
        raise TruncatedStream(
            f"{path}: after {there} items of {item_bytes} bytes, {rest} bytes are left over. "
            "Correct dtype, item_shape or offset, or say how many items to take with n_items."
        )
    if wanted is not None and wanted > there:
        raise TruncatedStream(f"{path}: n_items is {wanted}, the file has {there}.")
    return there if wanted is None else wanted


def open_npy(path: str | os.PathLike[str], sig_dims: int = 2) -> ArraySource:
    """Open a ``.npy`` file; its last `sig_dims` axes make an item, the others are the index space.

    Raises
    ------
    ValueError
        If the array is in Fortran order or has too few axes.
    SourceError
        If it is no ``.npy`` file, or not of numbers.
    TruncatedStream
        If the file is shorter than its header says.
    """
    shape, fortran_order, dtype, offset = _read_npy_header(Path(path))
    if fortran_order and len(shape) > 1:
        raise ValueError(
            f"{path} is in Fortran order, which can't be read frame by frame; "
            "save np.ascontiguousarray(array) instead."
        )
    index_shape, item_shape = split_shape(shape, sig_dims)
    n_items = math.prod(index_shape)
    if n_items == 0:
        return open_memory(np.empty(shape, dtype), sig_dims)
    return open_raw(path, dtype, item_shape, index_shape=index_shape, offset=offset, n_items=n_items)


def _read_npy_header(path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, order, dtype, and where the data begin."""
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
            else:
                shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(file)
        except ValueError as error:
            raise SourceError(f"{path} is no .npy file, or its header is damaged: {error}") from error
        if min(shape, default=0) < 0:
            raise SourceError(f"{path}: the header says that the shape is {shape}.")
        if dtype.kind not in "biufc":
            raise SourceError(f"{path} holds {dtype}, which are no plain numbers.")
        return shape, fortran_order, dtype, file.tell()


def open_memory(array: npt.ArrayLike, sig_dims: int = 2) -> ArraySource:
    """Open an array in memory; its last `sig_dims` axes make an item, the others the index space.

    Members in this process look at `array` itself.  The first ticket copies it once into shared
    memory, which members in other processes map.  An array that is not C-contiguous is copied here.
    """
    stored = np.ascontiguousarray(array)
    index_shape, item_shape = split_shape(np.shape(array), sig_dims)
    item_bytes = math.prod(item_shape) * stored.dtype.itemsize
    if stored.dtype.kind not in "biufc":
        raise SourceError(f"Items of type {stored.dtype} are no plain numbers.")
    reader = MemoryReader(SharedBytes(stored.reshape(-1).view(np.uint8)), item_bytes)
    return array_source(stored.dtype, item_shape, reader, math.prod(index_shape), index_shape, name="memory")


def split_shape(shape: tuple[int, ...], sig_dims: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Cut the shape of an array into the index space and the shape of an item."""
    if not 1 <= sig_dims <= len(shape):
        raise ValueError(f"sig_dims is {sig_dims}; an array of shape {shape} allows 1 to {len(shape)}.")
    split = len(shape) - sig_dims
    return shape[:split], shape[split:]


def array_source(
    stored: np.dtype[Any],
    item_shape: tuple[int, ...],
    reader: RangeReader,
    n_items: int,
    index_shape: tuple[int, ...],
    *,
    name: str,
    ends: Sequence[int] | npt.NDArray[np.int64] | None = None,
    axes: tuple[Axis, ...] = (),
) -> ArraySource:
    """Make the source of items in C order, stored as `stored`."""
    meta: dict[str, Any] = {"source": name}
    if axes:
        meta["axes"] = axes
    descriptor = ItemDescriptor(
        dtype=stored.newbyteorder("="),
        item_shape=item_shape,
        codec="raw",
        codec_params={"dtype": stored.str},
        index_shape=index_shape,
        n_items=n_items,
        meta=meta,
    )
    return ArraySource(descriptor, reader, n_items=n_items, index_shape=index_shape, ends=ends)
