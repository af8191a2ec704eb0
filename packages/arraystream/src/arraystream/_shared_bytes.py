"""Bytes of this process that other processes can map: for readers that go into a ticket.

A reader keeps its array in `SharedBytes`.  Its first ticket copies the bytes once into an anonymous
file; all members of all later tickets map that same file.  In-process members never copy.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import tempfile
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


class SharedBytes:
    """A read-only byte array that travels in a ticket as a file descriptor.

    Parameters
    ----------
    array
        The bytes, shape ``(n,)``, dtype uint8.  Not copied; must not change afterwards.
    """

    def __init__(self, array: npt.NDArray[np.uint8]) -> None:
        self.array = array.view()
        self.array.flags.writeable = False
        self._fd = -1
        self._lock = threading.Lock()

    @classmethod
    def from_fd(cls, fd: int, n_bytes: int) -> SharedBytes:
        """Map the file behind `fd` and close `fd`."""
        try:
            if n_bytes == 0:
                return cls(np.empty(0, np.uint8))
            mapped = mmap.mmap(fd, n_bytes, prot=mmap.PROT_READ)
        finally:
            os.close(fd)
        return cls(np.frombuffer(mapped, np.uint8))

    def dup(self) -> int:
        """Return a new descriptor of the anonymous file; the caller closes it."""
        with self._lock:
            if self._fd < 0:
                self._fd = _anonymous_file(self.array)
            return os.dup(self._fd)

    def __reduce__(self) -> Any:
        # Outside a ticket (say, to another machine) the bytes travel by value.
        return SharedBytes, (np.array(self.array),)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            os.close(self._fd)


def _anonymous_file(array: npt.NDArray[np.uint8]) -> int:
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("arraystream")
    else:
        with tempfile.TemporaryFile() as unnamed:
            fd = os.dup(unnamed.fileno())
    try:
        rest = array.data
        while rest.nbytes:
            rest = rest[os.write(fd, rest[: 1 << 30]) :]
    except BaseException:
        os.close(fd)
        raise
    return fd


class _TicketPickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.fds: list[int] = []

    def persistent_id(self, obj: Any) -> tuple[int, int] | None:
        if not isinstance(obj, SharedBytes):
            return None
        self.fds.append(obj.dup())
        return len(self.fds) - 1, obj.array.nbytes


class _TicketUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, fds: Sequence[int]) -> None:
        super().__init__(file)
        self._fds = fds

    def persistent_load(self, pid: Any) -> SharedBytes:
        index, n_bytes = pid
        return SharedBytes.from_fd(self._fds[index], n_bytes)


def pack_for_ticket(obj: object) -> tuple[bytes, tuple[int, ...]]:
    """Pickle `obj` for a process of this machine; `SharedBytes` inside become descriptors."""
    file = io.BytesIO()
    pickler = _TicketPickler(file)
    try:
        pickler.dump(obj)
    except BaseException:
        for fd in pickler.fds:
            os.close(fd)
        raise
    return file.getvalue(), tuple(pickler.fds)


class _TravelPickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> None:
        if isinstance(obj, SharedBytes):
            raise TypeError("bytes in memory stay where they are")


def pack_to_travel(reader: object, most_bytes: int = 1 << 20) -> bytes | None:
    """Pickle a reader for another machine; ``None`` if it can't or should not go there.

    What holds its items in memory stays, and so does what would be larger than `most_bytes`: members
    elsewhere are better served with the items they need.
    """
    file = io.BytesIO()
    try:
        _TravelPickler(file, protocol=5).dump(reader)
    except Exception:  # whatever a reader of somebody else raises when it can't be pickled
        return None
    return file.getvalue() if file.tell() <= most_bytes else None


def unpack_from_ticket(data: bytes, fds: Sequence[int]) -> Any:
    """Undo `pack_for_ticket`; takes `fds` over.  Only for tickets, which come from our own parent."""
    return _TicketUnpickler(io.BytesIO(data), fds).load()
