"""What every feed and every connection must do, from arraystream's own tests, with both stream versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from arraystream import Connection, Feed
from arraystream.testing import ConnectionConformance, FeedConformance
from detector_dectris import DectrisConnectionBuilder

TIMEOUT_S = 30.0
SHAPE = (16, 60)


def image(index: int) -> np.ndarray:
    return np.full(SHAPE, index, np.uint16)


class BareDetector:
    """Plays the detector: sends headers, images and ends as the tests want them."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._series = 0
        self._n_items = 0
        self._lost: range = range(0)
        self._stalls = False

    def arm(self, n_items: int) -> None:
        self._series += 1
        self._n_items = n_items
        self._stream.send(self._stream.start(self._series, n_items))

    def trigger(self) -> None:
        stop = self._n_items // 2 if self._stalls else self._n_items
        wanted = [i for i in range(stop) if i not in self._lost]
        self._stream.send(*(self._stream.image(self._series, i, image(i)) for i in wanted))
        if not self._stalls:
            self.abort()
        self._lost, self._stalls = range(0), False

    def lose(self, first: int, stop: int) -> None:
        self._lost = range(first, stop)

    def stall(self) -> None:
        self._stalls = True

    def abort(self) -> None:
        self._stream.send(self._stream.end(self._series))

    def disconnect(self) -> None:
        self._stream.drop()


class TestDectrisConnection(ConnectionConformance):
    timeout_s = TIMEOUT_S

    @pytest.fixture
    def connection(self, stream) -> Iterator[Connection]:
        builder = DectrisConnectionBuilder()
        options = {"buffer_mb": 1, "slot_mb": 0.125, "stall_timeout": 0.5, "timeout": TIMEOUT_S}
        with builder.open(api_host="127.0.0.1", data_port=stream.port, **options) as connection:
            yield connection

    @pytest.fixture
    def source(self, stream) -> BareDetector:
        return BareDetector(stream)


class TestDectrisFeed(FeedConformance):
    n_items = 40
    has_tickets = True
    timeout_s = TIMEOUT_S

    def expected_item(self, index: int) -> np.ndarray:
        return image(index)

    @pytest.fixture
    def open_feed(self, stream) -> Iterator[Callable[[], Feed]]:
        feeds: list[Feed] = []
        detector = BareDetector(stream)
        # A slot holds four images.
        options = {"buffer_mb": 1, "slot_mb": 0.01, "timeout": TIMEOUT_S}
        with DectrisConnectionBuilder().open("127.0.0.1", data_port=stream.port, **options) as connection:

            def open_feed() -> Feed:
                detector.arm(self.n_items)
                detector.trigger()
                pending = connection.wait_for_acquisition(TIMEOUT_S)
                connection.wait_for_first_item(pending, TIMEOUT_S)
                feeds.append(connection.feed(pending))
                return feeds[-1]

            yield open_feed
            for feed in feeds:
                feed.close()
