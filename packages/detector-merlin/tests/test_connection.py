"""The connection against a bare data server: states, waits, errors, and the acquisition after each."""

from __future__ import annotations

import socket
import threading
import time

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from arraystream import (
    AcquisitionAborted,
    Connection,
    ConnectionBuilder,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionState,
    Controller,
    Feed,
    FeedEnd,
    FeedGap,
    FeedVerdict,
    Member,
    ProtocolError,
    Stalled,
    StateError,
    StreamError,
    TruncatedStream,
    load_plugin,
    open_decoder,
)
from detector_merlin import MerlinConnection, MerlinConnectionBuilder

DEADLINE = 20.0
SHAPE = (16, 48)


def image(index: int) -> np.ndarray:
    """Frame of an index, told from all others by every pixel."""
    return (np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint16).reshape(SHAPE) + 7 * index).astype(np.uint16)


def open_connection(server, **options) -> MerlinConnection:
    defaults = {"data_port": server.port, "buffer_mb": 2, "slot_mb": 0.125, "timeout": DEADLINE}
    return MerlinConnectionBuilder().open(**(defaults | options))


@pytest.fixture
def connection(server):
    with open_connection(server) as connection:
        server.peer()
        yield connection


def frames(server, *numbers: int) -> bytes:
    return b"".join(server.frame(number, image(number - 1)) for number in numbers)


def wait_until(condition) -> None:
    """Look again and again until it holds."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def receive(feed: Feed, n: int | None = None) -> dict[int, np.ndarray]:
    """Frames of a feed by index, settled: `n` of them, or all up to its end."""
    decoder = open_decoder(feed.descriptor)
    member = feed.join()
    found: dict[int, np.ndarray] = {}
    deadline = time.monotonic() + DEADLINE
    while len(found) != n:
        assert time.monotonic() < deadline
        chunk = member.recv(1.0)
        if isinstance(chunk, FeedEnd) and n is None:
            break
        if chunk is None or isinstance(chunk, FeedEnd):
            continue
        out = np.empty((chunk.n, *feed.descriptor.item_shape), np.uint16)
        decoder.decode(chunk.payload, chunk.offsets, (0, feed.descriptor.item_shape[0]), out)
        assert not found.keys() & set(range(chunk.first, chunk.first + chunk.n))
        found.update(enumerate(out, chunk.first))
        assert feed.settle(member.number, [chunk.lease.token])
        chunk.lease.release()
    member.close()
    return found


def drain(member: Member) -> None:
    """Receive until an error or the deadline."""
    wait_until(lambda: member.recv(1.0) is Ellipsis)


def verdict_of(feed: Feed) -> FeedVerdict:
    wait_until(lambda: feed.verdict() is not None)
    return feed.verdict()


def next_feed(connection: MerlinConnection) -> Feed:
    pending = connection.wait_for_acquisition(DEADLINE)
    assert pending is not None
    connection.wait_for_first_item(pending, DEADLINE)
    return connection.feed(pending)


def assert_next_acquisition_is_right(server, connection: MerlinConnection) -> None:
    """Whatever happened before, nothing of it may be seen in the next acquisition."""
    server.send(server.hdr(3), frames(server, 1, 2, 3))
    feed = next_feed(connection)
    found = receive(feed)
    assert sorted(found) == [0, 1, 2]
    for index, frame in found.items():
        assert_array_equal(frame, image(index))
    verdict = verdict_of(feed)
    assert (verdict.status, verdict.n_items, verdict.gaps) == ("complete", 3, ())
    assert connection.state is ConnectionState.IDLE
    feed.close()


def wait_for_state(connection: MerlinConnection, state: ConnectionState) -> None:
    assert connection.state_machine.wait_for([state], DEADLINE) is state


def test_it_is_what_the_stream_protocol_asks_for(connection):
    assert isinstance(connection, Connection)
    assert isinstance(MerlinConnectionBuilder(), ConnectionBuilder)
    assert load_plugin("arraystream.sources", "merlin") is MerlinConnectionBuilder
    assert isinstance(connection.get_active_controller(), Controller)
    assert load_plugin("arraystream.simulators", "merlin").name == "merlin"


def test_states_follow_the_acquisition(server, connection):
    wait_for_state(connection, ConnectionState.IDLE)
    server.send(server.hdr(2, "ScanX:\t2", "ScanY:\t1", "Chip ID:\tW1"))
    pending = connection.wait_for_acquisition(DEADLINE)
    assert (pending.number, pending.n_items, pending.nimages, pending.index_shape) == (1, 2, 2, (1, 2))
    assert pending.meta["header"]["Chip ID"] == "W1"
    assert connection.state is ConnectionState.ARMED

    server.send(frames(server, 1))
    descriptor = connection.wait_for_first_item(pending, DEADLINE)
    assert (descriptor.item_shape, descriptor.dtype, descriptor.n_items) == (SHAPE, np.dtype("u2"), 2)
    assert descriptor.codec == "merlin"
    assert descriptor.meta["shutter_s"] == 0.001
    assert connection.state is ConnectionState.RUNNING

    server.send(frames(server, 2))
    feed = connection.feed(pending)
    assert sorted(receive(feed)) == [0, 1]
    assert verdict_of(feed).status == "complete"
    assert connection.state is ConnectionState.IDLE


def test_nothing_within_the_timeout_is_none(connection):
    assert connection.wait_for_acquisition(0.01) is None


def test_an_acquisition_that_was_over_before_anybody_asked_is_not_lost(server, connection):
    server.send(server.hdr(2), frames(server, 1, 2))
    wait_until(lambda: connection.statistics().n_items == 2)
    assert sorted(receive(next_feed(connection))) == [0, 1]


def test_acquisitions_come_in_order_and_unfed_ones_are_given_up(server, connection):
    server.send(server.hdr(1), frames(server, 1), server.hdr(2), frames(server, 1, 2))
    first = connection.wait_for_acquisition(DEADLINE)
    second = connection.wait_for_acquisition(DEADLINE)
    assert (first.number, second.number) == (1, 2)
    with pytest.raises(StateError, match="given up"):
        connection.feed(first)
    connection.wait_for_first_item(second, DEADLINE)
    assert sorted(receive(connection.feed(second))) == [0, 1]


def test_a_feed_is_given_once_and_not_before_the_first_frame(server, connection):
    server.send(server.hdr(1))
    pending = connection.wait_for_acquisition(DEADLINE)
    with pytest.raises(StateError, match="no frame yet"):
        connection.feed(pending)
    with pytest.raises(Stalled, match="triggered"):
        connection.wait_for_first_item(pending, 0.01)
    server.send(frames(server, 1))
    connection.wait_for_first_item(pending, DEADLINE)
    feed = connection.feed(pending)
    with pytest.raises(StateError, match="already"):
        connection.feed(pending)
    feed.close()
    feed.close()
    with pytest.raises(StateError, match="closed"):
        feed.join()
    with pytest.raises(StateError, match="gone"):
        connection.feed(pending)


def test_lost_frames_leave_marked_holes(server, connection):
    server.send(server.hdr(8), frames(server, 1, 2, 5, 6, 8))
    feed = next_feed(connection)
    found = receive(feed)
    assert sorted(found) == [0, 1, 4, 5, 7]
    for index, frame in found.items():
        assert_array_equal(frame, image(index))
    verdict = verdict_of(feed)
    assert (verdict.status, verdict.n_items) == ("complete", 8)
    assert [(gap.first, gap.stop) for gap in verdict.gaps] == [(2, 4), (6, 7)]
    assert isinstance(verdict.gaps[0], FeedGap)
    assert connection.statistics().n_lost == 3
    assert_next_acquisition_is_right(server, connection)


def test_doubled_and_late_frames_are_placed_by_number(server, connection):
    server.send(server.hdr(4), frames(server, 1, 3, 3, 2, 1, 4))
    feed = next_feed(connection)
    found = receive(feed)
    assert sorted(found) == [0, 1, 2, 3]
    for index, frame in found.items():
        assert_array_equal(frame, image(index))
    statistics = connection.statistics()
    assert (statistics.n_duplicate, statistics.n_out_of_order, statistics.n_lost) == (2, 1, 0)
    assert_next_acquisition_is_right(server, connection)


def test_frames_of_an_earlier_acquisition_are_stale(server, connection):
    server.send(frames(server, 17, 18, 19))
    assert_next_acquisition_is_right(server, connection)
    assert connection.statistics().n_stale == 3


@pytest.mark.parametrize("piece", [1, 3, 17, 1000])
def test_any_fragmentation_gives_the_same_frames(server, connection, piece):
    stale = server.frame(9, np.full((2, 8), 9, np.uint8))
    server.send(
        b"\0\r\n", stale, server.hdr(3), b"\0", frames(server, 1, 2), b"\n", frames(server, 3), piece=piece
    )
    found = receive(next_feed(connection))
    assert sorted(found) == [0, 1, 2]
    for index, frame in found.items():
        assert_array_equal(frame, image(index))


def test_a_header_in_mid_run_ends_the_acquisition_as_aborted(server, connection):
    server.send(server.hdr(9), frames(server, 1, 2))
    feed = next_feed(connection)
    server.send(server.hdr(3), frames(server, 1, 2, 3))
    assert sorted(receive(feed)) == [0, 1]
    verdict = verdict_of(feed)
    assert (verdict.status, verdict.n_items, verdict.error) == ("aborted", 2, None)
    assert "2 of 9" in verdict.reason
    assert sorted(receive(next_feed(connection))) == [0, 1, 2]


def test_a_header_sent_twice_is_one_acquisition(server, connection):
    server.send(server.hdr(1), server.hdr(1), frames(server, 1))
    assert sorted(receive(next_feed(connection))) == [0]
    assert connection.wait_for_acquisition(0.01) is None


@pytest.mark.parametrize(
    ("nonsense", "words"),
    [
        (b"GARBAGE GARBAGE", "GARBAGE"),
        (b"MPX,9999999999,MQ1,000003", "9999999999|10000000013"),
        (b"MPX,0000200000,MQ1,000003", "slot_mb"),
        (b"MPX,0000000010,ABCDEFGHI", "ABC"),
    ],
)
def test_nonsense_fails_the_acquisition_and_the_connection_comes_back(server, connection, nonsense, words):
    server.send(server.hdr(9), frames(server, 1, 2))
    feed = next_feed(connection)
    server.send(nonsense)
    assert sorted(receive(feed)) == [0, 1]
    verdict = verdict_of(feed)
    assert (verdict.status, verdict.n_items) == ("failed", 2)
    assert isinstance(verdict.error, ProtocolError)
    offset = len(server.hdr(9) + frames(server, 1, 2))
    assert f"at byte {offset}" in verdict.reason
    with pytest.raises(ProtocolError, match=words):
        raise verdict.error
    server.drop()
    assert_next_acquisition_is_right(server, connection)
    statistics = connection.statistics()
    assert (statistics.n_reconnects, statistics.n_corrupt) == (1, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dtype": np.uint8}, "differs from the first"),
        ({"shape": (SHAPE[1], SHAPE[0])}, "48x16|16x48"),
        ({"counter": 1}, "counter 1"),
        ({"number": 10}, "frame number 10"),
    ],
)
def test_frames_of_one_acquisition_must_be_alike(server, connection, change, words):
    server.send(server.hdr(9), frames(server, 1, 2))
    feed = next_feed(connection)
    pixels = np.zeros(change.get("shape", SHAPE), change.get("dtype", np.uint16))
    server.send(server.frame(change.get("number", 3), pixels, counter=change.get("counter", 0)))
    assert sorted(receive(feed)) == [0, 1]
    with pytest.raises(ProtocolError, match=words):
        raise verdict_of(feed).error
    server.drop()
    assert_next_acquisition_is_right(server, connection)


def test_a_connection_lost_in_mid_frame_truncates_and_comes_back(server, connection):
    server.send(server.hdr(9), frames(server, 1, 2), frames(server, 3)[:500])
    feed = next_feed(connection)
    server.drop()
    assert sorted(receive(feed)) == [0, 1]
    verdict = verdict_of(feed)
    assert (verdict.status, verdict.n_items) == ("truncated", 2)
    assert isinstance(verdict.error, TruncatedStream)
    assert_next_acquisition_is_right(server, connection)
    assert connection.statistics().n_reconnects == 1


def test_a_connection_lost_before_the_first_frame_ends_the_wait(server, connection):
    server.send(server.hdr(9))
    pending = connection.wait_for_acquisition(DEADLINE)
    server.drop()
    with pytest.raises(TruncatedStream):
        connection.wait_for_first_item(pending, DEADLINE)
    assert_next_acquisition_is_right(server, connection)


def test_silence_in_a_run_is_a_stall(server):
    with open_connection(server, stall_timeout=0.05) as connection:
        server.send(server.hdr(9), frames(server, 1, 2))
        feed = next_feed(connection)
        assert sorted(receive(feed)) == [0, 1]
        verdict = verdict_of(feed)
        assert (verdict.status, verdict.n_items) == ("failed", 2)
        assert isinstance(verdict.error, Stalled)
        server.send(frames(server, 3, 4))
        assert_next_acquisition_is_right(server, connection)
        assert connection.statistics().n_discarded == 2


def test_abort_ends_the_acquisition_here(server, connection):
    server.send(server.hdr(0), frames(server, 1, 2))
    feed = next_feed(connection)
    wait_until(lambda: connection.statistics().n_items == 2)
    connection.abort()
    assert sorted(receive(feed)) == [0, 1]
    assert verdict_of(feed).status == "aborted"
    server.send(frames(server, 3, 4))
    assert_next_acquisition_is_right(server, connection)
    assert connection.statistics().n_discarded == 2


def test_abort_before_the_first_frame_ends_the_wait(server, connection):
    server.send(server.hdr(4))
    pending = connection.wait_for_acquisition(DEADLINE)
    threading.Timer(0.05, connection.abort).start()
    with pytest.raises(AcquisitionAborted, match="by us"):
        connection.wait_for_first_item(pending, DEADLINE)
    assert_next_acquisition_is_right(server, connection)


def test_abort_without_an_acquisition_does_nothing(server, connection):
    connection.abort()
    assert_next_acquisition_is_right(server, connection)


def test_a_feed_closed_early_does_not_hold_the_next_acquisition_up(server, connection):
    n = 3000  # more than the buffer holds
    sender = threading.Thread(target=server.send, args=(server.hdr(n), frames(server, *range(1, n + 1))))
    sender.start()
    feed = next_feed(connection)
    member = feed.join()
    assert member.recv(DEADLINE) is not None
    feed.close()
    sender.join(DEADLINE)
    assert not sender.is_alive()
    with pytest.raises(StreamError):
        drain(member)
    member.close()
    assert_next_acquisition_is_right(server, connection)
    statistics = connection.statistics()
    assert statistics.n_items + statistics.n_discarded == n + 3
    assert statistics.n_discarded > 0


def test_a_slow_member_holds_the_detector_back_and_loses_nothing(server, connection):
    n = 3000
    sender = threading.Thread(target=server.send, args=(server.hdr(n), frames(server, *range(1, n + 1))))
    sender.start()
    feed = next_feed(connection)
    wait_until(lambda: connection.statistics().buffer_fill > 0.8)
    found = receive(feed)
    sender.join(DEADLINE)
    assert sorted(found) == list(range(n))
    assert verdict_of(feed).status == "complete"
    assert connection.statistics().buffer_high_water > 0.8


def test_unsettled_chunks_go_to_another_member(server, connection):
    server.send(server.hdr(4), frames(server, 1, 2, 3, 4))
    feed = next_feed(connection)
    lost = feed.join()
    chunk = lost.recv(DEADLINE)
    assert chunk.first == 0
    lost.close()
    assert sorted(receive(feed, 4)) == [0, 1, 2, 3]
    assert not feed.settle(lost.number, [chunk.lease.token])


def test_statistics_tell_the_times_of_first_and_last_frame(server, connection):
    assert connection.statistics().first_item_time_s is None
    begun = time.monotonic()
    server.send(server.hdr(2), frames(server, 1, 2))
    receive(next_feed(connection))
    statistics = connection.statistics()
    assert begun <= statistics.first_item_time_s <= statistics.last_item_time_s <= time.monotonic()
    assert statistics.n_bytes == len(server.hdr(2) + frames(server, 1, 2))
    assert (statistics.n_items, statistics.n_acquisitions) == (2, 1)


def test_open_fails_after_its_timeout_and_says_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(ConnectionFailed, match=rf"(?s){port} on 127\.0\.0\.1.*refused.*Merlin software"):
        MerlinConnectionBuilder().open(data_port=port, timeout=0.05, buffer_mb=1, slot_mb=0.125)


def test_open_waits_for_a_server_that_comes_up_late():
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    opened: list[MerlinConnection] = []
    url = f"merlin://127.0.0.1:{port}?buffer_mb=1&slot_mb=0.125"
    opener = threading.Thread(
        target=lambda: opened.append(MerlinConnectionBuilder().from_url(url, timeout=DEADLINE))
    )
    opener.start()
    with socket.create_server(("127.0.0.1", port)):
        opener.join(DEADLINE)
        assert opened[0].state is ConnectionState.IDLE
        opened[0].close()


def test_close_interrupts_every_wait_and_may_be_repeated(server, connection):
    server.send(server.hdr(1))
    pending = connection.wait_for_acquisition(DEADLINE)
    threading.Timer(0.05, connection.close).start()
    with pytest.raises(ConnectionClosed):
        connection.wait_for_first_item(pending)
    connection.close()
    assert connection.state is ConnectionState.CLOSED
    with pytest.raises(ConnectionClosed):
        connection.wait_for_acquisition(0.01)
    assert connection.statistics().n_acquisitions == 1


def test_closing_ends_the_running_acquisition(server, connection):
    server.send(server.hdr(9), frames(server, 1))
    feed = next_feed(connection)
    member = feed.join()
    connection.close()
    assert feed.verdict().status == "aborted"
    with pytest.raises(ConnectionClosed):
        drain(member)


def test_waiting_tells_that_there_is_no_connection(server, connection):
    server.close()
    with pytest.raises(ConnectionFailed, match="lost"):
        connection.wait_for_acquisition(1.0)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("dectris://host", "no URL of a Merlin"),
        ("merlin://host?colour=red", "unknown option 'colour'"),
        ("merlin://host?timeout=soon", "could not convert"),
    ],
)
def test_wrong_urls_are_refused(url, words):
    with pytest.raises(ValueError, match=words):
        MerlinConnectionBuilder().from_url(url)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"buffer_mb": 4, "slot_mb": 2}, "2 slots"),
        ({"slot_mb": 0}, "0 slots"),
        ({"recovery_strategy": "hope"}, "immediate_reconnect"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        MerlinConnectionBuilder().open(**options)
