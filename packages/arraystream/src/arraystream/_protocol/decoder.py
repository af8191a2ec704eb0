"""Bytes to messages, without any I/O: say what is wanted, be filled, hand out messages.

Lengths are checked against the limits before anything is allocated, and nothing is read beyond the
end of a message.  Payloads are received straight into memory that the caller's allocator chooses.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from arraystream._errors import ConnectionFailed, Stalled, StreamError, TruncatedStream

from .buffers import BufferEntry, cut_payload, parse_table
from .crc32c import crc32c_fast, crc32c_plain
from .fields import from_header
from .framing import (
    CRITICAL,
    HAS_PAYLOAD_SUMS,
    LOSSY,
    PREFIX,
    REPLAYED,
    Prefix,
    header_crc,
    unpack_prefix,
)
from .headers import unpack_header
from .layouts import check_chunk, shape_tables
from .limits import ErrorCode, Limits, wire_error
from .messages import MESSAGES, Chunk, Describe, Message
from .payload_pool import PayloadPool
from .stream_state import Delivery, Side, StreamBooks, StreamState

Allocator = Callable[[int, Message], npt.NDArray[np.uint8]]
_SCRATCH_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that has arrived.

    Parameters
    ----------
    message
        What was sent.  Arrays in it are read-only views of the allocator's memory.
    seq
        Its sequence number.
    payload_bytes
        Size of its buffers with their padding.
    replayed, lossy
        Flags of its prefix.
    """

    message: Message
    seq: int
    payload_bytes: int
    replayed: bool
    lossy: bool


class _Stage(enum.Enum):
    PREFIX = enum.auto()
    HEADER = enum.auto()
    PAYLOAD = enum.auto()
    SKIP = enum.auto()


class StreamDecoder:
    """Decodes one direction of a stream.

    Parameters
    ----------
    sender
        Who sends in this direction.
    greeted
        Whether HELLO and WELCOME are not part of this stream, as in a file.
    delivery
        What the consumer asked for.
    limits
        What is accepted.
    allocate
        Called with the size of a payload and its message (buffers still empty), after all checks;
        returns a writable uint8 array of just that size, best at a multiple of 64 bytes.  By default
        memory that is used again when no array looks at it any more.
    verify_sums
        Verify checksums of buffers where they are sent; ``None`` does so if ``crc32c`` or
        ``google-crc32c`` is installed, ``True`` in any case (at 10 MB/s in plain Python).
    check_structure
        Prove sparse buffers; ``False`` only for trusted peers.

    Examples
    --------
    >>> decoder = StreamDecoder("producer", greeted=True)
    >>> for part in StreamEncoder("producer", greeted=True).encode(Begin(id="a")):
    ...     decoder.feed(part)
    >>> [arrival.message.id for arrival in decoder.events()]
    ['a']
    """

    def __init__(
        self,
        sender: Side,
        *,
        greeted: bool = False,
        delivery: Delivery = "lossless",
        limits: Limits | None = None,
        allocate: Allocator | None = None,
        verify_sums: bool | None = None,
        check_structure: bool = True,
    ) -> None:
        self.limits = limits or Limits()
        self.books = StreamBooks(sender, greeted=greeted, delivery=delivery, limits=self.limits)
        self._allocate: Allocator = allocate or PayloadPool().allocate
        self._sum = (crc32c_fast or crc32c_plain) if verify_sums else crc32c_fast
        if verify_sums is False:
            self._sum = None
        self._check_structure = check_structure
        self._arrivals: deque[Arrival] = deque()
        self._error: StreamError | None = None
        self._next_seq: int | None = None
        self._n_unwelcome = 0
        self._small = bytearray(PREFIX.size)
        self._scratch = memoryview(b"")
        self._expect(_Stage.PREFIX, memoryview(self._small))

    @property
    def state(self) -> StreamState:
        """Where the stream is."""
        return self.books.state

    @property
    def between_messages(self) -> bool:
        """Whether the next byte is the first one of a message."""
        return self._stage is _Stage.PREFIX and self._filled == 0

    def want(self) -> memoryview:
        """Return the memory to fill next, never empty; filling a part of it is fine.

        Raises
        ------
        StreamError
            The error that ended decoding, again.
        """
        if self._error is not None:
            raise self._error
        return self._target[self._filled :]

    def advance(self, n_bytes: int) -> None:
        """Say that the first `n_bytes` of what `want` gave have been filled.

        Raises
        ------
        ProtocolError, LimitError, ChecksumError, CodecError
            If the bytes are not what the protocol allows.  Decoding can't go on then.
        """
        if self._error is not None:
            raise self._error
        if not 0 <= n_bytes <= len(self._target) - self._filled:
            raise ValueError(
                f"advance({n_bytes}): only {len(self._target) - self._filled} bytes were wanted."
            )
        self._filled += n_bytes
        try:
            while self._filled == len(self._target):
                self._step()
        except Exception as error:
            self._fail(error)
            raise

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Copy bytes in; for tests and for transports that can't receive into given memory."""
        rest = memoryview(data).cast("B")
        while rest.nbytes:
            target = self.want()
            n_bytes = min(len(target), rest.nbytes)
            target[:n_bytes] = rest[:n_bytes]
            self.advance(n_bytes)
            rest = rest[n_bytes:]

    def events(self) -> Iterator[Arrival]:
        """Iterate over the messages that have arrived and not been handed out yet."""
        while self._arrivals:
            yield self._arrivals.popleft()

    def eof(self) -> None:
        """Say that no more bytes will come.

        Raises
        ------
        TruncatedStream
            Unless the stream has been closed by a BYE.
        ConnectionFailed
            If nothing was under way: before the greeting, or in a consumer's direction.
        """
        if self._error is not None:
            raise self._error
        state, whole = self.books.state, self.between_messages
        self.books.note("eof")
        if whole and self.books.state is StreamState.CLOSED:
            return
        where = "between two messages" if whole else "within a message"
        text = f"The stream stopped {where} in state {state.name}, without BYE"
        if self.books.state is StreamState.LOST:
            self._error = ConnectionFailed(f"{text}: the other side is gone.", seq=self._next_seq)
        else:
            self.books.state = StreamState.TRUNCATED
            self._error = TruncatedStream(f"{text}; what came before is intact.", seq=self._next_seq)
        raise self._error

    def silence(self) -> None:
        """Say that nothing was heard for three heartbeat intervals.

        Raises
        ------
        Stalled
            Always; the stream is LOST.
        """
        self.books.note("silence")
        self._error = Stalled("Nothing was heard for three heartbeat intervals.", seq=self._next_seq)
        raise self._error

    def _fail(self, error: Exception) -> None:
        """Remember why decoding ended; an allocator may have raised anything."""
        if isinstance(error, StreamError):
            failure = error
        else:
            failure = wire_error(ErrorCode.INTERNAL, f"Decoding ended by {error!r}.")
            failure.__cause__ = error
        if failure.seq is None and self._stage is not _Stage.PREFIX:
            failure.seq = self._prefix.seq
        self._error = failure
        self.books.state = StreamState.FAILED

    def _expect(self, stage: _Stage, target: memoryview) -> None:
        self._stage = stage
        self._target = target
        self._filled = 0

    def _step(self) -> None:
        """Take a part that is complete and say what comes next."""
        match self._stage:
            case _Stage.PREFIX:
                self._take_prefix()
            case _Stage.HEADER:
                self._take_header()
            case _Stage.PAYLOAD:
                self._take_payload()
            case _Stage.SKIP:
                self._skip()

    def _take_prefix(self) -> None:
        prefix = unpack_prefix(memoryview(self._small), self.limits)
        if prefix.type not in MESSAGES and prefix.flags & CRITICAL:
            raise wire_error(
                ErrorCode.UNKNOWN_CRITICAL,
                f"Message type {prefix.type} isn't known here but must be understood; update this side.",
                seq=prefix.seq,
            )
        self._check_unwelcome(prefix)
        self._prefix = prefix
        self._header = memoryview(bytearray(prefix.padded_header_bytes))
        self._expect(_Stage.HEADER, self._header)

    def _check_unwelcome(self, prefix: Prefix) -> None:
        """Strangers don't get to send much."""
        if self.books.state is not StreamState.CONNECTING:
            return
        self._n_unwelcome += PREFIX.size + prefix.padded_header_bytes + prefix.payload_bytes
        if self._n_unwelcome > self.limits.unwelcome_bytes:
            raise wire_error(
                ErrorCode.LIMIT_EXCEEDED,
                f"Limit unwelcome_bytes: more than {self.limits.unwelcome_bytes} bytes before the greeting.",
                seq=prefix.seq,
            )

    def _take_header(self) -> None:
        prefix, header_bytes = self._prefix, self._header[: self._prefix.header_bytes]
        if header_crc(memoryview(self._small), header_bytes) != prefix.crc:
            raise wire_error(ErrorCode.HEADER_CHECKSUM, f"The header of message {prefix.seq} is damaged.")
        if any(self._header[prefix.header_bytes :]):
            raise wire_error(ErrorCode.SIZE_MISMATCH, "The padding behind the header is not zero.")
        if self._next_seq is not None and prefix.seq != self._next_seq:
            raise wire_error(ErrorCode.SEQUENCE, f"Message {prefix.seq} came, {self._next_seq} was next.")
        self._next_seq = prefix.seq + 1
        header = unpack_header(header_bytes, self.limits)
        cls = MESSAGES.get(prefix.type)
        if cls is None:
            self._skip_payload(prefix.payload_bytes)
            return
        sums = bool(prefix.flags & HAS_PAYLOAD_SUMS)
        self._entries = parse_table(header, prefix.payload_bytes, self.limits, sums=sums)
        self._message: Any = cls(**from_header(cls, header))
        self._check_before_payload(self._entries)
        if prefix.payload_bytes == 0:
            self._finish(np.empty(0, np.uint8))
            return
        self._payload = self._allocate(prefix.payload_bytes, self._message)
        if self._payload.nbytes != prefix.payload_bytes or not self._payload.flags.writeable:
            raise wire_error(
                ErrorCode.INTERNAL,
                f"The allocator gave {self._payload.nbytes} bytes for {prefix.payload_bytes}.",
            )
        self._expect(_Stage.PAYLOAD, self._payload.data)

    def _check_before_payload(self, entries: list[BufferEntry]) -> None:
        """Refuse what can be refused without looking at the payload."""
        if isinstance(self._message, Chunk):
            self.books.channel(self._message.channel, self._message.rev)
        elif entries and not isinstance(self._message, Describe):
            raise wire_error(
                ErrorCode.SIZE_MISMATCH, f"{type(self._message).__name__} has buffers; it can't have any."
            )

    def _take_payload(self) -> None:
        payload, self._payload = self._payload, np.empty(0, np.uint8)
        self._finish(payload)

    def _finish(self, payload: npt.NDArray[np.uint8]) -> None:
        prefix, message = self._prefix, self._message
        buffers = cut_payload(payload, self._entries, sum_of=self._sum)
        if isinstance(message, Describe | Chunk):
            object.__setattr__(message, "buffers", buffers)
        self.books.take(message, prefix.crc, prefix.flags, prefix.payload_bytes)
        if isinstance(message, Chunk):
            describe = self.books.channel(message.channel, message.rev).describe
            object.__setattr__(message, "describe", describe)
            shaped = check_chunk(message, describe, structure=self._check_structure)
            object.__setattr__(message, "buffers", shaped)
        elif isinstance(message, Describe):
            object.__setattr__(message, "buffers", shape_tables(message))
        self._arrivals.append(
            Arrival(
                message,
                prefix.seq,
                prefix.payload_bytes,
                bool(prefix.flags & REPLAYED),
                bool(prefix.flags & LOSSY),
            )
        )
        self._expect(_Stage.PREFIX, memoryview(self._small))

    def _skip_payload(self, n_bytes: int) -> None:
        """Read over the payload of a message that isn't known, without keeping it."""
        self._n_to_skip = n_bytes
        self._scratch = memoryview(bytearray(min(n_bytes, _SCRATCH_BYTES)))
        self._skip_on()

    def _skip(self) -> None:
        self._n_to_skip -= len(self._target)
        self._skip_on()

    def _skip_on(self) -> None:
        if self._n_to_skip == 0:
            self._expect(_Stage.PREFIX, memoryview(self._small))
        else:
            self._expect(_Stage.SKIP, self._scratch[: min(self._n_to_skip, _SCRATCH_BYTES)])
