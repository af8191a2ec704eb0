"""`merge_all`: UDFs that need all partial results at once."""

from __future__ import annotations

import sys

import cloudpickle
import numpy as np
import pytest

from udf_core import UDF, Context, MergeView, Shape, Slice

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class MedianOfPartsUDF(UDF):
    """Something that can't be merged pairwise: the median of the parts' sums."""

    def __init__(self, wrong=None):
        super().__init__(wrong=wrong)

    def get_result_buffers(self):
        return {"nav": self.buffer("nav", dtype="f8"), "sig": self.buffer("sig", dtype="f8")}

    def process_tile(self, tile):
        self.results.nav += tile.sum(axis=(1, 2))
        self.results.sig += tile.sum(axis=0)

    def merge_all(self, ordered_results):
        merged = {
            "nav": np.concatenate([part.nav for part in ordered_results.values()]),
            "sig": np.median([part.sig for part in ordered_results.values()], axis=0),
        }
        if self.params.wrong == "name":
            merged["other"] = merged.pop("nav")
        if self.params.wrong == "shape":
            merged["nav"] = merged["nav"][:-1]
        if self.params.wrong == "dtype":
            merged["sig"] = merged["sig"].astype("f4")
        return merged


def test_parts_are_merged_at_once(context: Context, data) -> None:
    dataset = context.load("memory", data, chunk_items=5)
    result = context.run_udf(dataset, MedianOfPartsUDF())
    parts = data.reshape(7, 5, 8, 9).sum(axis=1, dtype="f8")
    assert np.array_equal(result["nav"].data, data.sum(axis=(2, 3)))
    assert np.array_equal(result["sig"].data, np.median(parts, axis=0))


def test_partial_results_are_merged_at_once_as_well(inline: Context, data, paced) -> None:
    feed, dataset = paced(data)
    results = inline.run_udf_iter(dataset, MedianOfPartsUDF())
    frames = data.reshape(35, 8, 9)
    for first in (20, 0):  # in any order
        feed.push(first, 10)
        partial = next(results)
        buffers = partial.buffers[0]
    assert np.array_equal(buffers["sig"].data, (frames[:10].sum(axis=0) + frames[20:30].sum(axis=0)) / 2)
    expected = np.where(partial.damage.data, data.sum(axis=(2, 3)), 0)
    assert np.array_equal(buffers["nav"].data, expected)
    results.close()


@pytest.mark.parametrize("wrong", ["name", "shape", "dtype"])
def test_what_merge_all_returns_is_checked(inline: Context, data, wrong: str) -> None:
    with pytest.raises(ValueError, match=r"MedianOfPartsUDF\.merge_all\(\)"):
        inline.run_udf(inline.load("memory", data), MedianOfPartsUDF(wrong))


class NavOnlyUDF(UDF):
    def get_result_buffers(self):
        return {"nav": self.buffer("nav", dtype="f8")}


def test_navigation_buffers_are_joined_by_default() -> None:
    udf = NavOnlyUDF()
    udf.init_result_buffers()
    parts = {
        Slice((first, 0), Shape((2, 3), 1)): MergeView({"nav": np.full(2, float(first))}) for first in (0, 2)
    }
    assert udf._do_merge_all(parts)["nav"].tolist() == [0.0, 0.0, 2.0, 2.0]
    assert not udf.requires_custom_merge_all
