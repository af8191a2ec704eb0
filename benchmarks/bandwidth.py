"""How fast this machine reads memory: what no sum over data can beat."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import numba
import numpy as np

N_BYTES = 1 << 30


@numba.njit(nogil=True, cache=True)
def _read(words: Any, total: Any) -> None:
    here = np.uint64(0)
    for i in range(words.size):
        here += words[i]
    total[0] = here


class MemoryReading:
    """Adds up the 64-bit words of a large array, one thread per core.

    The loop needs one vector addition per load, so it waits for memory only.
    """

    def __init__(self) -> None:
        self._words = np.ones(N_BYTES // 8, np.uint64)
        _read(self._words[:8], np.zeros(1, np.uint64))

    def sample(self) -> float:
        """Return GB/s."""
        n_threads = len(os.sched_getaffinity(0))
        parts = np.array_split(self._words, n_threads)
        totals = np.zeros((n_threads, 8), np.uint64)
        threads = [threading.Thread(target=_read, args=(p, t)) for p, t in zip(parts, totals, strict=True)]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - started
        if int(totals[:, 0].sum()) != self._words.size:
            raise RuntimeError("the memory that was read does not hold what was written")
        return N_BYTES / seconds / 1e9
