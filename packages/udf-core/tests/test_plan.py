"""Which array type UDFs get: the rules of the plan, its errors, and what it does to the input type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from udf_core import UDF, Context, NoOpUDF
from udf_core import _plan as planning
from udf_core._backends import OFFERS_DENSE, OFFERS_SPARSE, conversion_cost, dtype_for
from udf_core._plan import make_plan, make_plans, resources_for, supported_backends
from udf_core._requirements import input_dtype

COO, CSR, CSC = (f"scipy.sparse.{form}_matrix" for form in ("coo", "csr", "csc"))
CUPYX_COO = "cupyx.scipy.sparse.coo_matrix"


class Wants(NoOpUDF):
    """Takes these array types."""

    def __init__(self, backends: Any = ("numpy",), dtype: Any = bool) -> None:
        UDF.__init__(self, backends=backends, dtype=dtype)

    def get_backends(self) -> Any:
        return self.params.backends

    def get_preferred_input_dtype(self) -> Any:
        return self.params.dtype


@pytest.fixture
def with_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan as on a machine that has CuPy; nothing is computed."""
    monkeypatch.setattr("udf_core._backends.has_cupy", lambda: True)


def plan(*wanted: Any, offers: Sequence[str] = OFFERS_DENSE, device: str = "cpu") -> Any:
    udfs = [Wants(w) for w in wanted]
    made = make_plan(udfs, [supported_backends(u) for u in udfs], offers, offers, device)
    return made.source, {step.backend: step.udfs for step in made.steps}


def test_order_of_the_data_goes_before_that_of_the_udf() -> None:
    assert plan(UDF.BACKEND_ALL, offers=(COO, "numpy")) == (COO, {COO: (0,)})


@pytest.mark.usefixtures("with_cupy")
def test_dense_data_stay_dense_on_a_device() -> None:
    assert plan(("numpy", CUPYX_COO, "cupy"), offers=("numpy",), device="cuda") == ("numpy", {"cupy": (0,)})


@pytest.mark.usefixtures("with_cupy")
def test_sparse_data_stay_sparse_on_a_device_and_are_read_as_what_is_cheapest() -> None:
    wanted = ("numpy", COO, "cupy", CUPYX_COO)
    assert plan(wanted, offers=("sparse.COO", COO, "numpy"), device="cuda") == (COO, {CUPYX_COO: (0,)})


def test_type_that_serves_most_udfs_goes_first() -> None:
    _, steps = plan(("numpy", CSR), (CSR,), (CSR, "numpy"), offers=("numpy", CSR))
    assert steps == {CSR: (0, 1, 2)}


def test_rest_gets_the_most_popular_type_of_the_same_density() -> None:
    offers = (CSR, CSC)
    assert plan(("numpy", "sparse.COO"), ("sparse.GCXS", "sparse.COO"), offers=offers)[1] == {
        "sparse.COO": (0, 1)
    }
    assert plan(("numpy", "sparse.COO"), offers=("numpy.matrix",))[1] == {"numpy": (0,)}


def test_ties_are_broken_by_what_the_udfs_prefer() -> None:
    wanted = (("sparse.GCXS", "sparse.COO", "sparse.DOK"), ("sparse.COO", "sparse.DOK"))
    assert plan(*wanted, offers=(CSR,))[1] == {"sparse.COO": (0, 1)}
    assert plan(("sparse.GCXS", "sparse.COO"), offers=(CSR,))[1] == {"sparse.GCXS": (0,)}


def test_sparse_udf_runs_on_dense_data() -> None:
    assert plan(("sparse.COO",)) == ("numpy", {"sparse.COO": (0,)})


@pytest.mark.usefixtures("with_cupy")
def test_host_arrays_are_the_last_choice_on_a_device() -> None:
    assert plan(("numpy", "cuda"), device="cuda") == ("cuda", {"cuda": (0,)})
    assert plan(("numpy", "sparse.COO"), device="cuda") == ("numpy", {"numpy": (0,)})


def test_device_without_cupy_takes_host_arrays() -> None:
    assert plan(("cupy", "cuda"), device="cuda")[1] == {"cuda": (0,)}
    with pytest.raises(RuntimeError, match="Could not find backends for remaining"):
        plan(("cupy",), device="cuda")


def test_conversions_start_from_what_is_cheapest() -> None:
    udfs = [Wants(CSR), Wants(CSC), Wants("numpy")]
    made = make_plan(
        udfs, [u.get_backends() and (u.get_backends(),) for u in udfs], OFFERS_DENSE, OFFERS_DENSE
    )
    assert made.source == "numpy"
    assert made.steps[0].backend == "numpy"
    done = ["numpy"]
    for step in made.steps:
        there = [
            o for o in done if conversion_cost(o, step.backend) < conversion_cost(step.origin, step.backend)
        ]
        assert not there
        done.append(step.backend)


def test_sparse_data_prefer_sparse_types() -> None:
    assert plan(("numpy", "sparse.COO"), offers=OFFERS_SPARSE)[1] == {"sparse.COO": (0,)}
    assert plan(UDF.BACKEND_ALL, offers=OFFERS_SPARSE)[1] == {CSR: (0,)}
    assert plan(("numpy",), ("numpy", CSR), offers=OFFERS_SPARSE)[1] == {"numpy": (0, 1)}


@pytest.mark.parametrize(
    ("backends", "resources"),
    [
        (["numpy"], {"CPU", "compute", "ndarray"}),
        (["cupy"], {"CUDA", "compute", "ndarray"}),
        (["cupy", "numpy"], {"compute", "ndarray"}),
        (["cuda"], {"CUDA", "compute"}),
    ],
)
def test_resources(backends: list[str], resources: set[str]) -> None:
    assert resources_for([backends]) == resources


def test_udfs_that_no_single_worker_can_run_are_refused(inline: Context) -> None:
    with pytest.raises(ValueError, match="There is no common supported UDF backend"):
        resources_for([["numpy"], ["cupy"]])
    dataset = inline.load("memory", np.ones((2, 2, 3, 3)))
    with pytest.raises(ValueError, match="There is no common supported UDF backend"):
        inline.run_udf(dataset, [Wants("numpy"), Wants("cupy")])


def test_device_udf_on_the_cpu(inline: Context) -> None:
    dataset = inline.load("memory", np.ones((2, 2, 3, 3)))
    with pytest.raises(RuntimeError, match=r"Could not find backends for remaining UDFs Wants.*CUDA"):
        inline.run_udf(dataset, Wants("cuda"))


def test_unknown_backend(inline: Context) -> None:
    dataset = inline.load("memory", np.ones((2, 2, 3, 3)))
    with pytest.raises(ValueError, match="UDF Wants returned invalid backend 'nonsense'"):
        inline.run_udf(dataset, Wants(("numpy", "nonsense")))
    with pytest.raises(ValueError, match="'nonsense', which is no backend"):
        inline.run_udf(dataset, Wants(), backends="nonsense")


def test_library_that_is_not_installed(inline: Context) -> None:
    dataset = inline.load("memory", np.ones((2, 2, 3, 3)))
    with pytest.raises(RuntimeError, match="Could not find backends for remaining UDFs Wants"):
        inline.run_udf(dataset, Wants("array-api:no_such_library"))


def test_user_restricts_backends(inline: Context) -> None:
    dataset = inline.load("memory", np.ones((2, 2, 3, 3)))
    with pytest.raises(RuntimeError, match=r"supports numpy, allowed is sparse\.COO"):
        inline.run_udf(dataset, Wants(), backends="sparse.COO")
    udf = Wants(("numpy", "sparse.COO"))
    assert supported_backends(udf, ("sparse.COO", CSR)) == ("sparse.COO",)
    assert supported_backends(udf, "sparse.COO") == ("sparse.COO",)


def test_only_classes_that_can_do_the_run_get_a_plan() -> None:
    udfs = [Wants(("numpy", "cuda")), Wants("numpy")]
    supported = [supported_backends(udf) for udf in udfs]
    assert set(make_plans(udfs, supported, OFFERS_DENSE, OFFERS_DENSE, ["cpu", "cuda"])) == {"cpu"}
    assert set(make_plans(udfs[:1], supported[:1], OFFERS_DENSE, OFFERS_DENSE, ["cpu", "cuda"])) == {
        "cpu",
        "cuda",
    }


@pytest.mark.parametrize(
    ("stored", "wanted", "seen"),
    [
        ("u2", [np.float32], "f4"),
        ("u2", [np.int16], "i4"),
        ("u2", [UDF.USE_NATIVE_DTYPE], "u2"),
        ("u2", [np.int16, np.float32], "f8"),
        ("?", [np.float32], "f4"),
        ("c8", [np.float32], "c8"),
        ("f4", [UDF.USE_NATIVE_DTYPE, np.float64], "f8"),
    ],
)
def test_input_dtype(stored: str, wanted: list[Any], seen: str) -> None:
    assert input_dtype(stored, [Wants(dtype=w) for w in wanted]) == np.dtype(seen)


def test_backends_limit_the_input_dtype() -> None:
    assert dtype_for(np.result_type(bool, np.uint16), ["cupyx.scipy.sparse.csr_matrix"]) == np.float32
    assert dtype_for("u2", [CSR, "sparse.COO", "numpy"]) == np.uint16
    assert dtype_for("f2", ["array-api:array_api_strict"]) == np.float32
    with pytest.raises(TypeError, match="no type for data"):
        dtype_for("g", ["array-api:array_api_strict"])


def test_plain_plan_needs_no_conversion_library() -> None:
    made = planning.plain_plan(3)
    assert made.is_plain
    assert made.backends == ("numpy",)
    assert not make_plan([Wants(CSR)], [(CSR,)], OFFERS_DENSE, OFFERS_DENSE).is_plain
