"""Ending a run from outside: another thread, Ctrl-C, a cancelled task."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time

import cloudpickle
import numpy as np
import pytest

from udf_core import UDF, Context, UDFRunCancelled

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class SumUDF(UDF):
    def get_result_buffers(self):
        return {"sum": self.buffer("nav", dtype="f8")}

    def process_tile(self, tile):
        self.results.sum += tile.sum(axis=(1, 2))


def sums_are_right(context: Context, data: np.ndarray) -> bool:
    result = context.run_udf(context.load("memory", data), SumUDF())
    return np.array_equal(result["sum"].data, data.sum(axis=(2, 3)))


class SlowUDF(SumUDF):
    """Takes so long that somebody has time to cancel."""

    def process_frame(self, frame):
        time.sleep(0.02)

    def get_method(self):
        return self.UDF_METHOD.FRAME


def cancel_after_first_result(context: Context, results, done: list[bool]) -> threading.Thread:
    next(results)
    thread = threading.Thread(target=lambda: done.append(context.cancel()))
    thread.start()
    return thread


def test_another_thread_cancels_the_run(context: Context, data) -> None:
    big = np.tile(data, (40, 1, 1, 1))
    results = context.run_udf_iter(context.load("memory", big, chunk_items=2), SlowUDF())
    done: list[bool] = []
    thread = cancel_after_first_result(context, results, done)
    with pytest.raises(UDFRunCancelled, match=r"UDF run cancelled after \d+ items"):
        for _ in results:
            pass
    thread.join()
    assert done == [True]
    assert 0 < context.last_run.n_items < 1400
    assert context.last_run.results.damage.data.any()
    assert not context.cancel()
    assert sums_are_right(context, data)


def test_a_waiting_live_run_is_cancelled(threads: Context, data, paced) -> None:
    feed, dataset = paced(data)
    feed.push(0, 5)
    results = threads.run_udf_iter(dataset, SumUDF())
    thread = cancel_after_first_result(threads, results, [])
    with pytest.raises(UDFRunCancelled, match="after 5 items"):
        next(results)
    thread.join()
    assert feed.closed
    assert isinstance(dataset.finished[0], UDFRunCancelled)


def test_run_cancelled_before_its_start_never_starts(inline: Context, data, paced) -> None:
    feed, dataset = paced(data)
    results = inline.run_udf_iter(dataset, SumUDF())
    assert results.run.cancel()
    with pytest.raises(UDFRunCancelled, match="after 0 items"):
        next(results)
    assert not feed._held


def test_nothing_to_cancel() -> None:
    with Context.make_with("inline") as context:
        assert not context.cancel()


class InterruptingUDF(SumUDF):
    """Presses Ctrl-C, as it were, on the main process."""

    def merge(self, dest, src):
        signal.raise_signal(signal.SIGINT)
        super().merge(dest=dest, src=src)


def test_ctrl_c_in_a_run_leaves_the_engine_usable(context: Context, data) -> None:
    dataset = context.load("memory", np.tile(data, (4, 1, 1, 1)), chunk_items=5)
    with pytest.raises(KeyboardInterrupt):
        context.run_udf(dataset, InterruptingUDF())
    assert sums_are_right(context, data)


def test_cancelled_coroutine_ends_its_run(context: Context, data) -> None:
    big = np.tile(data, (40, 1, 1, 1))
    dataset = context.load("memory", big, chunk_items=2)

    async def main():
        task = asyncio.ensure_future(context.run_udf(dataset, SlowUDF(), sync=False))
        while context.last_run.n_commits == 0:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert context.last_run._closed
    assert context.last_run.n_items < 1400
    assert sums_are_right(context, data)


def test_cancelled_iteration_ends_its_run(threads: Context, data, paced) -> None:
    feed, dataset = paced(data)
    feed.push(0, 5)

    async def main():
        results = threads.run_udf_iter(dataset, SumUDF(), sync=False)
        await anext(results)
        task = asyncio.ensure_future(anext(results))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(StopAsyncIteration):
            await anext(results)

    asyncio.run(main())
    assert feed.closed
    assert sums_are_right(threads, data)


def test_async_run_over_nothing_gives_a_result(context: Context, data) -> None:
    async def main():
        dataset = context.load("memory", data)
        roi = np.zeros((5, 7), bool)
        return [r async for r in context.run_udf_iter(dataset, SumUDF(), roi=roi, sync=False)]

    results = asyncio.run(main())
    assert len(results) >= 1
    assert np.isnan(results[-1].buffers[0]["sum"].data).all()
