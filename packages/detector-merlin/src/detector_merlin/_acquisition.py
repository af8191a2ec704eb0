"""What is known of one acquisition: from the events of the receiver to the stream's own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraystream import (
    FeedGap,
    FeedVerdict,
    ItemDescriptor,
    PendingAcquisition,
    ProtocolError,
    Stalled,
    StreamError,
    TruncatedStream,
)

_ERRORS: dict[str, type[StreamError]] = {
    "protocol": ProtocolError,
    "stalled": Stalled,
    "disconnected": TruncatedStream,
}


@dataclass(slots=True)
class MerlinAcquisition:
    """One acquisition of a connection.

    Parameters
    ----------
    pending
        What its header announced.
    descriptor
        What its frames look like, from the first frame on.
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
    descriptor: ItemDescriptor | None = None
    verdict: FeedVerdict | None = None
    is_taken: bool = False
    has_feed: bool = False
    is_gone: bool = False


def pending_from(number: int, details: Mapping[str, Any]) -> PendingAcquisition:
    """Translate the event ``armed``."""
    meta = {"frames_per_trigger": details["frames_per_trigger"], "header": dict(details["header"])}
    index_shape = tuple(details["index_shape"] or ())
    return PendingAcquisition(number, details["n_frames"], index_shape, meta)


def descriptor_from(pending: PendingAcquisition, details: Mapping[str, Any]) -> ItemDescriptor:
    """Translate the event ``first_frame``."""
    meta = {
        **pending.meta,
        "acquisition": pending.number,
        "shutter_s": details["shutter_s"],
        "counter": details["counter"],
    }
    return ItemDescriptor(
        dtype=np.dtype(details["dtype"]),
        item_shape=tuple(details["item_shape"]),
        codec="merlin",
        codec_params=dict(details["codec_params"]),
        index_shape=pending.index_shape,
        n_items=pending.n_items,
        meta=meta,
    )


def verdict_from(details: Mapping[str, Any]) -> FeedVerdict:
    """Translate the event ``ended``."""
    cause = details["cause"]
    error = None if cause is None else _ERRORS[cause](f"Merlin acquisition: {details['reason']}.")
    gaps = tuple(FeedGap(start, stop, "lost by the detector") for start, stop in details["gaps"])
    return FeedVerdict(details["status"], details["n_items"], gaps, details["reason"], error)
