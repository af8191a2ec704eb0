"""What a native receiver offers to the `ReceiverConnection` around it.

A native receiver does the work of a live source in a thread of its own, without the GIL: it connects,
and connects again when the connection breaks, parses, puts items into shared memory, counts.  Python
hears of it by a few events per acquisition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

ReceiverEvent = tuple[str, int, Mapping[str, Any]]
"""Name of the event, number of the acquisition from 1 (0 if it is about the connection), details."""


class NativeReceiver(Protocol):
    """Receives acquisitions into a buffer that members share.  Thread-safe; waiting releases the GIL.

    ==================  =====================================================================================
    Event               Details
    ==================  =====================================================================================
    ``connected``       none
    ``disconnected``    ``reason``: words; ``is_protocol_error``: dropped because of what the source sent
    ``armed``           ``n_items``: announced, or ``None``; ``index_shape``: announced, or ``()``; ``meta``:
                        plain values
    ``first_frame``     ``item_shape``; ``dtype``: its name; ``codec_params`` and ``meta``: plain values
    ``ended``           ``status``: as in `FeedVerdict`; ``n_items``; ``gaps``: ``[(start, stop, reason)]``;
                        ``reason``: words; ``cause``: ``None``, ``"protocol"``, ``"stalled"`` or
                        ``"disconnected"``
    ==================  =====================================================================================

    Details may hold more than that.  Each acquisition has one ``armed``, at most one ``first_frame``, and
    one ``ended``, which comes after its last item can be received.
    """

    def next_event(self, timeout: float) -> ReceiverEvent | None:
        """Wait for the next event; ``None`` if none came in time or the receiver is over."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether the thread has ended: no event will come any more."""
        ...

    @property
    def last_error(self) -> str:
        """Why connecting failed, or the connection broke, the last time; empty if neither did."""
        ...

    def attach(self, acquisition: int) -> tuple[int, int]:
        """Admit a member to an acquisition; gives its number and a file descriptor that admits it."""
        ...

    def settle(self, consumer: int, tokens: list[int]) -> bool:
        """Mark chunks as done; see `Feed.settle`."""
        ...

    def abort(self) -> None:
        """End the present acquisition here; the rest of it is received and discarded."""
        ...

    def abandon(self, acquisition: int) -> None:
        """Nobody wants this acquisition: what is there of it is dropped, the rest discarded."""
        ...

    def counters(self) -> Mapping[str, Any]:
        """Return the fields of `ConnectionStatistics`."""
        ...

    def close(self) -> None:
        """End the thread; acquisitions that still run end as aborted.  Idempotent."""
        ...
