"""Live with Dask workers: frames go to them over TCP, and the receiver stays where the detector is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from arraystream import Connection
from livestem import Acquisition, LiveContext
from udf_4dstem import CoMUDF, SumSigUDF, SumUDF
from udf_core import WorkerLostWarning

detector_merlin = pytest.importorskip("detector_merlin")
pytest.importorskip("distributed")

NAV, SIG = (12, 10), (64, 64)
PATIENCE_S = 60.0
# distributed looks for a free port with a socket that it forgets to close.
pytestmark = pytest.mark.filterwarnings(r"ignore:unclosed <socket.*laddr=\('[0-9.]+', 0\):ResourceWarning")

Frames = npt.NDArray[np.uint16]


@pytest.fixture(scope="module")
def data() -> Frames:
    return np.random.default_rng(3).poisson(4.0, (*NAV, *SIG)).astype("u2")


@pytest.fixture(scope="module")
def context() -> Iterator[LiveContext]:
    with LiveContext.make_with("dask", cpus=2) as context:
        yield context


def acquire(context: LiveContext, simulator: Any, connection: Connection) -> Acquisition:
    pending = connection.wait_for_acquisition(PATIENCE_S)
    assert pending is not None
    return context.make_acquisition(conn=connection, pending_aq=pending, nav_shape=NAV, timeout=PATIENCE_S)


def connect(context: LiveContext, simulator: Any) -> Connection:
    return context.make_connection("merlin").open(
        data_host="127.0.0.1",
        data_port=simulator.data_port,
        api_port=simulator.control_port,
        timeout=PATIENCE_S,
        stall_timeout=PATIENCE_S,
    )


def scan(context: LiveContext, data: Frames, udfs: list[Any]) -> Any:
    with (
        detector_merlin.MerlinSimulator(data, rate="max", autostart=True) as simulator,
        connect(context, simulator) as connection,
    ):
        return context.run_udf(dataset=acquire(context, simulator, connection), udf=udfs)


def test_live_scan_gives_what_threads_give(context: LiveContext, data: Frames) -> None:
    udfs = [SumUDF(dtype="u8"), SumSigUDF(), CoMUDF()]
    with LiveContext.make_with("threads", cpus=2) as threads:
        expected = scan(threads, data, udfs)
    found = scan(context, data, udfs)
    for one, other in zip(found, expected, strict=True):
        for name in other:
            np.testing.assert_array_equal(one[name].data, other[name].data, err_msg=name)


@pytest.mark.parametrize("n_before", [3, 61, 110])
def test_worker_killed_in_the_middle_of_a_scan_changes_nothing(
    context: LiveContext, data: Frames, n_before: int
) -> None:
    context.executor.client.wait_for_workers(2, timeout=PATIENCE_S)
    faults = detector_merlin.Faults()
    faults.stall_at = n_before  # the scan is not over before somebody has died
    with (
        detector_merlin.MerlinSimulator(data, rate="max", autostart=True, faults=faults) as simulator,
        connect(context, simulator) as connection,
    ):
        parts = context.run_udf_iter(
            dataset=acquire(context, simulator, connection), udf=[SumUDF(dtype="u8"), SumSigUDF()]
        )
        for part in parts:
            if part.damage.data.any():
                break
        os.kill(context.executor.pids[n_before % 2], signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE_S
        while not context.last_run.events:  # a scan that is over first has lost nobody
            assert time.monotonic() < deadline, "nobody noticed that the worker died"
            time.sleep(0.01)
        faults.stall_at = None
        faults.resume()
        with pytest.warns(WorkerLostWarning, match="killed by SIGKILL"):
            *_, last = parts
        total, signal_sum = last.buffers
        assert np.array_equal(total["intensity"].data, data.sum(axis=(0, 1)))
        assert np.array_equal(signal_sum["intensity"].data, data.sum(axis=(2, 3)))
        assert connection.statistics().n_lost == 0
        assert len(context.last_run.events) == 1


def test_command_with_dask(tmp_path: Path, data: Frames) -> None:
    out = tmp_path / "result"
    with detector_merlin.MerlinSimulator(data, rate="max", autostart=True) as simulator:
        url = f"merlin://127.0.0.1:{simulator.data_port}?api_port={simulator.control_port}"
        command = subprocess.run(
            [
                *(sys.executable, "-m", "livestem", "run", url, "--scan", "12x10", "--udf", "sumsig"),
                *("--executor", "dask", "--workers", "1", "--out", str(out)),
            ],
            capture_output=True,
            text=True,
            timeout=100,
        )
    assert command.returncode == 0, command.stderr
    assert "(dask)" in command.stdout + command.stderr
    with np.load(out / "results.npz") as arrays:
        found = [array for array in arrays.values() if array.shape == NAV and array.dtype != bool]
        assert any(np.array_equal(array, data.sum(axis=(2, 3))) for array in found)
