"""Receive acquisitions: `receive` and what it returns."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from ._errors import AcquisitionAborted, ConnectionFailed, StreamError
from ._plugins import list_plugins, load_plugin
from ._protocol.decoder import Allocator, Arrival, StreamDecoder
from ._protocol.encoder import StreamEncoder
from ._protocol.limits import ErrorCode, Limits, wire_error
from ._protocol.messages import Begin, Bye, Chunk, End, Error, Gap, Message, Welcome
from ._protocol.session import CreditWindow, hello
from ._protocol.stream_state import StreamState
from ._transports.link import Link, StreamTransport

_FAREWELL_S = 2.0


def receive(
    url: str,
    *,
    timeout: float = 30.0,
    token: str | None = None,
    limits: Limits | None = None,
    window_bytes: int = 64 << 20,
    allocate: Allocator | None = None,
) -> Receiver:
    """Receive a stream from an address, losslessly.

    Parameters
    ----------
    url
        ``tcp://host:port``, ``file:///path`` or ``memory://name``.
    timeout
        Longest wait for the producer to be there and to greet, in seconds.
    token
        What the producer wants to hear; not used for files.
    limits
        What is accepted; a chunk must also fit into `window_bytes`.
    window_bytes
        Most data under way that have not been iterated over.
    allocate
        Gives the memory that payloads are received into; see `StreamDecoder`.

    Examples
    --------
    See `send`.
    """
    transport: StreamTransport = load_plugin("arraystream.transports", urlsplit(url).scheme)
    accepted = (limits or Limits()).narrowed({"payload_bytes": window_bytes})
    link = transport.connect(url, timeout)
    try:
        return Receiver(
            link,
            timeout=timeout,
            token=token,
            limits=accepted if link.two_way else limits or Limits(),
            window_bytes=window_bytes,
            allocate=allocate,
        )
    except BaseException:
        link.close()
        raise


class Receiver:
    """The consumer's end of a stream; from `receive`.

    Iterate over its chunks; used by one thread, `close` by any.  The loop ends normally only if the
    producer said BYE; any other end of the stream is an error and closes it.  An acquisition that did
    not end as complete raises an error at its end, after which the loop may be entered again for the
    next acquisition.

    Attributes
    ----------
    begin
        The newest top-level section, ``None`` before the first.
    gaps
        What is missing of it so far.
    end
        How it ended, ``None`` while it runs.
    """

    def __init__(
        self,
        link: Link,
        *,
        timeout: float,
        token: str | None,
        limits: Limits,
        window_bytes: int,
        allocate: Allocator | None,
    ) -> None:
        self.begin: Begin | None = None
        self.gaps: list[Gap] = []
        self.end: End | None = None
        self._link = link
        self._depth = 0
        self._heartbeat_s = timeout
        self._arrivals: deque[Arrival] = deque()
        self._handed_out: Arrival | None = None
        self._window = CreditWindow(window_bytes)
        self._decoder = StreamDecoder("producer", greeted=not link.two_way, limits=limits, allocate=allocate)
        self._encoder = StreamEncoder("consumer")
        if link.two_way:
            self._greet(hello(limits=limits, token=token, codecs=_codecs()), timeout)

    def recv(self, timeout: float | None = None) -> Arrival | None:
        """Return the next message of any kind; ``None`` if none came within `timeout` seconds.

        Heartbeats and the like are not returned, but count as signs of life.

        Raises
        ------
        EOFError
            After BYE, as `TruncatedStream` if the stream stopped without.
        Stalled
            If nothing at all, not even a heartbeat, came for three heartbeat intervals.
        StreamError
            If the producer reports an error or breaks the protocol.
        """
        if self._decoder.state is StreamState.CLOSED and not self._arrivals:
            raise EOFError("The stream has ended; the producer said BYE.")
        self._done_with_last()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            arrival = self._next_arrival(deadline)
            if arrival is None:
                return None
            self._window.consumed(0, arrival.seq)
            if self._note(arrival):
                self._handed_out = arrival
                return arrival

    def messages(self) -> Iterator[Message]:
        """Iterate over all messages, BEGIN to END, until BYE."""
        while (arrival := self._recv_or_bye()) is not None:
            yield arrival.message

    def close(self) -> None:
        """Close; idempotent, from any thread."""
        self._link.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Chunk:
        while (arrival := self._recv_or_bye()) is not None:
            message = arrival.message
            if isinstance(message, Chunk):
                return message
            if isinstance(message, End) and self._depth == 0 and message.status != "complete":
                reason = f"Acquisition {message.id} {message.status}: {message.reason or 'no reason given'}"
                raise (AcquisitionAborted if message.status == "aborted" else StreamError)(reason)
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._decoder.state in (StreamState.READY, StreamState.OPEN):
            self._say(Bye("the consumer left"))
        self.close()

    def _recv_or_bye(self) -> Arrival | None:
        if self._decoder.state is StreamState.CLOSED and not self._arrivals:
            return None
        arrival = self.recv()
        assert arrival is not None
        return None if isinstance(arrival.message, Bye) else arrival

    def _greet(self, greeting: Message, timeout: float) -> None:
        self._link.send(self._encoder.encode(greeting), timeout)
        arrival = self._next_arrival(time.monotonic() + timeout)
        if arrival is None:
            raise ConnectionFailed(f"The producer did not answer the greeting within {timeout} s.")
        if isinstance(arrival.message, Error):
            self._note(arrival)
        if isinstance(arrival.message, Welcome):
            self._heartbeat_s = arrival.message.heartbeat_s
            self._window.consumed(0, arrival.seq)
            self._grant()
            return
        raise ConnectionFailed("The producer said BYE instead of a greeting.")

    def _done_with_last(self) -> None:
        """What was handed out before counts as consumed now."""
        arrival, self._handed_out = self._handed_out, None
        if arrival is not None and isinstance(arrival.message, Chunk):
            self._window.consumed(arrival.payload_bytes, arrival.seq)
        self._grant()

    def _grant(self) -> None:
        if self._link.two_way and self._decoder.state in (StreamState.READY, StreamState.OPEN):
            credit = self._window.grant()
            if credit is not None:
                # If the producer is gone, what can still be read says how the stream ended.
                with contextlib.suppress(ConnectionFailed):
                    self._link.send(self._encoder.encode(credit), 3 * self._heartbeat_s)

    def _next_arrival(self, deadline: float | None) -> Arrival | None:
        """Receive until there is a message, the deadline or three heartbeats of silence."""
        heard = time.monotonic()
        while not self._arrivals:
            silent_at = heard + 3 * self._heartbeat_s
            now = time.monotonic()
            until = silent_at if deadline is None else min(deadline, silent_at)
            try:
                n_bytes = self._receive(max(0.0, until - now))
                if n_bytes == 0:
                    self._decoder.eof()
                elif n_bytes is not None:
                    heard = now
                    self._decoder.advance(n_bytes)
                    self._take_arrivals()
                elif until == silent_at and (deadline is None or silent_at <= deadline):
                    self._decoder.silence()
            except StreamError as error:
                self._complain(error)
                self.close()
                raise
            if n_bytes is None and deadline is not None and time.monotonic() >= deadline:
                return None
        return self._arrivals.popleft()

    def _receive(self, timeout: float) -> int | None:
        target = self._decoder.want()
        try:
            return self._link.receive_into(target, timeout)
        except ConnectionFailed:
            # A reset connection has ended, too.
            return 0

    def _take_arrivals(self) -> None:
        for arrival in self._decoder.events():
            if isinstance(arrival.message, Chunk) and self._link.two_way:
                self._window.received(arrival.payload_bytes, arrival.seq)
            self._arrivals.append(arrival)

    def _note(self, arrival: Arrival) -> bool:
        """Keep the books; whether the message is for the user."""
        message = arrival.message
        match message:
            case Error():
                raise wire_error(message.code, f"The producer reports: {message.text}", seq=message.seq)
            case Begin():
                if self._depth == 0:
                    self.begin, self.end, self.gaps = message, None, []
                self._depth += 1
            case End():
                self._depth -= 1
                self.end = message if self._depth == 0 else self.end
            case Gap():
                self.gaps.append(message)
            case Bye():
                self._say(Bye())
                self.close()
        return 16 <= message.TYPE < 22 or isinstance(message, Bye)

    def _complain(self, error: StreamError) -> None:
        """Tell the producer what it did wrong, if it still listens."""
        if error.code not in (0, ErrorCode.TIMEOUT):
            self._say(Error(code=error.code, text=str(error)[:1000], seq=error.seq))

    def _say(self, message: Message) -> None:
        if self._link.two_way:
            with contextlib.suppress(StreamError):
                self._link.send(self._encoder.encode(message), _FAREWELL_S)


def _codecs() -> list[str]:
    return list(list_plugins("arraystream.codecs", check=False))
