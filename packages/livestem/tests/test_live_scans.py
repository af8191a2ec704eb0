"""Scans and regions over the vendor's protocol: what comes live equals what the same frames give offline."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse
import sparse

from arraystream import Connection
from livestem import Acquisition, LiveContext, ShapeMismatch
from udf_4dstem import CoMUDF, SumSigUDF, SumUDF
from udf_core import RoiError, Scan, UDFResults

detector_merlin = pytest.importorskip("detector_merlin")

NAV, SIG = (6, 5), (64, 64)
N = NAV[0] * NAV[1]
PATIENCE_S = 30.0

Frames = npt.NDArray[np.uint16]


@pytest.fixture(scope="module")
def data() -> Frames:
    return np.random.default_rng(5).poisson(4.0, (4 * N, *SIG)).astype("u2")


@pytest.fixture(scope="module", params=["threads", "processes"])
def context(request: pytest.FixtureRequest) -> Iterator[LiveContext]:
    with LiveContext.make_with(request.param, cpus=2) as context:
        yield context


@pytest.fixture(scope="module")
def threads() -> Iterator[LiveContext]:
    with LiveContext.make_with("threads", cpus=2) as context:
        yield context


def connect(context: LiveContext, simulator: Any) -> Connection:
    return context.make_connection("merlin").open(
        data_host="127.0.0.1",
        data_port=simulator.data_port,
        api_port=simulator.control_port,
        timeout=PATIENCE_S,
        stall_timeout=PATIENCE_S,
    )


def passive(context: LiveContext, connection: Connection, *args: Any, **options: Any) -> Acquisition:
    pending = connection.wait_for_acquisition(PATIENCE_S)
    assert pending is not None
    return context.make_acquisition(connection, *args, pending_aq=pending, timeout=PATIENCE_S, **options)


def simulator_of(frames: Frames, **options: Any) -> Any:
    return detector_merlin.MerlinSimulator(frames, autostart=True, repeat=True, pause_s=0.05, **options)


ROI = np.random.default_rng(7).random(NAV) > 0.6
COORDINATES = [tuple(map(int, place)) for place in np.argwhere(ROI)]
ROIS: dict[str, Any] = {
    "mask": ROI,
    "flat": ROI.ravel(),
    "csr matrix": scipy.sparse.csr_matrix(ROI),
    "coo array": scipy.sparse.coo_array(ROI),
    "COO": sparse.COO.from_numpy(ROI),
    "DOK": sparse.DOK.from_numpy(ROI),
    "coordinate": (2, 3),
    "only these": [(place, True) for place in COORDINATES],
    "all but these": [(place, False) for place in COORDINATES],
    "none": np.zeros(NAV, bool),
    "all": np.ones(NAV, bool),
}


def test_live_regions_give_what_they_give_offline(context: LiveContext, data: Frames) -> None:
    udfs = [SumUDF(dtype="u8"), SumSigUDF(), CoMUDF()]
    offline = context.load("memory", data[:N], nav_shape=NAV)
    with simulator_of(data[:N]) as simulator, connect(context, simulator) as connection:
        for name, roi in ROIS.items():
            live = context.run_udf(passive(context, connection, NAV), udfs, roi=roi)
            recorded = context.run_udf(offline, udfs, roi=roi)
            for one, other in zip(live, recorded, strict=True):
                for channel in other:
                    what = f"{name}: {channel}"
                    np.testing.assert_array_equal(one[channel].raw_data, other[channel].raw_data, what)
                    np.testing.assert_array_equal(one[channel].data, other[channel].data, what)
                    np.testing.assert_array_equal(one[channel].valid_mask, other[channel].valid_mask, what)


def test_region_by_indexing_and_one_that_is_no_map(threads: LiveContext, data: Frames) -> None:
    with simulator_of(data[:N]) as simulator, connect(threads, simulator) as connection:
        aq = passive(threads, connection, NAV)
        with pytest.warns(UserWarning, match="expected bool"):
            result = threads.run_udf(aq, SumUDF(dtype="u8"), roi=aq.roi[1:3, 2:].astype(int))
        expected = data[:N].reshape(*NAV, *SIG)[1:3, 2:].sum(axis=(0, 1))
        assert np.array_equal(result["intensity"].data, expected)
        aq = passive(threads, connection, NAV)
        with pytest.raises(RoiError, match="incompatible shapes"):
            threads.run_udf(aq, SumUDF(), roi=np.ones((5, 6), bool))


@pytest.mark.parametrize(
    "options",
    [
        {"sync_offset": 7},
        {"sync_offset": -7},
        {"flyback": 1, "snake": True, "nav_shape": (6, 4)},
        {"flyback_lines": 1, "nav_shape": (5, 5)},
        {"repeats": 2, "nav_shape": (3, 5), "roi": np.tri(3, 5, dtype=bool)},
        {"scan": Scan.from_positions(np.random.default_rng(0).permutation(100)[:N], (10, 10))},
    ],
    ids=lambda options: "+".join(options),
)
def test_live_scans_are_recorded_scans(context: LiveContext, data: Frames, options: dict[str, Any]) -> None:
    options = {"nav_shape": NAV, **options}
    if "scan" in options:
        del options["nav_shape"]
    roi = options.pop("roi", None)
    with simulator_of(data[:N]) as simulator, connect(context, simulator) as connection:
        aq = passive(context, connection, **options)
        live = context.run_udf(aq, [SumUDF(dtype="u8"), SumSigUDF()], roi=roi)
    offline = context.load("memory", data[:N], scan=aq.scan)
    recorded = context.run_udf(offline, [SumUDF(dtype="u8"), SumSigUDF()], roi=roi)
    assert tuple(aq.nav_shape) == live[1]["intensity"].data.shape
    for one, other in zip(live, recorded, strict=True):
        np.testing.assert_array_equal(one["intensity"].data, other["intensity"].data)
        np.testing.assert_array_equal(one["intensity"].valid_mask, other["intensity"].valid_mask)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"nav_shape": (5, 7)}, r"5×7 needs 35 frames, .* announced 30 \(30 = 5×6 or 6×5"),
        ({"nav_shape": (5, 5), "repeats": 2}, r"2 repeats needs 50 frames, .* 30 \(30 = 2 × 3×5 or"),
        ({"nav_shape": (5, 5), "flyback": 2}, r"2 flyback frames per line needs 35 .* and flyback"),
        ({"nav_shape": (6, 6), "endless": True}, "one pass .* 6×6 needs 36 frames, .* announced 30 in all"),
        ({"nav_shape": (-1, 6), "endless": True}, "-1×6 can't be filled in: the scan is endless"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_frame(
    threads: LiveContext, data: Frames, options: dict[str, Any], text: str
) -> None:
    with (
        simulator_of(data[:N]) as simulator,
        connect(threads, simulator) as connection,
        pytest.raises(ShapeMismatch, match=text),
    ):
        passive(threads, connection, **options)


def endless(context: LiveContext, connection: Connection) -> Acquisition:
    controller = connection.get_active_controller(trigger_start="internal")
    return context.make_acquisition(connection, NAV, controller=controller, endless=True, timeout=PATIENCE_S)


def run_until(
    context: LiveContext,
    aq: Acquisition,
    enough: Callable[[UDFResults], bool],
    on_first: Callable[[], None] = lambda: None,
) -> UDFResults:
    parts = context.run_udf_iter(aq, [SumUDF(dtype="u8"), SumSigUDF()])
    next(parts)
    on_first()
    for part in parts:
        if enough(part):
            break
    parts.close()
    assert context.last_run is not None
    return context.last_run.results


def shows(part: UDFResults, number: int) -> bool:
    """Whether sums are of a pass from `number` on that is over, rather than of the one in progress."""
    return number <= part.shown_pass < part.scan_pass


def assert_rolling(results: UDFResults, data: Frames) -> None:
    """Check the results of passes that are all alike."""
    total, signal_sum = (result["intensity"] for result in results.buffers)
    assert np.array_equal(total.data, data.sum(axis=0))
    assert np.array_equal(signal_sum.data.ravel(), data.sum(axis=(1, 2)))
    assert signal_sum.valid_mask.all()


def test_endless_scan_rolls_until_it_is_left(context: LiveContext, data: Frames) -> None:
    with (
        detector_merlin.MerlinSimulator(data[:N], rate=3000.0) as simulator,
        connect(context, simulator) as connection,
    ):
        aq = endless(context, connection)
        results = run_until(context, aq, lambda part: shows(part, 20))
        assert results.scan_pass >= results.shown_pass >= 20
        assert_rolling(results, data[:N])
        # The detector was aborted with it, and takes the next scan.
        again = run_until(context, endless(context, connection), lambda part: shows(part, 2))
        assert_rolling(again, data[:N])


def test_endless_scan_ends_with_the_acquisition(threads: LiveContext, data: Frames) -> None:
    with (
        detector_merlin.MerlinSimulator(data[:N], rate=3000.0) as simulator,
        connect(threads, simulator) as connection,
    ):
        aq = endless(threads, connection)
        parts = threads.run_udf_iter(aq, [SumUDF(dtype="u8"), SumSigUDF()])
        for part in parts:
            if shows(part, 3):
                connection.abort()
                break
        *_, last = parts
        assert last.shown_pass >= 3
        assert_rolling(last, data[:N])
        assert threads.last_run is not None
        assert threads.last_run.verdict is not None
        assert threads.last_run.verdict.status == "aborted"


def test_worker_killed_during_an_endless_scan_changes_nothing(data: Frames) -> None:
    with (
        LiveContext.make_with("processes", cpus=2) as context,
        detector_merlin.MerlinSimulator(data[:N], rate=2000.0) as simulator,
        connect(context, simulator) as connection,
    ):

        def kill() -> None:
            os.kill(context.executor.pids[0], signal.SIGKILL)

        aq = endless(context, connection)
        results = run_until(context, aq, lambda part: shows(part, 30) and bool(context.last_run.events), kill)
        assert context.last_run is not None
        assert len(context.last_run.events) == 1
        assert_rolling(results, data[:N])
        assert connection.statistics().n_lost == 0
