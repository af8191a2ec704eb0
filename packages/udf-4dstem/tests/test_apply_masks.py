"""Dot products with masks of every kind."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import sparse

from udf_4dstem import ApplyMasksUDF, masks

SIG = (11, 13)


def random_masks() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((3, *SIG))


def expected(data: np.ndarray, stack: np.ndarray) -> np.ndarray:
    return np.einsum("abyx,myx->abm", data.astype(np.float64), stack)


def test_a_stack_of_masks(run, counts):
    result = run(counts, ApplyMasksUDF(mask_factories=random_masks))["intensity"]
    assert result.data.shape == (5, 6, 3)
    np.testing.assert_allclose(result.data, expected(counts, random_masks()), rtol=1e-10)


def test_single_masks_of_different_kinds(run, counts):
    disk = masks.circular(6, 5, 13, 11, 4)
    factories = [lambda: disk, lambda: random_masks()[0], lambda: masks.gradient_x(13, 11)]
    result = run(counts, ApplyMasksUDF(mask_factories=factories))["intensity"].data
    stack = np.stack([factory() for factory in factories])
    np.testing.assert_allclose(result, expected(counts, stack), rtol=1e-10)
    np.testing.assert_array_equal(result[..., 0], counts[..., disk].sum(axis=-1))


def test_single_precision_masks_stay_within_single_precision(run, counts):
    stack = random_masks().astype(np.float32)
    result = run(counts, ApplyMasksUDF(mask_factories=lambda: stack))["intensity"].data
    scale = expected(counts, np.abs(stack))
    assert (np.abs(result - expected(counts, stack)) <= 1e-6 * scale).all()


def to_csr(stack: np.ndarray) -> list:
    return [lambda m=m: scipy.sparse.csr_matrix(m) for m in stack]


@pytest.mark.parametrize(
    "make",
    [
        to_csr,
        lambda stack: [lambda m=m: scipy.sparse.coo_array(m) for m in stack],
        lambda stack: lambda: sparse.COO.from_numpy(stack),
        lambda stack: lambda: sparse.GCXS.from_numpy(stack),
        lambda stack: [lambda m=m: sparse.COO.from_numpy(m) for m in stack],
    ],
    ids=["scipy csr", "scipy coo", "sparse stack", "gcxs stack", "sparse masks"],
)
@pytest.mark.parametrize("use_sparse", [None, False, True, "scipy.sparse", "sparse.pydata"])
def test_sparse_masks(run, counts, make, use_sparse):
    stack = random_masks() * (np.random.default_rng(0).random((3, *SIG)) < 0.2)
    udf = ApplyMasksUDF(mask_factories=make(stack), use_sparse=use_sparse)
    np.testing.assert_allclose(run(counts, udf)["intensity"].data, expected(counts, stack), rtol=1e-9)


def test_dense_masks_may_be_multiplied_as_sparse_ones(run, counts):
    udf = ApplyMasksUDF(mask_factories=random_masks, use_sparse=True)
    np.testing.assert_allclose(
        run(counts, udf)["intensity"].data, expected(counts, random_masks()), rtol=1e-9
    )


@pytest.mark.parametrize("use_sparse", [False, True])
def test_complex_masks_and_complex_data(run, counts, use_sparse):
    stack = random_masks() * np.exp(1j * random_masks())
    for data in (counts, counts * np.complex64(1 + 2j)):
        result = run(data, ApplyMasksUDF(mask_factories=lambda: stack, use_sparse=use_sparse))[
            "intensity"
        ].data
        assert result.dtype == np.complex128
        np.testing.assert_allclose(result, np.einsum("abyx,myx->abm", data, stack), rtol=1e-6)


def test_masks_on_large_frames_that_are_cut_into_tiles(run):
    data = np.random.default_rng(0).integers(0, 4096, (3, 4, 256, 256)).astype(np.uint16)
    stack = np.stack([masks.gradient_x(256, 256), masks.ring(128, 128, 256, 256, 100, 50, antialiased=True)])
    result = run(data, ApplyMasksUDF(mask_factories=lambda: stack), chunk_items=12)["intensity"].data
    np.testing.assert_allclose(result, expected(data, stack), rtol=1e-6)


def test_masks_are_not_made_on_the_main_side_if_count_and_type_are_given(run, counts):
    calls = []

    def factory():
        calls.append(1)
        return random_masks()

    run(counts, ApplyMasksUDF(mask_factories=factory, mask_count=3, mask_dtype=np.float64))
    assert len(calls) == 1  # once for the only worker


def test_a_wrong_mask_count_is_an_error(run, counts):
    with pytest.raises(ValueError, match="mask_count=2, but the factories make 3"):
        run(counts, ApplyMasksUDF(mask_factories=random_masks, mask_count=2, mask_dtype=np.float64))


def test_a_mask_of_another_shape_is_an_error(run, counts):
    with pytest.raises(ValueError, match=r"a mask has shape \(3, 3\)"):
        run(counts, ApplyMasksUDF(mask_factories=[lambda: np.ones((3, 3))]))


def test_no_mask_is_an_error(run, counts):
    with pytest.raises(ValueError, match="at least one mask"):
        run(counts, ApplyMasksUDF(mask_factories=[]))


def moved(stack: np.ndarray, dy: int, dx: int) -> np.ndarray:
    wide = np.pad(stack, ((0, 0), (20, 20), (20, 20)))
    return np.roll(wide, (dy, dx), axis=(1, 2))[:, 20:-20, 20:-20]


def test_masks_are_shifted_down_and_right(run, counts):
    udf = ApplyMasksUDF(mask_factories=random_masks, shifts=(2, -3.9))
    result = run(counts, udf)["intensity"].data
    np.testing.assert_allclose(result, expected(counts, moved(random_masks(), 2, -3)), rtol=1e-10)


def test_each_frame_may_have_its_own_shift(run, counts):
    shifts = np.random.default_rng(0).integers(-14, 15, (5, 6, 2))
    aux = ApplyMasksUDF.aux_data(shifts, kind="nav", extra_shape=(2,), dtype=shifts.dtype)
    roi = np.random.default_rng(5).random((5, 6)) < 0.5
    result = run(counts, ApplyMasksUDF(mask_factories=random_masks, shifts=aux), roi=roi)["intensity"].data
    for r in zip(*np.nonzero(roi), strict=True):
        products = (moved(random_masks(), *shifts[r]) * counts[r]).sum(axis=(1, 2))
        np.testing.assert_allclose(result[r], products, rtol=1e-10, atol=1e-9)


def test_scipy_masks_cannot_be_shifted():
    with pytest.raises(ValueError, match="shifts"):
        ApplyMasksUDF(mask_factories=random_masks, use_sparse="scipy.sparse", shifts=(1, 1))
