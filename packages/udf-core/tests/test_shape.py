"""Shapes and slices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from udf_core import Shape, Slice, SliceUsageError, prod


def test_shape_splits_navigation_and_signal() -> None:
    shape = Shape((2, 3, 4, 5), sig_dims=2)
    assert shape.nav.to_tuple() == (2, 3)
    assert shape.sig.to_tuple() == (4, 5)
    assert shape.flatten_nav().to_tuple() == (6, 4, 5)
    assert shape.flatten_sig().to_tuple() == (2, 3, 20)
    assert (shape.dims, shape.size, len(shape), shape[1], list(shape)) == (4, 120, 4, 3, [2, 3, 4, 5])
    assert Shape((), 0).size == 0


def test_appending_goes_to_the_nearer_part() -> None:
    shape = Shape((2, 3), sig_dims=1)
    appended, prepended = shape + (7,), (7,) + shape  # noqa: RUF005
    assert appended == Shape((2, 3, 7), sig_dims=2)
    assert prepended == Shape((7, 2, 3), sig_dims=1)
    assert shape != Shape((2, 3), sig_dims=2)
    assert len({shape, Shape((2, 3), 1)}) == 1


def test_impossible_shape_is_refused() -> None:
    with pytest.raises(SliceUsageError):
        Shape((2,), sig_dims=2)


def test_prod_takes_integers_only() -> None:
    assert prod(()) == 1
    with pytest.raises(ValueError, match="integers"):
        prod((2.0, 3))


def test_slice_gets_its_region() -> None:
    data = np.arange(2 * 4 * 5).reshape(2, 4, 5)
    part = Slice((1, 2, 0), Shape((1, 2, 3), 2))
    assert np.array_equal(part.get(data), data[1:2, 2:4, 0:3])
    assert np.array_equal(part.get(data, sig_only=True), data[..., 2:4, 0:3])
    assert part.get(nav_only=True) == (slice(1, 2),)
    assert part.nav == Slice((1,), Shape((1,), 0))
    assert part.sig == Slice((2, 0), Shape((2, 3), 2))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.data())
def test_subslices_cover_everything_once(shape: list[int], data: st.DataObject) -> None:
    step = [data.draw(st.integers(1, 7)) for _ in shape]
    hits = np.zeros(shape, int)
    for part in Slice.from_shape(shape, sig_dims=1).subslices(step):
        hits[part.get()] += 1
    assert np.all(hits == 1)


def test_intersection_shift_and_clip() -> None:
    a, b = Slice((0, 2), Shape((4, 4), 1)), Slice((3, 4), Shape((4, 4), 1))
    assert a.intersection_with(b) == Slice((3, 4), Shape((1, 2), 1))
    assert a.intersection_with(Slice((9, 9), Shape((1, 1), 1))).is_null()
    assert b.shift(a) == Slice((3, 2), Shape((4, 4), 1))
    assert a.shift_by((1, -2)) == Slice((1, 0), Shape((4, 4), 1))
    assert a.clip_to(Shape((3, 5), 1)) == Slice((0, 2), Shape((3, 3), 1))
    with pytest.raises(SliceUsageError):
        a.intersection_with(Slice((0,), Shape((1,), 1)))


def test_flat_and_compressed_navigation() -> None:
    part = Slice((1, 0, 2), Shape((1, 3, 2), 1)).flatten_nav((4, 3, 9))
    assert part == Slice((3, 2), Shape((3, 2), 1))
    roi = np.array([True, False, True, True, False, True, True, True, True, False, False, False])
    assert part.adjust_for_roi(roi) == Slice((2, 2), Shape((2, 2), 1))
    assert part.adjust_for_roi(None) is part
    assert part.discard_nav().origin == (0, 2)
