"""Endless scans: the newest value of each position, sums of one pass, in any order, exactly once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import defaultdict
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arraystream import ConnectionFailed, FeedGap
from udf_core import (
    UDF,
    Context,
    RollingResults,
    Run,
    Scan,
    UDFException,
    UDFRunCancelled,
    WorkerHungWarning,
    WorkerLostWarning,
)
from udf_core._executors.processes import ProcessesExecutor

cloudpickle.register_pickle_by_value(sys.modules[__name__])

SHAPE = (3, 4)
N = 12


class SumsUDF(UDF):
    """Sums of frames and over frames, how many there were, and a result derived from both."""

    def get_preferred_input_dtype(self):
        return self.USE_NATIVE_DTYPE

    def get_result_buffers(self):
        return {
            "nav": self.buffer("nav", dtype="i8"),
            "sig": self.buffer("sig", dtype="i8"),
            "n": self.buffer("single", dtype="i8"),
            "hidden": self.buffer("nav", dtype="i8", use="private"),
            "twice": self.buffer("nav", dtype="i8", use="result_only"),
            "known": self.buffer("single", dtype="i8", use="result_only"),
        }

    def process_tile(self, tile):
        self.before()
        sums = self.params.get("factor", 1) * tile.sum(axis=(1, 2), dtype="i8")
        self.results.nav += sums
        self.results.hidden += sums
        self.results.sig += tile.sum(axis=0, dtype="i8")
        if self.meta.tiling_scheme_idx == 0:
            self.results.n += len(tile)

    def before(self):
        pass

    def merge(self, dest, src):
        # Adding shows what one accumulator for all passes would do wrong.
        dest.nav += src.nav
        dest.hidden += src.hidden
        dest.sig += src.sig
        dest.n += src.n

    def get_results(self):
        known = np.count_nonzero(self.meta.get_valid_nav_mask())
        return {"twice": 2 * self.results.hidden, "known": np.array([known])}


def frames(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 1000, (n, 5, 6)).astype("u2")


ENDLESS = Scan(SHAPE, endless=True)


class Model:
    """What has been handed over so far, by pass and position."""

    def __init__(self, scan: Scan, data: np.ndarray, roi: np.ndarray | None = None) -> None:
        self.scan, self.data, self.roi = scan, data, roi
        self.passes: dict[int, dict[int, int]] = defaultdict(dict)

    def add(self, first: int, n: int) -> None:
        for number, start, count in self.scan.passes(first, n):
            for item, position in enumerate(self.scan.positions(start, count).tolist(), start=start):
                if position != -1 and (self.roi is None or self.roi.flat[position]):
                    self.passes[number][position] = item

    def check(self, partial: Any) -> None:
        assert isinstance(partial, RollingResults)
        n_positions = self.scan.n_positions
        newest = {p: item for _, there in sorted(self.passes.items()) for p, item in there.items()}
        values = np.zeros(n_positions, int)
        for position, item in newest.items():
            values[position] = self.data[item].sum()
        valid = np.isin(np.arange(n_positions), list(newest)).reshape(self.scan.shape)
        (results,) = partial.buffers
        assert np.array_equal(results["nav"].valid_mask, valid)
        assert np.array_equal(partial.covered.data, valid)
        assert np.array_equal(results["nav"].data[valid], values.reshape(self.scan.shape)[valid])
        assert np.array_equal(results["twice"].data[valid], 2 * values.reshape(self.scan.shape)[valid])
        assert results["known"].data.tolist() == [len(newest)]
        assert partial.scan_pass == max(self.passes, default=0)
        reached = self.passes.get(partial.scan_pass, {})
        assert np.flatnonzero(partial.damage.data).tolist() == sorted(reached)
        shown = list(self.passes.get(partial.shown_pass, {}).values())
        assert np.array_equal(results["sig"].data, self.data[shown].sum(axis=0))
        assert results["n"].data.tolist() == [len(shown)]


@st.composite
def runs(draw: st.DrawFn) -> tuple[Scan, int, list[tuple[int, int]], list[int], np.ndarray | None]:
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=2)))
    n_positions = int(np.prod(shape))
    options: dict[str, Any] = {"offset": draw(st.integers(-3, 3)), "endless": True}
    if draw(st.booleans()):
        scan = Scan.from_positions(draw(st.permutations([-1, *range(n_positions)])), shape, **options)
    else:
        scan = Scan(shape, flyback=draw(st.integers(0, 1)), snake=draw(st.booleans()), **options)
    n = draw(st.integers(max(1, scan.items_per_pass + 3), 60 + scan.items_per_pass))
    size = draw(st.integers(1, 20))
    chunks = [(first, min(size, n - first)) for first in range(0, n, size)]
    # Neighbours change places, as they do where workers are of different speed.
    jitter = np.random.default_rng(draw(st.integers(0, 99))).random(len(chunks))
    order = np.argsort(np.arange(len(chunks)) + draw(st.sampled_from([0.0, 1.5, 3.0])) * jitter)
    lost = draw(st.lists(st.integers(0, len(chunks) - 1), max_size=2, unique=True))
    roi = np.random.default_rng(1).random(shape) > 0.4 if draw(st.booleans()) else None
    return scan, n, [chunks[i] for i in order], lost, roi


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs())
def test_whatever_comes_in_whatever_order(scanned, inline: Context, case: Any) -> None:
    scan, n, chunks, lost, roi = case
    data = frames(n)
    feed, dataset = scanned(data, scan)
    model = Model(scan, data, roi)
    gaps = []
    for index, (first, count) in enumerate(chunks):
        if index in lost:
            gaps.append(FeedGap(first, first + count, "lost"))
        else:
            feed.push(first, count)
            model.add(first, count)
    feed.end(gaps=gaps)
    run = Run(dataset, [SumsUDF()], inline.executor, roi=roi, settings={"commit_s": 0.0}, pass_patience_s=0.0)
    for _ in run.partial_results():
        assert len(run._merger.passes_in_memory) <= 3
    model.check(run.results)
    complete = [k for k, there in model.passes.items() if len(there) == n_wanted(scan, roi, k)]
    assert run.results.shown_pass >= max(complete, default=0)
    assert run.n_items == n - sum(gap.stop - gap.first for gap in gaps)


def n_wanted(scan: Scan, roi: np.ndarray | None, number: int) -> int:
    model = Model(scan, np.empty(0), roi)
    last = scan.offset + (number + 1) * scan.items_per_pass
    model.add(0, last)
    return len(model.passes[number])


@pytest.mark.parametrize("name", ["inline", "threads"])
def test_each_state_is_the_newest(scanned, request: pytest.FixtureRequest, name: str) -> None:
    context = request.getfixturevalue(name)
    data = frames(4 * N)
    feed, dataset = scanned(data, ENDLESS)
    model = Model(dataset.scan, data)
    results = context.run_udf_iter(dataset, SumsUDF())
    seen = []
    for first in range(0, 4 * N, 8):
        feed.push(first, 8)
        model.add(first, 8)
        partial = next(results)
        model.check(partial)
        seen.append((partial.scan_pass, partial.shown_pass, int(partial.damage.data.sum())))
    assert seen == [(0, 0, 8), (1, 0, 4), (1, 1, 12), (2, 1, 8), (3, 2, 4), (3, 3, 12)]
    feed.end("aborted", n_items=4 * N)
    assert list(results) == []
    model.check(context.last_run.results)
    assert context.last_run.verdict.status == "aborted"


def test_states_stand_still(scanned, inline: Context) -> None:
    data = frames(2 * N)
    feed, dataset = scanned(data, ENDLESS)
    results = inline.run_udf_iter(dataset, SumsUDF())
    feed.push(0, N)
    early = next(results)
    before = {name: buffer.data.copy() for name, buffer in early.buffers[0].items()}
    feed.push(N, N)
    feed.end()
    *_, last = results
    assert (early.scan_pass, last.scan_pass) == (0, 1)
    assert early.damage.data.all()
    for name, array in before.items():
        assert np.array_equal(early.buffers[0][name].data, array)
    assert not np.array_equal(last.buffers[0]["sig"].data, before["sig"])


def test_lost_frame_holds_up_the_sums_for_two_passes_at_most(scanned, inline: Context) -> None:
    data = frames(5 * N)
    feed, dataset = scanned(data, ENDLESS)
    model = Model(dataset.scan, data)
    run = Run(dataset, [SumsUDF()], inline.executor, pass_patience_s=0.0)
    results = run.partial_results()
    shown = []
    for number in range(5):
        feed.push(number * N + 1, N - 1)  # the first frame of each pass is lost
        model.add(number * N + 1, N - 1)
        partial = next(results)
        model.check(partial)
        shown.append(partial.shown_pass)
    assert shown == [0, 1, 0, 1, 2]
    assert not partial.covered.data[0, 0]
    results.close()
    assert run.results.scan_pass == 4


def test_pass_that_a_worker_still_holds_is_waited_for(scanned, inline: Context) -> None:
    data = frames(4 * N)
    feed, dataset = scanned(data, ENDLESS)
    model = Model(dataset.scan, data)
    results = inline.run_udf_iter(dataset, SumsUDF())
    shown = []
    late = (N, 1)  # the first frame of pass 1 comes last of all
    for first, n in [(0, N), (N + 1, N - 1), (2 * N, N), (3 * N, N), late]:
        feed.push(first, n)
        model.add(first, n)
        partial = next(results)
        model.check(partial)
        shown.append(partial.shown_pass)
    assert shown == [0, 0, 2, 3, 3]
    results.close()


def test_late_part_of_a_forgotten_pass_shows_only_where_nothing_newer_is(scanned, inline: Context) -> None:
    data = frames(4 * N)
    feed, dataset = scanned(data, ENDLESS)
    model = Model(dataset.scan, data)
    results = inline.run_udf_iter(dataset, SumsUDF())
    for first, n in ((0, 6), (N, N), (2 * N, 4), (6, 6), (3 * N, N), (2 * N + 4, 8)):
        feed.push(first, n)
        model.add(first, n)
        model.check(next(results))
    results.close()


def test_loop_that_is_left_keeps_the_results(scanned, threads: Context) -> None:
    data = frames(3 * N)
    feed, dataset = scanned(data, ENDLESS)
    model = Model(dataset.scan, data)
    for first in range(0, 3 * N, N):
        feed.push(first, N)
        model.add(first, N)
    for partial in threads.run_udf_iter(dataset, SumsUDF()):
        if partial.scan_pass == 2 and partial.damage.data.all():
            break
    assert feed.closed
    assert dataset.finished == [None]
    model.check(threads.last_run.results)


@pytest.mark.parametrize(
    ("status", "error", "raised"),
    [("truncated", None, UDFRunCancelled), ("failed", ConnectionFailed("cable pulled"), ConnectionFailed)],
)
def test_failure_is_an_error_and_keeps_the_results(scanned, inline: Context, status, error, raised) -> None:
    data = frames(2 * N)
    feed, dataset = scanned(data, ENDLESS)
    model = Model(dataset.scan, data)
    feed.push(0, 15)
    model.add(0, 15)
    feed.end(status, n_items=15, error=error)
    with pytest.raises(raised):
        inline.run_udf(dataset, SumsUDF())
    model.check(inline.last_run.results)


def test_parameters_change_for_passes_to_come(scanned, inline: Context) -> None:
    data = frames(2 * N)
    feed, dataset = scanned(data, ENDLESS)
    results = inline.run_udf_iter(dataset, SumsUDF(factor=1))
    feed.push(0, N)
    next(results)
    results.update_parameters_experimental([{"factor": 10}])
    feed.push(N, 6)
    feed.end(n_items=N + 6)
    *_, last = results
    sums = data.sum(axis=(1, 2), dtype="i8")
    assert last.buffers[0]["nav"].data.ravel().tolist() == [*(10 * sums[N : N + 6]), *sums[6:N]]


def test_recorded_passes_run_as_they_did_live(context: Context) -> None:
    data = frames(7 * N + 5)
    scan = Scan(SHAPE, endless=True, offset=2)
    model = Model(scan, data)
    model.add(0, len(data))
    dataset = context.load("memory", data, scan=scan, chunk_items=7)
    assert dataset.shape.to_tuple() == (*SHAPE, 5, 6)
    context.run_udf(dataset, SumsUDF())
    model.check(context.last_run.results)
    assert context.last_run.results.shown_pass == 6


class DyingUDF(SumsUDF):
    """Kills its own process at some values of the first pixel, once each."""

    def process_tile(self, tile):
        for value in self.params.values:
            if np.any(tile[:, 0, 0] == value):
                with contextlib.suppress(FileExistsError):
                    os.close(os.open(f"{self.params.folder}/{value}", os.O_CREAT | os.O_EXCL))
                    os.kill(os.getpid(), signal.SIGKILL)
        super().process_tile(tile)


def test_killed_workers_change_no_pass(tmp_path: Any) -> None:
    n_passes = 40
    data = frames(n_passes * N)
    data[:, 0, 0] = np.arange(len(data))
    scan = Scan(SHAPE, endless=True, snake=True)
    model = Model(scan, data)
    model.add(0, len(data))
    udf = DyingUDF(values=(3, 100, 250, 478), folder=str(tmp_path))
    with Context(ProcessesExecutor(2)) as context:
        dataset = context.load("memory", data, scan=scan, chunk_items=5)
        with pytest.warns(WorkerLostWarning, match="SIGKILL"):
            context.run_udf(dataset, udf)
        model.check(context.last_run.results)
        assert context.last_run.results.shown_pass == n_passes - 1
        assert len(context.last_run.events) == 4


@pytest.mark.parametrize("name", ["inline", "threads"])
def test_items_behind_the_last_pass_are_counted(scanned, request: pytest.FixtureRequest, name: str) -> None:
    context = request.getfixturevalue(name)
    data = frames(2 * N + 7)
    feed, dataset = scanned(data, Scan(SHAPE, repeats=2))
    for first in range(0, len(data), 5):
        feed.push(first, min(5, len(data) - first))
    feed.end()
    result = context.run_udf(dataset, SumsUDF())
    assert result["nav"].data.shape == (2, *SHAPE)
    assert np.array_equal(result["nav"].data.ravel(), data[: 2 * N].sum(axis=(1, 2)))
    assert np.array_equal(result["sig"].data, data[: 2 * N].sum(axis=0))
    assert context.last_run.n_surplus == 7
    assert context.last_run.n_items == len(data)


@pytest.mark.parametrize("whole", [False, True])
def test_roi_of_one_pass_or_of_all(context: Context, whole: bool) -> None:
    data = frames(3 * N)
    roi = np.random.default_rng(3).random((3, *SHAPE) if whole else SHAPE) > 0.5
    dataset = context.load("memory", data, scan=Scan(SHAPE, repeats=3))
    result = context.run_udf(dataset, SumsUDF(), roi=roi)
    roi = np.broadcast_to(roi, (3, *SHAPE))
    assert np.array_equal(result["nav"].valid_mask, roi)
    assert np.array_equal(result["sig"].data, data[roi.ravel()].sum(axis=0))


class AllAtOnceUDF(UDF):
    def get_result_buffers(self):
        return {"sig": self.buffer("sig", dtype="i8")}

    def process_frame(self, frame):
        self.results.sig += frame.astype("i8")

    def merge_all(self, ordered_results):
        return {"sig": sum(part.sig for part in ordered_results.values())}


def test_udf_that_merges_all_at_once_is_refused(scanned, inline: Context) -> None:
    _, dataset = scanned(frames(N), ENDLESS)
    with pytest.raises(UDFException, match="an endless scan is never all there; implement"):
        inline.run_udf(dataset, AllAtOnceUDF())


def test_merge_that_hangs_is_reported(scanned, threads: Context) -> None:
    class SlowUDF(SumsUDF):
        def merge(self, dest, src):
            time.sleep(0.5)
            super().merge(dest=dest, src=src)

    feed, dataset = scanned(frames(N), ENDLESS)
    feed.push(0, N)
    feed.end()
    run = Run(dataset, [SlowUDF()], threads.executor, settings={"hang_s": 0.1})
    with pytest.warns(WorkerHungWarning, match="main side"):
        list(run.partial_results())
