"""The UDF contract: life cycle, views, buffers, merging, results, parameters."""

from __future__ import annotations

import sys
import time

import cloudpickle
import numpy as np
import pytest

from udf_core import UDF, BufferWrapper, Context, InvalidMaskError, UDFException, UseDiscouragedWarning

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


class DictAccessUDF(UDF):
    def get_result_buffers(self):
        return {"x": self.buffer("nav")}

    def process_frame(self, frame):
        self.results.x[:] = 1

    def postprocess(self):
        with pytest.warns(UseDiscouragedWarning):
            assert self.results["x"].kind == "nav"

    def merge(self, dest, src):
        with pytest.warns(UseDiscouragedWarning):
            dest["x"][:] = src["x"]


def test_access_by_item_warns(inline, data) -> None:
    assert np.all(inline.run_udf(inline.load("memory", data), DictAccessUDF())["x"].data == 1)


class NoMergeUDF(SumUDF):
    merge = UDF.merge


def test_forgotten_merge(context, data) -> None:
    with pytest.raises(NotImplementedError, match="Default merging only works for kind='nav' buffers"):
        context.run_udf(context.load("memory", data), NoMergeUDF())


class NamesUDF(SumUDF):
    def merge(self, a, b):
        raise AssertionError("never gets here")


def test_merge_is_called_with_keywords(inline, data) -> None:
    with pytest.raises(TypeError, match="dest"):
        inline.run_udf(inline.load("memory", data), NamesUDF())


class MethodUDF(UDF):
    def __init__(self, method="tile"):
        super().__init__(method=method)

    def get_method(self):
        return self.params.method

    def get_result_buffers(self):
        return {"method": self.buffer("nav", dtype="i8")}

    def process_tile(self, tile):
        self.results.method[:] = 1

    def process_frame(self, frame):
        self.results.method[:] = 2


def test_method_may_be_chosen(inline, data) -> None:
    dataset = inline.load("memory", data)
    assert np.all(inline.run_udf(dataset, MethodUDF(UDF.UDF_METHOD.FRAME))["method"].data == 2)
    with pytest.raises(UDFException, match="get_method"):
        inline.run_udf(dataset, MethodUDF("frame"))
    with pytest.raises(UDFException, match="process_partition"):
        inline.run_udf(dataset, MethodUDF(UDF.UDF_METHOD.PARTITION))


class NothingUDF(UDF):
    def get_result_buffers(self):
        return {}


class BackendUDF(SumUDF):
    def __init__(self, backends="numpy"):
        super().__init__(backends=backends)

    def get_backends(self):
        return self.params.backends


def test_what_is_no_udf_is_refused(inline, data) -> None:
    dataset = inline.load("memory", data)
    with pytest.raises(ValueError, match="empty"):
        inline.run_udf(dataset, [])
    with pytest.raises(TypeError, match="process_tile"):
        inline.run_udf(dataset, NothingUDF())
    with pytest.raises(TypeError, match="class instead of an object"):
        inline.run_udf(dataset, [SumUDF])
    with pytest.raises(ValueError, match="invalid backend 'abacus'"):
        inline.run_udf(dataset, BackendUDF("abacus"))
    with pytest.raises(RuntimeError, match="Could not find backends"):
        inline.run_udf(dataset, BackendUDF(("cuda", "cupy")))
    with pytest.raises(RuntimeError, match="Could not find backends"):
        inline.run_udf(dataset, BackendUDF(), backends="cupy")
    assert inline.run_udf(dataset, BackendUDF(UDF.BACKEND_ALL))
    with pytest.raises(TypeError, match="corrections"):
        inline.run_udf(dataset, SumUDF(), corrections=object())


class BadInitUDF(SumUDF):
    def __init__(self, radius):
        super().__init__(r=radius)


def test_constructor_that_does_not_pass_its_arguments_on(context, data) -> None:
    with pytest.raises(TypeError) as raised:
        context.run_udf(context.load("memory", data), BadInitUDF(3))
    assert "super().__init__()" in "".join(raised.value.__notes__)


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


def test_used_udf_can_be_pickled(inline, data) -> None:
    udf = SumUDF(a=1)
    inline.run_udf(inline.load("memory", data), udf)
    again = cloudpickle.loads(cloudpickle.dumps(udf))
    assert np.array_equal(again.results.sum, udf.results.sum)
    assert again.params.a == 1


def test_missing_result_names_those_there_are(inline, data) -> None:
    with pytest.raises(AttributeError, match=r"'missing'.*sum"):
        inline.run_udf(inline.load("memory", data), MissingUDF())


class MissingUDF(SumUDF):
    def process_tile(self, tile):
        self.results.missing += 1


def test_result_buffers_must_be_declared(inline, data) -> None:
    class Undeclared(UDF):
        def process_tile(self, tile): ...

    with pytest.raises(NotImplementedError, match="get_result_buffers"):
        inline.run_udf(inline.load("memory", data), Undeclared())


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
