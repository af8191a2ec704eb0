"""From a DECTRIS control unit's sockets to results: what goes wrong in one series never reaches the next.

Every test talks to a simulator that speaks the vendor's protocols, and ends with a scan that has to be
exactly right.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from arraystream import AcquisitionAborted, CodecError, Connection, Stalled, StreamError
from livestem import Acquisition, Hooks, LiveContext, ReadyForDataEnv, ShapeMismatch
from udf_4dstem import CoMUDF, RingUDF, SumSigUDF, SumUDF
from udf_core import UDFRunCancelled, WorkerLostWarning

detector_dectris = pytest.importorskip("detector_dectris")

NAV, SIG = (12, 10), (64, 64)
N_FRAMES = NAV[0] * NAV[1]
PATIENCE_S = 30.0

Frames = npt.NDArray[np.uint16]


@pytest.fixture(scope="module")
def data() -> Frames:
    return np.random.default_rng(3).poisson(4.0, (*NAV, *SIG)).astype("u2")


@pytest.fixture(scope="module", params=["threads", "processes"])
def context(request: pytest.FixtureRequest) -> Iterator[LiveContext]:
    with LiveContext.make_with(request.param, cpus=2) as context:
        yield context


@pytest.fixture(scope="module")
def threads() -> Iterator[LiveContext]:
    with LiveContext.make_with("threads", cpus=2) as context:
        yield context


@pytest.fixture(params=["legacy", "cbor"])
def simulator(request: pytest.FixtureRequest, data: Frames) -> Iterator[Any]:
    options = {"stream_format": request.param, "stream_mode": "enabled"}
    with detector_dectris.DectrisSimulator(data, **options) as running:
        yield running


def connect(context: LiveContext, simulator: Any, **options: Any) -> Connection:
    options.setdefault("stall_timeout", PATIENCE_S)
    ports = {"api_port": simulator.api_port, "data_port": (simulator.legacy_port, simulator.cbor_port)}
    return context.make_connection("dectris").open(
        api_host="127.0.0.1", timeout=PATIENCE_S, **(ports | options)
    )


class SoftTrigger(Hooks):
    """Starts the scan once the detector is armed."""

    def __init__(self, controller: Any) -> None:
        self.controller = controller

    def on_ready_for_data(self, env: ReadyForDataEnv) -> None:
        self.controller.trigger()


def active(context: LiveContext, connection: Connection, **settings: Any) -> Acquisition:
    controller = connection.get_active_controller(trigger_mode="ints", **settings)
    return context.make_acquisition(
        connection, NAV, controller=controller, hooks=SoftTrigger(controller), timeout=PATIENCE_S
    )


def assert_next_scan_is_exact(context: LiveContext, connection: Connection, data: Frames) -> None:
    total, signal_sum = context.run_udf(
        dataset=active(context, connection), udf=[SumUDF(dtype="u8"), SumSigUDF()]
    )

    assert np.array_equal(total["intensity"].data, data.sum(axis=(0, 1)))
    assert np.array_equal(signal_sum["intensity"].data, data.sum(axis=(2, 3)))
    assert signal_sum["intensity"].valid_mask.all()


def until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"timed out: {what}"
        time.sleep(0.005)


def test_passive_scan_gives_what_the_same_udfs_give_offline(
    context: LiveContext, simulator: Any, data: Frames
) -> None:
    udfs = [SumUDF(), SumSigUDF(), RingUDF(inner=5, outer=20), CoMUDF()]
    with connect(context, simulator) as connection:
        simulator.arm()  # somebody else does
        pending = connection.wait_for_acquisition(PATIENCE_S)
        assert pending is not None
        starter = threading.Thread(target=simulator.trigger)
        starter.start()
        aq = context.make_acquisition(conn=connection, pending_aq=pending, nav_shape=NAV)
        live = context.run_udf(dataset=aq, udf=udfs)
        starter.join()
        offline = context.run_udf(dataset=context.load("memory", data), udf=udfs)

        assert pending.nimages == N_FRAMES
        assert tuple(aq.shape) == (*NAV, *SIG)
        for one, other in zip(live, offline, strict=True):
            for name in one:
                np.testing.assert_array_equal(one[name].data, other[name].data, err_msg=name)
        assert_next_scan_is_exact(context, connection, data)


def test_lost_image_leaves_a_hole_and_shifts_nothing(
    context: LiveContext, simulator: Any, data: Frames
) -> None:
    simulator.faults.lost = (0, 37)
    expected = data.sum(axis=(2, 3)).ravel()
    with connect(context, simulator) as connection:
        result = context.run_udf(dataset=active(context, connection), udf=SumSigUDF())
        found, valid = (a.ravel() for a in (result["intensity"].data, result["intensity"].valid_mask))

        assert np.flatnonzero(~valid).tolist() == [0, 37]
        assert np.array_equal(found[valid], expected[valid])
        assert connection.statistics().n_lost == 2
        simulator.faults.clear()
        assert_next_scan_is_exact(context, connection, data)


def test_blob_that_can_not_be_decoded_ends_the_run_with_its_error(
    threads: LiveContext, simulator: Any, data: Frames
) -> None:
    simulator.faults.corrupted = (5,)
    with connect(threads, simulator) as connection:
        with pytest.raises(CodecError):
            threads.run_udf(dataset=active(threads, connection), udf=SumSigUDF())

        simulator.faults.clear()
        assert_next_scan_is_exact(threads, connection, data)


def test_scan_left_early_does_not_reach_the_next(context: LiveContext, simulator: Any, data: Frames) -> None:
    simulator.faults.stall_at = 100  # so that the scan can't end before it is left
    with connect(context, simulator) as connection:
        for part in context.run_udf_iter(dataset=active(context, connection), udf=SumSigUDF()):
            valid = part.buffers[0]["intensity"].valid_mask
            if valid.any():
                break

        assert not valid.all()
        simulator.faults.clear()
        assert_next_scan_is_exact(context, connection, data)


def test_scan_aborted_by_us_ends_the_run_and_keeps_what_is_there(
    threads: LiveContext, simulator: Any, data: Frames
) -> None:
    simulator.faults.stall_at = 60
    with connect(threads, simulator) as connection:
        parts = threads.run_udf_iter(dataset=active(threads, connection), udf=SumSigUDF())
        next(parts)
        aborter = threading.Thread(target=connection.abort)
        aborter.start()
        with pytest.raises((AcquisitionAborted, UDFRunCancelled)):
            for _ in parts:
                pass
        aborter.join()

        assert threads.last_run is not None
        assert 0 < threads.last_run.results.damage.data.sum() <= 60
        simulator.faults.clear()
        assert_next_scan_is_exact(threads, connection, data)


def test_scan_aborted_by_somebody_else_ends_the_run(
    threads: LiveContext, simulator: Any, data: Frames
) -> None:
    simulator.faults.stall_at = 60
    with connect(threads, simulator) as connection:
        parts = threads.run_udf_iter(dataset=active(threads, connection), udf=SumSigUDF())
        next(parts)
        simulator.abort()
        with pytest.raises(UDFRunCancelled, match="of 120"):
            for _ in parts:
                pass

        simulator.faults.clear()
        assert_next_scan_is_exact(threads, connection, data)


def test_stall_is_an_error_and_the_next_scan_is_right(
    threads: LiveContext, simulator: Any, data: Frames
) -> None:
    simulator.faults.stall_at = 60
    with connect(threads, simulator, stall_timeout=0.5) as connection:
        with pytest.raises(Stalled):
            threads.run_udf(dataset=active(threads, connection), udf=SumSigUDF())
        assert threads.last_run is not None
        kept = threads.last_run.results.buffers[0]["intensity"]

        assert kept.valid_mask.sum() == 60
        simulator.faults.clear()
        assert_next_scan_is_exact(threads, connection, data)


def test_restart_of_the_control_unit_is_an_error_and_the_next_scan_is_right(
    threads: LiveContext, simulator: Any, data: Frames
) -> None:
    simulator.faults.restart_at = 60
    with connect(threads, simulator, stall_timeout=1.0) as connection:
        with pytest.raises((StreamError, UDFRunCancelled)):
            threads.run_udf(dataset=active(threads, connection), udf=SumSigUDF())

        simulator.faults.clear()
        assert_next_scan_is_exact(threads, connection, data)


def test_missing_end_message_is_no_harm_when_all_images_came(
    threads: LiveContext, simulator: Any, data: Frames
) -> None:
    simulator.faults.missing_end = True
    with connect(threads, simulator, stall_timeout=1.0) as connection:
        assert_next_scan_is_exact(threads, connection, data)


def test_shape_that_does_not_fit_is_an_error_before_the_first_image(
    threads: LiveContext, simulator: Any, data: Frames
) -> None:
    with connect(threads, simulator) as connection:
        simulator.arm()
        pending = connection.wait_for_acquisition(PATIENCE_S)
        assert pending is not None
        with pytest.raises(ShapeMismatch, match="5×5 needs 25 frames, but the detector announced 120"):
            threads.make_acquisition(conn=connection, pending_aq=pending, nav_shape=(5, 5))

        assert_next_scan_is_exact(threads, connection, data)


def children_of(parent: int) -> set[int]:
    """Return the processes whose parent is `parent`."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == parent and words[0] != "Z":
            found.add(int(entry.parent.name))
    return found


@pytest.mark.parametrize("simulator", ["legacy"], indirect=True)
def test_worker_killed_in_the_middle_changes_nothing(simulator: Any, data: Frames) -> None:
    simulator.faults.stall_at = 60
    before = children_of(os.getpid())
    with (
        LiveContext.make_with("processes", cpus=2) as context,
        connect(context, simulator) as connection,
    ):
        parts = context.run_udf_iter(
            dataset=active(context, connection), udf=[SumUDF(dtype="u8"), SumSigUDF()]
        )
        next(parts)
        os.kill(context.executor.pids[0], signal.SIGKILL)
        simulator.faults.clear()
        with pytest.warns(WorkerLostWarning):
            *_, last = parts
        total, signal_sum = last.buffers

        assert np.array_equal(total["intensity"].data, data.sum(axis=(0, 1)))
        assert np.array_equal(signal_sum["intensity"].data, data.sum(axis=(2, 3)))
        assert_next_scan_is_exact(context, connection, data)
    assert children_of(os.getpid()) <= before


def test_connection_by_address(threads: LiveContext, simulator: Any, data: Frames) -> None:
    url = f"dectris://127.0.0.1:{simulator.data_port}?api_port={simulator.api_port}"
    with threads.make_connection(url).open(timeout=PATIENCE_S) as connection:
        assert_next_scan_is_exact(threads, connection, data)
