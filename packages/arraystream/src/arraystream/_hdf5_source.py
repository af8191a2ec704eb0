"""HDF5 files as sources: what lies plainly in the file is mapped, the rest is read chunk by chunk.

HDF5 itself reads under one global lock.  Hence its library is asked only where the chunks are, as far as
that goes: uncompressed data are mapped, chunks with gzip, shuffle or Fletcher filters are decoded here, by
all workers at once.  Everything else (LZ4, bitshuffle, Blosc, virtual and converted data) is read by HDF5,
which threads do one after the other and processes side by side.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from ._chunk_grid import WANTED_BYTES, Edges, range_ends, regular_edges
from ._errors import LimitError, SourceError, TruncatedStream
from ._extras import require
from ._hdf5_reader import (
    ChunkTable,
    DecodedChunks,
    MappedChunks,
    SlicedDataset,
    load_filters,
    own_filters,
)
from ._hdf5_search import axes_of, find_parts
from ._range_reader import FileReader, RangeReader, SeriesReader
from ._sources import ArraySource, array_source, split_shape

MOST_ITEM_BYTES = 1 << 32


def open_hdf5(path: str | os.PathLike[str], dataset: str | None = None, *, sig_dims: int = 2) -> ArraySource:
    """Open a data set of an HDF5 file; its last `sig_dims` axes make an item, the others the index space.

    A series ``data_000001``, ``data_000002``, … (master files) is one source.  Chunks that were never
    written are read as the data set's fill value.

    Parameters
    ----------
    path
        The file.
    dataset
        Path of the data set in the file, or of the group to look into.  By default the one that NeXus or EMD
        attributes name, else the largest with at least three axes.
    sig_dims
        Axes of an item.

    Raises
    ------
    SourceError
        If it is no HDF5 file, or there is no suitable data set in it; the text lists those there are.
    TruncatedStream
        If the file ends before its data do, or a file of a series is missing.
    PluginError
        If h5py isn't installed.
    """
    h5py = require("h5py", "hdf5")
    load_filters()
    path = Path(path)
    with _opened(h5py, path) as file:
        parts = find_parts(file, dataset)
        first = parts[0]
        _check(path, first)
        index_shape, item_shape = split_shape(tuple(first.shape), sig_dims)
        item_bytes = math.prod(item_shape) * first.dtype.itemsize
        if item_bytes > MOST_ITEM_BYTES:
            raise LimitError(
                f"{path}: an item of {first.name} has {item_bytes} bytes; at most {MOST_ITEM_BYTES}."
            )
        if len(parts) > 1:
            return _open_series(path, parts, item_shape, sig_dims)
        reader, edges = _reader(first, sig_dims)
        axes = axes_of(first)
        name = f"{path}::{first.name}"
        ends = None if edges is None else range_ends(edges, item_bytes)
        return array_source(
            first.dtype,
            item_shape,
            reader,
            math.prod(index_shape),
            index_shape,
            name=name,
            ends=ends,
            axes=axes,
        )


def _opened(h5py: Any, path: Path) -> Any:
    with path.open("rb"):
        pass  # the system's own error for what is missing or forbidden
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "truncated" in str(error):
            raise TruncatedStream(f"{path} is cut off: {error}") from error
        raise SourceError(f"{path} can't be opened as HDF5 file: {error}") from error


def _check(path: Path, dataset: Any) -> None:
    if dataset.shape is None or dataset.dtype.kind not in "biufc":
        raise SourceError(
            f"{path}: {dataset.name} is of type {dataset.dtype}, shape {dataset.shape}: no array of numbers."
        )


def _open_series(path: Path, parts: list[Any], item_shape: tuple[int, ...], sig_dims: int) -> ArraySource:
    """Join data sets that follow one another."""
    readers: list[RangeReader] = []
    lengths: list[int] = []
    ends = []
    dtype = parts[0].dtype
    item_bytes = math.prod(item_shape) * dtype.itemsize
    for part in parts:
        if tuple(part.shape[-sig_dims:]) != item_shape or part.dtype != dtype:
            raise SourceError(
                f"{path}: items of {part.file.filename}::{part.name} are "
                f"{part.shape[-sig_dims:]} of {part.dtype}, "
                f"those before {item_shape} of {dtype}; name one data set with dataset=."
            )
        reader, edges = _reader(part, sig_dims)
        n_items, first = math.prod(part.shape[:-sig_dims]), sum(lengths)
        part_ends = None if edges is None else range_ends(edges, item_bytes)
        if part_ends is None:
            step = max(1, WANTED_BYTES // max(1, item_bytes))
            part_ends = np.append(np.arange(step, n_items, step), n_items)
        if n_items:
            ends.append(first + part_ends)
        readers.append(reader)
        lengths.append(n_items)
    n_items = sum(lengths)
    return array_source(
        dtype,
        item_shape,
        SeriesReader(readers, lengths),
        n_items,
        (n_items,),
        name=f"{path}::{parts[0].parent.name}",
        ends=np.concatenate(ends) if ends else None,
    )


def _reader(dataset: Any, sig_dims: int) -> tuple[RangeReader, Edges | None]:
    """Choose how to read a data set; also return where its chunks begin along the index axes."""
    path, shape = dataset.file.filename, tuple(dataset.shape)
    item_bytes = math.prod(shape[-sig_dims:]) * dataset.dtype.itemsize
    n_items = math.prod(shape[:-sig_dims])
    if not _is_stored_as_read(dataset) or n_items * item_bytes == 0:
        edges = None if dataset.chunks is None else regular_edges(shape, dataset.chunks)[:-sig_dims]
        return SlicedDataset(path, dataset.name, shape, dataset.dtype, sig_dims), edges
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        if offset is None:  # nothing was written, or it lies within the header
            return SlicedDataset(path, dataset.name, shape, dataset.dtype, sig_dims), None
        there = os.path.getsize(path)
        if offset + n_items * item_bytes > there:
            raise TruncatedStream(
                f"{path}: {dataset.name} of shape {shape} ends at byte {offset + n_items * item_bytes}, "
                f"the file has {there}."
            )
        return FileReader(path, offset, item_bytes, item_bytes), None
    edges = regular_edges(shape, dataset.chunks)
    filters = own_filters(dataset)
    table = None if filters is None else ChunkTable.of(dataset, os.path.getsize(path))
    if filters is None or table is None:
        return SlicedDataset(path, dataset.name, shape, dataset.dtype, sig_dims), edges[:-sig_dims]
    if not filters and table.is_complete and dataset.chunks[-sig_dims:] == shape[-sig_dims:]:
        return MappedChunks(path, table, shape, dataset.chunks, dataset.dtype, sig_dims), None
    fill = np.asarray(dataset.fillvalue, dataset.dtype)
    decoded = DecodedChunks(path, table, shape, dataset.chunks, dataset.dtype, sig_dims, filters, fill)
    return decoded, edges[:-sig_dims]


def _is_stored_as_read(dataset: Any) -> bool:
    """Whether the bytes in the file are those of the array: same type, same file, not virtual."""
    h5py = require("h5py", "hdf5")
    if dataset.is_virtual or dataset.external is not None:
        return False
    return bool(dataset.id.get_type() == h5py.h5t.py_create(dataset.dtype, logical=True))
