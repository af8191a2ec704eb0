"""`Context.map`, `AutoUDF`, `UDFRunner` and `Context.display`."""

from __future__ import annotations

import asyncio
import sys

import cloudpickle
import numpy as np
import pytest

from udf_core import UDF, AutoUDF, Context, ProgressState, UDFRunner

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.mark.parametrize("with_roi", [False, True])
def test_map_calls_a_function_for_each_frame(context: Context, data, with_roi: bool) -> None:
    roi = np.random.default_rng(1).random((5, 7)) > 0.5 if with_roi else np.ones((5, 7), bool)
    dataset = context.load("memory", data, chunk_items=6)
    result = context.map(dataset, np.sum, roi=roi if with_roi else None)
    assert result.kind == "nav"
    assert np.array_equal(result.data[roi], data[roi].sum(axis=(1, 2)))


def test_map_of_arrays(inline: Context, data) -> None:
    result = inline.map(inline.load("memory", data), lambda frame: frame[:2, :3])
    assert result.data.shape == (5, 7, 2, 3)
    assert np.array_equal(result.data, data[:, :, :2, :3])


def test_map_of_any_objects(context: Context, data) -> None:
    def f(frame):
        return ["text", {"sum": frame.sum()}, lambda: frame.max(), dict]

    result = context.map(context.load("memory", data, chunk_items=6), f).data
    assert result.shape == (5, 7, 4)
    assert result.dtype == object
    text, sums, function, cls = result[3, 4]
    assert text == "text"
    assert sums["sum"] == data[3, 4].sum()
    assert function() == data[3, 4].max()
    assert cls is dict


@pytest.mark.parametrize(
    "f", [lambda frame: {"a": frame.sum()}, lambda frame: [1, [2, 3]], lambda frame: "x" * 9]
)
def test_map_of_one_object_per_frame(inline: Context, data, f) -> None:
    result = inline.map(inline.load("memory", data), f).data
    assert result.shape == (5, 7)
    assert result[2, 3] == f(data[2, 3])


def test_monitor_shows_the_last_valid_frame(inline: Context, data, paced) -> None:
    feed, dataset = paced(data)
    results = inline.run_udf_iter(dataset, AutoUDF(f=lambda frame: frame[:, 0], monitor=True))
    feed.push(20, 5)
    assert np.array_equal(next(results).buffers[0]["monitor"].data, data.reshape(35, 8, 9)[24, :, 0])
    feed.push(0, 5)
    assert np.array_equal(next(results).buffers[0]["monitor"].data, data.reshape(35, 8, 9)[24, :, 0])
    results.close()


def test_runner_runs_on_any_executor(context: Context, data) -> None:
    dataset = context.load("memory", data)
    runner = UDFRunner([AutoUDF(f=np.max), AutoUDF(f=np.min)])
    results = runner.run_for_dataset(dataset, context.executor)
    assert np.array_equal(results.buffers[0]["result"].data, data.max(axis=(2, 3)))
    assert np.array_equal(results.buffers[1]["result"].data, data.min(axis=(2, 3)))
    assert results.damage.data.all()


def test_runner_iterates_also_asynchronously(inline: Context, data) -> None:
    dataset = inline.load("memory", data)
    *_, last = UDFRunner([AutoUDF(f=np.max)]).run_for_dataset_sync(dataset, inline.executor)
    assert last.damage.data.all()

    async def run():
        return [
            r async for r in UDFRunner([AutoUDF(f=np.max)]).run_for_dataset_async(dataset, inline.executor)
        ]

    assert asyncio.run(run())[-1].damage.data.all()


class Counter:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def start(self, state: ProgressState) -> None:
        self.calls.append("start")

    def update(self, state: ProgressState) -> None:
        self.calls.append("update")

    def end(self, state: ProgressState) -> None:
        self.calls.append("end")


def test_runner_reports_progress_where_wanted(inline: Context, data) -> None:
    counter = Counter()
    runner = UDFRunner([AutoUDF(f=np.max)], progress_reporter=counter)
    dataset = inline.load("memory", data)
    runner.run_for_dataset(dataset, inline.executor)
    assert counter.calls == []
    runner.run_for_dataset(dataset, inline.executor, progress=True)
    assert (counter.calls[0], counter.calls[-1]) == ("start", "end")


class PreparedUDF(UDF):
    def get_result_buffers(self):
        return {"nav": self.buffer("nav", (2,), dtype="f8"), "sig": self.buffer("sig", dtype="f8")}

    def preprocess(self):
        self.results.sig[:] = 3

    def process_frame(self, frame):
        self.results.sig += 1

    def merge(self, dest, src):
        dest.nav[:] = src.nav
        dest.sig += src.sig - 3


def test_looking_at_a_udf_leaves_it_usable(inline: Context, data) -> None:
    dataset = inline.load("memory", data)
    roi = np.zeros((5, 7), bool)
    roi[0, :3] = True
    udf = PreparedUDF()
    declared = UDFRunner.inspect_udf(udf, dataset, roi)
    assert declared["nav"].shape == (3, 2)
    assert declared["sig"].shape == (8, 9)
    dry = UDFRunner.dry_run([udf], dataset, roi)
    assert np.all(dry.buffers[0]["sig"].data == 3)
    assert not dry.damage.data.any()
    assert np.all(
        UDFRunner([udf]).run_for_dataset(dataset, inline.executor, dry=True).buffers[0]["sig"].data == 3
    )
    assert udf.meta is None
    assert np.all(inline.run_udf(dataset, udf, roi=roi)["sig"].data == 6)


def test_display_describes_a_udf(inline: Context, data) -> None:
    dataset = inline.load("memory", data)
    shown = inline.display(dataset, PreparedUDF(threshold="<5>"))
    page = shown._repr_html_()
    for text in ("PreparedUDF", "frame", "threshold", "&lt;5&gt;", "sig", "float64", "(2,)"):
        assert text in page
    assert "PreparedUDF" in repr(shown)
