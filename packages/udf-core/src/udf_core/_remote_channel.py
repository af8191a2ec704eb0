"""Channels between hosts: TCP, and both sides prove that they know a secret before anything is unpickled.

The secret is made for one run and reaches the workers through Dask, so whoever has it could run code there
anyway.  Proof is by HMAC over fresh numbers of both sides; the secret itself is not sent here.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from ._channel import Channel, ChannelClosed

_MAGIC = b"UDFCALL\x01"
_NONCE = 32
_PROOF = 32
_HELLO = struct.Struct(f"<{len(_MAGIC)}s{_NONCE}s")
_ANSWER = struct.Struct(f"<Q{_NONCE}s{_PROOF}s")
_HANDSHAKE_S = 10.0
_MOST_STRANGERS = 64


@dataclass(frozen=True, slots=True)
class Call:
    """Tells a worker where to call.

    Parameters
    ----------
    host, port
        Of the listener.
    number
        Of the worker.
    secret
        To be proved, not to be sent.
    """

    host: str
    port: int
    number: int
    secret: bytes = field(repr=False)


class ChannelListener:
    """Takes calls of workers.

    Parameters
    ----------
    host
        Address to listen on.
    secret
        What workers must know.
    meet
        Called with the number of the worker and its channel, in a thread of its own.
    """

    def __init__(self, host: str, secret: bytes, meet: Callable[[int, Channel], None]) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, 0), family=family, backlog=128)
        self._host, self._port = host, self._socket.getsockname()[1]
        self._secret = secret
        self._meet = meet
        self._strangers = threading.Semaphore(_MOST_STRANGERS)
        self._closed = False
        self._thread = threading.Thread(target=self._listen, name="udf-core-calls", daemon=True)
        self._thread.start()

    def call(self, number: int) -> Call:
        """Return what a worker of this number needs to know."""
        return Call(self._host, self._port, number, self._secret)

    def close(self) -> None:
        """Take no more calls; channels that are open stay open.  Idempotent."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            if not self._strangers.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(
                target=self._answer, args=(connection,), name="udf-core-call", daemon=True
            ).start()

    def _answer(self, connection: socket.socket) -> None:
        try:
            number = self._check(connection)
        except (OSError, EOFError):
            connection.close()
            return
        finally:
            self._strangers.release()
        self._meet(number, Channel(connection))

    def _check(self, connection: socket.socket) -> int:
        _tune(connection)
        ours = os.urandom(_NONCE)
        connection.sendall(_HELLO.pack(_MAGIC, ours))
        number, theirs, proof = _ANSWER.unpack(_read(connection, _ANSWER.size))
        if not hmac.compare_digest(proof, _proof(self._secret, b"worker", number, ours, theirs)):
            raise ConnectionRefusedError("the caller does not know the secret of this run")
        connection.sendall(_proof(self._secret, b"main", number, theirs, ours))
        return int(number)


def open_channel(call: Call) -> Channel:
    """Call the main side.

    Raises
    ------
    ConnectionError
        If it can't be reached from here, or is somebody else.
    ChannelClosed
        If it does not want this worker any more.
    """
    try:
        connection = socket.create_connection((call.host, call.port), timeout=_HANDSHAKE_S)
    except OSError as error:
        raise ConnectionError(
            f"host {socket.gethostname()} can't reach the main process at {call.host}:{call.port} ({error}); "
            f"pass DaskExecutor(host=…) an address of its machine that workers reach"
        ) from error
    try:
        _tune(connection)
        magic, theirs = _HELLO.unpack(_read(connection, _HELLO.size))
        if magic != _MAGIC:
            raise ConnectionRefusedError(f"{call.host}:{call.port} is not the main process of this run")
        ours = os.urandom(_NONCE)
        proof = _proof(call.secret, b"worker", call.number, theirs, ours)
        connection.sendall(_ANSWER.pack(call.number, ours, proof))
        answer = _read(connection, _PROOF)
        if not hmac.compare_digest(answer, _proof(call.secret, b"main", call.number, ours, theirs)):
            raise ConnectionRefusedError(f"{call.host}:{call.port} does not know the secret of this run")
    except BaseException:
        connection.close()
        raise
    return Channel(connection)


def _proof(secret: bytes, who: bytes, number: int, asked: bytes, own: bytes) -> bytes:
    return hmac.digest(secret, who + struct.pack("<Q", number) + asked + own, "sha256")


def _read(connection: socket.socket, n: int) -> bytes:
    data = b""
    while len(data) < n:
        part = connection.recv(n - len(data))
        if not part:
            raise ChannelClosed("the other side hung up")
        data += part
    return data


def _tune(connection: socket.socket) -> None:
    connection.settimeout(_HANDSHAKE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # A host that has vanished is noticed within half a minute.
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
