"""A listening port that serves one client at a time, with waits that can be interrupted.

One thread owns a `ClientPort` and calls `wait` and `drop`; any thread may call `wake` and `close`.
A further client waits in the backlog until the first one is gone, as at the real server.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading


class ClientPort:
    """Listen on a port, accept one client, notice when it goes.

    Parameters
    ----------
    host, port
        Where to listen; port 0 for any free one.

    Raises
    ------
    OSError
        If the port can't be had.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._selector = selectors.DefaultSelector()
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        self._accepting = threading.Lock()
        self._listener: socket.socket | None = None
        self.client: socket.socket | None = None
        self.n_connections = 0
        self.port = port
        try:
            self.listen()
        except OSError:
            self.close()
            raise

    def listen(self) -> None:
        """Begin to listen, on the same port as before if there was one."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self._host, self.port))
            listener.listen(2)
        except OSError:
            listener.close()
            raise
        listener.setblocking(False)
        self.port = int(listener.getsockname()[1])
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ)

    def stop_listening(self) -> None:
        """Drop the client and refuse new ones until `listen`."""
        self.drop()
        if self._listener is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    @property
    def connected(self) -> bool:
        """Whether a client is there or waits to be accepted."""
        with self._accepting:
            listener = self._listener
            if self.client is not None or listener is None:
                return self.client is not None
            try:
                with selectors.DefaultSelector() as selector:
                    selector.register(listener, selectors.EVENT_READ)
                    return bool(selector.select(0))
            except (OSError, ValueError):
                return False

    def wake(self) -> None:
        """Make `wait` return.  Any thread."""
        with contextlib.suppress(OSError):
            self._wake_sender.send(b"\0")

    def wait(self, timeout: float | None) -> bytes:
        """Wait for a client, its bytes, its going away, or `wake`; return its bytes if any came."""
        received = b""
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._wake_receiver:
                with contextlib.suppress(BlockingIOError):
                    while self._wake_receiver.recv(4096):
                        pass
            elif key.fileobj is self.client:
                received = self._receive()
        if self.client is None and self._listener is not None:
            self._accept(self._listener)
        return received

    def drop(self) -> None:
        """Disconnect the client, if there is one, and take the next."""
        if self.client is None:
            return
        self._selector.unregister(self.client)
        self.client.close()
        self.client = None
        if self._listener is not None:
            self._selector.register(self._listener, selectors.EVENT_READ)

    def close(self) -> None:
        """Close all sockets.  Idempotent; not while another thread waits."""
        self.stop_listening()
        self._selector.close()
        self._wake_receiver.close()
        self._wake_sender.close()

    def _receive(self) -> bytes:
        assert self.client is not None
        try:
            data = self.client.recv(65536)
        except (BlockingIOError, TimeoutError):
            return b""
        except OSError:
            data = b""
        if not data:
            self.drop()
        return data

    def _accept(self, listener: socket.socket) -> None:
        try:
            with self._accepting:
                self.client, _ = listener.accept()
        except OSError:
            return
        self._selector.unregister(listener)
        self._selector.register(self.client, selectors.EVENT_READ)
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.n_connections += 1
