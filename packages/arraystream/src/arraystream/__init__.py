"""The generic array-stream protocol: acquisitions of dense frames or sparse events."""

from ._chunk import FeedChunk, FeedEnd, FeedGap, FeedVerdict, ItemDescriptor, Lease, Status
from ._codec import Codec, Decoder
from ._errors import (
    AcquisitionAborted,
    ChecksumError,
    CodecError,
    ConnectionClosed,
    ConnectionFailed,
    LimitError,
    PluginError,
    ProtocolError,
    Stalled,
    StateError,
    StreamError,
    TruncatedStream,
)
from ._feed import Feed, Member, Ticket

__all__ = [
    "AcquisitionAborted",
    "ChecksumError",
    "Codec",
    "CodecError",
    "ConnectionClosed",
    "ConnectionFailed",
    "Decoder",
    "Feed",
    "FeedChunk",
    "FeedEnd",
    "FeedGap",
    "FeedVerdict",
    "ItemDescriptor",
    "Lease",
    "LimitError",
    "Member",
    "PluginError",
    "ProtocolError",
    "Stalled",
    "StateError",
    "Status",
    "StreamError",
    "Ticket",
    "TruncatedStream",
]
