"""UDFs that declare, write, merge or return something wrong are named, and the engine goes on."""

from __future__ import annotations

import sys

import cloudpickle
import numpy as np
import pytest

from udf_core import UDF, Context, UDFException

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class GoodUDF(UDF):
    def get_result_buffers(self):
        return {"nav": self.buffer("nav", dtype="f8"), "sig": self.buffer("sig", dtype="f8")}

    def process_tile(self, tile):
        self.results.nav += tile.sum(axis=(1, 2))
        self.results.sig += tile.sum(axis=0)

    def merge(self, dest, src):
        dest.nav[:] = src.nav
        dest.sig += src.sig


class DeclaringUDF(GoodUDF):
    def get_result_buffers(self):
        return {
            "list": ["nav"],
            "array": {"nav": np.zeros(3)},
            "name": {"my result": self.buffer("nav")},
            "number": {3: self.buffer("nav")},
            "negative": {"nav": self.buffer("nav", (2, -1))},
        }[self.params.what]


def check_usable(context: Context, data: np.ndarray) -> None:
    result = context.run_udf(context.load("memory", data, chunk_items=6), GoodUDF())
    assert np.array_equal(result["nav"].data, data.sum(axis=(2, 3)))


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("list", "returned list"),
        ("array", "ndarray for 'nav'"),
        ("name", "'my result'"),
        ("number", "name 3"),
        ("negative", r"\(2, -1\)"),
    ],
)
def test_wrong_declarations_are_refused(context: Context, data, what: str, text: str) -> None:
    with pytest.raises(UDFException, match=rf"DeclaringUDF\.get_result_buffers\(\) .*{text}"):
        context.run_udf(context.load("memory", data), DeclaringUDF(what=what))
    check_usable(context, data)


class FickleUDF(GoodUDF):
    """Declares something else on workers than on the main side."""

    def get_result_buffers(self):
        if self.meta.array_backend is None:
            return super().get_result_buffers()
        return {"nav": 5}


def test_wrong_declaration_on_a_worker(context: Context, data) -> None:
    with pytest.raises(UDFException, match=r"FickleUDF\.get_result_buffers\(\)") as raised:
        context.run_udf(context.load("memory", data, chunk_items=6), FickleUDF())
    assert any("FickleUDF.get_result_buffers(), scan positions" in note for note in raised.value.__notes__)
    check_usable(context, data)


class WrongShapeUDF(GoodUDF):
    def process_tile(self, tile):
        self.results.nav = np.zeros((3, 3, 3))


def test_wrong_shape_names_buffer_method_and_place(context: Context, data) -> None:
    with pytest.raises(ValueError, match="broadcast") as raised:
        context.run_udf(context.load("memory", data, chunk_items=6), WrongShapeUDF())
    notes = "\n".join(raised.value.__notes__)
    assert "buffer 'nav' has shape (6,)" in notes
    assert "ndarray of shape (3, 3, 3)" in notes
    assert "in WrongShapeUDF.process_tile(), scan positions" in notes
    check_usable(context, data)


class WrongMergeUDF(GoodUDF):
    def merge(self, dest, src):
        dest.nav = src.sig


def test_wrong_merge_names_method_and_place(context: Context, data) -> None:
    with pytest.raises(ValueError, match="broadcast") as raised:
        context.run_udf(context.load("memory", data, chunk_items=6), WrongMergeUDF())
    notes = "\n".join(raised.value.__notes__)
    assert "buffer 'nav' has shape" in notes
    assert "in WrongMergeUDF.merge(), scan positions" in notes
    check_usable(context, data)


class UnknownMergeUDF(GoodUDF):
    def merge(self, dest, src):
        dest.other = src.nav


class UnsafeUDF(UDF):
    """Has another dtype on workers, which the default merge can't cast."""

    def get_result_buffers(self):
        return {"nav": self.buffer("nav", dtype="i4" if self.meta.array_backend is None else "f8")}

    def process_frame(self, frame):
        self.results.nav[:] = 0.5


def test_errors_of_merge_have_the_types_of_the_contract(inline: Context, data) -> None:
    dataset = inline.load("memory", data)
    with pytest.raises(KeyError, match="other"):
        inline.run_udf(dataset, UnknownMergeUDF())
    with pytest.raises(TypeError, match="Unsafe automatic casting"):
        inline.run_udf(dataset, UnsafeUDF())


class WrongResultsUDF(GoodUDF):
    def get_results(self):
        return {
            "list": [self.results.nav],
            "shape": {"nav": self.results.nav[:5]},
            "raise": None,
        }[self.params.what] or 1 / 0


@pytest.mark.parametrize(
    ("what", "error"), [("list", UDFException), ("shape", ValueError), ("raise", ZeroDivisionError)]
)
def test_wrong_results_name_the_method(context: Context, data, what: str, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        context.run_udf(context.load("memory", data), WrongResultsUDF(what=what))
    assert any("in WrongResultsUDF.get_results()" in note for note in raised.value.__notes__)
    check_usable(context, data)


class WrongPreprocessUDF(GoodUDF):
    def preprocess(self):
        raise ZeroDivisionError


def test_error_on_the_main_side_before_the_run(context: Context, data) -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        context.run_udf(context.load("memory", data), WrongPreprocessUDF())
    assert "in WrongPreprocessUDF.preprocess(), on the main side" in raised.value.__notes__
    check_usable(context, data)


class OldAttributeUDF(GoodUDF):
    def process_tile(self, tile):
        _ = tile.tile_slice


def test_attributes_that_tiles_no_longer_have(inline: Context, data) -> None:
    with pytest.raises(AttributeError, match=r"self\.meta\.slice"):
        inline.run_udf(inline.load("memory", data), OldAttributeUDF())


class KeepingUDF(UDF):
    """Collects which part of which frame it saw, in lists of objects."""

    def get_result_buffers(self):
        return {"seen": self.buffer("nav", dtype=object)}

    def get_tiling_preferences(self):
        return {"depth": 4, "total_size": 4 * 3 * 9 * 4}

    def process_tile(self, tile):
        for i in range(len(tile)):
            self.results.seen[i] = (self.results.seen[i] or []) + [self.meta.sig_slice.get()]


def test_every_pixel_is_seen_exactly_once(context: Context, data) -> None:
    roi = np.random.default_rng(4).random((5, 7)) > 0.4
    result = context.run_udf(context.load("memory", data, chunk_items=6), KeepingUDF(), roi=roi)["seen"].data
    for position in np.ndindex(5, 7):
        if not roi[position]:
            assert result[position] is None
            continue
        count = np.zeros((8, 9), int)
        for part in result[position]:
            count[part] += 1
        assert np.all(count == 1)
