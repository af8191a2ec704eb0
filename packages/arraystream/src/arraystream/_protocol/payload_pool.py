"""Memory for payloads, used again as soon as no array looks at it.

Fresh memory for each chunk would cost a page fault per 4 KiB, more than receiving it.
"""

from __future__ import annotations

import weakref
from collections import deque

import numpy as np
import numpy.typing as npt

from .messages import Message

_ALIGNMENT = 64


class PayloadPool:
    """Hands out aligned memory.  Thread-safe.

    Parameters
    ----------
    n_blocks
        Most blocks kept for use again.
    """

    def __init__(self, n_blocks: int = 4) -> None:
        self._free: deque[npt.NDArray[np.uint8]] = deque(maxlen=n_blocks)

    def allocate(self, n_bytes: int, message: Message | None = None) -> npt.NDArray[np.uint8]:
        """Return writable memory of `n_bytes`, at a multiple of 64 bytes, not cleared."""
        block = self._take(n_bytes + _ALIGNMENT)
        start = -block.ctypes.data % _ALIGNMENT
        # Every view of the lease keeps the lease alive, because its base is no array.
        lease: npt.NDArray[np.uint8] = np.ndarray((n_bytes,), np.uint8, buffer=block.data, offset=start)
        weakref.finalize(lease, self._free.append, block).atexit = False
        return lease

    def _take(self, n_bytes: int) -> npt.NDArray[np.uint8]:
        # Leases may end, in any thread, while we look.
        for _ in range(len(self._free)):
            try:
                block = self._free.popleft()
            except IndexError:
                break
            if n_bytes <= block.nbytes <= 4 * n_bytes:
                return block
            self._free.append(block)
        return np.empty(n_bytes, np.uint8)
