"""Readers: the bytes of any range of items, from a file or from memory, without copying."""

from __future__ import annotations

import bisect
import itertools
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ._chunk import FeedChunk, Lease
from ._mapped_file import MappedFile
from ._range_ledger import Loan
from ._shared_bytes import SharedBytes

_Payload = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]


class RangeReader(Protocol):
    """Random access to items.  Picklable, so that it can go into a ticket; used by many threads.

    Large arrays in memory belong into a `SharedBytes`, which a ticket passes as a file descriptor.
    """

    def read(self, first: int, n: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
        """Return the bytes of items ``[first, first + n)``, without copying where possible.

        Returns
        -------
        payload
            Read-only, shape ``(n_bytes,)``.
        offsets
            Where each item starts in `payload`, shape ``(n,)``.
        """
        ...


class MemoryReader:
    """Items that lie one after the other in memory."""

    def __init__(self, data: SharedBytes, item_bytes: int) -> None:
        self._data = data
        self._item_bytes = item_bytes

    def read(self, first: int, n: int) -> _Payload:
        """Return a view of the items; see `RangeReader.read`."""
        step = self._item_bytes
        return self._data.array[first * step : (first + n) * step], _spaced(n, step)


class FileReader:
    """Items at equal distances in a file, mapped read-only in each process that reads it.

    Parameters
    ----------
    path
        The file; an absolute path travels in tickets.
    offset
        Where the first item starts, bytes.
    step
        Distance of two items, bytes.
    item_bytes
        Bytes of one item, at most `step`.
    """

    def __init__(self, path: str | os.PathLike[str], offset: int, step: int, item_bytes: int) -> None:
        self._file = MappedFile(path)
        self._offset, self._step, self._item_bytes = offset, step, item_bytes

    def read(self, first: int, n: int) -> _Payload:
        """Return a view of the file's map; see `RangeReader.read`.

        Raises
        ------
        TruncatedStream
            If the file was shortened since it was opened.
        """
        start = self._offset + first * self._step
        stop = start + (n - 1) * self._step + self._item_bytes
        return self._file.view(start, stop, f"items {first} to {first + n - 1}"), _spaced(n, self._step)


class SeriesReader:
    """Readers one after the other, for data in several files.

    Parameters
    ----------
    readers
        Of the parts.
    lengths
        Items of each part.
    """

    def __init__(self, readers: Sequence[RangeReader], lengths: Sequence[int]) -> None:
        self._readers = list(readers)
        self._starts = [0, *itertools.accumulate(lengths)]

    def read(self, first: int, n: int) -> _Payload:
        """Return the items; they are copied if they come from more than one part."""
        part = bisect.bisect_right(self._starts, first) - 1
        payloads, offsets, length = [], [], 0
        while n > 0:
            take = min(n, self._starts[part + 1] - first)
            if take > 0:
                payload, where = self._readers[part].read(first - self._starts[part], take)
                payloads.append(payload)
                offsets.append(where + np.uint64(length))
                length += payload.nbytes
            first, n, part = first + take, n - take, part + 1
        if len(payloads) == 1:
            return payloads[0], offsets[0]
        joined = np.concatenate(payloads)
        joined.flags.writeable = False
        return joined, np.concatenate(offsets)


@lru_cache(maxsize=16)
def _spaced(n: int, step: int) -> npt.NDArray[np.uint64]:
    offsets = np.arange(n, dtype=np.uint64) * np.uint64(step)
    offsets.flags.writeable = False
    return offsets


def read_loan(reader: RangeReader, loan: Loan) -> FeedChunk:
    """Read what was lent."""
    payload, offsets = reader.read(loan.first, loan.n)
    return FeedChunk(loan.first, loan.n, payload, offsets, Lease(loan.token, _nothing), loan.attempt)


def _nothing() -> None:
    """Release a lease on a map: the memory goes with the last array that looks at it."""
