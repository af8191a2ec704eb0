"""Dask arrays as sources: the workers compute the chunks they need, when they need them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ._axes import Axis
from ._chunk_grid import Box, range_ends
from ._errors import SourceError
from ._extras import require
from ._slicing_reader import SlicingReader
from ._sources import ArraySource, array_source, split_shape


class DaskReader(SlicingReader):
    """Computes the chunks of a range in the worker's own thread; the rest of the graph is left alone."""

    def __init__(self, array: Any, sig_dims: int) -> None:
        super().__init__(array.shape, array.dtype, sig_dims)
        self._array = array

    def _read_box(self, box: Box, out: npt.NDArray[Any]) -> None:
        computed = self._array[(*box, Ellipsis)].compute(scheduler="synchronous")
        out[...] = np.asarray(computed)

    def __getstate__(self) -> dict[str, Any]:
        # Graphs may hold functions that only cloudpickle takes; dask depends on it.
        cloudpickle = require("cloudpickle", "dask")
        return self.__dict__ | {"_array": cloudpickle.dumps(self._array)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        cloudpickle = require("cloudpickle", "dask")
        self.__dict__.update(state, _array=cloudpickle.loads(state["_array"]))


def open_dask_array(
    array: Any, *, sig_dims: int = 2, axes: tuple[Axis, ...] = (), name: str = "dask array"
) -> ArraySource:
    """Open a ``dask.array.Array``; its last `sig_dims` axes make an item, the others the index space.

    It is never computed as a whole.  Ranges of items follow the chunks, so that each is computed once, unless
    chunks of the index space hold more than 128 MiB of items.

    Parameters
    ----------
    array
        The array.  To be used in worker processes, its graph must be picklable by cloudpickle.
    sig_dims
        Axes of an item.
    axes, name
        What is known of the array.

    Raises
    ------
    SourceError
        If it is no dask array of numbers, or its shape is not known.
    PluginError
        If dask isn't installed.
    """
    dask_array = require("dask.array", "dask")
    if not isinstance(array, dask_array.Array):
        raise SourceError(f"Source 'dask-array' wants a dask.array.Array, got {type(array).__name__}.")
    if any(math.isnan(extent) for extent in array.shape):
        raise SourceError(f"{array!r} has chunks of unknown size; call its compute_chunk_sizes() first.")
    if array.dtype.kind not in "biufc":
        raise SourceError(f"{array!r} is no array of numbers.")
    index_shape, item_shape = split_shape(tuple(int(extent) for extent in array.shape), sig_dims)
    edges = tuple(np.cumsum((0, *sizes), dtype=np.int64) for sizes in array.chunks[: len(index_shape)])
    ends = range_ends(edges, math.prod(item_shape) * array.dtype.itemsize)
    return array_source(
        array.dtype,
        item_shape,
        DaskReader(array, sig_dims),
        math.prod(index_shape),
        index_shape,
        name=name,
        ends=ends,
        axes=axes,
    )
