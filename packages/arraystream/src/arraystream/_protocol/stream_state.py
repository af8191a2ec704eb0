"""What may follow what in a stream: the state table of PROTOCOL.md, and the books kept beside it.

Side and receiver keep the same books: a sender can't send what its receiver would refuse.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from arraystream._errors import StreamError

from .crc32c import crc32c_plain
from .fields import to_header
from .framing import LOSSY, REPLAYED
from .layouts import check_description
from .limits import ErrorCode, Limits, wire_error
from .messages import Begin, Chunk, Describe, End, Error, Gap, Mark, Message

Side = Literal["producer", "consumer"]
Delivery = Literal["lossless", "latest", "sample", "group"]
DELIVERIES = ("lossless", "latest", "sample", "group")
GAP_REASONS = ("detector", "overrun", "corrupt", "not_retained", "filtered")
END_STATUSES = ("complete", "aborted", "failed")


class StreamState(enum.Enum):
    """Where one direction of a stream is, as its receiver sees it."""

    CONNECTING = "CONNECTING"
    READY = "READY"
    OPEN = "OPEN"
    CLOSED = "CLOSED"
    FAILED = "FAILED"
    TRUNCATED = "TRUNCATED"
    LOST = "LOST"


_S = StreamState

STREAM_TABLE: Mapping[Side, Mapping[tuple[StreamState, str], StreamState]] = MappingProxyType(
    {
        "producer": MappingProxyType(
            {
                (_S.CONNECTING, "WELCOME"): _S.READY,
                (_S.CONNECTING, "BYE"): _S.CLOSED,
                (_S.CONNECTING, "ERROR"): _S.CONNECTING,
                (_S.CONNECTING, "ERROR fatal"): _S.FAILED,
                (_S.CONNECTING, "eof"): _S.LOST,
                (_S.CONNECTING, "silence"): _S.LOST,
                (_S.READY, "BEGIN"): _S.OPEN,
                (_S.READY, "HEARTBEAT"): _S.READY,
                (_S.READY, "SYNC"): _S.READY,
                (_S.READY, "BYE"): _S.CLOSED,
                (_S.READY, "ERROR"): _S.READY,
                (_S.READY, "ERROR fatal"): _S.FAILED,
                (_S.READY, "eof"): _S.TRUNCATED,
                (_S.READY, "silence"): _S.LOST,
                (_S.OPEN, "BEGIN"): _S.OPEN,
                (_S.OPEN, "DESCRIBE"): _S.OPEN,
                (_S.OPEN, "CHUNK"): _S.OPEN,
                (_S.OPEN, "MARK"): _S.OPEN,
                (_S.OPEN, "GAP"): _S.OPEN,
                (_S.OPEN, "END nested"): _S.OPEN,
                (_S.OPEN, "END"): _S.READY,
                (_S.OPEN, "HEARTBEAT"): _S.OPEN,
                (_S.OPEN, "SYNC"): _S.OPEN,
                (_S.OPEN, "ERROR"): _S.OPEN,
                (_S.OPEN, "ERROR fatal"): _S.FAILED,
                (_S.OPEN, "eof"): _S.TRUNCATED,
                (_S.OPEN, "silence"): _S.LOST,
                (_S.CLOSED, "eof"): _S.CLOSED,
                (_S.LOST, "WELCOME"): _S.READY,
                (_S.LOST, "eof"): _S.TRUNCATED,
            }
        ),
        "consumer": MappingProxyType(
            {
                (_S.CONNECTING, "HELLO"): _S.READY,
                (_S.CONNECTING, "BYE"): _S.CLOSED,
                (_S.CONNECTING, "eof"): _S.LOST,
                (_S.CONNECTING, "silence"): _S.LOST,
                (_S.READY, "CREDIT"): _S.READY,
                (_S.READY, "ACK"): _S.READY,
                (_S.READY, "HEARTBEAT"): _S.READY,
                (_S.READY, "BYE"): _S.CLOSED,
                (_S.READY, "ERROR"): _S.READY,
                (_S.READY, "ERROR fatal"): _S.FAILED,
                (_S.READY, "eof"): _S.LOST,
                (_S.READY, "silence"): _S.LOST,
                (_S.CLOSED, "eof"): _S.CLOSED,
            }
        ),
    }
)
"""Next state by state and event; anything else is an error and leads to FAILED."""


@dataclass(slots=True)
class Channel:
    """The books of one channel."""

    describe: Describe
    next: int = 0
    n_items: int = 0
    n_lost: int = 0
    n_bytes: int = 0


@dataclass(slots=True)
class _Section:
    id: str
    digest: int = 0
    channels: dict[int, Channel] = field(default_factory=dict)


class StreamBooks:
    """Keeps state, sections and channels of one direction; refuses what doesn't fit.

    Parameters
    ----------
    sender
        Who sends in this direction.
    greeted
        Whether HELLO and WELCOME were exchanged already; always so in a file.
    delivery
        What the consumer asked for: how strictly items must follow one another.
    limits
        Bounds on channels and sections.
    """

    def __init__(
        self, sender: Side, *, greeted: bool, delivery: Delivery = "lossless", limits: Limits | None = None
    ) -> None:
        self.state = StreamState.READY if greeted else StreamState.CONNECTING
        self.delivery: Delivery = delivery
        self.limits = limits or Limits()
        self._sender: Side = sender
        self._table = STREAM_TABLE[sender]
        self._sections: list[_Section] = []

    def note(self, event: str) -> None:
        """Take an event of the table."""
        following = self._table.get((self.state, event))
        if following is None:
            state, self.state = self.state, StreamState.FAILED
            raise wire_error(
                ErrorCode.STATE,
                f"The {self._sender} sent {event} in state {state.name}, where it can't come.",
            )
        self.state = following

    def take(self, message: Message, crc: int, flags: int, payload_bytes: int) -> None:
        """Enter a message whose own fields have been checked.

        Parameters
        ----------
        message
            The message; the books keep its `Describe`.
        crc
            Checksum of its header.
        flags
            Of its prefix.
        payload_bytes
            Of its buffers.
        """
        event = type(message).__name__.upper()
        if isinstance(message, Error) and message.fatal:
            event = "ERROR fatal"
        elif isinstance(message, End) and len(self._sections) > 1:
            event = "END nested"
        try:
            self.note(event)
            self._enter(message, flags, payload_bytes)
        except StreamError:
            self.state = StreamState.FAILED
            raise
        if isinstance(message, Begin | Describe | Chunk | Mark | Gap | End):
            word = struct.pack("<I", crc)
            for section in self._sections:
                section.digest = crc32c_plain(word, section.digest)

    def channel(self, number: int, rev: int | None = None) -> Channel:
        """Return the books of a channel that is described in this revision."""
        for section in self._sections:
            channel = section.channels.get(number)
            if channel is not None and rev in (None, channel.describe.rev):
                return channel
        raise wire_error(
            ErrorCode.UNKNOWN_CHANNEL, f"Channel {number}, rev {rev}, is not described.", channel=number
        )

    def counts(self) -> tuple[int, ...]:
        """Return what the innermost section's END must say of its channels."""
        channels = self._sections[-1].channels if self._sections else {}
        return tuple(
            value
            for number in sorted(channels)
            for value in (number, channels[number].n_items, channels[number].n_lost, channels[number].n_bytes)
        )

    def digest(self) -> str:
        """Return what the innermost section's END must say of all its messages."""
        return f"{self._sections[-1].digest:08x}" if self._sections else ""

    def _enter(self, message: Message, flags: int, payload_bytes: int) -> None:
        match message:
            case Begin():
                self._begin(message)
            case Describe():
                self._describe(message)
            case Chunk():
                self._chunk(message, flags, payload_bytes)
            case Gap():
                self._gap(message, flags)
            case Mark(channel=int(number)):
                self.channel(number)
            case End():
                self._end(message)
            case _:
                pass

    def _begin(self, begin: Begin) -> None:
        if len(self._sections) >= self.limits.sections:
            raise wire_error(ErrorCode.LIMIT_EXCEEDED, f"Limit sections: more than {self.limits.sections}.")
        parent = self._sections[-1].id if self._sections else None
        if begin.parent != parent:
            raise wire_error(
                ErrorCode.STATE, f"Section {begin.id!r} names parent {begin.parent!r}; open is {parent!r}."
            )
        if any(section.id == begin.id for section in self._sections):
            raise wire_error(ErrorCode.STATE, f"Section {begin.id!r} is open already.")
        self._sections.append(_Section(begin.id))

    def _describe(self, describe: Describe) -> None:
        check_description(describe, self.limits)
        number = describe.channel
        known = next((s.channels[number] for s in self._sections if number in s.channels), None)
        if known is None:
            if sum(len(section.channels) for section in self._sections) >= self.limits.channels:
                raise wire_error(
                    ErrorCode.LIMIT_EXCEEDED, f"Limit channels: more than {self.limits.channels}."
                )
            self._sections[-1].channels[number] = Channel(describe)
            return
        old = known.describe
        same = describe.rev == old.rev and to_header(describe) == to_header(old)
        if describe.rev <= old.rev and not same:
            raise wire_error(
                ErrorCode.UNKNOWN_CHANNEL,
                f"Channel {number} is described as rev {describe.rev} in two ways; a change needs a new rev.",
                channel=number,
            )
        known.describe = describe

    def _chunk(self, chunk: Chunk, flags: int, payload_bytes: int) -> None:
        channel = self.channel(chunk.channel, chunk.rev)
        if chunk.n == 0:
            raise wire_error(ErrorCode.SIZE_MISMATCH, "A chunk has no items.", channel=chunk.channel)
        self._advance(channel, chunk.at, chunk.at + chunk.n, flags)
        channel.n_items += chunk.n
        channel.n_bytes += payload_bytes

    def _gap(self, gap: Gap, flags: int) -> None:
        channel = self.channel(gap.channel)
        if gap.stop <= gap.first or gap.reason not in GAP_REASONS:
            raise wire_error(
                ErrorCode.MALFORMED_HEADER,
                f"Gap [{gap.first}, {gap.stop}) is empty, or {gap.reason!r} not one of {GAP_REASONS}.",
                channel=gap.channel,
            )
        self._advance(channel, gap.first, gap.stop, flags)
        channel.n_lost += gap.stop - gap.first

    def _advance(self, channel: Channel, first: int, stop: int, flags: int) -> None:
        """Items come in order, without holes if lossless; only a group's replay may go back."""
        expected = channel.next
        strict = self.delivery == "lossless" and not flags & LOSSY
        may_go_back = self.delivery == "group" and flags & REPLAYED
        if (strict and first != expected) or (first < expected and not may_go_back):
            raise wire_error(
                ErrorCode.SEQUENCE,
                f"Channel {channel.describe.channel}: items from {first} on came, {expected} was next; "
                "lost items must be announced as a gap.",
                channel=channel.describe.channel,
            )
        channel.next = max(expected, stop)

    def _end(self, end: End) -> None:
        section = self._sections[-1]
        if end.id != section.id:
            raise wire_error(ErrorCode.STATE, f"END of {end.id!r}, but {section.id!r} is still open in it.")
        if end.status not in END_STATUSES:
            raise wire_error(ErrorCode.MALFORMED_HEADER, f"END has status {end.status!r}.")
        if end.digest and end.digest != self.digest():
            raise wire_error(
                ErrorCode.SEQUENCE,
                f"END of {end.id!r} has digest {end.digest}, received {self.digest()}: messages are lost.",
            )
        if end.counts and self.delivery == "lossless" and end.counts != self.counts():
            raise wire_error(
                ErrorCode.SEQUENCE,
                f"END counts {end.counts}, received {self.counts()}: items are lost.",
            )
        self._sections.pop()
