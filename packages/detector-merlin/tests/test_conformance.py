"""What every feed and every connection must do, from arraystream's own tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from arraystream import Connection, ConnectionState, Feed
from arraystream.testing import ConnectionConformance, FeedConformance
from detector_merlin import MerlinConnectionBuilder

TIMEOUT_S = 30.0
SHAPE = (16, 60)


def image(index: int) -> np.ndarray:
    return np.full(SHAPE, index, np.uint16)


class BareSource:
    """Plays the detector: sends headers and frames as the tests want them."""

    def __init__(self, server, connection: Connection) -> None:
        self._server, self._connection = server, connection
        self._n_items = 0
        self._lost: range = range(0)
        self._stalls = False

    def arm(self, n_items: int) -> None:
        self._n_items = n_items
        self._server.send(self._server.hdr(n_items))

    def trigger(self) -> None:
        stop = self._n_items // 2 if self._stalls else self._n_items
        wanted = [i for i in range(stop) if i not in self._lost]
        self._lost, self._stalls = range(0), False
        self._server.send(*(self._server.frame(i + 1, image(i)) for i in wanted))

    def lose(self, first: int, stop: int) -> None:
        self._lost = range(first, stop)

    def stall(self) -> None:
        self._stalls = True

    def abort(self) -> None:
        # A Merlin just falls silent; that it was aborted shows when it is armed again.
        if self._connection.state is ConnectionState.RUNNING:
            self._server.send(self._server.hdr(self._n_items))

    def disconnect(self) -> None:
        self._server.drop()


class TestMerlinConnection(ConnectionConformance):
    timeout_s = TIMEOUT_S

    @pytest.fixture
    def connection(self, server) -> Iterator[Connection]:
        builder = MerlinConnectionBuilder()
        with builder.open(data_port=server.port, buffer_mb=1, slot_mb=0.125, stall_timeout=0.5) as connection:
            yield connection

    @pytest.fixture
    def source(self, server, connection) -> BareSource:
        return BareSource(server, connection)


class TestMerlinFeed(FeedConformance):
    n_items = 40
    has_tickets = True
    timeout_s = TIMEOUT_S

    def expected_item(self, index: int) -> np.ndarray:
        return image(index)

    @pytest.fixture
    def open_feed(self, server) -> Iterator[Callable[[], Feed]]:
        feeds: list[Feed] = []
        # A slot holds four frames.
        with MerlinConnectionBuilder().open(data_port=server.port, buffer_mb=1, slot_mb=0.01) as connection:

            def open_feed() -> Feed:
                source = BareSource(server, connection)
                source.arm(self.n_items)
                source.trigger()
                pending = connection.wait_for_acquisition(TIMEOUT_S)
                connection.wait_for_first_item(pending, TIMEOUT_S)
                feeds.append(connection.feed(pending))
                return feeds[-1]

            yield open_feed
            for feed in feeds:
                feed.close()
