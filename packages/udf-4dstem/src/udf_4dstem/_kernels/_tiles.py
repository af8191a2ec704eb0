"""How the kernels see a tile: a read-only, C-contiguous array of a native real dtype.

Every compiled kernel is specialised on the dtype of its arguments *and* on whether an array may be written,
so all tiles go through the views of this module before they reach one.  That keeps the specialisations to one
per dtype, and a tile from shared memory (read-only) meets the same machine code as one from the heap.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Tile = npt.NDArray[Any]


def stack_view(tile: Tile) -> Tile:
    """Return a tile of real numbers as rows of pixels, shape ``(n, pixels)``.

    No copy is made of a C-contiguous tile of a native integer or float dtype.  Booleans are viewed as bytes;
    half floats, foreign byte orders and strided tiles are copied.
    """
    tile = _native(tile)
    n = tile.shape[0]
    view = tile.reshape(n, tile.size // n if n else 0)
    view.setflags(write=False)
    return view


def image_view(tile: Tile) -> Tile:
    """Return a tile of real numbers as ``(n, rows, width)``; like `stack_view` otherwise."""
    if tile.ndim != 3:
        raise ValueError(f"a tile of 2-D frames has three axes, this one has shape {tile.shape}")
    view = _native(tile).view()
    view.setflags(write=False)
    return view


def real_pairs(tile: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a complex array as one of floats with a last axis twice as long (re, im, re, …), uncopied."""
    contiguous = np.ascontiguousarray(tile)
    return contiguous.view(contiguous.real.dtype)


@cache
def lane_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which short sums (up to 1024 pixels, 256 rows) of `dtype` are exact or nearly so.

    Integers: exact, 32 bit for inputs of up to 16 bit, else 64 bit.  Floats: their own precision.
    """
    if dtype.kind == "f":
        return dtype
    return np.dtype(f"{dtype.kind}{4 if dtype.itemsize <= 2 else 8}")


@cache
def total_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype for sums over the depth of a tile: the lane's for integers, float64 for floats."""
    return np.dtype(np.float64) if dtype.kind == "f" else lane_dtype(dtype)


@cache
def weight_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the float dtype in which pixels of `dtype` are exact: float32 up to 16 bit, else float64."""
    narrow = dtype.itemsize <= (4 if dtype.kind == "f" else 2)
    return np.dtype(np.float32 if narrow else np.float64)


@cache
def _is_plain(dtype: np.dtype[Any]) -> bool:
    return dtype.isnative and (dtype.kind in "iu" or (dtype.kind == "f" and dtype.itemsize in (4, 8)))


def _native(tile: Tile) -> Tile:
    dtype = tile.dtype
    if not _is_plain(dtype):
        if dtype.kind == "b":
            tile = tile.view(np.uint8)
        elif dtype.kind == "f" and dtype.itemsize == 2:
            tile = tile.astype(np.float32)
        elif dtype.kind in "iuf":
            tile = tile.astype(
                np.float64 if dtype.kind == "f" and dtype.itemsize > 8 else dtype.newbyteorder("=")
            )
        else:
            raise TypeError(f"a tile of real numbers is needed, not of dtype {dtype}")
    return np.ascontiguousarray(tile)
