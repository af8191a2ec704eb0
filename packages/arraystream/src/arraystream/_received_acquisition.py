"""What is known of one acquisition: from the events of a native receiver to the stream's own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ._chunk import FeedGap, FeedVerdict, ItemDescriptor
from ._connection import PendingAcquisition
from ._errors import ProtocolError, Stalled, StreamError, TruncatedStream

_ERRORS: dict[str, type[StreamError]] = {
    "protocol": ProtocolError,
    "stalled": Stalled,
    "disconnected": TruncatedStream,
}


@dataclass(slots=True)
class ReceivedAcquisition:
    """One acquisition of a `ReceiverConnection`.

    Parameters
    ----------
    pending
        What its header announced.
    announced
        All details of the event ``armed``.
    descriptor
        What its items look like, from the first one on.
    verdict
        How it ended, from then on.
    is_taken
        Whether somebody has got it from ``wait_for_acquisition``.
    has_feed
        Whether somebody has got its feed.
    is_gone
        Whether it was given up or its feed closed; the receiver may still be at it.
    """

    pending: PendingAcquisition
    announced: Mapping[str, Any] = field(default_factory=dict)
    descriptor: ItemDescriptor | None = None
    verdict: FeedVerdict | None = None
    is_taken: bool = False
    has_feed: bool = False
    is_gone: bool = False


def pending_from(number: int, details: Mapping[str, Any]) -> PendingAcquisition:
    """Translate the event ``armed``."""
    index_shape = tuple(details["index_shape"] or ())
    return PendingAcquisition(number, details["n_items"], index_shape, dict(details["meta"]))


def descriptor_from(pending: PendingAcquisition, codec: str, details: Mapping[str, Any]) -> ItemDescriptor:
    """Translate the event ``first_frame``.

    Parameters
    ----------
    pending
        What was announced; its meta is part of the descriptor's.
    codec
        Name of the codec that decodes the items.
    details
        Of the event.
    """
    return ItemDescriptor(
        dtype=np.dtype(details["dtype"]),
        item_shape=tuple(details["item_shape"]),
        codec=codec,
        codec_params=dict(details["codec_params"]),
        index_shape=pending.index_shape,
        n_items=pending.n_items,
        meta={**pending.meta, "acquisition": pending.number, **details["meta"]},
    )


def verdict_from(name: str, details: Mapping[str, Any]) -> FeedVerdict:
    """Translate the event ``ended``.

    Parameters
    ----------
    name
        Of the connection, for the error.
    details
        Of the event.
    """
    cause = details["cause"]
    error = None if cause is None else _ERRORS[cause](f"{name}: {details['reason']}.")
    gaps = tuple(FeedGap(start, stop, reason) for start, stop, reason in details["gaps"])
    return FeedVerdict(details["status"], details["n_items"], gaps, details["reason"], error)
