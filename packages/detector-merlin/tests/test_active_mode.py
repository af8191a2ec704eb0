"""Connection and controller together, against the simulator."""

from __future__ import annotations

import time

import numpy as np
import pytest

from arraystream import AcquisitionAborted, FeedEnd
from detector_merlin import MerlinConnectionBuilder
from detector_merlin._simulator import DetectorStatus, MerlinSimulator

DEADLINE = 20.0


@pytest.fixture
def simulator():
    with MerlinSimulator(np.zeros((3, 4, 64, 64), np.uint16), rate="max") as simulator:
        yield simulator


@pytest.fixture
def connection(simulator):
    builder = MerlinConnectionBuilder()
    with builder.open(data_port=simulator.data_port, api_port=simulator.control_port) as connection:
        yield connection


def wait_until(condition) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_arm_trigger_and_receive(connection):
    controller = connection.get_active_controller(trigger_start="soft")
    controller.arm(n_items=12)
    pending = connection.wait_for_acquisition(DEADLINE)
    assert pending.n_items == 12
    controller.trigger()
    connection.wait_for_first_item(pending, DEADLINE)
    feed = connection.feed(pending)
    member = feed.join()
    received = 0
    while not isinstance(chunk := member.recv(1.0), FeedEnd):
        received += 0 if chunk is None else chunk.n
    assert received == 12
    member.close()
    feed.close()


def test_arming_gives_up_what_nobody_asked_for(connection):
    controller = connection.get_active_controller(trigger_start="soft")
    controller.arm(n_items=4)
    controller.trigger()
    wait_until(lambda: connection.statistics().n_items == 4)
    controller.arm(n_items=3)
    pending = connection.wait_for_acquisition(DEADLINE)
    assert (pending.number, pending.n_items) == (2, 3)


def test_abort_ends_the_acquisition_on_the_detector_too(connection):
    controller = connection.get_active_controller(trigger_start="soft")
    controller.arm(n_items=4)
    pending = connection.wait_for_acquisition(DEADLINE)
    connection.abort()
    assert controller.status() is DetectorStatus.IDLE
    with pytest.raises(AcquisitionAborted):
        connection.wait_for_first_item(pending, DEADLINE)
    controller.close()
    connection.abort()
