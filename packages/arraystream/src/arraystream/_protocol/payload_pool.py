"""Memory for payloads, used again as soon as no array looks at it.

Fresh memory for each chunk would cost a page fault per 4 KiB, more than receiving it.
"""

from __future__ import annotations

import mmap
import weakref
from collections import deque

import numpy as np
import numpy.typing as npt

from .messages import Message


class PayloadPool:
    """Hands out page-aligned memory.  Thread-safe.

    Parameters
    ----------
    n_blocks
        Most blocks kept for use again.
    """

    def __init__(self, n_blocks: int = 4) -> None:
        self._free: deque[mmap.mmap] = deque(maxlen=n_blocks)

    def allocate(self, n_bytes: int, message: Message | None = None) -> npt.NDArray[np.uint8]:
        """Return writable memory of `n_bytes`, not cleared."""
        block = self._take(n_bytes)
        # NumPy makes the lease the base of every array that views it, because the lease's own base is
        # no array.  So the lease lives as long as anybody looks at the block.
        lease: npt.NDArray[np.uint8] = np.ndarray((n_bytes,), np.uint8, buffer=block)
        weakref.finalize(lease, self._free.append, block).atexit = False
        return lease

    def _take(self, n_bytes: int) -> mmap.mmap:
        # Leases may end, in any thread, while we look.
        for _ in range(len(self._free)):
            try:
                block = self._free.popleft()
            except IndexError:
                break
            if n_bytes <= len(block) <= 4 * max(n_bytes, mmap.PAGESIZE):
                return block
            self._free.append(block)
        return mmap.mmap(-1, max(n_bytes, 1))
