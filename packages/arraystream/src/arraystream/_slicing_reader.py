"""Items of anything that is sliced like an array and does the reading itself."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._chunk_grid import Box, boxes


class SlicingReader(ABC):
    """Reads ranges of items box by box into new memory; picklable if its parts are.

    Parameters
    ----------
    shape
        Of the whole array.
    dtype
        Of its elements.
    sig_dims
        Axes of an item.
    """

    def __init__(self, shape: Sequence[int], dtype: np.dtype[Any], sig_dims: int) -> None:
        split = len(shape) - sig_dims
        self._nav, self._sig = tuple(shape[:split]), tuple(shape[split:])
        self._dtype = dtype

    @abstractmethod
    def _read_box(self, box: Box, out: npt.NDArray[Any]) -> None:
        """Fill `out` with the items of a box, which is a slice per axis of the index space."""

    def read(self, first: int, n: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
        """Read items; see `RangeReader.read`."""
        out = np.empty((n, *self._sig), self._dtype)
        for at, box in boxes(self._nav, first, n):
            self._read_box(box, part_of(out, at, box))
        return as_payload(out)


def part_of(out: npt.NDArray[Any], at: int, box: Box) -> npt.NDArray[Any]:
    """Return the items of a box as a view of `out` in the shape of the box."""
    shape = tuple(part.stop - part.start for part in box)
    return out[at : at + math.prod(shape)].reshape(*shape, *out.shape[1:])


def as_payload(out: npt.NDArray[Any]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
    """Return items that lie one after the other as readers return them."""
    payload = out.reshape(-1).view(np.uint8)
    payload.flags.writeable = False
    step = payload.nbytes // max(len(out), 1)
    return payload, np.arange(len(out), dtype=np.uint64) * np.uint64(step)
