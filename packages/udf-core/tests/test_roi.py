"""What users may write as region of interest."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import sparse

from udf_core import RoiError, roi_mask

SHAPE = (3, 4)
MASK = np.zeros(SHAPE, bool)
MASK[1, 2] = MASK[0, 3] = True


@pytest.mark.parametrize(
    "roi",
    [
        MASK,
        MASK.reshape(-1),
        scipy.sparse.csr_matrix(MASK),
        scipy.sparse.coo_array(MASK),
        sparse.COO.from_numpy(MASK),
        sparse.DOK.from_numpy(MASK),
        [((1, 2), True), ((0, 3), True)],
        MASK.tolist(),
    ],
    ids=lambda roi: type(roi).__name__,
)
def test_all_forms_mean_the_same(roi) -> None:
    assert np.array_equal(roi_mask(roi, SHAPE), MASK)


def test_one_coordinate() -> None:
    assert np.flatnonzero(roi_mask((1, 2), SHAPE)).tolist() == [6]


def test_exclude_list() -> None:
    assert np.flatnonzero(~roi_mask([((1, 2), False), ((0, 3), False)], SHAPE)).tolist() == [3, 6]


def test_none_selects_everything() -> None:
    assert roi_mask(None, SHAPE) is None


def test_mask_is_a_copy() -> None:
    mine = MASK.copy()
    taken = roi_mask(mine, SHAPE)
    mine[:] = False
    assert np.array_equal(taken, MASK)


def test_other_types_are_cast_with_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"ROI dtype is int64, expected bool. Attempting cast to bool."):
        assert np.array_equal(roi_mask(MASK.astype(int), SHAPE), MASK)


@pytest.mark.parametrize(
    ("roi", "text"),
    [
        (np.ones((4, 3), bool), "incompatible shapes"),
        (np.ones(11, bool), "incompatible shapes"),
        ([((1, 2), True), ((0, 3), False)], "all of them"),
        ((1, 2, 3), "3 numbers"),
        ((1, 9), "outside"),
    ],
)
def test_what_does_not_fit_is_refused(roi, text: str) -> None:
    with pytest.raises(RoiError, match=text) as raised:
        roi_mask(roi, SHAPE)
    assert isinstance(raised.value, ValueError)
