"""Zarr arrays as sources, formats 3 and 2, on disk or behind a URL."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ._axes import Axis, axis, text
from ._chunk_grid import Box, range_ends, regular_edges
from ._errors import CodecError, SourceError
from ._extras import require
from ._slicing_reader import SlicingReader
from ._sources import ArraySource, array_source, split_shape

_LEAST_AXES = 3


class ZarrReader(SlicingReader):
    """Reads by Zarr's own machinery, which decodes several chunks at once."""

    def __init__(self, array: Any, sig_dims: int, name: str) -> None:
        super().__init__(array.shape, array.dtype, sig_dims)
        self._array = array
        self._name = name

    def _read_box(self, box: Box, out: npt.NDArray[Any]) -> None:
        try:
            out[...] = self._array[(*box, Ellipsis)]
        except Exception as error:  # codecs raise whatever they like
            raise CodecError(
                f"{self._name} can't be read at {box}: {type(error).__name__}: {error}. "
                "A chunk is damaged, or its storage can't be reached."
            ) from error


def open_zarr(
    store: Any,
    array: str | None = None,
    *,
    sig_dims: int = 2,
    storage_options: Mapping[str, Any] | None = None,
) -> ArraySource:
    """Open a Zarr array; its last `sig_dims` axes make an item, the others the index space.

    Ranges of items follow the chunks, or the shards, so that each is read once.  A chunk that is not in the
    store is read as the array's fill value: Zarr itself can't tell a lost chunk from one.

    Parameters
    ----------
    store
        A folder, a ``.zip`` file, a URL, a Zarr store, or an open ``zarr.Array``.
    array
        Path of the array in the store; by default the largest numeric one with at least three axes.
    sig_dims
        Axes of an item.
    storage_options
        For the file system behind a URL.

    Raises
    ------
    SourceError
        If there is no such array; the text lists those there are.
    FileNotFoundError
        If there is nothing at that place.
    PluginError
        If zarr isn't installed.
    """
    zarr = require("zarr", "zarr")
    found = store if isinstance(store, zarr.Array) else _find(zarr, store, array, storage_options)
    name = f"{store if isinstance(store, str | os.PathLike) else found.store}::/{found.path}"
    if found.dtype.kind not in "biufc":
        raise SourceError(f"{name} is of type {found.dtype}: no array of numbers.")
    index_shape, item_shape = split_shape(tuple(found.shape), sig_dims)
    item_bytes = math.prod(item_shape) * found.dtype.itemsize
    ends = range_ends(regular_edges(found.shape, found.shards or found.chunks)[:-sig_dims], item_bytes)
    return array_source(
        np.dtype(found.dtype),
        item_shape,
        ZarrReader(found, sig_dims, name),
        math.prod(index_shape),
        index_shape,
        name=name,
        ends=ends,
        axes=_axes(found),
    )


def _find(zarr: Any, store: Any, path: str | None, storage_options: Mapping[str, Any] | None) -> Any:
    options = None if storage_options is None else dict(storage_options)
    if isinstance(store, os.PathLike):
        store = os.fspath(store)
    if isinstance(store, str) and "://" not in store and not os.path.exists(store):
        raise FileNotFoundError(f"There is no {store}.")
    try:
        thing = zarr.open(store, path=path, mode="r", storage_options=options)
    except (zarr.errors.NodeNotFoundError, FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{store} has no Zarr array or group at {path or '/'!r}: {error}") from error
    if isinstance(thing, zarr.Array):
        return thing
    arrays = list(_arrays(thing))
    suitable = [a for a in arrays if a.ndim >= _LEAST_AXES and a.dtype.kind in "biufc"]
    if not suitable:
        there = ", ".join(f"{a.path} {a.shape} {a.dtype}" for a in arrays[:12]) or "no arrays"
        raise SourceError(
            f"{store} has no numeric array with at least {_LEAST_AXES} axes; it has {there}. "
            "Name one with array=."
        )
    return max(suitable, key=lambda a: a.size * a.dtype.itemsize)


def _arrays(group: Any) -> Iterator[Any]:
    for _, array in sorted(group.arrays()):
        yield array
    for _, child in sorted(group.groups()):
        yield from _arrays(child)


def _axes(array: Any) -> tuple[Axis, ...]:
    """Names of the axes, from Zarr 3 or from xarray's attribute."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    if not isinstance(names, list | tuple) or len(names) != array.ndim:
        return ()
    return tuple(axis(text(name)) for name in names)
