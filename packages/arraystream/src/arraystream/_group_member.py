"""A member of a feed that is served from elsewhere; see `serve_feed`."""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from functools import partial
from urllib.parse import urlsplit

import msgpack

from ._chunk import FeedChunk, FeedEnd, ItemDescriptor
from ._errors import ConnectionClosed, ConnectionFailed, ProtocolError, Stalled, StreamError
from ._feed import Ticket
from ._group_wire import REFERENCE, descriptor_of, feed_chunk_of, loan_of, member_of
from ._plugins import load_plugin
from ._producer_session import ProducerSession
from ._protocol.decoder import Arrival, StreamDecoder
from ._protocol.encoder import StreamEncoder
from ._protocol.limits import Limits, wire_error
from ._protocol.messages import Ack, Begin, Bye, Chunk, Describe, End, Error, Mark, Message, Welcome
from ._protocol.session import CreditWindow, hello
from ._range_reader import RangeReader, read_loan
from ._transports.link import Link, StreamTransport

_FAREWELL_S = 1.0
_SAY_S = 30.0


def join_feed(
    where: str | Ticket,
    *,
    token: str | None = None,
    reader: RangeReader | None = None,
    prefetch: int = 2,
    window_bytes: int = 256 << 20,
    timeout: float = 30.0,
) -> GroupMember:
    """Become a member of a feed that `serve_feed` offers.

    Parameters
    ----------
    where
        The server's URL, or a ticket of it.
    token
        The server's, if `where` is a URL.
    reader
        Reads the same items here: then only ranges are sent.
    prefetch
        Most chunks that are sent ahead of the one in hand.
    window_bytes
        Most bytes of them; a chunk must fit.
    timeout
        Longest wait for the server to be there and to greet, in seconds.

    Raises
    ------
    ConnectionFailed
        If there is nobody.
    AuthError
        If the token is wrong, or the ticket was used before or is too old.

    Examples
    --------
    See `serve_feed`.
    """
    if isinstance(where, Ticket):
        address = msgpack.unpackb(where.info)
        url, token = str(address["url"]), str(address["token"])
    else:
        url = where
    transport: StreamTransport = load_plugin("arraystream.transports", urlsplit(url).scheme)
    link = transport.connect(url, timeout)
    try:
        return GroupMember(
            link,
            url,
            token=token,
            reader=reader,
            prefetch=prefetch,
            window_bytes=window_bytes,
            timeout=timeout,
        )
    except BaseException:
        link.close()
        raise


class GroupMember:
    """The worker's end (implements `Member`); from `join_feed`.

    Attributes
    ----------
    descriptor
        What the items look like.
    """

    def __init__(
        self,
        link: Link,
        name: str,
        *,
        token: str | None,
        reader: RangeReader | None,
        prefetch: int,
        window_bytes: int,
        timeout: float,
    ) -> None:
        self._link = link
        self._name = name
        self._reader = reader
        self._closed = False
        self._silent_s = 0.0
        self._heartbeat_s = timeout
        self._arrivals: deque[Arrival] = deque()
        self._held: dict[int, bool] = {}
        limits = Limits().narrowed({"payload_bytes": window_bytes})
        self._window = CreditWindow(window_bytes, max(1, prefetch) + ProducerSession.SEQ_RESERVE)
        self._decoder = StreamDecoder("producer", delivery="group", limits=limits)
        self._encoder = StreamEncoder("consumer")
        features = () if reader is None else (REFERENCE,)
        self._say(hello(limits=limits, token=token, features=features, group="members"))
        self._number, self.descriptor = self._be_greeted(time.monotonic() + timeout)

    @property
    def number(self) -> int:
        """Names this member to `Feed.settle`."""
        return self._number

    def recv(self, timeout: float) -> FeedChunk | FeedEnd | None:
        """Return the next chunk, the end, or ``None`` after `timeout` seconds.

        Raises
        ------
        ConnectionClosed
            If the feed was closed by its owner, or this member has left.
        ConnectionFailed, Stalled
            If the owner is gone, or nothing at all, not even a heartbeat, came for three intervals.
        StreamError
            What the feed itself raised, or if the owner breaks the protocol.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._grant()
            arrival = self._next_arrival(deadline)
            if arrival is None:
                return None
            got = self._take(arrival)
            if got is not None:
                self._grant()
                return got

    def close(self) -> None:
        """Leave the feed; unsettled chunks go to other members.  Idempotent, from any thread."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(StreamError):
                self._link.send(self._encoder.encode(Bye("left")), _FAREWELL_S)
        self._link.close()

    def _take(self, arrival: Arrival) -> FeedChunk | FeedEnd | None:
        message = arrival.message
        self._window.consumed(arrival.payload_bytes if isinstance(message, Chunk) else 0, arrival.seq)
        match message:
            case Chunk():
                return self._read(message, arrival.seq)
            case Mark(kind="drained"):
                return FeedEnd()
            case Error():
                raise wire_error(message.code, f"{self._name} reports: {message.text}", seq=message.seq)
            case End() | Bye():
                raise ConnectionClosed(f"Member {self._number}: the feed's owner has closed it.")
            case _:
                return None

    def _read(self, message: Chunk, seq: int) -> FeedChunk:
        if self._reader is None:
            chunk = feed_chunk_of(message, partial(self._release, seq))
            self._held[seq] = False
            return chunk
        loan = loan_of(message)
        try:
            return read_loan(self._reader, loan)
        except (OSError, StreamError) as error:
            error.add_note(f"while reading items {loan.first} to {loan.first + loan.n - 1} {_here()}")
            raise

    def _release(self, seq: int) -> None:
        """Tell the owner up to where its memory need not be kept for others any more."""
        if seq not in self._held:
            return
        self._held[seq] = True
        done = -1
        while self._held and self._held[first := next(iter(self._held))]:
            done = first
            del self._held[first]
        if done >= 0 and not self._closed:
            with contextlib.suppress(StreamError):
                self._say(Ack(done))

    def _be_greeted(self, deadline: float) -> tuple[int, ItemDescriptor]:
        begin: Begin | None = None
        while True:
            arrival = self._next_arrival(deadline)
            if arrival is None:
                raise ConnectionFailed(f"{self._name} did not answer the greeting in time.")
            message = arrival.message
            self._window.consumed(0, arrival.seq)
            match message:
                case Welcome():
                    self._heartbeat_s = message.heartbeat_s
                case Begin():
                    begin = message
                case Describe() if begin is not None:
                    return member_of(begin), descriptor_of(begin, message)
                case Error():
                    raise wire_error(message.code, f"{self._name} reports: {message.text}", seq=message.seq)
                case Chunk() | End() | Bye():
                    raise ProtocolError(f"{self._name} sent {type(message).__name__} before a description.")
                case _:
                    pass

    def _next_arrival(self, deadline: float) -> Arrival | None:
        while not self._arrivals:
            left = max(0.0, deadline - time.monotonic())
            n_bytes = self._receive(left)
            if n_bytes is None:
                self._note_silence(left)
                if left == 0.0 or time.monotonic() >= deadline:
                    return None
                continue
            self._silent_s = 0.0
            if n_bytes == 0:
                raise self._gone(None)
            self._decoder.advance(n_bytes)
            for arrival in self._decoder.events():
                if isinstance(arrival.message, Chunk):
                    self._window.received(arrival.payload_bytes, arrival.seq)
                self._arrivals.append(arrival)
        return self._arrivals.popleft()

    def _receive(self, timeout: float) -> int | None:
        try:
            return self._link.receive_into(self._decoder.want(), timeout)
        except ConnectionFailed as error:
            raise self._gone(error) from error

    def _note_silence(self, waited_s: float) -> None:
        """Count only time in which somebody listened: while a UDF works, nobody does."""
        self._silent_s += waited_s
        if self._silent_s > 3 * self._heartbeat_s:
            raise Stalled(f"{self._name}: nothing was heard for three heartbeats of {self._heartbeat_s} s.")

    def _gone(self, error: StreamError | None) -> StreamError:
        if self._closed:
            return ConnectionClosed(f"{self._name}: this member has left the feed; join again.")
        return ConnectionFailed(
            f"{self._name}: the process that owns the feed is gone ({error or 'closed'})."
        )

    def _grant(self) -> None:
        credit = self._window.grant()
        if credit is not None:
            # If the owner is gone, the next read says so.
            with contextlib.suppress(ConnectionFailed):
                self._say(credit)

    def _say(self, message: Message) -> None:
        self._link.send(self._encoder.encode(message), _SAY_S)


def _here() -> str:
    return f"on host {socket.gethostname()}"
