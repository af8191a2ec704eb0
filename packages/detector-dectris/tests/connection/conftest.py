"""Bare sources: PUSH sockets that send whatever messages a test wants, of either stream version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cbor2
import numpy as np
import pytest
import zmq

DEADLINE_MS = 20_000
TYPED_ARRAYS = {"u1": 64, "u2": 69, "u4": 70, "f4": 85}  # RFC 8746, little-endian
SIZES = {"u1": "uint8", "u2": "uint16", "u4": "uint32"}


class BareSource:
    """A data port; sends what it is told, and waits for a client if there is none."""

    version = 0

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._socket = self._bind("tcp://127.0.0.1:*")
        self._endpoint = self._socket.last_endpoint.decode()
        self.port = int(self._endpoint.rpartition(":")[2])

    def send(self, *messages: Sequence[bytes]) -> None:
        """Send messages, each a list of parts."""
        for parts in messages:
            self._socket.send_multipart(parts)

    def drop(self) -> None:
        """Go away and come back: what was not delivered is lost."""
        self.go()
        self._socket = self._bind(self._endpoint)

    def go(self) -> None:
        """Go away."""
        self._socket.close(linger=0)

    def close(self) -> None:
        self.go()
        self._context.term()

    def _bind(self, endpoint: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.PUSH)
        socket.sndtimeo = DEADLINE_MS
        socket.linger = 2000
        socket.sndhwm = 100
        # The port is free again once the old socket's thread has let go of it.
        for _ in range(2000):
            try:
                socket.bind(endpoint)
            except zmq.ZMQError as error:
                if error.errno != zmq.EADDRINUSE:
                    raise
                socket.poll(10)
            else:
                return socket
        raise TimeoutError(f"{endpoint} stays in use")

    # What a version adds

    def start(self, series: int, n_items: int | None, **header: Any) -> list[bytes]:
        raise NotImplementedError

    def image(self, series: int, index: int, pixels: np.ndarray) -> list[bytes]:
        raise NotImplementedError

    def end(self, series: int) -> list[bytes]:
        raise NotImplementedError


def as_json(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, separators=(",", ":"), sort_keys=True).encode()


class BareV1(BareSource):
    """Stream version 1: JSON in several parts."""

    version = 1

    def start(self, series: int, n_items: int | None, **header: Any) -> list[bytes]:
        config = {"trigger_mode": "ints", "nimages": n_items, "ntrigger": 1, "count_time": 0.001}
        config |= header
        given = {name: value for name, value in config.items() if value is not None}
        return [self.dheader(series, "basic"), as_json(given)]

    @staticmethod
    def dheader(series: int, detail: str) -> bytes:
        return as_json({"header_detail": detail, "htype": "dheader-1.0", "series": series})

    @staticmethod
    def table(htype: str, array: np.ndarray) -> list[bytes]:
        """Announce and send a mask or a flat field."""
        name = {"u4": "uint32", "f4": "float32"}[array.dtype.str[1:]]
        return [as_json({"htype": htype, "shape": list(array.shape[::-1]), "type": name}), array.tobytes()]

    def image(self, series: int, index: int, pixels: np.ndarray, **change: Any) -> list[bytes]:
        about = {
            "encoding": "<",
            "htype": "dimage_d-1.0",
            "shape": list(pixels.shape[::-1]),
            "size": pixels.nbytes,
            "type": SIZES[pixels.dtype.str[1:]],
        }
        part_2 = as_json(about | change)
        digest = hashlib.md5(part_2).hexdigest()
        return [
            as_json({"frame": index, "hash": digest, "htype": "dimage-1.0", "series": series}),
            part_2,
            pixels.tobytes(),
            as_json({"htype": "dconfig-1.0", "real_time": 1, "start_time": 0, "stop_time": 1}),
        ]

    def end(self, series: int) -> list[bytes]:
        return [as_json({"htype": "dseries_end-1.0", "series": series})]


class BareV2(BareSource):
    """Stream version 2: one CBOR item."""

    version = 2
    unique = "01ABCDEFGHJKMNPQRSTVWXYZ00"

    def start(
        self, series: int, n_items: int | None, channels: Sequence[str] = ("threshold_1",), **header: Any
    ) -> list[bytes]:
        values = {
            "series_id": series,
            "series_unique_id": self.unique,
            "channels": list(channels),
            "number_of_images": n_items,
            "count_time": 0.001,
            "image_dtype": "uint16",
        }
        return self._message("start", {k: v for k, v in (values | header).items() if v is not None})

    def image(
        self, series: int, index: int, pixels: np.ndarray | Mapping[str, np.ndarray], **change: Any
    ) -> list[bytes]:
        channels = {"threshold_1": pixels} if isinstance(pixels, np.ndarray) else pixels
        values = {
            "series_id": series,
            "series_unique_id": self.unique,
            "image_id": index,
            "real_time": [1, 50_000_000],
            "data": {name: self.array(array) for name, array in channels.items()},
        }
        return self._message("image", values | change)

    def end(self, series: int) -> list[bytes]:
        return self._message("end", {"series_id": series, "series_unique_id": self.unique})

    @staticmethod
    def array(array: np.ndarray) -> cbor2.CBORTag:
        """Make a multi-dimensional typed array."""
        tag = TYPED_ARRAYS[array.dtype.str[1:]]
        return cbor2.CBORTag(40, [list(array.shape), cbor2.CBORTag(tag, array.tobytes())])

    @staticmethod
    def _message(kind: str, values: Mapping[str, Any]) -> list[bytes]:
        return [cbor2.dumps(cbor2.CBORTag(55799, {"type": kind} | values))]


SOURCES = {"v1": BareV1, "v2": BareV2}


@pytest.fixture(params=SOURCES)
def stream(request: pytest.FixtureRequest) -> Iterator[BareSource]:
    """A bare source of either version."""
    made = SOURCES[request.param]()
    yield made
    made.close()


@pytest.fixture
def v1() -> Iterator[BareV1]:
    made = BareV1()
    yield made
    made.close()


@pytest.fixture
def v2() -> Iterator[BareV2]:
    made = BareV2()
    yield made
    made.close()
