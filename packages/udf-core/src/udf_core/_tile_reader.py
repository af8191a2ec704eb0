"""Tiles from the encoded bytes of a chunk: decoded and corrected in a reused buffer, or not copied at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from arraystream import Decoder, ItemDescriptor

from ._backends import NUMPY, is_sparse
from ._buffer import Array
from ._corrections import CorrectionSet
from ._corrections_decoder import CorrectingDecoder
from ._devices import Device
from ._shape import prod
from ._sparse_tiles import SparseTiles
from ._tiling import TilingScheme

_ALIGNMENT = 64


def is_plain(
    descriptor: ItemDescriptor, dtype: npt.DTypeLike, corrections: CorrectionSet | None = None
) -> bool:
    """Tell whether the bytes of an item are its pixels in `dtype` already, with nothing to correct."""
    if corrections is not None and corrections.have_corrections():
        return False
    stored = np.dtype(descriptor.codec_params.get("dtype", descriptor.dtype))
    return descriptor.codec == "raw" and stored == np.dtype(dtype) and stored.isnative


class TileReader:
    """Makes tiles of one type from chunks; used by one worker.

    Parameters
    ----------
    descriptor
        What the items look like.
    decoder
        For these items.
    dtype
        Type of the tiles.
    scheme
        How frames are cut.
    corrections
        What is done to each tile; ``None`` for nothing.
    source
        Array type of the tiles: NumPy's, or rows of a sparse matrix.
    device
        What the tiles are for: memory is allocated so that transfers are fast.

    Attributes
    ----------
    height
        What ``tile.shape[1]`` of all tiles of a frame adds up to.
    """

    def __init__(
        self,
        descriptor: ItemDescriptor,
        decoder: Decoder,
        dtype: np.dtype[Any],
        scheme: TilingScheme,
        corrections: CorrectionSet | None = None,
        source: str = NUMPY,
        device: Device | None = None,
    ) -> None:
        if corrections is not None and corrections.have_corrections():
            decoder = CorrectingDecoder(descriptor, decoder, corrections, dtype, scheme)
        self.decode = decoder.decode
        self.height = descriptor.item_shape[0]
        self.sparse: SparseTiles | None = None
        if is_sparse(source):
            self.sparse = SparseTiles(descriptor, decoder, dtype, source)
            self.height = descriptor.item_size
        self._new_memory = (device or Device()).host_memory
        self._dtype = dtype
        self._sig_shape = descriptor.item_shape
        self._rest = descriptor.item_shape[1:]
        self._item_bytes = prod(descriptor.item_shape) * dtype.itemsize
        self._plain = is_plain(descriptor, dtype, corrections) and len(scheme) == 1
        # Offsets that are known to have no gaps: readers of plain files hand out the same ones each time.
        self._packed: npt.NDArray[np.uint64] | None = None
        self._memory = np.empty(0, np.uint8)
        self._tiles: dict[tuple[int, int], Array] = {}

    def whole(self, payload: npt.NDArray[np.uint8], offsets: npt.NDArray[np.uint64]) -> Array | None:
        """Return the frames as they lie in the payload, read-only, or ``None`` if they must be decoded."""
        if not self._plain or not len(offsets):
            return None
        first = int(offsets[0])
        n = len(offsets)
        stop = first + n * self._item_bytes
        if stop > payload.nbytes:
            return None
        if offsets is not self._packed:
            if not np.array_equal(offsets, np.arange(first, stop, self._item_bytes, dtype=np.uint64)):
                return None
            self._packed = None if offsets.flags.writeable else offsets
        frames: Array = payload[first:stop].view(self._dtype).reshape((n, *self._sig_shape))
        if not frames.flags.aligned:
            return None
        frames.flags.writeable = False
        return frames

    def buffer(self, depth: int, rows: int) -> Array:
        """Return C-contiguous memory for a tile; the next tile gets the same."""
        tile = self._tiles.get((depth, rows))
        if tile is None:
            shape = (depth, rows, *self._rest)
            n_bytes = prod(shape) * self._dtype.itemsize
            if n_bytes > len(self._memory):
                memory = self._new_memory(n_bytes + _ALIGNMENT)
                start = -memory.ctypes.data % _ALIGNMENT
                self._memory = memory[start : start + n_bytes]
                self._tiles.clear()
            elif len(self._tiles) > 1024:
                self._tiles.clear()
            tile = self._memory[:n_bytes].view(self._dtype).reshape(shape)
            self._tiles[depth, rows] = tile
        return tile
