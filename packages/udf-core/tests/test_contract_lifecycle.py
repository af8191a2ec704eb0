"""The UDF contract: views, order of calls, what meta says."""

from __future__ import annotations

import sys

import cloudpickle
import numpy as np
import pytest

from udf_core import UDF

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class PlainUDF(UDF):
    """Sums frames per tile, with all kinds of buffers."""

    def get_result_buffers(self):
        return {
            "nav": self.buffer("nav", dtype="f8"),
            "nav2": self.buffer("nav", (2,), dtype="f8"),
            "sig": self.buffer("sig", dtype="f8"),
            "sig3": self.buffer("sig", (3,), dtype="f8"),
            "single": self.buffer("single", dtype="f8"),
            "single5": self.buffer("single", (5,), dtype="f8"),
        }

    def merge(self, dest, src):
        dest.nav[:] = src.nav
        dest.nav2 = src.nav2
        dest.sig += src.sig
        dest.sig3 += src.sig3
        dest.single += src.single
        dest.single5 += src.single5

    def shapes(self):
        return {name: view.shape for name, view in self.results.items()}


SHAPES = {}


class ShapesUDF(PlainUDF):
    def note(self, phase):
        SHAPES.setdefault(phase, []).append(self.shapes())

    def preprocess(self):
        self.note("main" if self.meta.first == -1 else "preprocess")

    def postprocess(self):
        self.note("postprocess")


class TileShapesUDF(ShapesUDF):
    def get_tiling_preferences(self):
        return {"depth": 3, "total_size": 3 * 4 * 9 * 4}

    def process_tile(self, tile):
        assert tile.flags.c_contiguous
        self.note(f"tile {tile.shape}")


class FrameShapesUDF(ShapesUDF):
    def process_frame(self, frame):
        assert frame.shape == (8, 9)
        self.note("frame")


class PartitionShapesUDF(ShapesUDF):
    def process_partition(self, partition):
        self.note(f"partition {partition.shape}")


def shapes(udf, inline, data, **run):
    SHAPES.clear()
    inline.run_udf(inline.load("memory", data, chunk_items=7), udf, **run)
    return SHAPES


def test_views_of_a_frame(inline, data) -> None:
    seen = shapes(FrameShapesUDF(), inline, data)
    assert len(seen["frame"]) == 35
    assert seen["frame"][0] == {
        "nav": (1,),
        "nav2": (2,),
        "sig": (8, 9),
        "sig3": (8, 9, 3),
        "single": (1,),
        "single5": (5,),
    }
    assert seen["main"][0]["nav"] == (35,)


def test_views_of_a_tile(inline, data) -> None:
    seen = shapes(TileShapesUDF(), inline, data)
    assert {k for k in seen if k.startswith("tile")} == {"tile (3, 4, 9)", "tile (1, 4, 9)"}
    assert seen["tile (3, 4, 9)"][0] == {
        "nav": (3,),
        "nav2": (3, 2),
        "sig": (4, 9),
        "sig3": (4, 9, 3),
        "single": (1,),
        "single5": (5,),
    }


def test_views_of_a_partition_with_roi(inline, data) -> None:
    roi = np.zeros((5, 7), bool)
    roi[:, 2:] = True
    seen = shapes(PartitionShapesUDF(), inline, data, roi=roi)
    assert seen["partition (5, 8, 9)"][0]["nav2"] == (5, 2)
    assert seen["partition (5, 8, 9)"][0]["sig3"] == (8, 9, 3)
    assert [s["nav"] for s in seen["postprocess"]] == [(5,)] * 5
    assert seen["main"][0]["nav"] == (25,)


CALLS = []


class LifeUDF(UDF):
    def __init__(self, **kwargs):
        CALLS.append("init")
        super().__init__(**kwargs)

    def get_result_buffers(self):
        CALLS.append("buffers")
        return {"nav": self.buffer("nav")}

    def get_worker_data(self):
        CALLS.append("worker_data")
        return {"made": [0]}

    def get_task_data(self):
        CALLS.append("task_data")
        assert self.results.nav.shape
        return {"n": 1}

    def preprocess(self):
        CALLS.append("preprocess")

    def process_tile(self, tile):
        assert self.task_data.n == 1
        assert self.worker_data.made == [0]
        assert self.meta.get_valid_nav_mask() is None
        CALLS.append("process")

    def postprocess(self):
        CALLS.append("postprocess")

    def cleanup(self):
        CALLS.append("cleanup")

    def merge(self, dest, src):
        mask = self.meta.get_valid_nav_mask()
        assert not mask.all()
        CALLS.append(f"merge after {mask.sum()}")
        super().merge(dest=dest, src=src)

    def get_results(self):
        CALLS.append(f"results of {self.meta.get_valid_nav_mask().sum()}")
        return super().get_results()


def test_order_of_calls(inline, data) -> None:
    udf = LifeUDF(a=1)
    CALLS.clear()
    inline.run_udf(inline.load("memory", data, chunk_items=35), udf)
    assert [
        "buffers",
        "preprocess",
        *["init", "worker_data", "buffers", "task_data", "preprocess", "process", "postprocess", "cleanup"],
        "merge after 0",
        "results of 35",
    ] == CALLS


def test_get_results_is_lazy(context, data) -> None:
    dataset = context.load("memory", data)
    for partial in context.run_udf_iter(dataset, BrokenResultsUDF()):
        last = partial
    with pytest.raises(ZeroDivisionError):
        _ = last.buffers


class BrokenResultsUDF(LifeUDF):
    def get_results(self):
        raise ZeroDivisionError


class MetaUDF(UDF):
    """Writes down what it is told about where it is."""

    def get_result_buffers(self):
        return {"where": self.buffer("nav", (2,), dtype="i8"), "flat": self.buffer("nav", dtype="i8")}

    def process_tile(self, tile):
        part = self.meta.slice
        assert part.shape.to_tuple() == tile.shape
        assert part.sig == self.meta.sig_slice == self.meta.tiling_scheme[self.meta.tiling_scheme_idx]
        assert self.meta.input_dtype == tile.dtype
        self.results.where[:] = self.meta.coordinates
        self.results.flat[:] = part.nav.get(np.arange(self.meta.dataset_shape.nav.size))


@pytest.mark.parametrize("offset", [0, 3, -4])
def test_coordinates_and_slices(context, data, offset: int) -> None:
    roi = np.random.default_rng(1).random((5, 7)) > 0.4
    dataset = context.load("memory", data, chunk_items=4, sync_offset=offset)
    result = context.run_udf(dataset, MetaUDF(), roi=roi)
    valid = result["flat"].valid_mask
    there = np.zeros(35, bool)
    there[np.clip(np.arange(35) - offset, 0, 34)] = True
    there[: max(0, -offset)] = False
    there[35 - max(0, offset) :] = False
    assert np.array_equal(valid, roi & there.reshape(5, 7))
    assert np.array_equal(result["where"].data[valid], np.argwhere(valid))
    assert np.array_equal(result["flat"].raw_data[valid[roi]], np.flatnonzero(valid[roi]))
