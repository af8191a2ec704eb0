"""A file as read-only memory: views of it are no copies, and what lies ahead is fetched meanwhile.

The system fetches pages of a mapped file one small step at a time, when they are touched.  So it is told
what will be needed next, but only where that is not in the page cache yet: asking costs a microsecond,
telling much more.  Pages that were looked at stay mapped, for the next run; beyond a budget the oldest are
dropped, so that a process that reads a large file does not grow.  They stay in the page cache as long as the
system likes.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ._errors import TruncatedStream

AHEAD_BYTES = 32 << 20
"""How far to read ahead."""

_MOST_MAPPED = 4 << 30
_DROP_BYTES = 64 << 20


def mapped_budget() -> int:
    """Return how many bytes of a file may stay mapped: a quarter of the memory, at most 4 GiB."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return _MOST_MAPPED
    return min(_MOST_MAPPED, memory // 4)


class MappedFile:
    """A file mapped read-only in each process that uses it; thread-safe, picklable by its path.

    Parameters
    ----------
    path
        The file.  It must not be shortened while it is in use.
    budget
        How many bytes may stay mapped.
    """

    def __init__(self, path: str | os.PathLike[str], budget: int | None = None) -> None:
        self.path = Path(path).absolute()
        self._budget = mapped_budget() if budget is None else budget
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._fd = -1
        self._map: mmap.mmap | None = None
        self._bytes: npt.NDArray[np.uint8] | None = None
        self._seen: deque[tuple[int, int]] = deque()
        self._n_seen = 0
        self._advised = 0

    def view(self, start: int, stop: int, what: str = "the data") -> npt.NDArray[np.uint8]:
        """Return bytes ``[start, stop)`` of the file without copying them.

        The memory lives as long as the view.

        Raises
        ------
        TruncatedStream
            If the file is shorter than that.
        """
        with self._lock:
            mapped = self._open()
            if stop > mapped.nbytes:
                raise TruncatedStream(
                    f"{self.path} has {mapped.nbytes} bytes; {what} end at {stop}. "
                    "Was it shortened after it had been opened?"
                )
            ahead = self._place_ahead(start, stop, mapped.nbytes)
            self._note(start, stop)
        if ahead is not None:
            self._fetch(ahead)
        return mapped[start:stop]

    def _open(self) -> npt.NDArray[np.uint8]:
        if self._bytes is None:
            fd = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            self._fd = fd
            if os.fstat(fd).st_size == 0:
                self._bytes = np.empty(0, np.uint8)
            else:
                # The map outlives this object as long as an array looks at it.
                self._map = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
                self._bytes = np.frombuffer(self._map, np.uint8)
        return self._bytes

    def _place_ahead(self, start: int, stop: int, size: int) -> int | None:
        """Where to fetch the next stretch, if it is time for that."""
        if stop > self._advised or start < self._advised - 4 * AHEAD_BYTES:
            self._advised = stop  # a jump: begin anew from here
        elif stop < self._advised - AHEAD_BYTES // 2:
            return None
        place = self._advised
        self._advised = min(size, place + AHEAD_BYTES)
        return place if place < size else None

    def _fetch(self, place: int) -> None:
        """Have the system read ahead, unless the pages are there."""
        if not hasattr(os, "posix_fadvise"):
            return
        with contextlib.suppress(OSError):
            if not self._is_cached(place):
                os.posix_fadvise(self._fd, place, AHEAD_BYTES, os.POSIX_FADV_WILLNEED)

    def _is_cached(self, place: int) -> bool:
        try:
            os.preadv(self._fd, [bytearray(1)], place, os.RWF_NOWAIT)
        except (OSError, AttributeError):  # it would have to wait, or the file system can't tell
            return False
        return True

    def _note(self, start: int, stop: int) -> None:
        """Drop the oldest pages once the budget is used up; who still looks at them gets them back."""
        if self._map is None or sys.platform != "linux":
            return
        self._seen.append((start, stop))
        self._n_seen += stop - start
        if self._n_seen < self._budget:
            return
        dropped = 0
        while self._seen and dropped < min(_DROP_BYTES, self._budget):
            start, stop = self._seen.popleft()
            dropped += stop - start
            first = start // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, first, stop - first)
        self._n_seen -= dropped

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "budget": self._budget}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path, self._budget = state["path"], state["budget"]
        self._forget()

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            os.close(self._fd)
