"""Members of a `RangeFeed` in other processes: 32-byte messages over a socket pair.

A member asks for one range ahead of the one it works on, so that it need not wait for an answer.
When its socket closes, for whatever reason, it has left and its unsettled ranges are lent again.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from dataclasses import dataclass, field

from ._chunk import FeedChunk, FeedEnd
from ._errors import ConnectionClosed, ConnectionFailed
from ._feed import Ticket
from ._range_ledger import Loan, RangeLedger
from ._range_reader import RangeReader, read_loan
from ._shared_bytes import pack_for_ticket, unpack_from_ticket

# owner -> member: kind, attempt, first, n, token
_MESSAGE = struct.Struct("<B3xIQQQ")
_LOAN, _END, _CLOSED = 1, 2, 3
# member -> owner: one such byte for each range it wants
_WANT = b"\x01"
_MOST_WANTED = 16


@dataclass(slots=True)
class _Peer:
    member: int
    socket: socket.socket
    wanted: int = 0
    ended: bool = False


@dataclass(slots=True)
class _Arrivals:
    peers: list[_Peer] = field(default_factory=list)
    closing: bool = False


class RangeServer:
    """Serves the members in other processes with one thread.

    Parameters
    ----------
    ledger
        Who has what.
    changed
        Guards the ledger; notified when a member leaves.
    """

    def __init__(self, ledger: RangeLedger, changed: threading.Condition) -> None:
        self._ledger = ledger
        self._changed = changed
        self._arrivals = _Arrivals()
        self._peers: dict[int, _Peer] = {}
        self._selector = selectors.DefaultSelector()
        self._bell, self._button = socket.socketpair()
        self._bell.setblocking(False)
        self._button.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="arraystream-range-feed", daemon=True)
        self._thread.start()

    def attach(self, member: int) -> socket.socket:
        """Return the member's end of a new socket pair."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with self._changed:
            if self._arrivals.closing:
                ours.close()
                theirs.close()
                raise ConnectionClosed("The feed has been closed; open a new one with the source's feed().")
            self._arrivals.peers.append(_Peer(member, ours))
        self.wake()
        return theirs

    def wake(self) -> None:
        """Have the thread look for work to hand out."""
        # Full: it will wake up anyway.  Closed: nobody is left to be served.
        with contextlib.suppress(OSError):
            self._button.send(b"\0")

    def close(self) -> None:
        """Tell all members that the feed is closed, and end the thread."""
        with self._changed:
            self._arrivals.closing = True
        self.wake()
        self._thread.join()

    def _run(self) -> None:
        closing = False
        while not closing:
            for key, _ in self._selector.select():
                if key.fileobj is self._bell:
                    with contextlib.suppress(BlockingIOError):
                        self._bell.recv(4096)
                else:
                    self._hear(key.data)
            with self._changed:
                closing = self._arrivals.closing
                for peer in self._arrivals.peers:
                    self._peers[peer.member] = peer
                    self._selector.register(peer.socket, selectors.EVENT_READ, peer)
                self._arrivals.peers.clear()
                self._serve_all()
        for peer in self._peers.values():
            with contextlib.suppress(OSError):
                peer.socket.send(_MESSAGE.pack(_CLOSED, 0, 0, 0, 0))
            peer.socket.close()
        self._selector.close()
        self._bell.close()
        self._button.close()

    def _hear(self, peer: _Peer) -> None:
        try:
            heard = peer.socket.recv(_MOST_WANTED)
        except BlockingIOError:
            return
        except OSError:
            heard = b""
        peer.wanted += len(heard)
        if not heard or peer.wanted > _MOST_WANTED:
            self._drop(peer)

    def _drop(self, peer: _Peer) -> None:
        with self._changed:
            del self._peers[peer.member]
            self._selector.unregister(peer.socket)
            peer.socket.close()
            self._ledger.leave(peer.member)
            self._changed.notify_all()

    def _serve_all(self) -> None:
        """Serve in turns until nobody wants anything that is there."""
        progress = True
        while progress:
            served = [self._serve(peer) for peer in list(self._peers.values()) if peer.wanted]
            progress = any(served)

    def _serve(self, peer: _Peer) -> bool:
        """Send one message if there is something to say; whether anything changed."""
        loan = self._ledger.lend(peer.member)
        if loan is None and peer.ended:
            return False
        if loan is None:
            message = _MESSAGE.pack(_END, 0, 0, 0, 0)
        else:
            message = _MESSAGE.pack(_LOAN, loan.attempt, loan.first, loan.n, loan.token)
            peer.wanted -= 1
        peer.ended = loan is None
        try:
            sent = peer.socket.send(message)
        except OSError:
            sent = 0
        if sent != len(message):
            self._drop(peer)
        return True


def make_ticket(server: RangeServer, member: int, reader: RangeReader) -> Ticket:
    """Attach a member and pack all it needs."""
    packed, fds = pack_for_ticket(reader)
    info = struct.pack("<Q", member) + packed
    return Ticket("memory", member, info, (server.attach(member).detach(), *fds))


def redeem(ticket: Ticket) -> RemoteRangeMember:
    """Join a `RangeFeed` of another process; takes over ``ticket.fds``."""
    connection = socket.socket(fileno=ticket.fds[0])
    try:
        (member,) = struct.unpack_from("<Q", ticket.info)
        reader = unpack_from_ticket(ticket.info[8:], ticket.fds[1:])
    except BaseException:
        connection.close()
        raise
    return RemoteRangeMember(connection, member, reader)


class RemoteRangeMember:
    """A member whose feed lives in another process; from `redeem_ticket`."""

    leases_hold_memory = False
    """The memory of a chunk goes with the last array that looks at it."""

    def __init__(self, connection: socket.socket, number: int, reader: RangeReader) -> None:
        self._socket = connection
        self._number = number
        self._reader = reader
        self._partial = bytearray()
        self._closed = False
        self._want()

    @property
    def number(self) -> int:
        """Names this member to `Feed.settle`."""
        return self._number

    def recv(self, timeout: float) -> FeedChunk | FeedEnd | None:
        """Return the next chunk, the end (once), or ``None`` after `timeout` seconds."""
        message = self._message(timeout)
        if message is None:
            return None
        kind, attempt, first, n, token = _MESSAGE.unpack(message)
        if kind == _END:
            return FeedEnd()
        if kind == _CLOSED:
            raise ConnectionClosed(f"Member {self._number}: the feed's owner has closed it.")
        self._want()
        return read_loan(self._reader, Loan(token, first, n, attempt))

    def close(self) -> None:
        """Leave the feed; unsettled chunks go to other members.  Idempotent, from any thread."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _want(self) -> None:
        # If the owner is gone, the next read says so.
        with contextlib.suppress(OSError):
            self._socket.sendall(_WANT)

    def _message(self, timeout: float) -> bytes | None:
        while len(self._partial) < _MESSAGE.size:
            try:
                self._socket.settimeout(max(timeout, 0.0))
                received = self._socket.recv(_MESSAGE.size - len(self._partial))
            except (TimeoutError, BlockingIOError):
                return None
            except OSError as error:
                raise self._gone() from error
            if not received:
                raise self._gone()
            self._partial += received
        message = bytes(self._partial)
        self._partial.clear()
        return message

    def _gone(self) -> ConnectionClosed | ConnectionFailed:
        if self._closed:
            return ConnectionClosed(f"Member {self._number} has left the feed; redeem a new ticket.")
        return ConnectionFailed(f"Member {self._number}: the process that owns the feed is gone.")
