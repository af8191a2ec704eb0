"""A feed for members on other hosts: `serve_feed` offers it, `join_feed` joins it (PROTOCOL.md, 2.5).

For each member elsewhere the server has one in the feed's own process and passes on what that one gets.  So
who owns which chunk stays with the feed: a member whose connection ends has left, and what it had not settled
goes to another.  Nothing that comes over the network is ever unpickled or imported.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgpack

from ._chunk import FeedChunk, FeedEnd, FeedVerdict, ItemDescriptor, Lease
from ._errors import ConnectionClosed, StreamError
from ._feed import Feed, Member, Ticket
from ._group_wire import REFERENCE, begin_of, chunk_of, describe_of, range_of
from ._plugins import load_plugin
from ._producer_session import ProducerSession
from ._protocol.limits import ErrorCode, Limits, wire_error
from ._protocol.messages import Chunk, End, Error, Hello, Mark, Message
from ._protocol.session import same_token
from ._range_ledger import Loan
from ._transports.link import Link, StreamTransport

HEARTBEAT_S = 10.0
TICKET_S = 60.0
"""How long a ticket is good for."""

_LOOK_S = 0.1
_MOST_STRANGERS = 32
# A member that computes for a long time reads nothing meanwhile; that it is gone is noticed otherwise.
_FOR_EVER_S = 7 * 86400.0


def serve_feed(
    feed: Feed,
    url: str = "tcp://127.0.0.1:0",
    *,
    token: str | None = None,
    limits: Limits | None = None,
    heartbeat_s: float = HEARTBEAT_S,
) -> FeedServer:
    """Offer a feed to members on other hosts.

    Parameters
    ----------
    feed
        Any feed.  The server takes it over: closing one closes the other.
    url
        Where to listen; port 0 takes any free one.  Name an address that other hosts reach, since without
        one only this machine does.
    token
        What a member must know; by default a random one, see `FeedServer.token`.
    limits
        What is sent at most.
    heartbeat_s
        Longest silence towards a member.

    Examples
    --------
    >>> server = serve_feed(open_memory(np.zeros((10, 4, 4))).feed(chunk_items=8))
    >>> member = join_feed(server.url, token=server.token)
    >>> chunk = member.recv(10.0)
    >>> (chunk.first, chunk.n, server.settle(member.number, [chunk.lease.token]))
    (0, 8, True)
    >>> member.close()
    >>> server.close()
    """
    transport: StreamTransport = load_plugin("arraystream.transports", urlsplit(url).scheme)
    return FeedServer(transport, feed, url, token, limits or Limits(), heartbeat_s)


class FeedServer:
    """Serves members of one feed over a stream transport; from `serve_feed`.

    It is a `Feed`, too: `join` admits members of this process, `ticket` gives tickets without file
    descriptors, which are good once, for a minute, on any host that reaches `url`.

    Attributes
    ----------
    token
        What `join_feed` must be told.
    """

    def __init__(
        self,
        transport: StreamTransport,
        feed: Feed,
        url: str,
        token: str | None,
        limits: Limits,
        heartbeat_s: float,
    ) -> None:
        self.token = secrets.token_urlsafe(24) if token is None else token
        self._feed = feed
        self._limits = limits
        self._heartbeat_s = heartbeat_s
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._tickets: dict[str, tuple[Member, float]] = {}
        self._sessions: dict[int, ProducerSession] = {}
        self._threads: set[threading.Thread] = set()
        self._strangers = threading.Semaphore(_MOST_STRANGERS)
        self._listener = transport.listen(url)
        self._url = self._listener.url
        self._thread = threading.Thread(target=self._accept, name="arraystream-feed-server", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the feed can be joined, with the real port."""
        return self._url

    @property
    def descriptor(self) -> ItemDescriptor:
        """What the items look like."""
        return self._feed.descriptor

    def join(self) -> Member:
        """Admit a member in this process; nothing is sent then."""
        return self._feed.join()

    def ticket(self) -> Ticket:
        """Admit a member anywhere; the ticket is as secret as the data."""
        if self._closed.is_set():
            raise ConnectionClosed(f"{self._url} was closed; serve another feed.")
        member = self._feed.join()
        secret = secrets.token_urlsafe(24)
        with self._lock:
            self._tickets[secret] = member, time.monotonic() + TICKET_S
        info = msgpack.packb({"url": self._url, "token": secret})
        return Ticket("group", member.number, info, ())

    def settle(self, member: int, tokens: Sequence[int]) -> bool:
        """Mark chunks as done; see `Feed.settle`."""
        return self._feed.settle(member, tokens)

    def expel(self, member: int) -> None:
        """Take a member elsewhere for dead: what it had not settled goes to others."""
        with self._lock:
            session = self._sessions.get(member)
            waiting = [secret for secret, (m, _) in self._tickets.items() if m.number == member]
        for secret in waiting:
            self._discard(secret)
        if session is not None:
            session.close()

    def verdict(self) -> FeedVerdict | None:
        """Return how the acquisition ended; see `Feed.verdict`."""
        return self._feed.verdict()

    def close(self) -> None:
        """Close the feed, tell the members elsewhere, stop listening.  Idempotent."""
        self._closed.set()
        self._feed.close()
        self._listener.close()
        self._thread.join()
        with self._lock:
            threads, tickets = list(self._threads), list(self._tickets)
        for secret in tickets:
            self._discard(secret)
        for thread in threads:
            # Longest: a member that does not read while it is told that this is the end.
            thread.join(2 * _LOOK_S)
        with self._lock:
            sessions = list(self._sessions.values())
        for session in sessions:
            session.close()
        for thread in threads:
            thread.join()

    def __enter__(self) -> FeedServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- who comes --------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                link = self._listener.accept(1.0)
            except StreamError:
                if self._closed.wait(1.0):
                    return
                continue
            self._discard_late()
            if link is not None:
                self._meet(link)

    def _meet(self, link: Link) -> None:
        """Talk to somebody in a thread; too many at a time who have not said who they are must go."""
        if not self._strangers.acquire(blocking=False):
            link.close()
            return
        thread = threading.Thread(target=self._serve, args=(link,), name="arraystream-member", daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _serve(self, link: Link) -> None:
        admitted: list[tuple[Member, bool]] = []
        session: ProducerSession | None = None
        try:
            try:
                session = ProducerSession(
                    link,
                    timeout=_FOR_EVER_S,
                    limits=self._limits,
                    heartbeat_s=self._heartbeat_s,
                    token=None,
                    sums=False,
                    delivery="group",
                    admit=lambda greeting: admitted.append(self._admit(greeting)),
                )
            finally:
                self._strangers.release()
            member, by_reference = admitted[0]
            with self._lock:
                self._sessions[member.number] = session
            passing_on = _MemberSession(session, self._feed, member, by_reference, self._closed)
            try:
                passing_on.run()
            except StreamError as error:
                _forget_frames(error)
            finally:
                # In this order: what is released before the member has left would not be lent again.
                member.close()
                passing_on.release_all()
        except StreamError:
            pass
        finally:
            # First the books: by now nobody may settle what this member had.
            for member, _ in admitted:
                member.close()
                with self._lock:
                    self._sessions.pop(member.number, None)
            (link if session is None else session).close()
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _admit(self, greeting: Hello) -> tuple[Member, bool]:
        """Return the member that a greeting is for, and whether it wants references only."""
        with self._lock:
            secret = next((s for s in self._tickets if same_token(greeting.token, s)), None)
            member = self._tickets.pop(secret)[0] if secret is not None else None
        if member is None and not same_token(greeting.token, self.token):
            raise wire_error(
                ErrorCode.UNAUTHORISED,
                "The token is wrong or missing, or the ticket was used or is too old; ask the feed's owner.",
            )
        member = self._feed.join() if member is None else member
        by_reference = REFERENCE in greeting.features
        if by_reference and not hasattr(member, "recv_range"):
            member.close()
            raise wire_error(
                ErrorCode.STATE, "This feed can't be read elsewhere; join it without a reader of your own."
            )
        return member, by_reference

    def _discard_late(self) -> None:
        now = time.monotonic()
        with self._lock:
            late = [secret for secret, (_, until) in self._tickets.items() if until < now]
        for secret in late:
            self._discard(secret)

    def _discard(self, secret: str) -> None:
        with self._lock:
            member, _ = self._tickets.pop(secret, (None, 0.0))
        if member is not None:
            member.close()


def _forget_frames(error: BaseException | None) -> None:
    """Drop what the frames of an error look at.

    The session keeps its error, the error its frames, and these a chunk: its memory would not be lent again
    before Python looks for such circles.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


class _MemberSession:
    """Passes on to one member elsewhere what a member here gets, within the credit it gives."""

    def __init__(
        self,
        session: ProducerSession,
        feed: Feed,
        member: Member,
        by_reference: bool,
        closed: threading.Event,
    ) -> None:
        self._session = session
        self._member = member
        self._descriptor = feed.descriptor
        self._by_reference = by_reference
        self._closed = closed
        self._leases: deque[tuple[int, Lease]] = deque()

    def run(self) -> None:
        """Serve until the feed is closed or the other side is gone; that is a `StreamError`."""
        begin = begin_of(self._descriptor, self._member.number)
        self._session.send(begin)
        self._session.send(describe_of(self._descriptor, by_reference=self._by_reference))
        try:
            while not self._closed.is_set():
                self._release_settled()
                if self._session.wait_for_room(_LOOK_S):
                    self._pass_on()
        except ConnectionClosed:
            if not self._is_over():
                raise
        except StreamError as error:
            self._tell(Error(error.code or ErrorCode.INTERNAL, str(error)[:1000]))
            raise
        self._tell(End(begin.id, "aborted", "the feed was closed by its owner"))
        self._session.give_up()

    def _is_over(self) -> bool:
        """Whether the feed was closed, here or by its owner, rather than the connection."""
        return self._closed.is_set() or self._session.is_open

    def _pass_on(self) -> None:
        """Take at most one chunk and send it."""
        if self._by_reference:
            loan: Loan | FeedEnd | None = self._member.recv_range(_LOOK_S)  # type: ignore[attr-defined]
            if isinstance(loan, Loan):
                self._session.send(range_of(loan), replayed=loan.attempt > 0)
            elif loan is not None:
                self._session.send(Mark("drained"))
            return
        got = self._member.recv(_LOOK_S)
        if isinstance(got, FeedChunk):
            self._send(got, chunk_of(self._descriptor, got))
        elif got is not None:
            self._session.send(Mark("drained"))

    def _send(self, chunk: FeedChunk, message: Chunk) -> None:
        # Nobody acknowledges what was not sent: that lease ends with the session.
        self._leases.append((sys.maxsize, chunk.lease))
        seq = self._session.send(message, replayed=chunk.attempt > 0)
        self._leases[-1] = seq, chunk.lease

    def _release_settled(self) -> None:
        while self._leases and self._leases[0][0] <= self._session.acknowledged:
            self._leases.popleft()[1].release()

    def release_all(self) -> None:
        """Release what the member still had; it must have left."""
        while self._leases:
            self._leases.popleft()[1].release()

    def _tell(self, message: Message) -> None:
        with contextlib.suppress(StreamError):
            self._session.send(message)
