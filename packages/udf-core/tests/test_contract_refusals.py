"""The UDF contract: what is refused or discouraged, and with which words."""

from __future__ import annotations

import sys

import cloudpickle
import numpy as np
import pytest

from udf_core import UDF, UDFException, UseDiscouragedWarning

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class SumUDF(UDF):
    def get_result_buffers(self):
        return {"sum": self.buffer("sig", dtype="f8")}

    def process_tile(self, tile):
        self.results.sum += tile.sum(axis=0)

    def merge(self, dest, src):
        dest.sum += src.sum


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
