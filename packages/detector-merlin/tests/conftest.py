"""Real Merlin files, which are kept outside of the repository because of their licences, and a bare
data server that sends whatever bytes a test wants.
"""

from __future__ import annotations

import os
import socket
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

_REPOSITORY = Path(__file__).resolve().parents[3]
_FOLDER = Path(os.environ.get("LIVESTEM_TEST_DATA", _REPOSITORY.parent / "shared" / "data"))


@pytest.fixture
def vendor_file(tmp_path: Path) -> Callable[[str], Path]:
    """Gives the path of ``"<folder>/<file>"``, unpacked if it is in a zip there; skips if absent."""

    def find(name: str) -> Path:
        folder, _, file = name.partition("/")
        if not (_FOLDER / folder).is_dir():
            pytest.skip(f"real Merlin files are not here: {_FOLDER / folder} (set LIVESTEM_TEST_DATA)")
        path = _FOLDER / folder / file
        if path.exists():
            return path
        for archive in sorted((_FOLDER / folder).glob("*.zip")):
            with zipfile.ZipFile(archive) as members:
                for member in members.namelist():
                    if Path(member).name == file:
                        target = tmp_path / file
                        target.write_bytes(members.read(member))
                        return target
        pytest.skip(f"{file} is not in {_FOLDER / folder}")

    return find


class BareServer:
    """Listens on a data port and sends what it is told, to one client at a time."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(20)
        self.port: int = self._listener.getsockname()[1]
        self._peer: socket.socket | None = None

    def send(self, *messages: bytes, piece: int | None = None) -> None:
        """Send messages, in pieces of so many bytes; waits for a client if there is none."""
        data = b"".join(messages)
        for i in range(0, len(data), piece or max(1, len(data))):
            self.peer().sendall(data[i : i + piece] if piece else data)

    def peer(self) -> socket.socket:
        if self._peer is None:
            self._peer = self._listener.accept()[0]
            self._peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._peer

    def drop(self) -> None:
        """Close the connection to the client."""
        self.peer().close()
        self._peer = None

    def close(self) -> None:
        self._listener.close()
        if self._peer is not None:
            self._peer.close()

    @staticmethod
    def message(body: bytes) -> bytes:
        return b"MPX,%010d," % (len(body) + 1) + body

    @classmethod
    def hdr(cls, n_frames: int, *lines: str) -> bytes:
        text = ["HDR,\t", *lines, f"Frames in Acquisition (Number):\t{n_frames}", "End\t"]
        return cls.message("\r\n".join(text).encode().ljust(2048))

    @classmethod
    def frame(cls, number: int, pixels: np.ndarray, *, counter: int = 0, shutter_s: float = 0.001) -> bytes:
        height, width = pixels.shape
        bits = 8 * pixels.dtype.itemsize
        text = (
            f"MQ1,{number:06d},00384,01,{width:04d},{height:04d},U{bits:02d},   1x1,01,"
            f"2024-01-01 12:00:00.000000,{shutter_s:.6f},{counter},0,0,"
            f",MQ1A,2024-01-01T12:00:00.000000000Z,{int(shutter_s * 1e9)}ns,12,"
        )
        return cls.message(text.encode().ljust(384, b"\0") + pixels.astype(f">u{bits // 8}").tobytes())


@pytest.fixture
def server() -> Iterator[BareServer]:
    """A bare data server on some port."""
    server = BareServer()
    yield server
    server.close()
