"""The connection against bare sources of both stream versions: states, waits, errors, and what comes after.

Tests with `stream` hold for both versions.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import zmq
from numpy.testing import assert_array_equal

import detector_dectris
from arraystream import (
    AcquisitionAborted,
    Connection,
    ConnectionBuilder,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionState,
    Feed,
    FeedEnd,
    FeedVerdict,
    Stalled,
    StateError,
    StreamError,
    load_plugin,
    open_decoder,
)
from detector_dectris import DectrisConnection, DectrisConnectionBuilder

DEADLINE = 20.0
SHAPE = (16, 48)


def image(index: int, channel: int = 0) -> np.ndarray:
    """Image of an index, told from all others by every pixel."""
    pixels = np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint16).reshape(SHAPE)
    return (pixels + 7 * index + 3000 * channel).astype(np.uint16)


def open_connection(*streams, **options) -> DectrisConnection:
    ports = streams[0].port if len(streams) == 1 else [stream.port for stream in streams]
    defaults = {"data_port": ports, "buffer_mb": 2, "slot_mb": 0.125, "timeout": DEADLINE}
    return DectrisConnectionBuilder().open("127.0.0.1", **(defaults | options))


@pytest.fixture
def connection(stream):
    with open_connection(stream) as connection:
        yield connection


def images(stream, series: int, *indices: int) -> list[list[bytes]]:
    return [stream.image(series, index, image(index)) for index in indices]


def send_series(stream, series: int, n_items: int, *indices: int) -> None:
    stream.send(stream.start(series, n_items), *images(stream, series, *indices), stream.end(series))


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
        out = np.empty((chunk.n, *feed.descriptor.item_shape), feed.descriptor.dtype)
        decoder.decode(chunk.payload, chunk.offsets, (0, feed.descriptor.item_shape[0]), out)
        assert not found.keys() & set(range(chunk.first, chunk.first + chunk.n))
        found.update(enumerate(out, chunk.first))
        assert feed.settle(member.number, [chunk.lease.token])
        chunk.lease.release()
    member.close()
    return found


def verdict_of(feed: Feed) -> FeedVerdict:
    wait_until(lambda: feed.verdict() is not None)
    return feed.verdict()


def next_feed(connection: DectrisConnection) -> Feed:
    pending = connection.wait_for_acquisition(DEADLINE)
    assert pending is not None
    connection.wait_for_first_item(pending, DEADLINE)
    return connection.feed(pending)


def assert_right(found: dict[int, np.ndarray], *indices: int) -> None:
    assert sorted(found) == list(indices)
    for index, frame in found.items():
        assert_array_equal(frame, image(index))


def assert_next_series_is_right(stream, connection: DectrisConnection, series: int = 1000) -> None:
    """Whatever happened before, nothing of it may be seen in the next series."""
    send_series(stream, series, 3, 0, 1, 2)
    feed = next_feed(connection)
    assert_right(receive(feed), 0, 1, 2)
    verdict = verdict_of(feed)
    assert (verdict.status, verdict.n_items, verdict.gaps) == ("complete", 3, ())
    wait_until(lambda: connection.state is ConnectionState.IDLE)
    feed.close()


def test_it_is_what_the_stream_protocol_asks_for(connection):
    assert isinstance(connection, Connection)
    assert isinstance(DectrisConnectionBuilder(), ConnectionBuilder)
    assert load_plugin("arraystream.sources", "dectris") is DectrisConnectionBuilder


def test_states_follow_the_series(stream, connection):
    assert connection.state is ConnectionState.IDLE
    stream.send(stream.start(7, 2))
    pending = connection.wait_for_acquisition(DEADLINE)
    assert (pending.number, pending.n_items, pending.nimages) == (1, 2, 2)
    assert pending.meta["series"] == 7
    assert pending.meta["stream_version"] == stream.version
    assert connection.state is ConnectionState.ARMED

    stream.send(*images(stream, 7, 0))
    descriptor = connection.wait_for_first_item(pending, DEADLINE)
    assert (descriptor.item_shape, descriptor.dtype, descriptor.n_items) == (SHAPE, np.dtype("u2"), 2)
    assert descriptor.codec == "dectris"
    assert descriptor.meta["count_time_s"] == 0.001
    assert connection.state is ConnectionState.RUNNING

    stream.send(*images(stream, 7, 1), stream.end(7))
    feed = connection.feed(pending)
    assert_right(receive(feed), 0, 1)
    assert verdict_of(feed).status == "complete"
    wait_until(lambda: connection.state is ConnectionState.IDLE)


def test_what_the_header_says_has_the_same_names_in_both_versions(v1, v2):
    said = {}
    headers = {
        v1: {
            "description": "Dectris ARINA",
            "incident_energy": 2e5,
            "threshold_energy": 1e5,
            "x_pixel_size": 1e-4,
            "y_pixel_size": 2e-4,
            "flatfield_correction_applied": 1,
        },
        v2: {
            "detector_description": "Dectris ARINA",
            "incident_energy": 2e5,
            "threshold_energy": {"threshold_1": 1e5},
            "pixel_size_x": 1e-4,
            "pixel_size_y": 2e-4,
            "flatfield_enabled": True,
        },
    }
    for stream, header in headers.items():
        with open_connection(stream) as connection:
            stream.send(stream.start(1, 5, **header))
            said[stream] = connection.wait_for_acquisition(DEADLINE).meta
    names = ("detector_description", "beam_energy", "threshold_energies", "pixel_size_m", "flatfield_applied")
    expected = ("Dectris ARINA", 2e5, {"threshold_1": 1e5}, (2e-4, 1e-4), True)
    for meta in said.values():
        assert tuple(meta[name] for name in names) == expected


def test_one_connection_waits_on_both_ports_and_takes_either_version(v1, v2):
    with open_connection(v1, v2) as connection:
        for series, stream in enumerate((v2, v1, v2), 1):
            send_series(stream, series, 2, 0, 1)
            assert_right(receive(next_feed(connection)), 0, 1)


def test_one_of_two_ports_is_enough(v2):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with open_connection(v2, data_port=(port, v2.port)) as connection:
        assert_next_series_is_right(v2, connection)


def test_nothing_within_the_timeout_is_none(connection):
    assert connection.wait_for_acquisition(0.01) is None


def test_a_series_that_was_over_before_anybody_asked_is_not_lost(stream, connection):
    send_series(stream, 1, 2, 0, 1)
    wait_until(lambda: connection.statistics().n_items == 2)
    assert_right(receive(next_feed(connection)), 0, 1)


def test_series_come_in_order_and_unfed_ones_are_given_up(stream, connection):
    send_series(stream, 1, 1, 0)
    send_series(stream, 2, 2, 0, 1)
    first = connection.wait_for_acquisition(DEADLINE)
    second = connection.wait_for_acquisition(DEADLINE)
    assert (first.meta["series"], second.meta["series"]) == (1, 2)
    with pytest.raises(StateError, match="given up"):
        connection.feed(first)
    connection.wait_for_first_item(second, DEADLINE)
    assert_right(receive(connection.feed(second)), 0, 1)


def test_waiting_for_the_first_image_says_what_may_be_wrong(stream, connection):
    stream.send(stream.start(5, 1))
    pending = connection.wait_for_acquisition(DEADLINE)
    with pytest.raises(Stalled, match=r"series 5 is armed.*triggered.*another client"):
        connection.wait_for_first_item(pending, 0.01)


def test_lost_images_leave_marked_holes(stream, connection):
    send_series(stream, 1, 8, 0, 1, 4, 5, 7)
    feed = next_feed(connection)
    assert_right(receive(feed), 0, 1, 4, 5, 7)
    verdict = verdict_of(feed)
    assert (verdict.status, verdict.n_items) == ("complete", 8)
    assert [(gap.first, gap.stop) for gap in verdict.gaps] == [(2, 4), (6, 7)]
    assert connection.statistics().n_lost == 3
    assert_next_series_is_right(stream, connection)


def test_images_that_another_client_takes_are_told_by_their_pattern(stream, connection):
    n = 64
    thief = zmq.Context()
    pull = thief.socket(zmq.PULL)
    pull.connect(f"tcp://127.0.0.1:{stream.port}")
    # Messages go to both in turn, once both are there: the header too.
    header = stream.start(1, n)
    stream.send(header)
    wait_until(lambda: pull.poll(10) or stream.send(header))
    wait_until(lambda: connection.statistics().n_acquisitions)
    stream.send(*images(stream, 1, *range(n)), stream.end(1), stream.end(1))
    feed = next_feed(connection)
    found = receive(feed)
    verdict = verdict_of(feed)
    pull.close(linger=0)
    thief.term()
    assert 0 < len(found) < n
    assert sum(gap.stop - gap.first for gap in verdict.gaps) == n - len(found)
    assert "client" in " ".join([verdict.reason, *(gap.reason for gap in verdict.gaps)])


def test_doubled_and_late_images_are_placed_by_number(stream, connection):
    send_series(stream, 1, 4, 0, 2, 2, 1, 0, 3)
    assert_right(receive(next_feed(connection)), 0, 1, 2, 3)
    statistics = connection.statistics()
    assert (statistics.n_duplicate, statistics.n_out_of_order, statistics.n_lost) == (2, 1, 0)
    assert_next_series_is_right(stream, connection)


def test_images_of_a_series_that_was_not_announced_are_stale(stream, connection):
    stream.send(*images(stream, 9, 3, 4, 5), stream.end(9))
    assert_next_series_is_right(stream, connection)
    assert connection.statistics().n_stale == 3


def test_images_of_an_earlier_series_do_not_reach_the_next(stream, connection):
    stream.send(stream.start(1, 9), *images(stream, 1, 0, 1), stream.start(2, 2), *images(stream, 1, 2, 3))
    stream.send(*images(stream, 2, 0, 1), stream.end(2))
    feed = next_feed(connection)
    assert_right(receive(feed), 0, 1)
    verdict = verdict_of(feed)
    assert (verdict.status, verdict.n_items, verdict.error) == ("aborted", 2, None)
    feed = next_feed(connection)
    assert_right(receive(feed), 0, 1)
    assert verdict_of(feed).status == "complete"
    assert connection.statistics().n_stale == 2


def test_an_early_end_is_an_abort(stream, connection):
    send_series(stream, 1, 9, 0, 1)
    feed = next_feed(connection)
    assert_right(receive(feed), 0, 1)
    verdict = verdict_of(feed)
    assert (verdict.status, verdict.n_items, verdict.error) == ("aborted", 2, None)
    assert "2 of 9" in verdict.reason
    assert_next_series_is_right(stream, connection)


def test_without_a_number_of_images_the_end_completes(stream, connection):
    stream.send(stream.start(1, None), *images(stream, 1, 0, 1, 2), stream.end(1))
    feed = next_feed(connection)
    assert feed.descriptor.n_items is None
    assert_right(receive(feed), 0, 1, 2)
    assert (verdict_of(feed).status, verdict_of(feed).n_items) == ("complete", 3)


def test_silence_in_a_series_is_a_stall(stream):
    with open_connection(stream, stall_timeout=0.05) as connection:
        stream.send(stream.start(1, 9), *images(stream, 1, 0, 1))
        feed = next_feed(connection)
        assert_right(receive(feed), 0, 1)
        verdict = verdict_of(feed)
        assert verdict.status == "failed"
        assert isinstance(verdict.error, Stalled)
        assert_next_series_is_right(stream, connection)


@pytest.mark.parametrize("change", [{"encoding": "zstd<"}, {"shape": [48, 17]}, {"type": "float64"}])
def test_an_image_that_can_not_be_understood_is_a_marked_gap(v1, change):
    with open_connection(v1) as connection:
        v1.send(v1.start(1, 3), v1.image(1, 0, image(0)), v1.image(1, 1, image(1), **change))
        v1.send(v1.image(1, 2, image(2)), v1.end(1))
        feed = next_feed(connection)
        assert_right(receive(feed), 0, 2)
        verdict = verdict_of(feed)
        assert [(gap.first, gap.stop) for gap in verdict.gaps] == [(1, 2)]
        assert "corrupt" in verdict.gaps[0].reason
        assert connection.statistics().n_corrupt == 1
        assert_next_series_is_right(v1, connection)


def test_what_is_no_message_of_the_stream_is_counted_and_ignored(stream, connection):
    stream.send([b"hello"], [b"{}"], [b"\xd9\xd9\xf7\xff"], [b""])
    assert_next_series_is_right(stream, connection)
    assert connection.statistics().n_corrupt > 0


def test_a_header_in_two_messages_or_with_all_details_is_understood(v1):
    mask = np.zeros(SHAPE, "u4")
    mask[3, 4] = 2
    flatfield = np.full(SHAPE, 0.5, "f4")
    header = v1.start(1, 1)
    with open_connection(v1) as connection:
        v1.send(header[:1], header[1:], v1.image(1, 0, image(0)), v1.end(1))
        assert_right(receive(next_feed(connection)), 0)
        tables = v1.table("dflatfield-1.0", flatfield) + v1.table("dpixelmask-1.0", mask)
        tables += v1.table("dcountrate_table-1.0", np.ones((5, 2), "f4"))
        v1.send([v1.dheader(2, "all"), header[1], *tables, b"an appendix"])
        v1.send([*v1.image(2, 0, image(0)), b"another"], v1.end(2))
        pending = connection.wait_for_acquisition(DEADLINE)
        connection.wait_for_first_item(pending, DEADLINE)
        corrections = connection.correction_data(pending)
        assert_right(receive(connection.feed(pending)), 0)
    assert_array_equal(corrections["excluded_pixels"], mask != 0)
    assert_array_equal(corrections["gain"], flatfield)
    assert "allow_empty" not in corrections


@pytest.mark.parametrize("applied", [False, True])
def test_a_flat_field_that_the_detector_applied_is_not_applied_again(v2, applied):
    mask = np.zeros(SHAPE, "u4")
    mask[5:9, 7:11] = 1  # a gap: its inside has no neighbour with data
    flatfield = np.full(SHAPE, 0.5, "f4")
    tables = {
        "pixel_mask": {"threshold_1": v2.array(mask)},
        "flatfield": {"threshold_1": v2.array(flatfield)},
    }
    with open_connection(v2) as connection:
        v2.send(v2.start(1, 1, flatfield_enabled=applied, pixel_mask_enabled=True, **tables))
        v2.send(*images(v2, 1, 0))
        pending = connection.wait_for_acquisition(DEADLINE)
        connection.wait_for_first_item(pending, DEADLINE)
        corrections = connection.correction_data(pending)
    inside = np.zeros(SHAPE, bool)
    inside[6:8, 8:10] = True
    assert_array_equal(corrections["excluded_pixels"], mask != 0)
    assert_array_equal(corrections["gain"], np.where(inside, 0, 1.0 if applied else 0.5))
    assert corrections["allow_empty"]


def test_corrections_of_the_header_may_be_declined(v2):
    with open_connection(v2, corrections=False) as connection:
        v2.send(v2.start(1, 1, pixel_mask={"threshold_1": v2.array(np.ones(SHAPE, "u4"))}))
        pending = connection.wait_for_acquisition(DEADLINE)
        assert connection.correction_data(pending) == {}


CHANNELS = ("threshold_1", "threshold_2", "difference")


def both_thresholds(v2, series: int, index: int) -> list[bytes]:
    # Not in the order of the header: names count.
    found = {name: image(index, number) for number, name in enumerate(CHANNELS)}
    return v2.image(series, index, dict(reversed(found.items())))


@pytest.mark.parametrize(
    ("channel", "number"), [(None, 0), ("threshold_1", 0), ("threshold_2", 1), ("difference", 2)]
)
def test_one_of_several_channels_is_chosen_by_name(v2, channel, number):
    with open_connection(v2, channel=channel) as connection:
        v2.send(v2.start(1, 2, CHANNELS), *(both_thresholds(v2, 1, i) for i in range(2)), v2.end(1))
        pending = connection.wait_for_acquisition(DEADLINE)
        assert list(pending.meta["channels"]) == list(CHANNELS)
        connection.wait_for_first_item(pending, DEADLINE)
        found = receive(connection.feed(pending))
    for index in range(2):
        assert_array_equal(found[index], image(index, number))


def test_all_channels_are_an_axis_of_the_frames(v2):
    with open_connection(v2, channel="all") as connection:
        v2.send(v2.start(1, 2, CHANNELS), *(both_thresholds(v2, 1, i) for i in range(2)), v2.end(1))
        feed = next_feed(connection)
        assert feed.descriptor.item_shape == (3, *SHAPE)
        found = receive(feed)
    for index in range(2):
        assert_array_equal(found[index], np.stack([image(index, number) for number in range(3)]))


def test_a_channel_that_is_not_there_is_an_error_that_names_those_that_are(v2):
    with open_connection(v2, channel="threshold_9") as connection:
        v2.send(v2.start(1, 2, CHANNELS), both_thresholds(v2, 1, 0), v2.end(1))
        with pytest.raises(StreamError, match=r"threshold_9.*threshold_1.*threshold_2.*difference"):
            next_feed(connection)
        assert connection.state is not ConnectionState.CONNECTING


def test_a_lost_connection_is_made_anew(stream, connection):
    stream.send(stream.start(1, 9), *images(stream, 1, 0, 1))
    feed = next_feed(connection)
    wait_until(lambda: connection.statistics().n_items == 2)
    stream.drop()
    wait_until(lambda: feed.verdict() is not None or connection.statistics().n_reconnects)
    wait_until(lambda: connection.state is not ConnectionState.CONNECTING)
    stream.send(stream.start(2, 1), *images(stream, 2, 0), stream.end(2))
    verdict = verdict_of(feed)
    assert verdict.status != "complete"
    assert_right(receive(next_feed(connection)), 0)
    assert connection.statistics().n_reconnects == 1


def test_abort_ends_the_acquisition_here(stream, connection):
    stream.send(stream.start(1, 100), *images(stream, 1, 0, 1))
    feed = next_feed(connection)
    wait_until(lambda: connection.statistics().n_items == 2)
    connection.abort()
    assert_right(receive(feed), 0, 1)
    assert verdict_of(feed).status == "aborted"
    stream.send(*images(stream, 1, 2, 3), stream.end(1))
    assert_next_series_is_right(stream, connection)
    assert connection.statistics().n_discarded == 2


def test_abort_before_the_first_image_ends_the_wait(stream, connection):
    stream.send(stream.start(1, 4))
    pending = connection.wait_for_acquisition(DEADLINE)
    threading.Timer(0.05, connection.abort).start()
    with pytest.raises(AcquisitionAborted, match="by us"):
        connection.wait_for_first_item(pending, DEADLINE)
    assert_next_series_is_right(stream, connection)


def test_a_feed_closed_early_does_not_hold_the_next_series_up(stream, connection):
    n = 3000  # more than the buffer holds
    sender = threading.Thread(target=send_series, args=(stream, 1, n, *range(n)))
    sender.start()
    feed = next_feed(connection)
    member = feed.join()
    assert member.recv(DEADLINE) is not None
    feed.close()
    sender.join(DEADLINE)
    assert not sender.is_alive()
    with pytest.raises(StreamError):
        wait_until(lambda: member.recv(1.0) is Ellipsis)
    member.close()
    assert_next_series_is_right(stream, connection)
    statistics = connection.statistics()
    assert statistics.n_items + statistics.n_discarded == n + 3


def test_a_slow_member_holds_the_source_back_and_loses_nothing(stream, connection):
    n = 3000
    sender = threading.Thread(target=send_series, args=(stream, 1, n, *range(n)))
    sender.start()
    feed = next_feed(connection)
    wait_until(lambda: connection.statistics().buffer_fill > 0.8)
    found = receive(feed)
    sender.join(DEADLINE)
    assert sorted(found) == list(range(n))
    assert verdict_of(feed).status == "complete"
    assert connection.statistics().n_lost == 0


def test_unsettled_chunks_go_to_another_member(stream, connection):
    send_series(stream, 1, 4, 0, 1, 2, 3)
    feed = next_feed(connection)
    lost = feed.join()
    chunk = lost.recv(DEADLINE)
    assert chunk.first == 0
    lost.close()
    assert_right(receive(feed, 4), 0, 1, 2, 3)
    assert not feed.settle(lost.number, [chunk.lease.token])


def test_statistics_tell_the_times_of_first_and_last_image(stream, connection):
    assert connection.statistics().first_item_time_s is None
    begun = time.monotonic()
    send_series(stream, 1, 2, 0, 1)
    receive(next_feed(connection))
    statistics = connection.statistics()
    assert begun <= statistics.first_item_time_s <= statistics.last_item_time_s <= time.monotonic()
    assert statistics.n_bytes >= 2 * image(0).nbytes
    assert (statistics.n_items, statistics.n_acquisitions) == (2, 1)


def test_open_fails_after_its_timeout_and_says_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    words = rf"(?s)tcp://127\.0\.0\.1:{port}.*stream/config/mode.*9999.*31001"
    with pytest.raises(ConnectionFailed, match=words):
        DectrisConnectionBuilder().open("127.0.0.1", data_port=port, timeout=0.2, buffer_mb=1, slot_mb=0.125)


def test_open_by_url_waits_for_a_source_that_comes_up_late(v2):
    v2.go()
    opened: list[DectrisConnection] = []
    url = f"dectris://127.0.0.1:{v2.port}?buffer_mb=1&slot_mb=0.125"
    opener = threading.Thread(
        target=lambda: opened.append(DectrisConnectionBuilder().from_url(url, timeout=DEADLINE))
    )
    opener.start()
    v2.drop()
    opener.join(DEADLINE)
    with opened[0] as connection:
        assert connection.state is ConnectionState.IDLE
        assert_next_series_is_right(v2, connection)


def test_close_interrupts_every_wait_and_may_be_repeated(stream, connection):
    stream.send(stream.start(1, 1))
    pending = connection.wait_for_acquisition(DEADLINE)
    threading.Timer(0.05, connection.close).start()
    with pytest.raises(ConnectionClosed):
        connection.wait_for_first_item(pending)
    connection.close()
    assert connection.state is ConnectionState.CLOSED
    with pytest.raises(ConnectionClosed):
        connection.wait_for_acquisition(0.01)
    assert connection.statistics().n_acquisitions == 1


def test_waiting_tells_that_there_is_no_connection(stream, connection):
    stream.go()
    wait_until(lambda: connection.state is ConnectionState.CONNECTING)
    with pytest.raises(ConnectionFailed, match="lost"):
        connection.wait_for_acquisition(0.1)
    stream.drop()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("merlin://host", "no URL of a DECTRIS detector"),
        ("dectris://host?colour=red", "unknown option 'colour'"),
        ("dectris://host?timeout=soon", "could not convert"),
        ("dectris://host:99999", "out of range"),
    ],
)
def test_wrong_urls_are_refused(url, words):
    with pytest.raises(ValueError, match=words):
        DectrisConnectionBuilder().from_url(url)


@pytest.mark.parametrize(
    ("options", "words"), [({"buffer_mb": 4, "slot_mb": 2}, "2 slots"), ({"slot_mb": 0}, "0 slots")]
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        DectrisConnectionBuilder().open(**options)


def test_scripts_written_for_libertem_live_may_pass_their_options(v1):
    options = {"buffer_size": 4, "bytes_per_frame": 4096, "frame_stack_size": 8, "huge_pages": False}
    with DectrisConnectionBuilder().open(
        api_host="127.0.0.1", api_port=80, data_host="127.0.0.1", data_port=v1.port, slot_mb=0.5, **options
    ) as connection:
        assert_next_series_is_right(v1, connection)


def test_workers_that_load_the_codec_load_no_http_client():
    program = (
        "import sys; from arraystream import load_plugin; load_plugin('arraystream.codecs', 'dectris'); "
        "print([name for name in ('httpx', 'click') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_there():
    assert {name for name in detector_dectris.__all__ if not hasattr(detector_dectris, name)} == set()
    assert set(dir(detector_dectris)) == set(detector_dectris.__all__)
