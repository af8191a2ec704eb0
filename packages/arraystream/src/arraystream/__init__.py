"""The generic array-stream protocol: acquisitions of dense frames or sparse events."""

from ._chunk import FeedChunk, FeedEnd, FeedGap, FeedVerdict, ItemDescriptor, Lease, Status
from ._codec import Codec, Decoder
from ._connection import (
    Connection,
    ConnectionBuilder,
    ConnectionStatistics,
    Controller,
    PendingAcquisition,
)
from ._connection_state import TRANSITIONS, ConnectionState, ConnectionStateMachine, StateChange
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
from ._plugins import PluginInfo, list_plugins, load_plugin, open_decoder, redeem_ticket
from ._range_feed import RangeFeed
from ._range_reader import RangeReader
from ._raw_codec import RawCodec
from ._shared_bytes import SharedBytes
from ._sources import ArraySource, open_memory, open_npy, open_raw

__all__ = [
    "TRANSITIONS",
    "AcquisitionAborted",
    "ArraySource",
    "ChecksumError",
    "Codec",
    "CodecError",
    "Connection",
    "ConnectionBuilder",
    "ConnectionClosed",
    "ConnectionFailed",
    "ConnectionState",
    "ConnectionStateMachine",
    "ConnectionStatistics",
    "Controller",
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
    "PendingAcquisition",
    "PluginError",
    "PluginInfo",
    "ProtocolError",
    "RangeFeed",
    "RangeReader",
    "RawCodec",
    "SharedBytes",
    "Stalled",
    "StateChange",
    "StateError",
    "Status",
    "StreamError",
    "Ticket",
    "TruncatedStream",
    "list_plugins",
    "load_plugin",
    "open_decoder",
    "open_memory",
    "open_npy",
    "open_raw",
    "redeem_ticket",
]
