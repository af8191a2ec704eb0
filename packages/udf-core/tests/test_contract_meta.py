"""The UDF contract: everything in `meta`, partial results, and parameters that change during a run."""

from __future__ import annotations

import asyncio
import sys

import cloudpickle
import numpy as np
import pytest

from udf_core import UDF, Context, CorrectionSet, Shape, Slice, UDFMeta
from udf_core._tiling import TilingScheme

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def test_meta_made_by_hand() -> None:
    roi = np.zeros((4, 5), bool)
    roi[1:3] = True
    scheme = TilingScheme((6, 7), rows=4, depth=2, intent="tile")
    part = Slice((2, 0, 0), Shape((3, 6, 7), 2))
    valid = np.arange(10) < 2
    meta = UDFMeta(
        part,
        Shape((4, 5, 6, 7), 2),
        roi,
        "u2",
        "f4",
        tiling_scheme=scheme,
        tiling_index=1,
        corrections=None,
        device_class="cpu",
        threads_per_worker=1,
        array_backend="numpy",
        valid_nav_mask=valid,
    )
    assert meta.slice == part
    assert meta.partition_shape.to_tuple() == (3, 6, 7)
    assert meta.dataset_shape.sig.to_tuple() == (6, 7)
    assert (meta.dataset_dtype, meta.input_dtype) == (np.uint16, np.float32)
    assert meta.sig_slice == scheme[1] == scheme.slices[1]
    assert (len(meta.tiling_scheme), scheme.depth, scheme.intent) == (2, 2, "tile")
    assert scheme.shape.to_tuple() == (2, *scheme[0].shape)
    assert isinstance(meta.corrections, CorrectionSet)
    assert (meta.device_class, meta.threads_per_worker, meta.array_backend) == ("cpu", 1, "numpy")
    assert meta.coordinates.tolist() == [[1, 2], [1, 3], [1, 4]]
    assert np.array_equal(meta.get_valid_nav_mask(), valid)
    full = meta.get_valid_nav_mask(full_nav=True)
    assert np.flatnonzero(full).tolist() == [5, 6]
    meta.set_valid_nav_mask(None)
    assert meta.get_valid_nav_mask(full_nav=True) is None


def test_meta_of_the_main_side() -> None:
    meta = UDFMeta(None, Shape((4, 5, 6, 7), 2), None, "u2", "f4")
    assert (meta.slice, meta.tiling_scheme, meta.sig_slice, meta.array_backend) == (None, None, None, None)
    assert isinstance(meta.corrections, CorrectionSet)
    with pytest.raises(ValueError, match="workers only"):
        _ = meta.partition_shape


class FrameUDF(UDF):
    def get_result_buffers(self):
        return {"sum": self.buffer("nav", dtype="f8")}

    def process_frame(self, frame):
        assert frame.shape == self.meta.dataset_shape.sig.to_tuple()
        self.results.sum[:] = frame.sum()


class FlatTileUDF(FrameUDF):
    def get_tiling_preferences(self):
        return {"depth": 2, "total_size": 2 * 9 * 4}

    def process_tile(self, tile):
        self.results.sum += tile.sum(axis=(1, 2))

    def get_method(self):
        return self.UDF_METHOD.TILE


class PartitionUDF(FrameUDF):
    def get_method(self):
        return self.UDF_METHOD.PARTITION

    def process_partition(self, partition):
        assert partition.shape == self.meta.partition_shape.to_tuple() == self.meta.slice.shape.to_tuple()
        self.results.sum[:] = partition.sum(axis=(1, 2))


@pytest.mark.parametrize("with_roi", [False, True])
def test_udfs_of_all_methods_in_one_pass(context: Context, data, with_roi: bool) -> None:
    roi = np.random.default_rng(6).random((5, 7)) > 0.5 if with_roi else None
    udfs = [FlatTileUDF(), PartitionUDF(), FrameUDF()]
    results = context.run_udf(context.load("memory", data, chunk_items=6), udfs, roi=roi)
    expected = data.sum(axis=(2, 3))[roi] if with_roi else data.sum(axis=(2, 3)).reshape(-1)
    for result in results:
        assert np.array_equal(result["sum"].raw_data, expected)


def test_damage_alone_makes_no_buffers(inline: Context, data) -> None:
    class BrokenUDF(FrameUDF):
        def get_results(self):
            raise ZeroDivisionError

    *_, last = inline.run_udf_iter(inline.load("memory", data), BrokenUDF())
    assert last.damage.data.all()
    with pytest.raises(ZeroDivisionError):
        _ = last.buffers


def test_damage_belongs_to_the_buffers_once_these_are_made(inline: Context, data, paced) -> None:
    feed, dataset = paced(data)
    results = inline.run_udf_iter(dataset, FrameUDF())
    feed.push(0, 5)
    first = next(results)
    early = first.damage
    feed.push(5, 5)
    next(results)
    buffers = first.buffers[0]
    assert early.raw_data.sum() == 5
    assert first.damage.raw_data.sum() == 10
    assert np.array_equal(buffers["sum"].valid_mask, first.damage.data)
    results.close()


class AuxUDF(UDF):
    def get_result_buffers(self):
        return {
            "aux": self.buffer("nav", dtype="f8"),
            "final": self.buffer("nav", dtype="f8", use="result_only"),
        }

    def process_frame(self, frame):
        self.results.aux[:] = self.params.aux * self.params.factor

    def get_results(self):
        return {"final": self.params.aux * self.params.factor}


def aux(data: np.ndarray):
    return UDF.aux_data(data, "nav", dtype="f8")


def test_aux_data_change_during_a_run(inline: Context, data, paced) -> None:
    feed, dataset = paced(data)
    roi = np.ones((5, 7), bool)
    roi[0, 1] = False
    numbers = np.arange(35.0)
    results = inline.run_udf_iter(dataset, AuxUDF(aux=aux(numbers), factor=1), roi=roi)
    feed.push(0, 5)
    next(results)
    results.update_parameters_experimental([{"aux": aux(-numbers), "factor": 2}])
    feed.push(5, 30)
    feed.end()
    *_, last = results
    expected = np.concatenate([numbers[:5], -2 * numbers[5:]])
    buffers = last.buffers[0]
    assert np.array_equal(buffers["aux"].data[roi], expected.reshape(5, 7)[roi])
    assert np.array_equal(buffers["final"].data.reshape(-1), -2 * numbers)


def test_parameters_change_in_an_asynchronous_run(threads: Context, data, paced) -> None:
    feed, dataset = paced(data)

    async def main():
        results = threads.run_udf_iter(dataset, AuxUDF(aux=aux(np.ones(35)), factor=1), sync=False)
        feed.push(0, 5)
        await anext(results)
        await results.update_parameters_experimental([{"factor": 3}])
        feed.push(5, 30)
        feed.end()
        async for result in results:
            last = result
        return last.buffers[0]["aux"].data.reshape(-1)

    assert asyncio.run(main()).tolist() == [1.0] * 5 + [3.0] * 30
