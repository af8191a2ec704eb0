"""Tiles of data that are stored as sparse rows, handed over without making them dense."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from arraystream import CodecError, ItemDescriptor

from ._backends import CSR_ARRAY
from ._shape import prod


@runtime_checkable
class SparseDecoder(Protocol):
    """What a decoder has beside ``decode`` if its items are sparse."""

    def rows(
        self, payload: npt.NDArray[np.uint8], offsets: npt.NDArray[np.uint64]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """Return values, columns and row pointers of some items, checked."""
        ...


class SparseTiles:
    """Makes CSR tiles of shape ``(n_frames, n_pixels)``.

    Parameters
    ----------
    descriptor
        What the items look like.
    decoder
        For these items; a `SparseDecoder`.
    dtype
        Type of the values.
    backend
        Matrix or array, by its name.
    """

    def __init__(self, descriptor: ItemDescriptor, decoder: Any, dtype: np.dtype[Any], backend: str) -> None:
        if not isinstance(decoder, SparseDecoder):
            raise CodecError(
                f"codec {descriptor.codec!r} is planned as sparse, but can't hand out its rows; report this"
            )
        from scipy.sparse import csr_array, csr_matrix

        self._make = csr_array if backend == CSR_ARRAY else csr_matrix
        self._rows = decoder.rows
        self._dtype = dtype
        self._n_pixels = descriptor.item_size
        self._row = prod(descriptor.item_shape[1:])

    def __call__(
        self, payload: npt.NDArray[np.uint8], offsets: npt.NDArray[np.uint64], band: tuple[int, int]
    ) -> Any:
        """Return the tile of some items and a band of rows of each."""
        values, columns, pointers = self._rows(payload, offsets)
        shape = len(offsets), self._n_pixels
        tile = self._make(
            (values.astype(self._dtype, copy=False), columns, pointers), shape=shape, copy=False
        )
        first, last = band[0] * self._row, band[1] * self._row
        return tile if (first, last) == (0, self._n_pixels) else tile[:, first:last]
