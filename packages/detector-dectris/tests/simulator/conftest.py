"""A data client and a REST client that know nothing of our own parsers, for tests of the simulator."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import cbor2
import httpx
import numpy as np
import numpy.typing as npt
import pytest
import zmq

from detector_dectris._simulator import DectrisSimulator

DEADLINE_S = 20.0


class Bench:
    """A simulator with a data client connected and a REST client."""

    def __init__(self, simulator: DectrisSimulator, context: zmq.Context[Any], hwm: int) -> None:
        self.simulator = simulator
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{simulator.api_port}", timeout=DEADLINE_S)
        self.data = context.socket(zmq.PULL)
        self.data.setsockopt(zmq.RCVTIMEO, int(DEADLINE_S * 1000))
        self.data.setsockopt(zmq.LINGER, 0)
        self.data.setsockopt(zmq.RCVHWM, hwm)
        self.data.connect(f"tcp://127.0.0.1:{simulator.data_port}")
        assert simulator.wait_for_client()

    def get(self, path: str) -> Any:
        answer = self.http.get(_url(path))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def put(self, path: str, value: Any = None, *, module: str = "detector") -> Any:
        answer = self.http.put(_url(path, module), json={} if value is None else {"value": value})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, path: str, value: Any = None) -> tuple[int, str]:
        answer = self.http.put(_url(path), json={} if value is None else {"value": value})
        return answer.status_code, answer.text

    def message(self) -> list[bytes]:
        return self.data.recv_multipart()

    def item(self) -> Any:
        """One message of stream V2."""
        (part,) = self.message()
        return cbor2.loads(part)

    def series(self) -> list[list[bytes]]:
        """All messages up to the end of a series."""
        found = [self.message()]
        while b"dseries_end" not in found[-1][0] and found[-1][0][4:13] != b"\x64type\x63end":
            found.append(self.message())
        return found

    def numbers(self) -> list[int]:
        """Image numbers of a series of stream V1."""
        parts = [json.loads(message[0]) for message in self.series()]
        return [part["frame"] for part in parts if part["htype"] == "dimage-1.0"]

    def acquire(self) -> int:
        series = self.put("command/arm")["sequence id"]
        self.put("command/trigger")
        return int(series)

    def close(self) -> None:
        self.http.close()
        self.data.close()


def _url(path: str, module: str = "detector") -> str:
    return path if path.startswith("/") else f"/{module}/api/1.8.0/{path}"


@pytest.fixture
def scan() -> npt.NDArray[np.uint16]:
    """A 3 × 4 scan of 16 × 24 pixels."""
    return np.random.default_rng(1).integers(0, 300, (3, 4, 16, 24)).astype(np.uint16)


@pytest.fixture
def bench(scan: npt.NDArray[np.uint16]) -> Iterator[Callable[..., Bench]]:
    """Gives a function that starts a simulator of the scan (or of ``data=``) and connects to it."""
    opened: list[Any] = []
    context: zmq.Context[Any] = zmq.Context()

    def start(*, data: Any = None, **options: Any) -> Bench:
        simulator = DectrisSimulator(scan if data is None else data, **({"stream_mode": "enabled"} | options))
        opened.append(simulator)
        simulator.start()
        opened.append(Bench(simulator, context, options.get("hwm", 1000)))
        return opened[-1]

    yield start
    for one in reversed(opened):
        one.close()
    context.term()
