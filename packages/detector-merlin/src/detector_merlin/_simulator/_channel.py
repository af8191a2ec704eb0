"""Writing to the data client: large pieces as a rule, small or slow ones on demand.

Messages stay whole: when an acquisition is ended, writing stops at the end of the frame that has
been begun.  Without a client everything is thrown away, as at the real server.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from ._faults import Faults
from ._port import ClientPort

_SEND_TIMEOUT_S = 0.1


class DataChannel:
    """The client's socket as a place for messages.

    Parameters
    ----------
    port
        Whose client gets the bytes.
    faults
        For segmentation and speed.
    interrupted
        Whether the acquisition is to end after the frame being sent.
    closing
        Whether to stop at once.
    on_lost
        Called when the client turns out to be gone, after it was dropped.
    """

    def __init__(
        self,
        port: ClientPort,
        faults: Faults,
        *,
        interrupted: Callable[[], bool],
        closing: Callable[[], bool],
        on_lost: Callable[[], None],
    ) -> None:
        self._port = port
        self._faults = faults
        self._interrupted = interrupted
        self._closing = closing
        self._on_lost = on_lost
        self.n_bytes_sent = 0

    def send_bytes(self, data: bytes | npt.NDArray[np.uint8]) -> None:
        """Send one piece, whole."""
        view = memoryview(data) if isinstance(data, bytes) else data.data
        self._send(view, len(view))

    def send_rows(self, rows: npt.NDArray[np.uint8]) -> int:
        """Send messages, one per row; return how many, fewer if interrupted."""
        length = int(rows.shape[1])
        return self._send(np.ascontiguousarray(rows).reshape(-1).data, length) // length

    def _send(self, view: memoryview, unit: int) -> int:
        """Send `view`, or up to a multiple of `unit` if interrupted; return the bytes sent."""
        if self._faults.segment_bytes is not None or self._faults.bytes_per_s is not None:
            return self._send_in_segments(view, unit)
        position, limit = 0, len(view)
        while position < limit:
            n = self._write(view[position:limit])
            if n < 0:
                return position
            position += n
            limit = self._limit(position, limit, unit)
        return position

    def _send_in_segments(self, view: memoryview, unit: int) -> int:
        position, limit = 0, len(view)
        started = time.monotonic()
        for size in self._segment_sizes():
            if position >= limit:
                break
            n = self._write(view[position : min(position + size, limit)])
            if n < 0:
                break
            position += n
            limit = self._limit(position, limit, unit)
            if self._faults.bytes_per_s is not None:
                self._wait_until(started + position / self._faults.bytes_per_s)
        return position

    def _segment_sizes(self) -> Iterator[int]:
        wanted = self._faults.segment_bytes
        if wanted is None:
            wanted = max(1, int((self._faults.bytes_per_s or 1e9) * 0.005))
        return itertools.cycle([wanted] if isinstance(wanted, int) else wanted)

    def _limit(self, position: int, limit: int, unit: int) -> int:
        return min(limit, -(-position // unit) * unit) if self._interrupted() else limit

    def _wait_until(self, due: float) -> None:
        while (remaining := due - time.monotonic()) > 0 and not self._interrupted():
            time.sleep(min(remaining, 0.02))

    def _write(self, view: memoryview) -> int:
        """Write once; return the bytes taken, perhaps none, or -1 if nobody will take them."""
        client = self._port.client
        if client is None or self._closing():
            return -1
        try:
            client.settimeout(_SEND_TIMEOUT_S)
            n = client.send(view)
        except TimeoutError:
            return 0
        except OSError:
            self._port.drop()
            self._on_lost()
            return -1
        self.n_bytes_sent += n
        return n
