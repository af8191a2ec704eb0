"""The UDFs on sparse rows and on another array library give what they give on dense NumPy data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse

from udf_4dstem import ApplyMasksUDF, CoMUDF, SumSigUDF, SumUDF

CSR = ("scipy.sparse.csr_matrix", "scipy.sparse.csr_array")
RNG = np.random.default_rng(8)
DATA = (RNG.integers(1, 60000, (5, 6, 11, 13)) * (RNG.random((5, 6, 11, 13)) < 0.1)).astype("u2")
REAL = RNG.random((3, 11, 13))
SPARSE_MASKS = [
    lambda: scipy.sparse.csr_matrix(np.eye(11, 13)),
    lambda: scipy.sparse.csr_matrix(REAL[0] > 0.8),
]


def udfs() -> dict[str, Any]:
    return {
        "sum": SumUDF(),
        "integer sum": SumUDF(dtype="u8"),
        "sumsig": SumSigUDF(),
        "masks": ApplyMasksUDF(lambda: REAL),
        "sparse masks": ApplyMasksUDF(SPARSE_MASKS),
        "complex masks": ApplyMasksUDF(lambda: REAL + 1j * REAL[::-1]),
        "com": CoMUDF(),
        "ring com": CoMUDF.with_params(cy=5, cx=6, r=4, ri=2, regression=1),
    }


def load(context: Any, data: np.ndarray) -> Any:
    rows = scipy.sparse.csr_array(data.reshape(30, -1))
    return context.load("memory", rows, nav_shape=(5, 6), sig_shape=(11, 13), chunk_items=7)


@pytest.mark.parametrize("name", udfs())
@pytest.mark.parametrize("backend", [*CSR, None])
@pytest.mark.parametrize("dtype", ["u2", "f4", "?"])
def test_sparse_is_dense(context, run, name, backend, dtype):
    data = DATA.astype(dtype)
    roi = RNG.random((5, 6)) < 0.7
    for mask in (None, roi):
        dense = run(data, udfs()[name], roi=mask)
        sparse = context.run_udf(load(context, data), udfs()[name], roi=mask, backends=backend)
        assert dense.keys() == sparse.keys()
        for key, buffer in dense.items():
            assert sparse[key].dtype == buffer.dtype
            assert np.allclose(sparse[key].data, buffer.data, rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize("name", ["sum", "sumsig", "masks", "complex masks"])
def test_complex_data(context, run, name):
    data = (DATA + 1j * DATA[::-1]).astype("c8")
    dense, sparse = run(data, udfs()[name]), context.run_udf(load(context, data), udfs()[name], backends=CSR)
    for key, buffer in dense.items():
        assert np.allclose(sparse[key].data, buffer.data, rtol=1e-5)


def test_counts_are_exact(context):
    result = context.run_udf(load(context, DATA), [SumUDF(), SumSigUDF()], backends=CSR)
    assert np.array_equal(result[0]["intensity"].data, DATA.sum(axis=(0, 1), dtype="u8"))
    assert np.array_equal(result[1]["intensity"].data, DATA.sum(axis=(2, 3), dtype="u8"))


class OtherLibrary:
    """Asks for an array library that computes on this machine, in the place of CuPy."""

    def get_backends(self):
        return "array-api:array_api_strict"


class OtherSum(OtherLibrary, SumUDF):
    pass


class OtherSumSig(OtherLibrary, SumSigUDF):
    pass


class OtherMasks(OtherLibrary, ApplyMasksUDF):
    pass


@pytest.mark.parametrize(
    ("other", "usual"),
    [
        (OtherSum(), SumUDF()),
        (OtherSum(dtype="u8"), SumUDF(dtype="u8")),
        (OtherSumSig(), SumSigUDF()),
        (OtherMasks(lambda: REAL), ApplyMasksUDF(lambda: REAL)),
        (OtherMasks(lambda: REAL + 1j), ApplyMasksUDF(lambda: REAL + 1j)),
        (OtherMasks(SPARSE_MASKS), ApplyMasksUDF(SPARSE_MASKS)),
    ],
)
def test_other_library(run, other, usual):
    assert np.allclose(run(DATA, other)["intensity"].data, run(DATA, usual)["intensity"].data)
