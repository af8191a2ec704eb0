"""The front door."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arraystream import PluginError, open_memory
from udf_core import (
    UDF,
    Context,
    ExecutorSpecException,
    NoOpUDF,
    Scan,
    ScanError,
    Shape,
    StreamDataset,
    make_executor,
)
from udf_core._dataset import SourceDataSet
from udf_core._executors.inline import InlineExecutor


@pytest.mark.parametrize("name", ["inline", "synchronous", "threads"])
def test_executors_by_name(name: str, data) -> None:
    with Context.make_with(name) as context:
        assert context.run_udf(context.load("memory", data), NoOpUDF()) == {}


def test_default_executor_leaves_one_core_free_for_a_live_feed() -> None:
    n_cores = len(os.sched_getaffinity(0))
    with Context() as context:
        assert context.executor.name == "threads"
        assert context.executor.n_workers == max(1, n_cores - 1)


class MeetOthers(UDF):
    """Waits in each frame until so many others are at one, too."""

    def get_result_buffers(self) -> Any:
        return {"n": self.buffer("nav", dtype=int)}

    def process_frame(self, frame: Any) -> None:
        self.params.barrier.wait(30)
        self.results.n[:] += 1


def test_data_at_rest_gets_a_worker_on_each_core(data) -> None:
    n_cores = len(os.sched_getaffinity(0))
    with Context.make_with("threads") as context:
        dataset = SourceDataSet(open_memory(np.zeros((n_cores, 4, 4))), chunk_items=1)
        # Nobody gets through before as many workers as there are cores have a chunk each.
        results = context.run_udf(dataset, MeetOthers(barrier=threading.Barrier(n_cores)))
    assert results["n"].data.tolist() == [1] * n_cores


def test_processes_take_a_number_of_workers() -> None:
    with make_executor("processes", cpus=[0, 1]) as executor:
        assert len(executor.pids) == 2
    assert executor.pids == []


def test_unknown_executor_lists_those_there_are() -> None:
    with pytest.raises(ExecutorSpecException, match=r"'slurm'.*inline.*processes.*threads"):
        Context.make_with("slurm")


@pytest.mark.parametrize(("name", "cpus"), [("inline", 2), ("threads", 0), ("processes", 0)])
def test_impossible_number_of_workers(name: str, cpus: int) -> None:
    with pytest.raises(ExecutorSpecException):
        Context.make_with(name, cpus=cpus)


def test_load_raw(tmp_path: Path, inline: Context) -> None:
    data = np.arange(2 * 3 * 4 * 5, dtype=">u2")
    data.tofile(tmp_path / "x.raw")
    dataset = inline.load("raw", tmp_path / "x.raw", dtype=">u2", sig_shape=(4, 5), nav_shape=(2, -1))
    assert dataset.shape == Shape((2, 3, 4, 5), 2)
    assert dataset.dtype == np.uint16
    assert isinstance(dataset, StreamDataset)


def test_load_npy_and_memory(tmp_path: Path, inline: Context, data) -> None:
    np.save(tmp_path / "x.npy", data)
    assert inline.load("npy", tmp_path / "x.npy").shape == Shape(data.shape, 2)
    assert inline.load("memory", data=data).shape == Shape(data.shape, 2)
    assert inline.load("memory", data, scan=Scan((35,))).shape.nav.to_tuple() == (35,)


def test_shape_that_does_not_fit_is_refused_when_loading(inline: Context, data) -> None:
    with pytest.raises(ScanError, match="35 items"):
        inline.load("memory", data, nav_shape=(6, 6))
    with pytest.raises(ValueError, match="either scan"):
        inline.load("memory", data, nav_shape=(5, 7), scan=Scan((5, 7)))


def test_unknown_file_type(inline: Context) -> None:
    with pytest.raises(PluginError, match="memory"):
        inline.load("floppy")


def test_roi_helper(inline: Context, data) -> None:
    dataset = inline.load("memory", data)
    assert dataset.roi[2:4, 1].sum() == 2
    assert dataset.roi[2:4, 1].shape == (5, 7)


def test_closed_source_says_so(inline: Context, data) -> None:
    dataset = inline.load("memory", data)
    dataset.close()
    with pytest.raises(ConnectionError, match="closed"):
        inline.run_udf(dataset, NoOpUDF())


def test_results_of_a_run_that_never_started(data) -> None:
    with Context(InlineExecutor()) as context:
        context.run_udf_iter(context.load("memory", data), NoOpUDF())
        with pytest.raises(RuntimeError, match="not started"):
            _ = context.last_run.results
