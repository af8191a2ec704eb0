"""The producer's end of one link: greeting, credit, heartbeats, orderly end.

On a two-way link one thread listens to the consumer and keeps it awake with heartbeats; data are sent
in the caller's thread.  On a file there is no thread, but a SYNC every 64 MiB.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable

from ._errors import ConnectionClosed, ConnectionFailed, Stalled, StreamError
from ._protocol.buffers import payload_size
from ._protocol.decoder import StreamDecoder
from ._protocol.encoder import StreamEncoder
from ._protocol.limits import HELLO_TIMEOUT_S, ErrorCode, Limits, wire_error
from ._protocol.messages import (
    SYNC_SIGNATURE,
    Ack,
    Bye,
    Chunk,
    Credit,
    Error,
    Heartbeat,
    Hello,
    Message,
    Sync,
)
from ._protocol.session import welcome
from ._protocol.stream_state import Delivery
from ._transports.link import Link

SYNC_EVERY_BYTES = 64 << 20
_FAREWELL_S = 2.0


class ProducerSession:
    """Sends messages to one consumer, or into one file.

    Parameters
    ----------
    link
        The connection; taken over.
    timeout
        Longest wait for the consumer: to greet, to read, to grant credit, to say good-bye.
    limits
        What we send at most.
    heartbeat_s
        Longest silence on a two-way link.
    token
        What a consumer must know.
    sums
        Send checksums of buffers.
    delivery
        The one that is offered.
    admit
        Looks at the greeting, too, before it is answered; refuses by raising `StreamError`.
    """

    # acknowledged: number up to which the consumer is done with all messages, -1 for none.

    SEQ_RESERVE = 16
    """Sequence numbers kept for heartbeats: a chunk goes only if that many more are covered by credit."""

    def __init__(
        self,
        link: Link,
        *,
        timeout: float,
        limits: Limits,
        heartbeat_s: float,
        token: str | None,
        sums: bool,
        delivery: Delivery = "lossless",
        admit: Callable[[Hello], None] | None = None,
    ) -> None:
        self._link = link
        self._timeout = timeout
        self._heartbeat_s = heartbeat_s
        self._changed = threading.Condition()
        self._sending = threading.RLock()
        self._credit = Credit(0, 0)
        self.acknowledged = -1
        self._payload_sent = 0
        self._n_bytes = 0
        self._next_sync = 0
        self._last_sent_s = time.monotonic()
        self._over: StreamError | None = None
        self._saying_bye = False
        self._listener: threading.Thread | None = None
        self._delivery: Delivery = delivery
        self._admit = admit
        self._decoder = StreamDecoder("consumer", limits=limits)
        self._encoder = StreamEncoder(
            "producer",
            greeted=not link.two_way,
            delivery=delivery,
            limits=limits,
            sums=sums,
            grease=random.Random(),
        )
        if link.two_way:
            self._greet(limits, token)
            self._listener = threading.Thread(target=self._listen, name="arraystream-producer", daemon=True)
            self._listener.start()

    @property
    def encoder(self) -> StreamEncoder:
        """Encodes what is sent; its books know the open sections."""
        return self._encoder

    def send(self, message: Message, *, replayed: bool = False) -> int:
        """Send a message and return its sequence number; a chunk waits for credit.

        Raises
        ------
        Stalled
            If the consumer grants no credit or does not read for `timeout` seconds.
        ConnectionFailed
            If the consumer is gone.
        """
        if isinstance(message, Chunk) and self._link.two_way:
            self._wait_for_credit(message)
        with self._sending:
            self._raise_if_over()
            if not self._link.two_way and self._n_bytes >= self._next_sync:
                self._next_sync = self._n_bytes + SYNC_EVERY_BYTES
                self._transmit(Sync(self._n_bytes, self._encoder.next_seq, SYNC_SIGNATURE))
            self._transmit(message, replayed=replayed)
            return self._encoder.next_seq - 1

    @property
    def is_open(self) -> bool:
        """Whether nothing has ended the session yet."""
        return self._over is None

    def wait_for_room(self, timeout: float) -> bool:
        """Wait for credit for one more chunk, of whatever size; ``False`` if none came in time.

        Raises
        ------
        StreamError
            If the session is over.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._over is not None or self._has_number(), timeout)
            self._raise_if_over()
            return self._has_number()

    def finish(self, *, timeout: float | None = None) -> None:
        """Say BYE and wait until the consumer has, too: everything has arrived then.

        Raises
        ------
        Stalled
            If the consumer was silent for `timeout` seconds before it said BYE.
        """
        with self._sending:
            self._raise_if_over()
            self._saying_bye = True
            self._transmit(Bye())
        self._link.finish()
        if self._listener is not None:
            self._wait_for_bye(self._timeout if timeout is None else timeout)
        self.close()

    def give_up(self) -> None:
        """Say BYE if that is possible at once; never raises."""
        with contextlib.suppress(StreamError):
            self.finish(timeout=min(self._timeout, _FAREWELL_S))
        self.close()

    def close(self) -> None:
        """Close the link; every wait ends with `ConnectionClosed`.  Idempotent."""
        with self._changed:
            if self._over is None:
                self._over = ConnectionClosed("The stream was closed on our side; open a new one.")
            self._changed.notify_all()
        self._link.close()
        if self._listener is not None and self._listener is not threading.current_thread():
            self._listener.join()

    def _transmit(self, message: Message, *, replayed: bool = False) -> None:
        parts = self._encoder.encode(message, replayed=replayed)
        n_bytes = sum(part.nbytes for part in parts)
        try:
            self._link.send(parts, self._timeout)
        except BaseException as error:
            # A part of the message may be out: whatever came behind it would be misunderstood.
            if not isinstance(error, StreamError):
                error = ConnectionFailed(f"Sending was interrupted within a message by {error!r}.")
            self._over = self._over or error
            raise
        self._n_bytes += n_bytes
        self._payload_sent += n_bytes - parts[0].nbytes if isinstance(message, Chunk) else 0
        self._last_sent_s = time.monotonic()

    def _raise_if_over(self) -> None:
        if self._over is not None:
            raise self._over

    def _greet(self, limits: Limits, token: str | None) -> None:
        """Wait for HELLO and answer it; a stranger gets an ERROR and no more."""
        deadline = time.monotonic() + min(self._timeout, HELLO_TIMEOUT_S)
        try:
            arrivals: list[Message] = []
            while not arrivals:
                arrivals = self._receive(max(0.0, deadline - time.monotonic()))
                if not arrivals and time.monotonic() >= deadline:
                    raise Stalled(f"The consumer said no HELLO within {HELLO_TIMEOUT_S} s.")
            greeting = arrivals[0]
            assert isinstance(greeting, Hello)
            answer, agreed = welcome(
                greeting,
                limits=limits,
                heartbeat_s=self._heartbeat_s,
                token=token,
                delivery=self._delivery,
            )
            if self._admit is not None:
                self._admit(greeting)
            self._transmit(answer)
        except StreamError as error:
            with contextlib.suppress(StreamError):
                self._transmit(Error(code=error.code or ErrorCode.INTERNAL, text=str(error)))
            self._link.close()
            raise
        self._encoder.narrow(agreed)

    def _receive(self, timeout: float) -> list[Message]:
        n_bytes = self._link.receive_into(self._decoder.want(), timeout)
        if n_bytes == 0:
            self._decoder.eof()
            raise ConnectionFailed("The consumer said BYE.")
        self._decoder.advance(n_bytes or 0)
        return [arrival.message for arrival in self._decoder.events()]

    def _listen(self) -> None:
        """Take in what the consumer says, and keep it awake, until either is gone."""
        try:
            while True:
                for message in self._receive(self._heartbeat_s / 2):
                    self._hear(message)
                if time.monotonic() - self._last_sent_s >= self._heartbeat_s:
                    self._send_heartbeat()
        except StreamError as error:
            with self._changed:
                self._over = self._over or error
                self._changed.notify_all()

    def _hear(self, message: Message) -> None:
        with self._changed:
            if isinstance(message, Credit):
                seq = max(message.seq, self._credit.seq)
                self._credit = Credit(seq, max(message.n_bytes, self._credit.n_bytes))
            elif isinstance(message, Ack):
                self.acknowledged = max(self.acknowledged, message.seq)
            elif isinstance(message, Error):
                raise wire_error(message.code, f"The consumer reports: {message.text}", seq=message.seq)
            elif isinstance(message, Bye) and not self._saying_bye:
                raise ConnectionFailed("The consumer left before the end of the stream.")
            self._changed.notify_all()

    def _send_heartbeat(self) -> None:
        # If somebody is sending, the consumer hears that.
        if self._sending.acquire(blocking=False):
            try:
                if not self._saying_bye:
                    self._transmit(Heartbeat(clock_ns=time.time_ns(), seq=self._encoder.next_seq))
            finally:
                self._sending.release()

    def _wait_for_credit(self, chunk: Chunk) -> None:
        n_bytes = payload_size(chunk.buffers)
        if n_bytes > self._encoder.limits.payload_bytes:
            return  # there will never be so much credit: encoding says so

        def granted() -> bool:
            # Heartbeats may take a few numbers before the chunk does.
            enough = self._payload_sent + n_bytes <= self._credit.n_bytes
            return enough and self._has_number()

        with self._changed:
            while not granted():
                self._raise_if_over()
                before = self._credit
                if not self._changed.wait(self._timeout) and self._credit == before:
                    raise Stalled(
                        f"The consumer granted no credit for {self._timeout} s; it may be stuck, or its "
                        f"window is smaller than a chunk of {n_bytes} bytes."
                    )
            self._raise_if_over()

    def _has_number(self) -> bool:
        return self._encoder.next_seq + self.SEQ_RESERVE <= self._credit.seq

    def _wait_for_bye(self, timeout: float) -> None:
        with self._changed:
            while self._over is None:
                before = self._credit
                if not self._changed.wait(timeout) and self._credit == before and self._over is None:
                    raise Stalled(f"The consumer did not say BYE within {timeout} s; data may be lost.")
            if self._decoder.state.name != "CLOSED":
                raise self._over
