"""The UDF contract: input dtypes, parameters, aux data, and their change during a run."""

from __future__ import annotations

import sys
import time

import cloudpickle
import numpy as np
import pytest

from udf_core import UDF, Context

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class SumUDF(UDF):
    def get_result_buffers(self):
        return {"sum": self.buffer("sig", dtype="f8")}

    def process_tile(self, tile):
        self.results.sum += tile.sum(axis=0)

    def merge(self, dest, src):
        dest.sum += src.sum


@pytest.mark.parametrize(
    ("preferred", "stored", "expected"),
    [
        (["default"], "u2", "f4"),
        (["i2"], "u2", "i4"),
        (["native"], "u2", "u2"),
        (["i2", "default"], "u2", "f8"),
        (["native", "default"], "u2", "f4"),
        (["default"], "?", "f4"),
        (["default"], "c8", "c8"),
        (["native"], ">u2", "u2"),
    ],
)
def test_input_dtype(inline, preferred, stored, expected) -> None:
    data = np.ones((2, 2, 4, 4), stored)
    udfs = [DtypeUDF(p) for p in preferred]
    for result in inline.run_udf(inline.load("memory", data), udfs):
        assert {np.dtype(d) for d in result["dtype"].data.flat} == {np.dtype(expected)}


class DtypeUDF(UDF):
    def __init__(self, preferred):
        super().__init__(preferred=preferred)

    def get_preferred_input_dtype(self):
        preferred = self.params.preferred
        if preferred == "native":
            return self.USE_NATIVE_DTYPE
        return super().get_preferred_input_dtype() if preferred == "default" else preferred

    def get_result_buffers(self):
        return {"dtype": self.buffer("nav", dtype="U8")}

    def process_frame(self, frame):
        assert self.meta.input_dtype == frame.dtype
        self.results.dtype[:] = frame.dtype.str


class AuxUDF(UDF):
    def get_result_buffers(self):
        return {"nav": self.buffer("nav", dtype="i8"), "sums": self.buffer("nav", dtype="f8")}


class AuxTileUDF(AuxUDF):
    def process_tile(self, tile):
        assert self.params.weights.shape == tile.shape[1:]
        assert self.params.pair.shape == (len(tile), 2)
        self.results.nav[:] = self.params.number
        self.results.sums += (tile * self.params.weights).sum(axis=(1, 2)) * self.params.pair[:, 1]


class AuxFrameUDF(AuxUDF):
    def process_frame(self, frame):
        assert self.params.pair.shape == (2,)
        assert self.params.number.shape == (1,)
        self.results.nav[:] = self.params.number
        self.results.sums[:] = (frame * self.params.weights).sum() * self.params.pair[1]


class AuxPrepareUDF(AuxTileUDF):
    def get_task_data(self):
        assert len(self.params.number) == self.meta.partition_shape[0] == len(self.meta.coordinates)
        return {"numbers": self.params.number.copy()}

    def postprocess(self):
        assert np.array_equal(self.task_data.numbers, self.params.number)
        self.results.nav[:] += self.params.number

    def merge(self, dest, src):
        dest.nav[:] = src.nav - self.params.number
        dest.sums[:] = src.sums

    def get_results(self):
        assert self.params.number.shape == (35,)
        return super().get_results()


@pytest.mark.parametrize("cls", [AuxTileUDF, AuxFrameUDF, AuxPrepareUDF])
@pytest.mark.parametrize("with_roi", [False, True])
def test_aux_data_follows_the_frames(context, data, cls, with_roi: bool) -> None:
    rng = np.random.default_rng(3)
    roi = rng.random((5, 7)) > 0.5 if with_roi else np.ones((5, 7), bool)
    number = np.arange(35)
    pair = rng.random((5, 7, 2))
    weights = rng.random((8, 9))
    udf = cls(
        number=UDF.aux_data(number, "nav", dtype="i8"),
        pair=UDF.aux_data(pair, "nav", (2,), dtype="f8"),
        weights=UDF.aux_data(weights, "sig", dtype="f8"),
    )
    dataset = context.load("memory", data, chunk_items=6)
    result = context.run_udf(dataset, udf, roi=roi if with_roi else None)
    assert np.array_equal(result["nav"].data[roi], number.reshape(5, 7)[roi])
    expected = (data * weights).sum(axis=(2, 3)) * pair[..., 1]
    assert np.allclose(result["sums"].data[roi], expected[roi])


def test_aux_data_of_wrong_size_or_type(inline, data) -> None:
    with pytest.raises(TypeError, match="float64"):
        UDF.aux_data(np.zeros(35), "nav")
    with pytest.raises(ValueError, match="34 values"):
        inline.run_udf(
            inline.load("memory", data), AuxTileUDF(number=UDF.aux_data(np.zeros(34, "f4"), "nav"))
        )


def test_params(inline) -> None:
    udf = SumUDF(a=1)
    assert udf.params.a == 1
    assert udf.params.get("b", 2) == 2
    assert "a" in udf.params
    assert "b" not in udf.params
    with pytest.raises(AttributeError, match="'b'"):
        udf.params.b  # noqa: B018
    assert udf.copy().params.a == 1


class FactorUDF(UDF):
    def get_result_buffers(self):
        return {
            "factor": self.buffer("nav", dtype="i8"),
            "last": self.buffer("single", dtype="i8", use="result_only"),
        }

    def process_frame(self, frame):
        until = time.perf_counter() + 0.003
        while time.perf_counter() < until:
            pass
        self.results.factor[:] = self.params.factor

    def get_results(self):
        return {"last": np.array([self.params.factor])}


def test_changed_parameters_reach_every_worker(context: Context) -> None:
    dataset = context.load("memory", np.zeros((20, 20, 2, 2), "u1"), chunk_items=4)
    results = context.run_udf_iter(dataset, FactorUDF(factor=1))
    next(results)
    results.update_parameters_experimental([{"factor": 5}])
    with pytest.raises(ValueError, match="2 sets of parameters for 1"):
        results.update_parameters_experimental([{}, {}])
    *_, last = results
    factors = last.buffers[0]["factor"].data
    assert set(np.unique(factors)) == {1, 5}
    assert factors[0, 0] == 1
    assert last.buffers[0]["last"].data[0] == 5
