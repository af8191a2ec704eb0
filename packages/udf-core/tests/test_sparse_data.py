"""Sparse data sets: read as they are where UDFs want that, dense otherwise, always with the same result."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse
import sparse

from udf_core import UDF, Context, CorrectionSet, ScanError
from udf_core._sparse_tiles import SparseTiles

CSR = "scipy.sparse.csr_matrix"


class Sums(UDF):
    """Sum of each frame, and of all, and which type came."""

    def __init__(self, backends: Any) -> None:
        super().__init__(backends=backends)

    def get_backends(self) -> Any:
        return self.params.backends

    def get_preferred_input_dtype(self) -> Any:
        return self.USE_NATIVE_DTYPE

    def get_result_buffers(self) -> dict[str, Any]:
        return {
            "frames": self.buffer("nav", dtype="f8"),
            "pixels": self.buffer("sig", dtype="f8"),
            "backends": self.buffer("nav", dtype=object),
        }

    def process_tile(self, tile: Any) -> None:
        flat = tile.reshape((tile.shape[0], -1))
        pixels = self.results.pixels
        self.results.frames += self.forbuf(flat.sum(axis=1), self.results.frames)
        pixels += self.forbuf(flat.sum(axis=0), pixels)
        self.results.backends[:] = self.meta.array_backend

    def merge(self, dest: Any, src: Any) -> None:
        dest.frames[:] = src.frames
        dest.backends[:] = src.backends
        dest.pixels += src.pixels


@pytest.fixture(scope="module")
def data() -> npt.NDArray[Any]:
    rng = np.random.default_rng(6)
    return (rng.integers(1, 9, (6, 7, 8, 9)) * (rng.random((6, 7, 8, 9)) < 0.05)).astype("u2")


def check(result: Any, data: npt.NDArray[Any], backend: str, roi: Any = None) -> None:
    frames = data.reshape(-1, 8, 9) if roi is None else data[roi]
    assert np.array_equal(result["frames"].raw_data, frames.sum(axis=(1, 2)))
    assert np.array_equal(result["pixels"].data, frames.sum(axis=0))
    assert set(result["backends"].raw_data) == {backend}


@pytest.mark.parametrize(
    "form", ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "csc_array", "coo_array"]
)
def test_scipy_rows(inline: Context, data: Any, form: str) -> None:
    rows = getattr(scipy.sparse, form)(data.reshape(42, 72))
    dataset = inline.load("memory", rows, sig_shape=(8, 9), nav_shape=(6, 7))
    assert dataset.shape.to_tuple() == data.shape
    assert dataset.dtype == data.dtype
    check(inline.run_udf(dataset, Sums(UDF.BACKEND_ALL)), data, CSR)


@pytest.mark.parametrize("make", [sparse.COO, sparse.GCXS, sparse.DOK])
def test_arrays_of_the_package_sparse(inline: Context, data: Any, make: Any) -> None:
    dataset = inline.load("memory", make(data))
    assert dataset.shape.to_tuple() == data.shape
    check(inline.run_udf(dataset, Sums(("numpy", "sparse.COO"))), data, "sparse.COO")


def test_dense_for_those_who_want_it(context: Context, data: Any) -> None:
    dataset = context.load("memory", sparse.COO(data))
    roi = np.random.default_rng(1).random((6, 7)) < 0.4
    check(context.run_udf(dataset, Sums("numpy")), data, "numpy")
    check(context.run_udf(dataset, Sums("numpy"), roi=roi), data, "numpy", roi)
    check(context.run_udf(dataset, Sums(UDF.BACKEND_ALL), roi=roi), data, CSR, roi)
    both = context.run_udf(dataset, [Sums(CSR), Sums("numpy")], roi=roi)
    check(both[0], data, CSR, roi)
    check(both[1], data, "numpy", roi)


def test_dense_udf_never_sees_a_sparse_tile(
    inline: Context, data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SparseTiles, "__call__", lambda *_: pytest.fail("read as sparse"))
    check(inline.run_udf(inline.load("memory", sparse.COO(data)), Sums("numpy")), data, "numpy")


def test_user_chooses_between_dense_and_sparse(inline: Context, data: Any) -> None:
    dataset = inline.load("memory", sparse.COO(data))
    check(inline.run_udf(dataset, Sums(UDF.BACKEND_ALL), backends="numpy"), data, "numpy")
    check(inline.run_udf(dataset, Sums(UDF.BACKEND_ALL), backends=("sparse.GCXS",)), data, "sparse.GCXS")


def test_corrected_data_are_dense(inline: Context, data: Any) -> None:
    dark = np.ones((8, 9), np.float32)
    dataset = inline.load("memory", sparse.COO(data))
    result = inline.run_udf(dataset, Sums(UDF.BACKEND_ALL), corrections=CorrectionSet(dark=dark))
    check(result, data.astype("f8") - 1, "numpy")


def test_duplicates_are_added(inline: Context) -> None:
    rows = scipy.sparse.coo_array(([1, 2, 4], ([0, 0, 1], [3, 3, 5])), shape=(2, 6))
    dataset = inline.load("memory", rows, sig_shape=(2, 3))
    for backends in (("numpy",), UDF.BACKEND_ALL):
        assert inline.run_udf(dataset, Sums(backends))["frames"].data.tolist() == [3, 4]


def test_shapes_that_do_not_fit_are_refused(inline: Context, data: Any) -> None:
    rows = scipy.sparse.csr_array(data.reshape(42, 72))
    with pytest.raises(ScanError, match="say with sig_shape"):
        inline.load("memory", rows)
    with pytest.raises(ScanError, match="are not frames of shape"):
        inline.load("memory", rows, sig_shape=(8, 8))
    with pytest.raises(ScanError):
        inline.load("memory", rows, sig_shape=(8, 9), nav_shape=(6, 8))
