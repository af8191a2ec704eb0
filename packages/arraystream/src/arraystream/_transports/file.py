"""Transport "file": ``file:///path``, the messages of a stream one after the other.

A complete file ends with BYE, so a file that was cut anywhere is known to be cut.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from arraystream._errors import ConnectionClosed, ConnectionFailed, StateError

# Fewer than any system's IOV_MAX.
_MOST_PARTS = 512


def _path(url: str) -> Path:
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path or parts.query:
        raise ValueError(f"{url!r} is no address of a file; write it as file:///path.")
    return Path(unquote(parts.path))


class FileLink:
    """A `Link` that writes to a file or reads from it."""

    two_way = False

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._path = path

    def send(self, parts: Sequence[memoryview], timeout: float) -> None:
        """Write all parts."""
        rest, fd = list(parts), self._open_fd()
        while rest:
            try:
                written = os.writev(fd, rest[:_MOST_PARTS])
            except OSError as error:
                raise ConnectionFailed(f"{self._path} can't be written on: {error}.") from error
            while rest and written >= rest[0].nbytes:
                written -= rest.pop(0).nbytes
            if written:
                rest[0] = rest[0][written:]

    def receive_into(self, target: memoryview, timeout: float) -> int | None:
        """Read some of the file; see `Link.receive_into`."""
        try:
            return os.readv(self._open_fd(), [target])
        except OSError as error:
            raise ConnectionFailed(f"{self._path} can't be read on: {error}.") from error

    def finish(self) -> None:
        """Make sure that all is on the disk."""
        os.fsync(self._open_fd())

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _open_fd(self) -> int:
        if self._fd < 0:
            raise ConnectionClosed(f"{self._path} was closed on our side.")
        return self._fd


class FileListener:
    """A `Listener` whose one consumer is a new file."""

    def __init__(self, url: str) -> None:
        self._path = _path(url)
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError as error:
            raise ConnectionFailed(
                f"{self._path} is there already and is not overwritten; choose another name or remove it."
            ) from error
        except OSError as error:
            raise ConnectionFailed(f"{self._path} can't be written: {error}.") from error
        self._link: FileLink | None = FileLink(fd, self._path)

    @property
    def url(self) -> str:
        """Address of the file."""
        return self._path.absolute().as_uri()

    def accept(self, timeout: float) -> FileLink:
        """Return the link to the file, once."""
        if self._link is None:
            raise StateError(f"{self._path} is being written already.")
        link, self._link = self._link, None
        return link

    def close(self) -> None:
        """Close the file if nobody took it."""
        if self._link is not None:
            self._link.close()
            self._link = None


class FileTransport:
    """Streams in files."""

    def listen(self, url: str) -> FileListener:
        """Create the file; an existing one is an error."""
        return FileListener(url)

    def connect(self, url: str, timeout: float) -> FileLink:
        """Open the file for reading."""
        path = _path(url)
        try:
            return FileLink(os.open(path, os.O_RDONLY | os.O_CLOEXEC), path)
        except OSError as error:
            raise ConnectionFailed(f"{path} can't be read: {error}.") from error


transport = FileTransport()
