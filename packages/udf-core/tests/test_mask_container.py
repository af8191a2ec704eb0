"""Masks are made from factories and cut to tiles."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle
import numpy as np
import pytest
import scipy.sparse
import sparse

from udf_core import MaskContainer, Shape, Slice, TilingScheme

PART = Slice((0, 1, 0), Shape((5, 2, 4), 2))


def dense() -> np.ndarray:
    return np.arange(12.0).reshape(3, 4)


def eye() -> Any:
    return scipy.sparse.csr_matrix(np.eye(3, 4))


def test_masks_are_columns_cut_to_the_tile() -> None:
    masks = MaskContainer([dense, eye])

    cut = masks.get(PART)

    expected = np.stack([dense()[1:3].ravel(), np.eye(3, 4)[1:3].ravel()], axis=1)
    np.testing.assert_array_equal(cut, expected)
    np.testing.assert_array_equal(masks.get(PART, transpose=False), expected.T)
    assert masks.get(PART) is cut
    assert (len(masks), masks.dtype, masks.use_sparse) == (2, np.dtype("f8"), False)


def test_a_factory_may_make_the_whole_stack() -> None:
    masks = MaskContainer(lambda: np.ones((2, 3, 4), "i2"))

    assert masks.get(PART).shape == (8, 2)
    assert masks.get(PART).dtype == np.dtype("i2")
    assert len(masks) == 2


def test_masks_are_sparse_if_all_are() -> None:
    masks = MaskContainer([eye, lambda: sparse.COO(np.eye(3, 4))])

    assert masks.use_sparse == "scipy.sparse"
    assert isinstance(masks.get(PART), scipy.sparse.csr_matrix)
    assert MaskContainer([eye, dense]).use_sparse is False


@pytest.mark.parametrize(
    ("form", "cls"),
    [
        (True, scipy.sparse.csr_matrix),
        ("scipy.sparse", scipy.sparse.csr_matrix),
        ("scipy.sparse.csc", scipy.sparse.csc_matrix),
        ("sparse.pydata", sparse.COO),
        ("sparse.pydata.GCXS", sparse.GCXS),
    ],
)
def test_the_sparse_format_can_be_chosen(form: Any, cls: type) -> None:
    cut = MaskContainer([dense], use_sparse=form).get(PART)

    assert type(cut) is cls
    values = cut.toarray() if scipy.sparse.issparse(cut) else cut.todense()
    np.testing.assert_array_equal(values, dense()[1:3].reshape(-1, 1))


def test_dense_masks_come_in_the_array_type_of_the_backend() -> None:
    assert isinstance(MaskContainer([dense], backend="sparse.COO").get(PART), sparse.COO)
    assert isinstance(
        MaskContainer([dense]).get(PART, backend="scipy.sparse.csr_array"), scipy.sparse.csr_array
    )


def test_types_are_converted() -> None:
    masks = MaskContainer([dense], dtype="f4")

    assert masks.get(PART).dtype == np.dtype("f4")
    assert masks.get(PART, dtype="c8").dtype == np.dtype("c8")


def test_the_number_of_masks_can_be_known_without_making_them() -> None:
    def fail() -> None:
        raise AssertionError("the factory was called")

    assert len(MaskContainer(fail, count=3)) == 3
    assert len(MaskContainer([fail, fail])) == 2


def test_masks_of_a_tile_of_a_scheme() -> None:
    scheme = TilingScheme((3, 4), rows=2, depth=1, intent="tile")

    np.testing.assert_array_equal(MaskContainer([dense]).get_for_idx(scheme, 1), dense()[2:].reshape(-1, 1))


def test_made_masks_do_not_travel() -> None:
    masks = MaskContainer([dense])
    masks.get(PART)

    packed = cloudpickle.dumps(masks)

    np.testing.assert_array_equal(pickle.loads(packed).get(PART), masks.get(PART))
    assert "computed_masks" not in masks.__getstate__()


def test_an_unknown_sparse_format_is_refused() -> None:
    with pytest.raises(ValueError, match=r"use_sparse='matlab' names no sparse format"):
        MaskContainer([dense], use_sparse="matlab")


def test_a_factory_that_carries_its_mask_is_warned_about() -> None:
    mask = np.ones((600, 600))

    with pytest.warns(RuntimeWarning, match="bytes large when pickled"):
        MaskContainer([lambda: mask]).validate_mask_functions()
