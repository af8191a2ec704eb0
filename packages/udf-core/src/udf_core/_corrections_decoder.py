"""A decoder that corrects what it decodes: one pass from stored numbers to corrected pixels where it can.

Plain stored numbers in native byte order are cast, subtracted and scaled straight from the payload, which
costs no more than the cast alone.  Other codecs cast on their own, in native code; the pass over the result
then finds it in the cache.  Decoding to integers and casting in the second pass was measured to be no faster.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from arraystream import Decoder, ItemDescriptor

from . import _corrections_kernels as kernels
from ._corrections import CorrectionSet, TileCorrection
from ._shape import prod
from ._tiling import TilingScheme

_PLAIN = tuple(np.dtype(code) for code in ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"))


class CorrectingDecoder:
    """Decodes bands of frames and corrects them (implements `arraystream.Decoder`).

    Parameters
    ----------
    descriptor
        What the items look like.
    decoder
        For these items.
    corrections
        For frames of their shape; must not be empty.
    dtype
        Type of the tiles, floats or complex.
    scheme
        How frames are cut; no band cuts through a repair.
    """

    def __init__(
        self,
        descriptor: ItemDescriptor,
        decoder: Decoder,
        corrections: CorrectionSet,
        dtype: np.dtype[Any],
        scheme: TilingScheme,
    ) -> None:
        self._decode = decoder.decode
        shape = descriptor.item_shape
        self._row_pixels = prod(shape[1:])
        self._tiles: dict[tuple[int, int], TileCorrection] = {}
        self._layouts: dict[tuple[int, int], npt.NDArray[np.int64]] = {}
        stored = np.dtype(descriptor.codec_params.get("dtype", descriptor.dtype))
        for start, stop in scheme.bands:
            origin, extents = (start, *(0,) * len(shape[1:])), (stop - start, *shape[1:])
            self._tiles[start, stop] = corrections.tile(dtype, origin, extents)
            self._layouts[start, stop] = np.array(
                [stored.itemsize, prod(shape), start * self._row_pixels], np.int64
            )
        self._stored = stored
        self._is_plain = (
            descriptor.codec == "raw"
            and stored in _PLAIN
            and stored.isnative
            and kernels.is_compiled_for(dtype)
            and next(iter(self._tiles.values())).maps is not None
        )
        self._compile(dtype)

    def decode(
        self,
        payload: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.uint64],
        rows: tuple[int, int],
        out: npt.NDArray[Any],
    ) -> None:
        """Decode a band of the scheme and correct it; see `arraystream.Decoder.decode`."""
        tile = self._tiles[rows]
        if self._is_plain and self._from_stored(payload, offsets, rows, tile, out):
            tile.repair(out)
            return
        self._decode(payload, offsets, rows, out)
        tile.apply(out)

    def _from_stored(
        self,
        payload: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.uint64],
        rows: tuple[int, int],
        tile: TileCorrection,
        out: npt.NDArray[Any],
    ) -> bool:
        """Cast and correct in one pass; False if the payload does not allow it."""
        itemsize = self._stored.itemsize
        numbers = payload[: payload.nbytes // itemsize * itemsize].view(self._stored)
        if not numbers.flags.aligned or tile.maps is None:
            return False
        numbers.flags.writeable = False  # one compiled kernel serves all payloads
        pixels = out.reshape(-1, tile.n_pixels)
        done: bool = kernels.correct_stored(numbers, offsets, self._layouts[rows], *tile.maps, pixels)
        return done

    def _compile(self, dtype: np.dtype[Any]) -> None:
        """Have the kernels compiled, or loaded, before data come."""
        (rows, tile), *_ = self._tiles.items()
        out = np.empty((0, rows[1] - rows[0], self._row_pixels), dtype)
        if self._is_plain:
            self._from_stored(np.empty(0, np.uint8), np.empty(0, np.uint64), rows, tile, out)
        for each in self._tiles.values():
            each.apply(np.empty((0, each.n_pixels), dtype))
