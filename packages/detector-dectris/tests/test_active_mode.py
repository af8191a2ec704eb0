"""Connection and controller together, against the simulator: armed, triggered, received, aborted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from arraystream import AcquisitionAborted, Feed, FeedEnd
from detector_dectris._codec import DectrisCodec
from detector_dectris._connection import DectrisConnection
from detector_dectris._plugin import DectrisConnectionBuilder
from detector_dectris._simulator import DectrisSimulator

DEADLINE_S = 30.0
FRAMES = np.random.default_rng(3).integers(0, 50, (12, 32, 48)).astype(np.uint16)


@pytest.fixture
def simulator() -> Iterator[DectrisSimulator]:
    """A detector that takes its images in real time and gets its external triggers at once."""
    with DectrisSimulator(
        FRAMES, model="eiger2-500k", rate="period", initialized=False, auto_trigger=True
    ) as simulator:
        yield simulator


@pytest.fixture
def connect(simulator: DectrisSimulator) -> Iterator[Callable[..., DectrisConnection]]:
    """Gives a function that connects to the stream of this format."""
    with ExitStack() as stack:

        def connect(stream_format: str = "legacy", **options: Any) -> DectrisConnection:
            port = {"legacy": simulator.legacy_port, "cbor": simulator.cbor_port}[stream_format]
            address = {"api_host": "127.0.0.1", "api_port": simulator.api_port, "data_port": port}
            return stack.enter_context(DectrisConnectionBuilder().open(**address, **options))

        yield connect


@pytest.fixture
def connection(connect: Callable[..., DectrisConnection]) -> DectrisConnection:
    """A connection to the stream of version 1."""
    return connect()


Connect = Callable[..., DectrisConnection]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def receive(feed: Feed) -> dict[int, np.ndarray]:
    """Return all frames by their index."""
    codec, shape = DectrisCodec(feed.descriptor), feed.descriptor.item_shape
    found: dict[int, np.ndarray] = {}
    member = feed.join()
    deadline = time.monotonic() + DEADLINE_S
    while not isinstance(chunk := member.recv(1.0), FeedEnd):
        assert time.monotonic() < deadline
        if chunk is None:
            continue
        out = np.empty((chunk.n, *shape), np.uint16)
        codec.decode(chunk.payload, chunk.offsets, (0, shape[0]), out)
        found.update(enumerate(out, chunk.first))
        assert feed.settle(member.number, [chunk.lease.token])
        chunk.lease.release()
    member.close()
    feed.close()
    return found


def acquire(connection: DectrisConnection, controller: Any, n_items: int) -> dict[int, np.ndarray]:
    controller.arm(n_items=n_items)
    pending = connection.wait_for_acquisition(DEADLINE_S)
    assert pending is not None
    assert pending.n_items == n_items
    assert pending.meta["series"] == controller.series
    if controller.settings["trigger_mode"] in ("ints", "inte"):
        controller.trigger()
    connection.wait_for_first_item(pending, DEADLINE_S)
    return receive(connection.feed(pending))


def assert_same_frames(found: dict[int, np.ndarray]) -> None:
    assert sorted(found) == list(range(len(FRAMES)))
    assert_array_equal([found[i] for i in range(len(FRAMES))], FRAMES)


@pytest.mark.parametrize("stream_format", ["legacy", "cbor"])
@pytest.mark.parametrize("mode", ["ints", "inte", "exts", "exte"])
def test_arm_trigger_and_receive(connect: Connect, mode: Any, stream_format: Any) -> None:
    connection = connect(stream_format)
    controller = connection.get_active_controller(
        trigger_mode=mode, count_time=5e-4, frame_time=1e-3, stream_format=stream_format
    )
    for _ in range(2):
        assert_same_frames(acquire(connection, controller, len(FRAMES)))


@pytest.mark.parametrize("compression", ["bslz4", "lz4", "none"])
@pytest.mark.parametrize("stream_format", ["legacy", "cbor"])
def test_compression_is_the_controllers_choice(
    connect: Connect, compression: str, stream_format: Any
) -> None:
    connection = connect(stream_format)
    controller = connection.get_active_controller(
        trigger_mode="ints",
        count_time=5e-4,
        frame_time=1e-3,
        compression=compression,
        stream_format=stream_format,
    )
    assert_same_frames(acquire(connection, controller, len(FRAMES)))


def test_header_with_everything_is_received_too(connection: DectrisConnection) -> None:
    controller = connection.get_active_controller(
        trigger_mode="ints", count_time=5e-4, frame_time=1e-3, header_detail="all"
    )
    assert_same_frames(acquire(connection, controller, len(FRAMES)))


def test_settings_are_in_what_the_series_says(connection: DectrisConnection) -> None:
    controller = connection.get_active_controller(trigger_mode="ints", count_time=2e-4, frame_time=5e-4)
    controller.arm(n_items=4)
    pending = connection.wait_for_acquisition(DEADLINE_S)
    assert pending is not None
    assert pending.meta["count_time_s"] == pytest.approx(2e-4)
    assert pending.meta["frame_time_s"] == pytest.approx(5e-4)


def test_arming_gives_up_what_nobody_asked_for(connection: DectrisConnection) -> None:
    controller = connection.get_active_controller(trigger_mode="ints", count_time=5e-4, frame_time=1e-3)
    controller.arm(n_items=4)
    controller.trigger()
    wait_until(lambda: connection.statistics().n_items == 4)
    controller.arm(n_items=3)
    pending = connection.wait_for_acquisition(DEADLINE_S)
    assert pending is not None
    assert (pending.number, pending.n_items) == (2, 3)


def test_abort_ends_the_series_on_the_detector_too(connection: DectrisConnection) -> None:
    controller: Any = connection.get_active_controller(trigger_mode="ints", frame_time=1e-3)
    controller.arm(n_items=4)
    pending = connection.wait_for_acquisition(DEADLINE_S)
    assert pending is not None
    connection.abort()
    assert controller.status().state == "idle"
    with pytest.raises(AcquisitionAborted):
        connection.wait_for_first_item(pending, DEADLINE_S)
    controller.close()
    connection.abort()


def test_abort_from_another_thread_while_images_come(connection: DectrisConnection) -> None:
    controller: Any = connection.get_active_controller(trigger_mode="ints", count_time=1e-3, frame_time=2e-3)
    controller.arm(n_items=1_000_000)
    pending = connection.wait_for_acquisition(DEADLINE_S)
    assert pending is not None
    controller.trigger()
    connection.wait_for_first_item(pending, DEADLINE_S)
    feed = connection.feed(pending)
    thread = threading.Thread(target=controller.abort)
    thread.start()
    receive(feed)
    thread.join(DEADLINE_S)
    verdict = feed.verdict()
    assert verdict is not None
    assert verdict.status == "aborted"
    assert controller.status().state == "idle"
    assert_same_frames(acquire(connection, controller, len(FRAMES)))


def test_initialize_in_the_middle_of_a_run_ends_it(connection: DectrisConnection) -> None:
    controller: Any = connection.get_active_controller(trigger_mode="ints", count_time=1e-3, frame_time=2e-3)
    controller.arm(n_items=1_000_000)
    pending = connection.wait_for_acquisition(DEADLINE_S)
    assert pending is not None
    controller.trigger()
    connection.wait_for_first_item(pending, DEADLINE_S)
    feed = connection.feed(pending)
    controller.initialize()
    receive(feed)
    verdict = feed.verdict()
    assert verdict is not None
    assert verdict.status == "aborted"
    assert_same_frames(acquire(connection, controller, len(FRAMES)))


def test_mask_of_the_detector_becomes_excluded_pixels(connection: DectrisConnection) -> None:
    """From the REST interface: the header says nothing of pixels here."""
    controller: Any = connection.get_active_controller(
        trigger_mode="ints", count_time=5e-4, frame_time=1e-3, header_detail="basic", enable_corrections=True
    )
    controller.initialize()
    mask = np.zeros(FRAMES.shape[1:], np.uint32)
    mask[3, 5] = 0b10
    controller.client.set_array("pixel_mask", mask)
    controller.arm(n_items=4)
    pending = connection.wait_for_acquisition(DEADLINE_S)
    assert pending is not None
    controller.trigger()
    connection.wait_for_first_item(pending, DEADLINE_S)
    assert_array_equal(connection.correction_data(pending)["excluded_pixels"], mask != 0)
