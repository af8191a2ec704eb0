"""Runs over a feed that the test paces: partial results, gaps, ends of all kinds, leaving early."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from arraystream import ConnectionFailed, FeedGap, StateError, TruncatedStream
from udf_core import UDF, Context, CoverageError, Run, Scan, ScanError, UDFRunCancelled, WorkerLostWarning


class SumUDF(UDF):
    def get_preferred_input_dtype(self):
        return self.USE_NATIVE_DTYPE

    def get_result_buffers(self):
        return {"nav": self.buffer("nav", dtype="i8"), "sig": self.buffer("sig", dtype="i8")}

    def process_tile(self, tile):
        factor = self.params.get("factor", 1)
        self.results.nav += factor * tile.sum(axis=(1, 2), dtype="i8")
        self.results.sig += factor * tile.sum(axis=0, dtype="i8")

    def merge(self, dest, src):
        dest.nav[:] = src.nav
        dest.sig += src.sig


class UnbrokenSumUDF(SumUDF):
    """Makes one partial result per chunk."""

    CONTIGUOUS_PARTITIONS = True


@pytest.fixture(params=["inline", "threads"])
def local(request: pytest.FixtureRequest) -> Context:
    return request.getfixturevalue(request.param)


def test_each_pause_of_the_source_shows_all_that_has_come(local: Context, data, paced) -> None:
    feed, dataset = paced(data)
    results = local.run_udf_iter(dataset, SumUDF())
    frames = data.reshape(35, 8, 9)
    for first in range(0, 35, 5):
        feed.push(first, 5)
        partial = next(results)
        n = first + 5
        assert partial.damage.raw_data.tolist() == [True] * n + [False] * (35 - n)
        assert np.array_equal(partial.buffers[0]["sig"].data, frames[:n].sum(axis=0))
        assert np.array_equal(partial.buffers[0]["nav"].valid_mask, partial.damage.data)
    feed.end()
    assert list(results) == []
    assert results.run.n_commits == 7
    assert results.run.verdict.status == "complete"
    assert dataset.finished == [None]


@pytest.mark.parametrize(
    ("settings", "n_commits"),
    [
        ({"commit_s": 0.0}, 35),
        ({"commit_s": 1e9}, 1 + 1),
        ({"commit_s": 1e9, "held_bytes": 5 * (8 * 9 + 1) * 8}, 1 + 7),
    ],
)
def test_commits_follow_time_and_size_not_partitions(
    inline: Context, data, paced, settings, n_commits
) -> None:
    feed, dataset = paced(data)
    for first in range(35):
        feed.push(first, 1)
    feed.end()
    run = Run(dataset, [UnbrokenSumUDF()], inline.executor, settings=settings)
    n_partial = sum(1 for _ in run.partial_results())
    assert run.n_commits == n_partial == n_commits
    assert np.array_equal(run.results.buffers[0]["nav"].data, data.sum(axis=(2, 3)))
    assert sorted(feed.settled) == list(range(35))
    assert feed.n_released == 35


def test_end_of_the_feed_commits_at_once(local: Context, data, paced) -> None:
    feed, dataset = paced(data)
    feed.push(0, 10)
    feed.push(10, 25)
    feed.end()
    run = Run(dataset, [SumUDF()], local.executor, settings={"commit_s": 1e9, "idle_s": 1e9})
    assert 1 <= sum(1 for _ in run.partial_results()) <= 2
    assert run.n_commits == 2


def test_first_results_are_committed_at_once_later_ones_with_a_pause_between(
    inline: Context, data, paced
) -> None:
    feed, dataset = paced(data)
    run = Run(dataset, [SumUDF()], inline.executor, settings={"commit_s": 1e9, "idle_s": 0.0})
    results = run.partial_results()
    feed.push(0, 5)
    assert np.count_nonzero(next(results).damage.raw_data) == 5
    for first in range(5, 35, 5):
        feed.push(first, 5)
    feed.end()
    assert np.count_nonzero(next(results).damage.raw_data) == 35
    assert list(results) == []
    assert run.n_commits == 2


def test_gap_stays_visible(local: Context, data, paced) -> None:
    feed, dataset = paced(data)
    feed.push(0, 10)
    feed.push(20, 15)
    feed.end(gaps=[FeedGap(10, 20, "overrun")])
    result = local.run_udf(dataset, SumUDF())
    valid = np.ones(35, bool)
    valid[10:20] = False
    assert np.array_equal(result["nav"].valid_mask, valid.reshape(5, 7))
    assert np.array_equal(result["nav"].data, data.sum(axis=(2, 3)) * valid.reshape(5, 7))
    assert local.last_run.verdict.gaps[0].reason == "overrun"


def test_chunks_may_come_in_any_order(local: Context, data, paced) -> None:
    feed, dataset = paced(data, snake=True)
    for first in (20, 0, 30, 10, 5, 25, 15):
        feed.push(first, 5)
    feed.end()
    expected = data.sum(axis=(2, 3))
    expected[1::2] = expected[1::2, ::-1]
    assert np.array_equal(local.run_udf(dataset, SumUDF())["nav"].data, expected)


@pytest.mark.parametrize(
    ("status", "error", "raised"),
    [
        ("truncated", TruncatedStream("cable pulled"), TruncatedStream),
        ("failed", ConnectionFailed("detector on fire"), ConnectionFailed),
        ("aborted", None, UDFRunCancelled),
        ("truncated", None, UDFRunCancelled),
    ],
)
def test_early_end_raises_and_keeps_what_was_there(local, data, paced, status, error, raised) -> None:
    feed, dataset = paced(data)
    feed.push(0, 10)
    feed.end(status, n_items=10, error=error)
    with pytest.raises(raised) as caught:
        local.run_udf(dataset, SumUDF())
    assert dataset.finished == [caught.value]
    run = local.last_run
    assert run.verdict.status == status
    assert run.results.damage.raw_data.sum() == 10
    assert np.array_equal(run.results.buffers[0]["sig"].data, data.reshape(35, 8, 9)[:10].sum(axis=0))
    assert feed.closed


def test_failure_behind_the_last_state_is_raised_too(threads: Context, data, paced) -> None:
    feed, dataset = paced(data)
    feed.push(0, 10)
    results = threads.run_udf_iter(dataset, SumUDF())
    next(results)
    feed.end("aborted", n_items=10)
    feed.wait_until(lambda: results.run.verdict is not None)
    with pytest.raises(UDFRunCancelled):
        list(results)


def test_leaving_early_leaves_the_acquisition(local: Context, data, paced) -> None:
    feed, dataset = paced(data)
    feed.push(0, 5)
    for partial in local.run_udf_iter(dataset, SumUDF()):
        assert partial.damage.raw_data.sum() == 5
        break
    assert feed.closed
    assert dataset.finished == [None]
    feed, dataset = paced(data)
    feed.push(0, 35)
    feed.end()
    assert local.run_udf(dataset, SumUDF())["sig"].data.sum() == data.sum()


def test_close_and_throw(local: Context, data, paced) -> None:
    feed, dataset = paced(data)
    feed.push(0, 5)
    results = local.run_udf_iter(dataset, SumUDF())
    next(results)
    results.close()
    assert feed.closed
    with pytest.raises(StopIteration):
        next(results)

    feed, dataset = paced(data)
    feed.push(0, 5)
    results = local.run_udf_iter(dataset, SumUDF())
    next(results)
    error = ZeroDivisionError("mine")
    with pytest.raises(ZeroDivisionError, match="mine"):
        results.throw(error)
    assert dataset.finished == [error]


def test_partial_results_never_change_once_looked_at(local: Context, data, paced) -> None:
    feed, dataset = paced(data)
    feed.push(0, 5)
    results = local.run_udf_iter(dataset, SumUDF())
    early = next(results)
    before = early.buffers[0]["nav"].raw_data.copy()
    feed.push(5, 30)
    feed.end()
    *_, last = results
    assert np.array_equal(early.buffers[0]["nav"].raw_data, before)
    assert early.damage.raw_data.sum() == 5
    assert last.damage.raw_data.all()


def test_slow_consumer_skips_states_and_holds_up_nobody(threads: Context, data, paced) -> None:
    feed, dataset = paced(data)
    feed.push(0, 5)
    results = threads.run_udf_iter(dataset, SumUDF())
    next(results)
    for n, first in enumerate(range(5, 35, 5), start=2):
        feed.push(first, 5)
        feed.wait_until(lambda n=n: len(feed.settled) == n)
    feed.end()
    rest = list(results)
    assert len(rest) <= 2
    assert rest[-1].damage.raw_data.all()


def test_member_taken_for_dead_is_replaced_and_its_work_forgotten(data, paced) -> None:
    feed, dataset = paced(data)
    feed.refuse = lambda member: member == 0
    for first in range(0, 35, 5):
        feed.push(first, 5)
    feed.end()
    with Context.make_with("threads", cpus=1) as context:
        with pytest.warns(WorkerLostWarning, match="took it for dead"):
            result = context.run_udf(dataset, SumUDF())
        assert len(context.last_run.events) == 1
    assert np.array_equal(result["sig"].data, data.sum(axis=(0, 1)))
    assert np.array_equal(result["nav"].data, data.sum(axis=(2, 3)))


def test_scan_that_does_not_fit_is_refused_before_the_first_frame(local: Context, data, paced) -> None:
    feed, dataset = paced(data)
    dataset.scan = Scan((5, 8))
    object.__setattr__(feed.descriptor, "n_items", 35)
    with pytest.raises(ScanError, match=r"\(5, 8\).*35 items"):
        local.run_udf(dataset, SumUDF())
    assert feed.closed
    assert isinstance(dataset.finished[0], ScanError)


def test_wrong_roi_is_refused_before_the_source_is_started(local: Context, data, paced) -> None:
    _, dataset = paced(data)
    dataset.start = lambda: pytest.fail("started")
    with pytest.raises(ValueError, match="incompatible shapes"):
        local.run_udf(dataset, SumUDF(), roi=np.ones((7, 5), bool))


def test_scan_that_is_known_only_after_the_start(local: Context, data, paced) -> None:
    feed, dataset = paced(data)
    feed.push(0, 35)
    feed.end()

    class LateDataset(type(dataset)):
        started = False
        late_scan = dataset.scan

        def start(self) -> Any:
            self.started = True
            return super().start()

        @property
        def scan(self) -> Scan:
            if not self.started:
                raise StateError("not yet")
            return self.late_scan

        @scan.setter
        def scan(self, scan: Scan) -> None:
            self.late_scan = scan

    roi = np.zeros((5, 7), bool)
    roi[2] = True
    result = local.run_udf(LateDataset(feed, Scan((5, 7))), SumUDF(), roi=roi)
    assert np.array_equal(result["sig"].data, data[2].sum(axis=0))


def test_source_that_does_not_start(local: Context, data, paced) -> None:
    _, dataset = paced(data)

    def start() -> Any:
        raise ConnectionFailed("nobody there")

    dataset.start = start
    with pytest.raises(ConnectionFailed, match="nobody there"):
        local.run_udf(dataset, SumUDF())


def test_parameters_may_change_during_the_run(local: Context, data, paced) -> None:
    feed, dataset = paced(data)
    results = local.run_udf_iter(dataset, SumUDF(factor=1))
    feed.push(0, 14)
    next(results)
    results.update_parameters_experimental([{"factor": 10}])
    feed.push(14, 21)
    feed.end()
    *_, last = results
    factor = last.buffers[0]["nav"].data / data.sum(axis=(2, 3))
    assert np.all(factor[:2] == 1)
    assert np.all(factor[2:] == 10)


class Recorder:
    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []

    def __getattr__(self, name: str) -> Callable[[Any], None]:
        if name not in ("start", "update", "end"):
            raise AttributeError(name)
        return lambda state: self.calls.append((name, state.num_frames_complete))


def test_progress_is_reported(context: Context, data) -> None:
    recorder = Recorder()
    context.run_udf(context.load("memory", data), SumUDF(), progress=recorder)
    assert recorder.calls[0] == ("start", 0)
    assert recorder.calls[-1] == ("end", 35)


def test_progress_bar(inline: Context, data, capsys: pytest.CaptureFixture[str]) -> None:
    inline.run_udf(inline.load("memory", data), SumUDF(), progress=True)
    assert "35.0/35.0" in capsys.readouterr().err


def test_async(context: Context, data) -> None:
    async def work() -> None:
        dataset = context.load("memory", data, chunk_items=5)
        result = await context.run_udf(dataset, SumUDF(), sync=False)
        assert result["sig"].data.sum() == data.sum()
        async for partial in context.run_udf_iter(dataset, SumUDF(), sync=False):
            last = partial
        assert last.damage.raw_data.all()
        results = context.run_udf_iter(dataset, SumUDF(), sync=False, roi=np.zeros((5, 7), bool))
        assert len([partial async for partial in results]) >= 1
        results = context.run_udf_iter(dataset, SumUDF(), sync=False)
        await results.__anext__()
        await results.aclose()

    asyncio.run(work())


def test_no_thread_stays_behind(threads: Context, data) -> None:
    before = set(threading.enumerate())
    threads.run_udf(threads.load("memory", data), SumUDF())
    assert set(threading.enumerate()) <= before


def test_item_delivered_twice_is_noticed(inline: Context, data, paced) -> None:
    feed, dataset = paced(data)
    feed.push(0, 20)
    feed.push(10, 15)
    feed.end()
    run = Run(dataset, [SumUDF()], inline.executor, settings={"commit_s": 0.0})
    with pytest.raises(CoverageError, match="twice"):
        list(run.partial_results())
