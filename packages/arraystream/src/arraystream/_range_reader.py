"""Readers: the bytes of any range of items, from a file or from memory, without copying."""

from __future__ import annotations

import mmap
import os
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ._chunk import FeedChunk, Lease
from ._errors import TruncatedStream
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
        self._path = Path(path).absolute()
        self._offset, self._step, self._item_bytes = offset, step, item_bytes
        self._map: npt.NDArray[np.uint8] | None = None
        self._lock = threading.Lock()

    def read(self, first: int, n: int) -> _Payload:
        """Return a view of the file's map; see `RangeReader.read`.

        Raises
        ------
        TruncatedStream
            If the file was shortened since it was opened.
        """
        start = self._offset + first * self._step
        stop = start + (n - 1) * self._step + self._item_bytes
        mapped = self._mapped()
        if stop > mapped.nbytes:
            raise TruncatedStream(
                f"{self._path} has {mapped.nbytes} bytes; items {first} to {first + n - 1} end at {stop}. "
                "Was it shortened after it had been opened?"
            )
        return mapped[start:stop], _spaced(n, self._step)

    def _mapped(self) -> npt.NDArray[np.uint8]:
        with self._lock:
            if self._map is None:
                with self._path.open("rb") as file:
                    # The map outlives this object as long as an array looks at it.
                    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self._map = np.frombuffer(mapped, np.uint8)
            return self._map

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_map": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


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
