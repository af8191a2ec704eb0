"""A data client that reads messages strictly, for tests of the simulator."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from detector_merlin._control import MerlinControl
from detector_merlin._simulator import MerlinSimulator

DEADLINE_S = 10.0


@dataclass(frozen=True)
class ReceivedFrame:
    """One MQ1 message."""

    fields: list[str]
    payload: bytes

    @property
    def number(self) -> int:
        return int(self.fields[1])


class DataClient:
    """Reads whole messages and refuses anything else."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)

    def read_exactly(self, n: int) -> bytes:
        parts = bytearray()
        while len(parts) < n:
            data = self.socket.recv(n - len(parts))
            if not data:
                raise EOFError(f"connection closed after {len(parts)} of {n} bytes")
            parts += data
        return bytes(parts)

    def read_message(self) -> bytes:
        prefix = self.read_exactly(15)
        assert prefix[:4] == b"MPX,", prefix
        assert prefix[14:] == b",", prefix
        return self.read_exactly(int(prefix[4:14]) - 1)

    def read_hdr(self) -> dict[str, str]:
        body = self.read_message()
        assert body.startswith(b"HDR,"), body[:40]
        lines = [line.split("\t", 1) for line in body.decode("latin-1").splitlines()]
        return {line[0].rstrip(":"): line[1] for line in lines if len(line) == 2}

    def read_frame(self) -> ReceivedFrame:
        body = self.read_message()
        assert body.startswith(b"MQ1,"), body[:40]
        offset = int(body.split(b",", 3)[2])
        return ReceivedFrame(body[:offset].rstrip(b"\0").decode("ascii").split(","), body[offset:])

    def read_frames(self, n: int) -> list[ReceivedFrame]:
        return [self.read_frame() for _ in range(n)]

    def read_rest(self) -> bytes:
        """Everything until the server closes."""
        data = bytearray()
        while piece := self.socket.recv(1 << 16):
            data += piece
        return bytes(data)

    def close(self) -> None:
        self.socket.close()


class Bench:
    """A simulator with both clients connected."""

    def __init__(self, simulator: MerlinSimulator, *, connect: bool = True) -> None:
        self.simulator = simulator
        self.control = MerlinControl("127.0.0.1", simulator.control_port, timeout=DEADLINE_S)
        self.control.connect()
        if connect:
            self.data = DataClient(simulator.data_port)

    def reconnect(self) -> None:
        """Connect a new data client; the old one must be closed."""
        self.data = DataClient(self.simulator.data_port)

    def close(self) -> None:
        self.control.close()
        if hasattr(self, "data"):
            self.data.close()


@pytest.fixture
def scan() -> np.ndarray:
    """A 3 × 4 scan of 8 × 16 pixels, 12 bit."""
    return np.random.default_rng(1).integers(0, 4096, (3, 4, 8, 16)).astype(np.uint16)


@pytest.fixture
def bench(scan: np.ndarray) -> Iterator[Callable[..., Bench]]:
    """Gives a function that starts a simulator of the scan (or of ``data=``) and connects to it."""
    opened: list[Any] = []

    def start(*, data: Any = None, connect: bool = True, **options: Any) -> Bench:
        simulator = MerlinSimulator(scan if data is None else data, **({"raw": False} | options))
        simulator.start()
        opened.append(simulator)
        one = Bench(simulator, connect=connect)
        opened.append(one)
        return one

    yield start
    for one in reversed(opened):
        one.close()


@pytest.fixture
def client_type() -> type[DataClient]:
    return DataClient
