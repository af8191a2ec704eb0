"""A UDF that raises, in each of its methods and on each executor; and the next run is right."""

from __future__ import annotations

import os
import signal
import sys

import cloudpickle
import numpy as np
import pytest

from udf_core import UDF, RemoteTraceback, UDFException, WorkerLostWarning

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class OwnError(Exception):
    """With a constructor that pickle can't guess."""

    def __init__(self, value: int, *, text: str) -> None:
        super().__init__(text)
        self.value = value

    def __reduce__(self):
        return _own_error, (self.value, str(self))


def _own_error(value: int, text: str) -> OwnError:
    return OwnError(value, text=text)


class UnpicklableError(Exception):
    def __reduce__(self):
        raise TypeError("never")


class FailingUDF(UDF):
    def __init__(self, where=None, error=None, method="tile"):
        super().__init__(where=where, error=error, method=method)

    def fail(self, where):
        if self.params.where == where:
            if self.params.error == "unpicklable":
                raise UnpicklableError("from " + where)
            raise OwnError(7, text="from " + where)

    def get_method(self):
        return UDF.UDF_METHOD(self.params.method)

    def on_worker(self):
        return self.meta.first != -1

    def get_result_buffers(self):
        if self.on_worker():
            self.fail("get_result_buffers")
        return {"sum": self.buffer("sig", dtype="i8"), "nav": self.buffer("nav", dtype="i8")}

    def get_worker_data(self):
        self.fail("get_worker_data")
        return {}

    def get_task_data(self):
        self.fail("get_task_data")
        return {}

    def preprocess(self):
        if self.on_worker():
            self.fail("preprocess")

    def process_tile(self, tile):
        if self.meta.slice.nav.origin[0] >= 12:
            self.fail("process_tile")
        self.results.sum += tile.sum(axis=0).astype("i8")
        self.results.nav += tile.sum(axis=(1, 2)).astype("i8")

    def process_frame(self, frame):
        if self.meta.slice.nav.origin[0] >= 12:
            self.fail("process_frame")

    def process_partition(self, partition):
        self.fail("process_partition")

    def postprocess(self):
        self.fail("postprocess")

    def cleanup(self):
        self.fail("cleanup")

    def merge(self, dest, src):
        self.fail("merge")
        dest.sum += src.sum
        dest.nav[:] = src.nav

    def get_results(self):
        self.fail("get_results")
        return super().get_results()


ON_WORKER = [
    ("get_result_buffers", "tile"),
    ("get_worker_data", "tile"),
    ("get_task_data", "tile"),
    ("preprocess", "tile"),
    ("process_tile", "tile"),
    ("process_frame", "frame"),
    ("process_partition", "partition"),
    ("postprocess", "tile"),
    ("cleanup", "tile"),
]


@pytest.mark.parametrize(("where", "method"), [*ON_WORKER, ("merge", "tile"), ("get_results", "tile")])
def test_error_keeps_its_type_and_says_where(context, data, where: str, method: str) -> None:
    dataset = context.load("memory", data, chunk_items=6)
    with pytest.raises(OwnError, match=f"from {where}") as raised:
        context.run_udf(dataset, FailingUDF(where, method=method))
    assert raised.value.value == 7
    if where != "get_results":
        notes = "\n".join(raised.value.__notes__)
        assert f"FailingUDF.{where}()" in notes
    if (where, method) in ON_WORKER:
        assert "worker" in notes
        assert "scan positions" in notes

    result = context.run_udf(dataset, FailingUDF())
    assert np.array_equal(result["sum"].data, data.sum(axis=(0, 1)))
    assert np.array_equal(result["nav"].data, data.sum(axis=(2, 3)))


def test_traceback_of_the_worker_is_the_cause(processes, data) -> None:
    with pytest.raises(OwnError) as raised:
        processes.run_udf(processes.load("memory", data, chunk_items=6), FailingUDF("process_tile"))
    assert isinstance(raised.value.__cause__, RemoteTraceback)
    assert 'self.fail("process_tile")' in str(raised.value.__cause__)


def test_error_that_cannot_travel_is_told_in_words(processes, data) -> None:
    dataset = processes.load("memory", data, chunk_items=6)
    with pytest.raises(UDFException, match="UnpicklableError: from process_tile"):
        processes.run_udf(dataset, FailingUDF("process_tile", error="unpicklable"))


def test_udf_that_cannot_travel_fails_before_the_first_frame(processes, data) -> None:
    import threading

    dataset = processes.load("memory", data)
    with pytest.raises(TypeError, match="pickle"):
        processes.run_udf(dataset, FailingUDF(error=threading.Lock()))
    assert processes.run_udf(dataset, FailingUDF())["sum"].data.sum() == data.sum()


class CrashingUDF(FailingUDF):
    def process_tile(self, tile):
        os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.timeout(60)
def test_udf_that_crashes_every_worker_is_given_up(processes, data) -> None:
    dataset = processes.load("memory", data, chunk_items=35)
    with pytest.raises(UDFException, match="items 0 to 34 were given up: 5 workers died") as raised:
        processes.run_udf(dataset, CrashingUDF())
    assert sum("SIGSEGV" in note for note in raised.value.__notes__) >= 5
    assert processes.run_udf(dataset, FailingUDF())["sum"].data.sum() == data.sum()


class SystemExitUDF(FailingUDF):
    def process_tile(self, tile):
        sys.exit(3)


def test_udf_that_wants_to_exit_does_not_take_anybody_along(processes, data) -> None:
    dataset = processes.load("memory", data)
    with pytest.raises(UDFException, match="SystemExit"):
        processes.run_udf(dataset, SystemExitUDF())


def test_lost_worker_warning_is_a_runtime_warning() -> None:
    assert issubclass(WorkerLostWarning, RuntimeWarning)
