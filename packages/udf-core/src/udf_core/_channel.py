"""Messages between the main process and a worker process over a socket pair.

A message is one Python object (a tuple of a kind and a value), pickled by and for processes of our own; large
arrays travel beside the pickle without being copied into it, file descriptors beside the header.
"""

from __future__ import annotations

import contextlib
import pickle
import socket
import struct
import threading
from typing import Any

import cloudpickle

_HEADER = struct.Struct("<4sIIQ")
_MAGIC = b"UDF\x01"
_MOST_FDS = 64
_PART = 1 << 20


class ChannelClosed(EOFError):  # noqa: N818  (a state, like `EOFError`)
    """The other process is gone."""


class Channel:
    """One end of a connection between two processes.

    Sending is safe from several threads; receiving is done by one.

    Parameters
    ----------
    connection
        Connected stream socket; the channel owns it.
    send_timeout_s
        Give up if the other side does not read for that long.
    """

    def __init__(self, connection: socket.socket, *, send_timeout_s: float = 30.0) -> None:
        self._socket = connection
        self._lock = threading.Lock()
        self._socket.settimeout(send_timeout_s)

    def fileno(self) -> int:
        """Return the socket's file descriptor."""
        return self._socket.fileno()

    def send(self, kind: str, value: Any = None, *, fds: tuple[int, ...] = ()) -> None:
        """Send a message.

        Raises
        ------
        ChannelClosed
            If the other side is gone or does not read.
        """
        buffers: list[pickle.PickleBuffer] = []
        try:
            body = pickle.dumps((kind, value), protocol=5, buffer_callback=buffers.append)
        except (pickle.PicklingError, AttributeError, TypeError):  # results may hold lambdas or local classes
            buffers.clear()
            body = cloudpickle.dumps((kind, value), protocol=5, buffer_callback=buffers.append)
        raws = [buffer.raw() for buffer in buffers]
        sizes = struct.pack(f"<{len(raws)}Q", *(raw.nbytes for raw in raws))
        header = _HEADER.pack(_MAGIC, len(fds), len(raws), len(body)) + sizes
        try:
            with self._lock:
                sent = socket.send_fds(self._socket, [header], fds) if fds else self._socket.send(header)
                self._socket.sendall(header[sent:] + body)
                for raw in raws:
                    self._socket.sendall(raw)
        except OSError as error:
            raise ChannelClosed(f"the other process does not listen: {error}") from error

    def recv(self) -> tuple[str, Any, list[int]]:
        """Wait for a message; return its kind, its value and its file descriptors.

        Raises
        ------
        ChannelClosed
            If the other side is gone.
        """
        fds: list[int] = []
        header = bytearray()
        while len(header) < _HEADER.size:
            part, new, _, _ = self._receive(_HEADER.size - len(header))
            header += part
            fds += new
        magic, n_fds, n_buffers, n_body = _HEADER.unpack(header)
        if magic != _MAGIC or n_fds != len(fds):
            raise ChannelClosed("the other process sent something that is no message")
        sizes = struct.unpack(f"<{n_buffers}Q", self._read(8 * n_buffers))
        body = self._read(n_body)
        buffers = [self._read(size) for size in sizes]
        kind, value = pickle.loads(body, buffers=buffers)
        return kind, value, fds

    def close(self) -> None:
        """Close the connection; idempotent."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _receive(self, n: int) -> tuple[bytes, list[int], int, Any]:
        while True:
            try:
                got = socket.recv_fds(self._socket, n, _MOST_FDS)
            except TimeoutError:
                continue
            except OSError as error:
                raise ChannelClosed(f"the connection broke: {error}") from error
            if not got[0]:
                raise ChannelClosed("the other process is gone")
            return got

    def _read(self, n: int) -> bytearray:
        data = bytearray(n)
        view = memoryview(data)
        done = 0
        while done < n:
            try:
                got = self._socket.recv_into(view[done : done + _PART])
            except TimeoutError:
                continue
            except OSError as error:
                raise ChannelClosed(f"the connection broke: {error}") from error
            if not got:
                raise ChannelClosed("the other process is gone")
            done += got
        return data
