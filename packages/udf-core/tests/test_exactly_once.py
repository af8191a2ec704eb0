"""kill -9 of a worker at any moment: the result is that of an undisturbed run, and the run tells."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

from udf_core import UDF, Context, WorkerLostWarning
from udf_core._executors.dask import DaskExecutor
from udf_core._executors.processes import ProcessesExecutor

cloudpickle.register_pickle_by_value(sys.modules[__name__])

PATIENCE_S = 90.0
pytestmark = pytest.mark.filterwarnings(r"ignore:unclosed <socket.*laddr=\('[0-9.]+', 0\):ResourceWarning")


class EveryFrameUDF(UDF):
    """Counts each frame where it belongs, and takes its time."""

    def get_result_buffers(self):
        return {
            "times": self.buffer("nav", dtype="i8"),
            "value": self.buffer("nav", dtype="f8"),
            "sum": self.buffer("sig", dtype="i8"),
        }

    def process_tile(self, tile):
        threading.Event().wait(0.003)
        self.results.times += self.meta.tiling_scheme_idx == 0
        self.results.value += tile.sum(axis=(1, 2))
        self.results.sum += tile.sum(axis=0).astype("i8")

    def merge(self, dest, src):
        dest.times += src.times
        dest.value[:] = src.value
        dest.sum += src.sum


@pytest.fixture(scope="module")
def data() -> np.ndarray:
    return np.random.default_rng(11).integers(0, 1000, (20, 30, 8, 8)).astype("u2")


@pytest.fixture(scope="module", params=["processes", "dask"])
def context(request: pytest.FixtureRequest) -> Iterator[Context]:
    with Context({"processes": ProcessesExecutor, "dask": DaskExecutor}[request.param](2)) as context:
        yield context


def kill_one(context: Context, over: threading.Event, rng: random.Random, n_items: int) -> None:
    """Kill a worker once the run has merged so many items."""
    while not over.wait(0.001):
        run = context.last_run
        if run is not None and run.n_items >= n_items:
            os.kill(rng.choice(context.executor.pids), signal.SIGKILL)
            return


@pytest.mark.parametrize("kind", ["memory", "npy"])
@pytest.mark.parametrize("seed", range(3))
def test_killed_worker_changes_nothing(
    context: Context, data: np.ndarray, tmp_path: Path, kind: str, seed: int
) -> None:
    rng = random.Random(f"{seed} {kind}")
    np.save(tmp_path / "data.npy", data)
    dataset = context.load(kind, data if kind == "memory" else tmp_path / "data.npy", chunk_items=3)
    # Anywhere from the first merge on to the last third, so that it certainly happens within the run.
    moment = rng.randrange(1, 400)
    if isinstance(context.executor, DaskExecutor):
        context.executor.client.wait_for_workers(2, timeout=PATIENCE_S)
    results = context.run_udf_iter(dataset, EveryFrameUDF())
    over = threading.Event()
    killer = threading.Thread(target=kill_one, args=(context, over, rng, moment))
    killer.start()
    try:
        with pytest.warns(WorkerLostWarning):
            *_, last = results
    finally:
        over.set()
        killer.join()

    found = last.buffers[0]
    assert np.array_equal(found["times"].data, np.ones(data.shape[:2]))
    assert np.array_equal(found["value"].data, data.sum(axis=(2, 3)))
    assert np.array_equal(found["sum"].data, data.sum(axis=(0, 1)))
    assert last.damage.data.all()
    (event,) = context.last_run.events
    assert event.reason == "killed by SIGKILL"
    assert event.replaced
    assert context.last_run.n_items == data.shape[0] * data.shape[1]
