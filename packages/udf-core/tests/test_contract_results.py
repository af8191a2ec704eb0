"""The UDF contract: buffers of all kinds, dtypes and uses, results and their masks."""

from __future__ import annotations

import sys

import cloudpickle
import numpy as np
import pytest

from udf_core import UDF, BufferWrapper, Context, InvalidMaskError, UDFException

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class SumUDF(UDF):
    def get_result_buffers(self):
        return {"sum": self.buffer("sig", dtype="f8")}

    def process_tile(self, tile):
        self.results.sum += tile.sum(axis=0)

    def merge(self, dest, src):
        dest.sum += src.sum


class FrameSumUDF(UDF):
    def get_result_buffers(self):
        return {"sum": self.buffer("nav", dtype="f8")}

    def process_frame(self, frame):
        self.results.sum[:] = np.sum(frame)


def test_several_udfs_share_one_pass_in_order(context, data) -> None:
    results = context.run_udf(context.load("memory", data, chunk_items=6), [FrameSumUDF(), SumUDF()])
    assert isinstance(results, tuple)
    assert np.array_equal(results[0]["sum"].data, data.sum(axis=(2, 3)))
    assert np.array_equal(results[1]["sum"].data, data.sum(axis=(0, 1)))
    assert all(isinstance(r["sum"], BufferWrapper) for r in results)


def test_list_of_one_udf_gives_a_tuple(inline, data) -> None:
    assert len(inline.run_udf(inline.load("memory", data), [SumUDF()])) == 1


@pytest.mark.parametrize("value", [False, True])
def test_roi_of_nothing_and_of_everything(context, data, value: bool) -> None:
    roi = np.full((5, 7), value)
    a, b = context.run_udf(context.load("memory", data), [SumUDF(), FrameSumUDF()], roi=roi)
    assert np.array_equal(a["sum"].data, data.sum(axis=(0, 1)) * value)
    assert b["sum"].raw_data.shape == (35 * value,)
    assert np.isnan(b["sum"].data).all() == (not value)
    assert b["sum"].roi_is_zero == (not value)


def test_roi_with_chunks_that_have_no_frame(context, data) -> None:
    roi = np.zeros((5, 7), bool)
    roi[3, 2] = True
    result = context.run_udf(context.load("memory", data, chunk_items=5), SumUDF(), roi=roi)
    assert np.array_equal(result["sum"].data, data[3, 2])


class PickUDF(UDF):
    def get_result_buffers(self):
        roi = self.meta.roi
        n = self.meta.dataset_shape.nav.size if roi is None else np.count_nonzero(roi)
        return {
            "frames": self.buffer("single", (n, *self.meta.dataset_shape.sig), dtype=self.meta.input_dtype)
        }

    def get_preferred_input_dtype(self):
        return self.USE_NATIVE_DTYPE

    def process_tile(self, tile):
        start = self.meta.slice.nav.origin[0]
        index = (slice(start, start + len(tile)), *self.meta.sig_slice.get())
        self.results.frames[index] = tile

    def merge(self, dest, src):
        dest.frames += src.frames


def test_buffer_sized_by_the_roi(context, data) -> None:
    roi = np.random.default_rng(2).random((5, 7)) > 0.7
    result = context.run_udf(context.load("memory", data, chunk_items=4), PickUDF(), roi=roi)
    assert np.array_equal(result["frames"].data, data[roi])
    assert result["frames"].data.dtype == np.uint16


class EmptyExtraUDF(UDF):
    def get_result_buffers(self):
        return {"none": self.buffer("nav", (0,)), "text": self.buffer("nav", dtype="U3")}

    def process_frame(self, frame):
        assert self.results.none.shape == (0,)
        self.results.text[:] = str(int(self.meta.coordinates[0, 0]))


def test_extra_shape_of_zero_and_strings(context, data) -> None:
    result = context.run_udf(context.load("memory", data), EmptyExtraUDF(), roi=(2, 3))
    assert result["none"].data.shape == (5, 7, 0)
    assert result["text"].data[2, 3] == "2"
    assert result["text"].data[0, 0] == ""


class ObjectsUDF(UDF):
    def get_result_buffers(self):
        return {
            "objects": self.buffer("nav", dtype=object),
            "time": self.buffer("nav", dtype="M8[s]"),
            "pair": self.buffer("nav", dtype=[("a", "i4"), ("b", "f8")]),
            "flag": self.buffer("nav", dtype=bool),
            "wave": self.buffer("nav", dtype="c8"),
        }

    def process_frame(self, frame):
        y, x = self.meta.coordinates[0]
        self.results.objects[:] = [[f"{y}", {"x": int(x)}]][0][1:]
        self.results.time[:] = np.datetime64(int(x), "s")
        self.results.pair["a"][:] = y
        self.results.flag[:] = True
        self.results.wave[:] = 1j


def test_all_dtypes_with_their_fill_values(context, data) -> None:
    roi = np.zeros((5, 7), bool)
    roi[1, 4] = True
    result = context.run_udf(context.load("memory", data), ObjectsUDF(), roi=roi)
    assert result["objects"].data[1, 4] == {"x": 4}
    assert result["objects"].data[0, 0] is None
    assert result["time"].data[1, 4] == np.datetime64(4, "s")
    assert np.isnat(result["time"].data[0, 0])
    assert result["pair"].data[1, 4]["a"] == 1
    assert result["pair"].data[0, 0]["a"] == 0
    assert result["flag"].data.sum() == 1
    assert result["wave"].data[1, 4] == 1j
    assert np.isnan(result["wave"].data[0, 0])


class UsesUDF(UDF):
    def __init__(self, results=None, seen=None):
        super().__init__(results=results, seen=seen)

    def get_result_buffers(self):
        return {
            "raw": self.buffer("nav", dtype="i8", use="private"),
            "final": self.buffer("nav", dtype="i8", use="result_only"),
            "plain": self.buffer("nav", dtype="i8"),
        }

    def process_frame(self, frame):
        assert self.results.final is None
        self.results.raw[:] = 2
        self.results.plain[:] = 3

    def merge(self, dest, src):
        assert "final" not in dest
        assert set(dest) == set(src) == {"raw", "plain"}
        with pytest.raises(KeyError):
            dest.nothing  # noqa: B018
        dest.raw[:] = src.raw
        dest.plain[:] = src.plain

    def get_results(self):
        if self.params.results == "nothing":
            return {}
        if self.params.results == "private":
            return {"final": self.results.raw, "raw": self.results.raw}
        if self.params.results == "unknown":
            return {"final": self.results.raw, "other": self.results.raw}
        if self.params.results == "kind":
            return {"final": self.results.raw * 1.5}
        if self.params.results == "shape":
            return {"final": self.results.raw[:3]}
        if self.params.results == "masked":
            return {"final": self.with_mask(self.results.raw * 2, self.results.raw[:] < 0)}
        return {"final": (self.results.raw * 2).astype("i4").reshape(self.meta.dataset_shape.nav)}


def test_uses_of_buffers(context, data) -> None:
    result = context.run_udf(context.load("memory", data), UsesUDF())
    assert list(result) == ["final", "plain"]
    assert np.all(result["final"].data == 4)
    assert result["final"].data.shape == (5, 7)
    assert result["final"].dtype == np.int64
    assert result["final"].data.dtype == np.int32
    assert np.all(result["plain"].data == 3)


@pytest.mark.parametrize(
    ("results", "error", "text"),
    [
        ("nothing", UDFException, "don't know how to set use='result_only' buffer 'final'"),
        ("private", UDFException, "private"),
        ("unknown", KeyError, "other"),
        ("kind", UDFException, "kind"),
        ("shape", ValueError, r"\(3,\)"),
    ],
)
def test_wrong_results_are_refused(inline, data, results, error, text) -> None:
    with pytest.raises(error, match=text):
        inline.run_udf(inline.load("memory", data), UsesUDF(results=results))


def test_results_with_their_own_mask(inline, data) -> None:
    result = inline.run_udf(inline.load("memory", data), UsesUDF(results="masked"))
    assert not result["final"].valid_mask.any()
    assert result["plain"].valid_mask.all()


@pytest.mark.parametrize("shape", [(32, 32), (1, 32), (64, 64)])
def test_masks_that_do_not_broadcast(shape) -> None:
    with pytest.raises(InvalidMaskError):
        UDF.with_mask(np.zeros((64, 64, 3)), np.ones(shape, bool))


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (64, 64, 1)])
def test_masks_that_broadcast(shape) -> None:
    assert UDF.with_mask(np.zeros((64, 64, 3)), np.ones(shape, bool)).mask.shape == shape


def test_masks_must_be_boolean() -> None:
    with pytest.raises(InvalidMaskError, match="bool"):
        UDF.with_mask(np.zeros(3), np.ones(3))


def test_used_udf_can_be_pickled(inline, data) -> None:
    udf = SumUDF(a=1)
    inline.run_udf(inline.load("memory", data), udf)
    again = cloudpickle.loads(cloudpickle.dumps(udf))
    assert np.array_equal(again.results.sum, udf.results.sum)
    assert again.params.a == 1


def test_unknown_kind_of_buffer() -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        UDF().buffer("navigation")


def test_result_is_array_like_but_no_array(inline, data) -> None:
    result = inline.run_udf(inline.load("memory", data), SumUDF())["sum"]
    assert np.sum(result) == data.sum()
    assert np.array(result, dtype="f4").dtype == np.float32
    for use in (lambda b: b + 1, lambda b: b[0], len):
        with pytest.raises(TypeError):
            use(result)


@pytest.mark.parametrize("sig_dims", [1, 2, 3])
def test_any_number_of_axes(context: Context, sig_dims: int) -> None:
    data = np.random.default_rng(4).integers(0, 9, (3, 4, 2, 5, 3)).astype("u1")
    dataset = context.load("memory", data, sig_dims=sig_dims)
    a, b = context.run_udf(dataset, [SumUDF(), FrameSumUDF()])
    nav = tuple(range(5 - sig_dims))
    assert np.array_equal(a["sum"].data, data.sum(axis=nav))
    assert np.array_equal(b["sum"].data, data.sum(axis=tuple(range(5 - sig_dims, 5))))
