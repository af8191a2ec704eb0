"""What travels from a source to a worker: chunks of items, and the end.

A chunk names the index of its first item, so items are placed by index and never by arrival.  Its
payload may still be encoded as the vendor sent it; the descriptor's codec turns it into pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Status = Literal["complete", "aborted", "failed", "truncated"]


@dataclass(frozen=True, slots=True)
class ItemDescriptor:
    """What the items of a feed look like.

    Parameters
    ----------
    dtype
        Native type of one decoded element.
    item_shape
        Shape of one decoded item, C order, slowest axis first.
    codec
        Name of the codec in the entry-point group ``arraystream.codecs``.
    codec_params
        What the codec needs to know beside dtype and shape; plain values only.
    index_shape
        The index space the source itself announces, e.g. ``(256, 256)``; empty if unknown.
    n_items
        How many items are announced; ``None`` for an endless stream.
    meta
        Free, plain values about the source.
    """

    dtype: np.dtype[Any]
    item_shape: tuple[int, ...]
    codec: str = "raw"
    codec_params: Mapping[str, Any] = field(default_factory=dict)
    index_shape: tuple[int, ...] = ()
    n_items: int | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def item_size(self) -> int:
        """Elements of one item."""
        return int(np.prod(self.item_shape, dtype=np.int64))


@dataclass(slots=True)
class Lease:
    """The right to read a chunk's memory.

    Parameters
    ----------
    token
        Names the lease to `Feed.settle`; opaque.
    release
        Gives the memory back.  Called once; later calls do nothing.
    """

    token: int
    release: Callable[[], None]


@dataclass(slots=True)
class FeedChunk:
    """Consecutive items as a worker receives them.

    Parameters
    ----------
    first, n
        Index of the first item and number of items.
    payload
        Read-only bytes, shape ``(n_bytes,)``, dtype uint8.  Valid until the lease is released.
    offsets
        Where each item's encoded bytes start in `payload`, shape ``(n,)``, dtype uint64.
    lease
        Right to read `payload`.
    attempt
        0 at first delivery, more after a worker that had the chunk died.
    """

    first: int
    n: int
    payload: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.uint64]
    lease: Lease
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class FeedEnd:
    """No more chunks will come to this member.

    It is a wake-up for workers (commit now!), not the verdict: that is in `FeedVerdict`.
    """


@dataclass(frozen=True, slots=True)
class FeedGap:
    """Items ``[first, stop)`` are known to be missing."""

    first: int
    stop: int
    reason: str


@dataclass(frozen=True, slots=True)
class FeedVerdict:
    """How an acquisition ended.

    Parameters
    ----------
    status
        ``complete`` even with gaps: nothing more was to come.
    n_items
        One more than the highest item index delivered or lost: items ``[0, n_items)`` minus the
        gaps have been handed to members.
    gaps
        Items that are missing.
    reason
        In words, for ``aborted``, ``failed`` and ``truncated``.
    error
        The typed error of ``failed`` and ``truncated``, to be raised by the run.
    """

    status: Status
    n_items: int
    gaps: tuple[FeedGap, ...] = ()
    reason: str = ""
    error: Exception | None = None
