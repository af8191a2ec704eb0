"""The connection around a receiver, here one without a detector, a thread, or shared memory."""

from __future__ import annotations

import gc
import queue
import threading
import time
import weakref
from dataclasses import asdict

import numpy as np
import pytest

from arraystream import (
    Connection,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionState,
    ConnectionStatistics,
    Controller,
    ItemDescriptor,
    KnowsItemShape,
    NativeReceiver,
    ProtocolError,
    ReceiverConnection,
    StateError,
    TruncatedStream,
)
from arraystream.testing import ConnectionConformance, SimulatedFeed

DEADLINE = 20.0
SHAPE = (3, 4)
STALL_S = 0.5


class MemoryReceiver:
    """Tells what the test makes happen; keeps items in a `SimulatedFeed`."""

    def __init__(self) -> None:
        self._events: queue.Queue = queue.Queue()
        self._running: int | None = None
        self.feeds: dict[int, SimulatedFeed] = {}
        self.counts = ConnectionStatistics()
        self.is_over = False
        self.last_error = ""
        self.abandoned: list[int] = []

    def tell(self, name: str, number: int = 0, **details) -> None:
        self._events.put((name, number, details))

    def begin(self, n_items: int | None) -> None:
        self.end("aborted", reason="another one began")
        self.counts.n_acquisitions += 1
        self.counts.first_item_time_s = None
        self._running = number = self.counts.n_acquisitions
        self.feeds[number] = SimulatedFeed(ItemDescriptor(np.dtype("u2"), SHAPE))
        self.tell("armed", number, n_items=n_items, index_shape=None, meta={"series": 40 + number})

    def push(self, n: int) -> None:
        if self._running is None:
            self.counts.n_discarded += n
            return
        now = time.monotonic()
        if self.counts.first_item_time_s is None:
            self.counts.first_item_time_s = now
            meta = {"dwell_time_s": 0.5}
            details = {"item_shape": SHAPE, "dtype": "u2", "codec_params": {}, "meta": meta}
            self.tell("first_frame", self._running, **details)
        self.counts.last_item_time_s = now
        self.counts.n_items += n
        self.feeds[self._running].push(np.zeros((n, *SHAPE), "u2"))

    def lose(self, n: int) -> None:
        self.counts.n_lost += n
        self.feeds[self._running].lose(n, "lost by the source")

    def end(self, status: str, reason: str = "", cause: str | None = None) -> None:
        number, self._running = self._running, None
        if number is None:
            return
        self.feeds[number].end(status)
        verdict = self.feeds[number]._verdict
        gaps = [(gap.first, gap.stop, gap.reason) for gap in verdict.gaps]
        details = {"n_items": verdict.n_items, "gaps": gaps, "reason": reason, "cause": cause}
        self.tell("ended", number, status=status, **details)

    # What a connection calls

    def next_event(self, timeout: float):
        try:
            return self._events.get(timeout=0 if self.is_over else timeout)
        except queue.Empty:
            return None

    def attach(self, acquisition: int) -> tuple[int, int]:
        raise AssertionError("there is no ring")

    def settle(self, consumer: int, tokens: list[int]) -> bool:
        raise AssertionError("there is no ring")

    def abort(self) -> None:
        self.end("aborted", reason="by us")

    def abandon(self, acquisition: int) -> None:
        self.abandoned.append(acquisition)
        if acquisition == self._running:
            self.end("aborted", reason="given up")

    def counters(self):
        return asdict(self.counts)

    def close(self) -> None:
        self.end("aborted", reason="closed")
        self.is_over = True
        self.tell("disconnected", reason="closed", is_protocol_error=False)


class MemoryFeed:
    """A feed of a `MemoryReceiver`."""

    def __init__(self, receiver: MemoryReceiver, acquisition, on_close) -> None:
        self._acquisition, self._on_close = acquisition, on_close
        self._receiver, self._number = receiver, acquisition.pending.number
        self._inner = receiver.feeds[self._number]
        self.descriptor = acquisition.descriptor
        self.join, self.ticket, self.settle = self._inner.join, self._inner.ticket, self._inner.settle

    def verdict(self):
        return self._acquisition.verdict

    def close(self) -> None:
        self._receiver.abandon(self._number)
        self._on_close(self._number)


class Switch:
    """A controller that arms nothing."""

    def __init__(self, **settings) -> None:
        self.settings = settings
        self.calls: list[str] = []

    def determine_nav_shape(self, n_items):
        return (n_items,)

    def arm(self, *, n_items) -> None:
        self.calls.append("arm")

    def trigger(self) -> None:
        self.calls.append("trigger")

    def abort(self) -> None:
        self.calls.append("abort")
        raise ConnectionClosed("the controller was closed")

    def close(self) -> None:
        self.calls.append("close")


class MemoryConnection(ReceiverConnection):
    codec = "raw"

    def _make_feed(self, acquisition, on_close):
        return MemoryFeed(self._receiver, acquisition, on_close)

    def _make_controller(self, **settings):
        return Switch(**settings)


@pytest.fixture
def receiver():
    return MemoryReceiver()


@pytest.fixture
def connection(receiver):
    with MemoryConnection(receiver, "memory") as connection:
        receiver.tell("connected")
        connection.wait_until_connected(DEADLINE)
        yield connection


class Source:
    """Plays the detector."""

    def __init__(self, receiver: MemoryReceiver) -> None:
        self._receiver = receiver
        self._n_items, self._lost, self._stalls = 0, range(0), False

    def arm(self, n_items: int) -> None:
        self._n_items = n_items
        self._receiver.begin(n_items)

    def trigger(self) -> None:
        stop = self._n_items // 2 if self._stalls else self._n_items
        for index in range(stop):
            if index in self._lost:
                self._receiver.lose(1)
            else:
                self._receiver.push(1)
        if self._stalls:
            number = self._receiver._running
            threading.Timer(STALL_S, self._stall, (number,)).start()
        else:
            self._receiver.end("complete")
        self._lost, self._stalls = range(0), False

    def _stall(self, number: int) -> None:
        if self._receiver._running == number:
            self._receiver.end("failed", "silence", "stalled")

    def lose(self, first: int, stop: int) -> None:
        self._lost = range(first, stop)

    def stall(self) -> None:
        self._stalls = True

    def abort(self) -> None:
        self._receiver.end("aborted", reason="by the source")

    def disconnect(self) -> None:
        self._receiver.end("truncated", "cable", "disconnected")
        self._receiver.tell("disconnected", reason="cable", is_protocol_error=False)


class TestReceiverConnection(ConnectionConformance):
    @pytest.fixture
    def connection(self, connection):
        return connection

    @pytest.fixture
    def source(self, receiver):
        return Source(receiver)


def wait_for(connection: ReceiverConnection, state: ConnectionState) -> None:
    assert connection.state_machine.wait_for([state], DEADLINE) is state


def test_it_is_a_connection_around_a_receiver(connection, receiver):
    assert isinstance(connection, Connection)
    native: NativeReceiver = receiver
    assert native.last_error == ""


def test_details_become_the_words_of_the_stream(connection, receiver):
    receiver.begin(None)
    pending = connection.wait_for_acquisition(DEADLINE)
    assert (pending.n_items, pending.index_shape, pending.meta) == (None, (), {"series": 41})
    receiver.push(2)
    descriptor = connection.wait_for_first_item(pending, DEADLINE)
    assert descriptor.meta == {"series": 41, "acquisition": 1, "dwell_time_s": 0.5}
    assert (descriptor.codec, descriptor.item_shape) == ("raw", SHAPE)
    feed = connection.feed(pending)
    receiver.lose(1)
    receiver.end("failed", "nonsense", "protocol")
    wait_for(connection, ConnectionState.FAILED)
    verdict = feed.verdict()
    assert [(gap.first, gap.stop, gap.reason) for gap in verdict.gaps] == [(2, 3, "lost by the source")]
    with pytest.raises(ProtocolError, match="memory: nonsense"):
        raise verdict.error


def test_after_a_break_data_may_come_before_the_word_that_the_connection_stands(connection, receiver):
    receiver.tell("disconnected", reason="cable", is_protocol_error=False)
    receiver.tell("disconnected", reason="cable", is_protocol_error=False)
    wait_for(connection, ConnectionState.CONNECTING)
    receiver.begin(1)
    wait_for(connection, ConnectionState.ARMED)
    receiver.tell("connected")
    receiver.push(1)
    wait_for(connection, ConnectionState.RUNNING)


def test_an_acquisition_that_outlives_a_break_has_its_verdict(connection, receiver):
    receiver.begin(2)
    wait_for(connection, ConnectionState.ARMED)
    receiver.tell("disconnected", reason="cable", is_protocol_error=False)
    receiver.push(1)
    pending = connection.wait_for_acquisition(DEADLINE)
    connection.wait_for_first_item(pending, DEADLINE)
    feed = connection.feed(pending)
    assert connection.state is ConnectionState.RUNNING
    receiver.tell("disconnected", reason="cable", is_protocol_error=False)
    receiver.end("truncated", "cable", "disconnected")
    receiver.begin(1)
    connection.wait_for_acquisition(DEADLINE)
    assert isinstance(feed.verdict().error, TruncatedStream)


def test_arming_gives_up_what_waits(connection, receiver):
    receiver.begin(1)
    controller = connection.get_active_controller(speed=3)
    assert isinstance(controller, Controller)
    assert isinstance(controller, KnowsItemShape)
    assert (controller.settings, controller.determine_item_shape()) == ({"speed": 3}, None)
    controller.arm(n_items=1)
    receiver.begin(1)
    assert connection.wait_for_acquisition(DEADLINE).number == 2
    assert receiver.abandoned == [1]
    connection.abort()
    assert controller.calls == ["arm", "abort"]


def test_errors_say_which_connection_and_why(connection, receiver):
    receiver.last_error = "cable"
    receiver.tell("disconnected", reason="cable", is_protocol_error=False)
    wait_for(connection, ConnectionState.CONNECTING)
    with pytest.raises(ConnectionFailed, match=r"memory: lost \(cable\)"):
        connection.wait_for_acquisition(0.01)


def test_of_acquisitions_over_before_anybody_asked_only_mistakes_are_heard_of(connection, receiver):
    receiver.begin(2)
    receiver.end("aborted")
    receiver.begin(2)
    receiver.end("failed", "no such channel", "protocol")
    receiver.begin(2)
    pending = connection.wait_for_acquisition(DEADLINE)
    assert pending.number == 2
    with pytest.raises(ProtocolError, match="no such channel"):
        connection.wait_for_first_item(pending, DEADLINE)
    assert connection.wait_for_acquisition(DEADLINE).number == 3


def test_a_feed_is_given_once(connection, receiver):
    receiver.begin(2)
    pending = connection.wait_for_acquisition(DEADLINE)
    with pytest.raises(StateError, match="no frame yet"):
        connection.feed(pending)
    receiver.push(1)
    connection.wait_for_first_item(pending, DEADLINE)
    connection.feed(pending)
    with pytest.raises(StateError, match="already"):
        connection.feed(pending)


def test_a_connection_that_nobody_has_any_more_closes_its_receiver(receiver):
    connection = MemoryConnection(receiver, "memory")
    gone = weakref.ref(connection)
    del connection
    receiver.tell("connected")
    deadline = time.monotonic() + DEADLINE
    while gone() is not None:
        assert time.monotonic() < deadline
        gc.collect()
        time.sleep(0.001)
    assert receiver.is_over
