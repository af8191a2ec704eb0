"""UDFs moved by hand, as tests and notebooks of LiberTEM users do it."""

from __future__ import annotations

import sys

import cloudpickle
import numpy as np
import pytest

from udf_core import UDF, Context, Shape, Slice, UDFMeta
from udf_core._tiling import TilingScheme

cloudpickle.register_pickle_by_value(sys.modules[__name__])

SHAPE = Shape((4, 5, 6, 7), 2)
PART = Slice((10, 0, 0), Shape((10, 6, 7), 2))


class HandUDF(UDF):
    def get_result_buffers(self):
        return {
            "nav": self.buffer("nav", dtype="f8"),
            "nav2": self.buffer("nav", (2,), dtype="f8"),
            "sig": self.buffer("sig", dtype="f8"),
            "single": self.buffer("single", dtype="f8"),
            "final": self.buffer("single", dtype="f8", use="result_only"),
            "private": self.buffer("nav", dtype="f8", use="private"),
        }

    def get_task_data(self):
        return {"n": self.results.nav.size}

    def process_tile(self, tile):
        self.results.nav += tile.sum(axis=(1, 2))
        self.results.sig.reshape(-1)[:] += tile.sum(axis=0).reshape(-1)

    def merge(self, dest, src):
        dest.nav[:] = src.nav
        dest.sig += src.sig

    def get_results(self):
        return {"final": np.ones(1)}


def meta_for(part: Slice | None, roi: np.ndarray | None = None) -> UDFMeta:
    scheme = TilingScheme((6, 7), rows=3, depth=5, intent="tile")
    return UDFMeta(part, SHAPE, roi, "u2", "f4", scheme, array_backend="numpy")


def ready(udf: UDF, part: Slice, roi: np.ndarray | None = None) -> UDF:
    udf.set_backend("numpy")
    udf.set_main_process_gpu(None)
    udf.set_meta(meta_for(part.adjust_for_roi(roi), roi))
    udf.init_result_buffers()
    udf.allocate_for_part(part, roi)
    udf.init_task_data()
    return udf


def test_udf_with_buffers_can_be_pickled() -> None:
    udf = ready(HandUDF(factor=3), PART)
    udf.results.nav[:] = 7
    again = cloudpickle.loads(cloudpickle.dumps(udf))
    assert again.results.nav.tolist() == [7.0] * 10
    assert again.params.factor == 3
    assert again.task_data.n == 10
    assert again.results.final is None


def test_udf_with_declared_buffers_only_can_be_pickled() -> None:
    udf = HandUDF()
    udf.set_meta(meta_for(PART))
    udf.init_result_buffers()
    assert udf.results.nav is None
    assert cloudpickle.loads(cloudpickle.dumps(udf)).results.get_buffer("nav").kind == "nav"


def test_partition_processed_by_hand_gives_the_sums() -> None:
    data = np.random.default_rng(0).integers(0, 9, (20, 6, 7)).astype("f4")
    udf = ready(HandUDF(), PART)
    for first in (10, 15):
        for index, band in enumerate(udf.meta.tiling_scheme):
            part = Slice((first, *band.origin), Shape((5, *band.shape), 2))
            udf.set_slice(part)
            udf.set_tile_idx(index)
            udf.set_contiguous_views_for_tile(PART, part)
            assert udf.meta.sig_slice == udf.meta.slice.sig == band
            assert udf.results.sig.flags.c_contiguous
            udf.process_tile(np.ascontiguousarray(part.get(data)))
    udf.flush()
    udf.clear_views()
    udf.export_results()
    assert np.array_equal(udf.results.nav, data[10:].sum(axis=(1, 2)))
    assert np.array_equal(udf.results.sig, data[10:].sum(axis=0))


def test_tiles_that_cut_rows_accumulate_in_contiguous_copies() -> None:
    udf = ready(HandUDF(), PART)
    left, right = (Slice((10, 0, x), Shape((10, 6, n), 2)) for x, n in ((0, 4), (4, 3)))
    for part in (left, right, left):
        udf.set_contiguous_views_for_tile(PART, part)
        udf.process_tile(np.ones(part.shape.to_tuple()))
    with pytest.raises(RuntimeError, match="sig"):
        udf.clear_views()
    udf.flush()
    udf.clear_views()
    assert udf.results.sig[0].tolist() == [20.0] * 4 + [10.0] * 3


def test_views_have_the_shapes_of_the_contract() -> None:
    roi = np.zeros((4, 5), bool)
    roi[:, 2:] = True
    udf = ready(HandUDF(), PART, roi)
    assert udf.results.nav.shape == (6,)
    tile = Slice((6, 0, 0), Shape((4, 3, 7), 2))
    udf.set_views_for_tile(PART, tile)
    assert [udf.results.nav2.shape, udf.results.sig.shape] == [(4, 2), (3, 7)]
    udf.set_views_for_frame(PART, tile, 1)
    assert [v.shape for v in (udf.results.nav, udf.results.nav2, udf.results.sig)] == [(1,), (2,), (6, 7)]
    udf.set_views_for_partition(PART)
    assert udf.results.nav2.shape == (6, 2)
    assert udf.results.single.shape == (1,)


def test_full_buffers_and_results_by_hand(inline: Context) -> None:
    dataset = inline.load("memory", np.ones(SHAPE.to_tuple(), "u2"))
    udf = HandUDF()
    udf.set_meta(meta_for(None))
    udf.init_result_buffers()
    udf.allocate_for_full(dataset, None)
    udf.set_views_for_dataset(dataset)
    assert udf.results.nav.shape == (20,)
    udf.set_views_for_partition(PART)
    udf.results.nav[:] = 5
    results = udf._do_get_results()
    assert list(results) == ["final", "nav", "nav2", "sig", "single"]
    assert results["nav"].data.reshape(-1).tolist() == [0.0] * 10 + [5.0] * 10
    assert udf.requires_custom_merge
    assert udf.requires_custom_merge_all


def test_copies_have_aux_data_of_their_partition() -> None:
    roi = np.arange(20).reshape(4, 5) % 2 == 0
    udf = HandUDF(
        number=UDF.aux_data(np.arange(20), "nav", dtype="i8"),
        weights=UDF.aux_data(np.ones((6, 7)), "sig", dtype="f8"),
        other=3,
    )
    copy = udf.copy_for_partition(PART, roi)
    assert copy.params.number.tolist() == [10, 12, 14, 16, 18]
    assert copy.params.weights.shape == (6, 7)
    assert copy.params.other == 3
    udf._update_parameters_patch({"other": 4})
    assert udf.params.other == 4
    assert HandUDF.new_for_partition(udf._kwargs, PART, None).params.number.tolist() == list(range(10, 20))


def test_what_is_no_partition_is_refused() -> None:
    with pytest.raises(TypeError, match=r"has one as \.slice"):
        HandUDF().copy_for_partition((0, 10), None)
