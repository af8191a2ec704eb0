"""The generic array-stream protocol: acquisitions of dense frames or sparse events."""

# First of all: an unrelated project of the same import name may have overwritten our modules.
# ruff: noqa: E402
from ._stranger import refuse_mixture

refuse_mixture(__file__)

from ._arming_controller import ArmingController
from ._chunk import FeedChunk, FeedEnd, FeedGap, FeedVerdict, ItemDescriptor, Lease, Status
from ._codec import Codec, Decoder
from ._connection import (
    Connection,
    ConnectionBuilder,
    ConnectionStatistics,
    Controller,
    KnowsItemShape,
    PendingAcquisition,
)
from ._connection_state import TRANSITIONS, ConnectionState, ConnectionStateMachine, StateChange
from ._csr_codec import CSRCodec, encode_csr
from ._csr_source import open_csr
from ._errors import (
    AcquisitionAborted,
    AuthError,
    ChecksumError,
    CodecError,
    ConnectionClosed,
    ConnectionFailed,
    LimitError,
    PluginError,
    ProtocolError,
    SourceError,
    Stalled,
    StateError,
    StreamError,
    TruncatedStream,
)
from ._feed import Feed, Member, Ticket
from ._feed_server import FeedServer, serve_feed
from ._group_member import GroupMember, join_feed
from ._mapped_file import MappedFile
from ._native_receiver import NativeReceiver, ReceiverEvent
from ._plugins import PluginInfo, list_plugins, load_plugin, open_decoder, redeem_ticket
from ._protocol.decoder import Allocator, Arrival, StreamDecoder
from ._protocol.encoder import StreamEncoder
from ._protocol.limits import ErrorCode, Limits
from ._protocol.messages import (
    Ack,
    Begin,
    Bye,
    Chunk,
    Credit,
    Describe,
    Encoded,
    End,
    Error,
    Gap,
    Heartbeat,
    Hello,
    Mark,
    Message,
    Sync,
    Welcome,
)
from ._protocol.session import PROTOCOL_VERSION
from ._protocol.stream_state import STREAM_TABLE, StreamState
from ._range_feed import RangeFeed
from ._range_reader import RangeReader, SeriesReader
from ._raw_codec import RawCodec
from ._received_acquisition import ReceivedAcquisition
from ._receiver import Receiver, receive
from ._receiver_connection import ReceiverConnection
from ._sender import AcquisitionSender, Sender, send
from ._shared_bytes import SharedBytes, pack_to_travel
from ._sources import ArraySource, open_memory, open_npy, open_raw

__all__ = [
    "PROTOCOL_VERSION",
    "STREAM_TABLE",
    "TRANSITIONS",
    "Ack",
    "AcquisitionAborted",
    "AcquisitionSender",
    "Allocator",
    "ArmingController",
    "ArraySource",
    "Arrival",
    "AuthError",
    "Begin",
    "Bye",
    "CSRCodec",
    "ChecksumError",
    "Chunk",
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
    "Credit",
    "Decoder",
    "Describe",
    "Encoded",
    "End",
    "Error",
    "ErrorCode",
    "Feed",
    "FeedChunk",
    "FeedEnd",
    "FeedGap",
    "FeedServer",
    "FeedVerdict",
    "Gap",
    "GroupMember",
    "Heartbeat",
    "Hello",
    "ItemDescriptor",
    "KnowsItemShape",
    "Lease",
    "LimitError",
    "Limits",
    "MappedFile",
    "Mark",
    "Member",
    "Message",
    "NativeReceiver",
    "PendingAcquisition",
    "PluginError",
    "PluginInfo",
    "ProtocolError",
    "RangeFeed",
    "RangeReader",
    "RawCodec",
    "ReceivedAcquisition",
    "Receiver",
    "ReceiverConnection",
    "ReceiverEvent",
    "Sender",
    "SeriesReader",
    "SharedBytes",
    "SourceError",
    "Stalled",
    "StateChange",
    "StateError",
    "Status",
    "StreamDecoder",
    "StreamEncoder",
    "StreamError",
    "StreamState",
    "Sync",
    "Ticket",
    "TruncatedStream",
    "Welcome",
    "encode_csr",
    "join_feed",
    "list_plugins",
    "load_plugin",
    "open_csr",
    "open_decoder",
    "open_memory",
    "open_npy",
    "open_raw",
    "pack_to_travel",
    "receive",
    "redeem_ticket",
    "send",
    "serve_feed",
]
