"""Whatever the shapes, ROI, tiling, types, executor and chunks: the result is what NumPy says."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from udf_core import UDF, Context, Run, Scan, SourceDataSet

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class SumsUDF(UDF):
    """Sums over navigation and over signal, how often each pixel was seen, and where; exact integers."""

    def get_preferred_input_dtype(self):
        return self.params.dtype or self.USE_NATIVE_DTYPE

    def get_tiling_preferences(self):
        return {"depth": self.params.depth, "total_size": self.params.size}

    def get_result_buffers(self):
        return {
            "sig": self.buffer("sig", dtype="i8"),
            "seen": self.buffer("sig", dtype="i8"),
            "nav": self.buffer("nav", dtype="i8"),
            "where": self.buffer("nav", (self.meta.dataset_shape.nav.dims,), dtype="i8"),
            "total": self.buffer("single", dtype="i8"),
        }

    def add(self, stack):
        axes = tuple(range(1, stack.ndim))
        self.results.sig += stack.sum(axis=0).astype("i8")
        self.results.seen += len(stack)
        self.results.nav += stack.sum(axis=axes).astype("i8")
        self.results.where[:] = self.meta.coordinates
        self.results.total += int(stack.sum())

    def merge(self, dest, src):
        dest.sig += src.sig
        dest.seen += src.seen
        dest.nav[:] = src.nav
        dest.where[:] = src.where
        dest.total += src.total


class SumsByTile(SumsUDF):
    def process_tile(self, tile):
        self.add(tile)


class SumsByFrame(SumsUDF):
    def process_frame(self, frame):
        self.add(frame[np.newaxis])


class SumsByPartition(SumsUDF):
    def process_partition(self, partition):
        assert self.meta.slice.shape.to_tuple() == partition.shape == self.meta.partition_shape.to_tuple()
        self.add(partition)


class SumsWithTaskData(SumsByTile):
    """Asks for its partition, so that partitions must be unbroken."""

    def get_task_data(self):
        assert len(self.results.nav) == len(self.meta.coordinates)
        return {"origin": self.meta.slice.nav.origin[0], "n": 0}

    def process_tile(self, tile):
        assert self.meta.slice.nav.origin[0] >= self.task_data.origin
        self.add(tile)

    def postprocess(self):
        assert len(self.results.nav) == self.meta.partition_shape[0]


DTYPES = ["u1", "u2", "i4", ">u2", "f4", "f8"]
udfs = st.builds(
    lambda cls, depth, size, dtype: cls(depth=depth, size=size, dtype=dtype),
    st.sampled_from([SumsByTile, SumsByFrame, SumsByPartition, SumsWithTaskData]),
    st.sampled_from([1, 2, 3, 7, 1000, UDF.TILE_DEPTH_DEFAULT, UDF.TILE_DEPTH_MAX]),
    st.sampled_from([1, 64, 500, UDF.TILE_SIZE_MAX, UDF.TILE_SIZE_BEST_FIT]),
    st.sampled_from([None, "f8", "i8"]),
)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    nav = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    sig = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    if draw(st.booleans()):
        order = draw(st.permutations([-1, *range(int(np.prod(nav)))]))
        scan = Scan.from_positions(order, nav, repeats=draw(st.integers(1, 2)))
    else:
        scan = Scan(
            nav,
            flyback=draw(st.integers(0, 2)),
            snake=draw(st.booleans()),
            flyback_lines=draw(st.integers(0, 1)),
            repeats=draw(st.integers(1, 3)),
        )
    offset = draw(st.integers(-3, 3))
    if abs(offset) < scan.n_items:
        scan = replace(scan, offset=offset)
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    dtype = draw(st.sampled_from(DTYPES))
    data = rng.integers(0, 100, (scan.n_items, *sig)).astype(dtype)
    return {
        "scan": scan,
        "data": data,
        "roi": draw(st.sampled_from([None, rng.random(nav) > 0.5, np.zeros(nav, bool)])),
        "udfs": draw(st.lists(udfs, min_size=1, max_size=3)),
        "chunk_items": draw(st.integers(1, 12)),
        "tile_bytes": draw(st.sampled_from([1, 50, 1000, 1 << 20])),
        "settings": draw(st.sampled_from([{}, {"commit_s": 0.0}, {"held_bytes": 100}, {"idle_s": 0.0}])),
    }


def expected(scan: Scan, data: np.ndarray, roi: np.ndarray | None) -> dict[str, np.ndarray]:
    positions = scan.positions(0, len(data))
    chosen = positions >= 0
    if roi is not None:
        roi = np.broadcast_to(roi, scan.nav_shape)
        chosen &= roi.reshape(-1)[positions]
    valid = np.zeros(scan.n_positions, bool)
    nav = np.zeros(scan.n_positions, int)
    valid[positions[chosen]] = True
    nav[positions[chosen]] = data[chosen].sum(axis=tuple(range(1, data.ndim)))
    return {
        "valid": valid.reshape(scan.nav_shape),
        "nav": nav.reshape(scan.nav_shape),
        "sig": data[chosen].sum(axis=0),
        "seen": np.full(data.shape[1:], chosen.sum()),
        "total": data[chosen].sum(),
    }


def check(context: Context, case: dict[str, Any]) -> None:
    from arraystream import open_memory

    scan, data, roi = case["scan"], case["data"], case["roi"]
    source = open_memory(data, sig_dims=data.ndim - 1)
    dataset = SourceDataSet(source, scan=scan, chunk_items=case["chunk_items"])
    run = Run(
        dataset,
        case["udfs"],
        context.executor,
        roi=roi,
        tile_bytes=case["tile_bytes"],
        settings=case["settings"],
    )
    for partial in run.partial_results():
        assert partial.damage.raw_data.sum() >= 0
    assert run.n_items == len(data)
    truth = expected(scan, data, roi)
    for result in run.results.buffers:
        valid = truth["valid"]
        assert np.array_equal(result["nav"].valid_mask, valid)
        assert np.array_equal(result["nav"].data[valid], truth["nav"][valid])
        assert np.array_equal(result["where"].data[valid], np.argwhere(valid))
        assert np.array_equal(result["sig"].data, truth["sig"])
        assert np.array_equal(result["seen"].data, truth["seen"])
        assert result["total"].data[0] == truth["total"]


@given(case=cases())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_inline(inline: Context, case: dict[str, Any]) -> None:
    check(inline, case)


@given(case=cases())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_threads(threads: Context, case: dict[str, Any]) -> None:
    check(threads, case)


@given(case=cases())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_processes(processes: Context, case: dict[str, Any]) -> None:
    check(processes, case)


@pytest.mark.parametrize("snake", [False, True])
def test_floats_agree_with_numpy(context: Context, snake: bool) -> None:
    data = np.random.default_rng(0).random((60, 12, 13)).astype("f4")
    case = {
        "scan": Scan((6, 10), snake=snake),
        "data": np.round(data * 1000),
        "roi": None,
        "udfs": [SumsByTile(depth=4, size=1000, dtype=None)],
        "chunk_items": 7,
        "tile_bytes": 1 << 20,
        "settings": {},
    }
    check(context, case)
