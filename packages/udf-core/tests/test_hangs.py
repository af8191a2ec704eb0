"""Workers that make no progress are reported with their stack."""

from __future__ import annotations

import ctypes
import sys
import time
import warnings

import cloudpickle
import numpy as np
import pytest

from udf_core import UDF, Context, WorkerHung, WorkerHungError, WorkerHungWarning

cloudpickle.register_pickle_by_value(sys.modules[__name__])

HANG_S = 0.2


class DozingUDF(UDF):
    """Sleeps once, in a method of choice."""

    def __init__(self, where="process_frame", sleep_s=1.0, hold_gil=False):
        super().__init__(where=where, sleep_s=sleep_s, hold_gil=hold_gil)

    def doze(self, where):
        if where == self.params.where:
            if self.params.hold_gil:
                ctypes.PyDLL(None).usleep(int(self.params.sleep_s * 1e6))
            else:
                time.sleep(self.params.sleep_s)

    def get_result_buffers(self):
        return {"sum": self.buffer("nav", dtype="f8")}

    def get_task_data(self):
        self.doze("get_task_data")
        return {}

    def process_frame(self, frame):
        self.results.sum[:] = frame.sum()
        if self.meta.slice.nav.origin[0] == 5:
            self.doze("process_frame")

    def postprocess(self):
        self.doze("postprocess")


def watchful(context: Context, hang_limit_s: float | None = None) -> Context:
    return Context(context.executor, hang_s=HANG_S, hang_limit_s=hang_limit_s)


@pytest.mark.parametrize("where", ["process_frame", "get_task_data", "postprocess"])
def test_hanging_worker_is_reported_with_its_stack(context: Context, data, where: str, caplog) -> None:
    once = data[:1]  # one chunk, one partition
    watching = watchful(context)
    dataset = watching.load("memory", once, chunk_items=7)
    with pytest.warns(WorkerHungWarning, match=rf"no progress .* in DozingUDF\.{where}\(\)") as said:
        result = watching.run_udf(dataset, DozingUDF(where))
    assert np.array_equal(result["sum"].data, once.sum(axis=(2, 3)))
    assert "time.sleep(self.params.sleep_s)" in str(said[0].message)
    (event,) = watching.last_run.events
    assert isinstance(event, WorkerHung)
    assert event.waited_s >= HANG_S
    assert not event.over_limit
    assert ("scan positions 5 to 5" in event.where) == (where == "process_frame")
    assert "no progress" in caplog.text


def test_slow_but_steady_worker_is_not_reported(context: Context, data) -> None:
    class Steady(DozingUDF):
        def process_frame(self, frame):
            time.sleep(HANG_S / 8)

    watching = watchful(context)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watching.run_udf(watching.load("memory", data[:2], chunk_items=14), Steady())
    assert watching.last_run.events == []


def test_consumer_that_takes_its_time_is_no_hang(inline: Context, data, paced) -> None:
    feed, dataset = paced(data)
    watching = watchful(inline)
    results = watching.run_udf_iter(dataset, DozingUDF(where="nowhere"))
    feed.push(0, 5)
    next(results)
    time.sleep(3 * HANG_S)
    results.close()
    assert watching.last_run.events == []


@pytest.mark.filterwarnings("ignore::udf_core.WorkerHungWarning")
@pytest.mark.parametrize("name", ["threads", "processes"])
def test_run_ends_at_the_limit(request, data, name: str) -> None:
    context = request.getfixturevalue(name)
    watching = watchful(context, hang_limit_s=2 * HANG_S)
    dataset = watching.load("memory", data, chunk_items=7)
    where = r"DozingUDF\.process_frame\(\), scan positions 5"
    with pytest.raises(WorkerHungError, match=where) as raised:
        watching.run_udf(dataset, DozingUDF(sleep_s=2.0))
    assert isinstance(raised.value, TimeoutError)
    assert any("time.sleep" in note for note in raised.value.__notes__)
    assert watching.last_run.events[-1].over_limit
    result = context.run_udf(dataset, DozingUDF("nowhere"))
    assert np.array_equal(result["sum"].data, data.sum(axis=(2, 3)))


def test_worker_process_whose_interpreter_is_stuck_is_reported(processes: Context, data) -> None:
    watching = watchful(processes)
    dataset = watching.load("memory", data[:1], chunk_items=7)
    with pytest.warns(WorkerHungWarning, match="holds the interpreter"):
        watching.run_udf(dataset, DozingUDF(sleep_s=3.0, hold_gil=True))
    assert "in doze" in watching.last_run.events[0].stack


def test_merge_that_hangs_is_reported(threads: Context, data) -> None:
    class MergingUDF(DozingUDF):
        def merge(self, dest, src):
            time.sleep(1.0)
            super().merge(dest=dest, src=src)

    watching = watchful(threads)
    with pytest.warns(WorkerHungWarning, match=r"main side has made no progress .* in MergingUDF\.merge\(\)"):
        watching.run_udf(watching.load("memory", data[:1], chunk_items=7), MergingUDF("nowhere"))
