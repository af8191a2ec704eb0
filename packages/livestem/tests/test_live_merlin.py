"""From a Merlin's sockets to results: what goes wrong in one scan never reaches the next.

Every test talks to a simulator that speaks the vendor's protocol over TCP, and ends with a scan that
has to be exactly right.
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

from arraystream import AcquisitionAborted, Connection, Stalled, StreamError
from livestem import Acquisition, Hooks, LiveContext, ReadyForDataEnv, ShapeMismatch
from udf_4dstem import CoMUDF, RingUDF, SumSigUDF, SumUDF
from udf_core import UDF, UDFRunCancelled, WorkerLostWarning

detector_merlin = pytest.importorskip("detector_merlin")

NAV, SIG = (12, 10), (64, 64)
N_FRAMES = NAV[0] * NAV[1]
PATIENCE_S = 30.0
FAST, SLOW = "max", 400.0

Frames = npt.NDArray[np.uint16]


@pytest.fixture(scope="module")
def data() -> Frames:
    return np.random.default_rng(3).poisson(4.0, (*NAV, *SIG)).astype("u2")


@pytest.fixture
def faults() -> Any:
    return detector_merlin.Faults()


@pytest.fixture(scope="module", params=["threads", "processes"])
def context(request: pytest.FixtureRequest) -> Iterator[LiveContext]:
    with LiveContext.make_with(request.param, cpus=2) as context:
        yield context


@pytest.fixture(scope="module")
def threads() -> Iterator[LiveContext]:
    with LiveContext.make_with("threads", cpus=2) as context:
        yield context


@pytest.fixture
def simulator(request: pytest.FixtureRequest, data: Frames, faults: Any) -> Iterator[Any]:
    rate = getattr(request, "param", FAST)
    with detector_merlin.MerlinSimulator(data, rate=rate, faults=faults) as running:
        yield running


slow = pytest.mark.parametrize("simulator", [SLOW], indirect=True)


def connect(context: LiveContext, simulator: Any, **options: Any) -> Connection:
    options.setdefault("stall_timeout", PATIENCE_S)
    builder = context.make_connection("merlin")
    return builder.open(
        data_host="127.0.0.1",
        data_port=simulator.data_port,
        api_port=simulator.control_port,
        timeout=PATIENCE_S,
        **options,
    )


class SoftTrigger(Hooks):
    """Starts the scan once the detector is armed."""

    def __init__(self, controller: Any) -> None:
        self.controller = controller
        self.seen: list[tuple[int, ...]] = []

    def on_ready_for_data(self, env: ReadyForDataEnv) -> None:
        self.seen.append(tuple(env.aq.shape.nav))
        self.controller.trigger()


def active(context: LiveContext, connection: Connection) -> Acquisition:
    controller = connection.get_active_controller(trigger_start="soft")
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
    context: LiveContext, data: Frames, faults: Any
) -> None:
    udfs = [SumUDF(), SumSigUDF(), RingUDF(inner=5, outer=20), CoMUDF()]
    with (
        detector_merlin.MerlinSimulator(data, rate=FAST, autostart=True, faults=faults) as simulator,
        connect(context, simulator) as connection,
    ):
        pending = connection.wait_for_acquisition(PATIENCE_S)
        assert pending is not None
        aq = context.make_acquisition(conn=connection, pending_aq=pending, nav_shape=NAV)
        live = context.run_udf(dataset=aq, udf=udfs)
        offline = context.run_udf(dataset=context.load("memory", data), udf=udfs)

        assert pending.nimages == N_FRAMES
        assert tuple(aq.shape) == (*NAV, *SIG)
        for one, other in zip(live, offline, strict=True):
            for name in one:
                np.testing.assert_array_equal(one[name].data, other[name].data, err_msg=name)
        assert_next_scan_is_exact(context, connection, data)


def test_active_scan_is_armed_then_triggered_by_the_hook(
    context: LiveContext, simulator: Any, data: Frames
) -> None:
    with connect(context, simulator) as connection:
        controller = connection.get_active_controller(trigger_start="soft", counter_depth=12)
        hook = SoftTrigger(controller)
        aq = context.make_acquisition(
            conn=connection, controller=controller, nav_shape=NAV, hooks=hook, timeout=PATIENCE_S
        )
        for n_scans in (1, 2):
            result = context.run_udf(dataset=aq, udf=SumUDF(dtype="u8"))

            assert np.array_equal(result["intensity"].data, data.sum(axis=(0, 1)))
            assert hook.seen == [NAV] * n_scans
        assert_next_scan_is_exact(context, connection, data)


def test_connection_by_address(threads: LiveContext, simulator: Any, data: Frames) -> None:
    url = f"merlin://127.0.0.1:{simulator.data_port}?api_port={simulator.control_port}"
    with threads.make_connection(url).open(timeout=PATIENCE_S) as connection:
        assert_next_scan_is_exact(threads, connection, data)


def test_scan_left_early_does_not_reach_the_next(
    context: LiveContext, simulator: Any, faults: Any, data: Frames
) -> None:
    faults.stall_at = 100  # so that the scan can't end before it is left
    with connect(context, simulator) as connection:
        for part in context.run_udf_iter(dataset=active(context, connection), udf=SumSigUDF()):
            valid = part.buffers[0]["intensity"].valid_mask
            if valid.any():
                break

        assert not valid.all()
        faults.stall_at = None
        faults.resume()
        assert_next_scan_is_exact(context, connection, data)


@slow
def test_partial_results_grow_and_are_right_where_they_are_valid(
    context: LiveContext, simulator: Any, data: Frames
) -> None:
    expected = data.sum(axis=(2, 3))
    counts = []
    with connect(context, simulator) as connection:
        for part in context.run_udf_iter(dataset=active(context, connection), udf=SumSigUDF()):
            valid = part.damage.data
            counts.append(int(valid.sum()))
            assert np.array_equal(part.buffers[0]["intensity"].data[valid], expected[valid])

    assert counts == sorted(counts)
    assert counts[-1] == N_FRAMES
    assert len(counts) >= 3


def test_lost_frame_leaves_a_hole_and_shifts_nothing(
    context: LiveContext, simulator: Any, faults: Any, data: Frames
) -> None:
    faults.lost = (1, 38)  # numbered from 1
    expected = data.sum(axis=(2, 3)).ravel()
    with connect(context, simulator) as connection:
        result = context.run_udf(dataset=active(context, connection), udf=SumSigUDF())
        found, valid = (a.ravel() for a in (result["intensity"].data, result["intensity"].valid_mask))

        assert np.flatnonzero(~valid).tolist() == [0, 37]
        assert np.array_equal(found[valid], expected[valid])
        assert connection.statistics().n_lost == 2
        faults.lost = ()
        assert_next_scan_is_exact(context, connection, data)


def test_scan_aborted_by_us_ends_the_run_and_keeps_what_is_there(
    context: LiveContext, simulator: Any, faults: Any, data: Frames
) -> None:
    faults.stall_at = 61
    with connect(context, simulator) as connection:
        parts = context.run_udf_iter(dataset=active(context, connection), udf=SumSigUDF())
        next(parts)
        aborter = threading.Thread(target=connection.abort)
        aborter.start()
        with pytest.raises((AcquisitionAborted, UDFRunCancelled)):
            for _ in parts:
                pass
        aborter.join()

        assert context.last_run is not None
        assert 0 < context.last_run.results.damage.data.sum() <= 60
        faults.stall_at = None
        faults.resume()
        assert_next_scan_is_exact(context, connection, data)


@slow
def test_scan_aborted_by_somebody_else_ends_when_the_next_begins(
    threads: LiveContext, simulator: Any, faults: Any, data: Frames
) -> None:
    faults.abort_at = 50
    with connect(threads, simulator) as connection:
        errors: list[BaseException] = []

        def run() -> None:
            try:
                threads.run_udf(dataset=active(threads, connection), udf=SumSigUDF())
            except BaseException as error:
                errors.append(error)

        running = threading.Thread(target=run)
        running.start()
        until(lambda: connection.statistics().n_items >= 49, "the aborted scan's frames")
        faults.abort_at = None
        with detector_merlin.MerlinControl("127.0.0.1", simulator.control_port) as control:
            control.set("TRIGGERSTART", 0)
            control.cmd("STARTACQUISITION")
        running.join(PATIENCE_S)

        assert [type(error) for error in errors] == [UDFRunCancelled]
        pending = connection.wait_for_acquisition(PATIENCE_S)
        assert pending is not None
        aq = threads.make_acquisition(conn=connection, pending_aq=pending, nav_shape=NAV)
        result = threads.run_udf(dataset=aq, udf=SumSigUDF())
        assert np.array_equal(result["intensity"].data, data.sum(axis=(2, 3)))


def test_stall_is_an_error_and_the_next_scan_is_right(
    context: LiveContext, simulator: Any, faults: Any, data: Frames
) -> None:
    faults.stall_at = 61
    with connect(context, simulator, stall_timeout=0.5) as connection:
        with pytest.raises(Stalled):
            context.run_udf(dataset=active(context, connection), udf=SumSigUDF())
        assert context.last_run is not None
        kept = context.last_run.results.buffers[0]["intensity"]

        assert kept.valid_mask.sum() == 60
        faults.stall_at = None
        faults.resume()
        assert_next_scan_is_exact(context, connection, data)


def test_connection_lost_in_the_middle_is_an_error_and_made_anew(
    context: LiveContext, simulator: Any, faults: Any, data: Frames
) -> None:
    faults.disconnect_in = 70
    with connect(context, simulator) as connection:
        with pytest.raises(StreamError):
            context.run_udf(dataset=active(context, connection), udf=SumSigUDF())

        until(lambda: connection.statistics().n_reconnects == 1, "the new connection")
        assert_next_scan_is_exact(context, connection, data)


class Broken(UDF):
    """Fails on a frame that comes."""

    def get_result_buffers(self) -> dict[str, Any]:
        return {"intensity": self.buffer(kind="nav")}

    def process_frame(self, frame: Any) -> None:
        raise ZeroDivisionError("gain is zero")


def test_udf_that_raises_ends_the_run_only(context: LiveContext, simulator: Any, data: Frames) -> None:
    with connect(context, simulator) as connection:
        with pytest.raises(ZeroDivisionError, match="gain is zero"):
            context.run_udf(dataset=active(context, connection), udf=Broken())

        assert_next_scan_is_exact(context, connection, data)


def test_shape_that_does_not_fit_is_an_error_before_the_first_frame(
    threads: LiveContext, data: Frames
) -> None:
    with (
        detector_merlin.MerlinSimulator(data, autostart=True, rate=FAST) as simulator,
        connect(threads, simulator) as connection,
    ):
        pending = connection.wait_for_acquisition(PATIENCE_S)
        assert pending is not None
        with pytest.raises(ShapeMismatch, match="5×5 needs 25 frames, but the detector announced 120"):
            threads.make_acquisition(conn=connection, pending_aq=pending, nav_shape=(5, 5))

        assert_next_scan_is_exact(threads, connection, data)


def test_scan_shape_that_the_detector_announces_is_taken(threads: LiveContext, data: Frames) -> None:
    with (
        detector_merlin.MerlinSimulator(data, autostart=True, scan_shape=NAV, rate=FAST) as simulator,
        connect(threads, simulator) as connection,
    ):
        pending = connection.wait_for_acquisition(PATIENCE_S)
        aq = threads.make_acquisition(conn=connection, pending_aq=pending)

        assert aq.nav_shape == NAV


def test_detector_that_is_never_triggered_is_an_error_after_the_timeout(
    threads: LiveContext, simulator: Any, data: Frames
) -> None:
    with connect(threads, simulator) as connection:
        controller = connection.get_active_controller(trigger_start="soft")
        aq = threads.make_acquisition(conn=connection, controller=controller, nav_shape=NAV, timeout=0.3)
        with pytest.raises(Stalled, match="triggered"):
            threads.run_udf(dataset=aq, udf=SumSigUDF())

        assert_next_scan_is_exact(threads, connection, data)


def children_of(parent: int) -> list[int]:
    """Return the processes whose parent is `parent`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == parent and words[0] != "Z":
            found.append(int(entry.parent.name))
    return found


def test_worker_killed_in_the_middle_changes_nothing(simulator: Any, faults: Any, data: Frames) -> None:
    faults.stall_at = 61
    before = set(children_of(os.getpid()))
    with (
        LiveContext.make_with("processes", cpus=2) as context,
        connect(context, simulator) as connection,
    ):
        parts = context.run_udf_iter(
            dataset=active(context, connection), udf=[SumUDF(dtype="u8"), SumSigUDF()]
        )
        next(parts)
        os.kill(context.executor.pids[0], signal.SIGKILL)
        faults.stall_at = None
        faults.resume()
        with pytest.warns(WorkerLostWarning):
            *_, last = parts
        total, signal_sum = last.buffers

        assert np.array_equal(total["intensity"].data, data.sum(axis=(0, 1)))
        assert np.array_equal(signal_sum["intensity"].data, data.sum(axis=(2, 3)))
        assert connection.statistics().n_lost == 0
        assert_next_scan_is_exact(context, connection, data)
    assert set(children_of(os.getpid())) <= before
