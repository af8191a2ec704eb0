"""Result buffers as users see them."""

from __future__ import annotations

import numpy as np
import pytest

from udf_core import AuxBuffer, BufferWrapper, InvalidMaskError, Shape

SHAPE = Shape((3, 4, 5, 6), sig_dims=2)
ROI = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]], bool)


def result(kind, array, *, extra=(), roi=None, valid=None) -> BufferWrapper:
    buffer = BufferWrapper(kind, extra, array.dtype).set_shape(SHAPE, roi)
    return buffer.set_result(array, valid, name="x")


def test_data_without_roi_is_a_view() -> None:
    raw = np.arange(12.0)
    buffer = result("nav", raw)
    assert buffer.data.shape == (3, 4)
    assert np.shares_memory(buffer.data, raw)
    assert buffer.valid_mask.all()
    assert buffer.shape == (12,)


def test_roi_is_unfolded_with_nan() -> None:
    buffer = result("nav", np.arange(8.0).reshape(4, 2), extra=(2,), roi=ROI)
    assert buffer.data.shape == (3, 4, 2)
    assert np.array_equal(buffer.data[ROI], np.arange(8.0).reshape(4, 2))
    assert np.isnan(buffer.data[~ROI]).all()
    assert np.array_equal(buffer.valid_mask[..., 0], ROI)
    assert buffer.masked_data.mask.sum() == 16
    assert np.array_equal(buffer.raw_data, np.arange(8.0).reshape(4, 2))


def test_full_navigation_shape_is_taken_as_it_is() -> None:
    full = np.arange(12.0).reshape(3, 4)
    buffer = result("nav", full, roi=ROI)
    assert np.array_equal(buffer.data, full)
    assert np.array_equal(buffer.raw_data, full[ROI])


@pytest.mark.parametrize(
    ("kind", "extra", "shape"),
    [
        ("nav", (), (12,)),
        ("nav", (2,), (12, 2)),
        ("sig", (), (5, 6)),
        ("sig", (3,), (5, 6, 3)),
        ("single", (), (1,)),
        ("single", (5,), (5,)),
    ],
)
def test_shapes_by_kind(kind, extra, shape) -> None:
    buffer = BufferWrapper(kind, extra).set_shape(SHAPE).allocate()
    assert buffer.shape == buffer.raw_data.shape == shape
    assert not buffer.raw_data.any()


@pytest.mark.parametrize(
    ("kind", "array"),
    [("nav", np.zeros(11)), ("sig", np.zeros((6, 5))), ("single", np.zeros(2)), ("nav", np.zeros((4, 3)))],
)
def test_wrong_shape_is_refused_at_once(kind, array) -> None:
    with pytest.raises(ValueError, match=r"'x'.*declared with shape"):
        result(kind, array)


def test_valid_parts() -> None:
    valid = np.zeros((3, 4), bool)
    valid[:2] = True
    valid[2, 1] = True
    buffer = result("nav", np.arange(12.0), valid=valid.reshape(-1))
    assert buffer.valid_slice_bounding == (slice(0, 3), slice(0, 4))
    assert buffer.get_valid_slice_inner() == (slice(0, 2), slice(0, 4))
    assert buffer.get_valid_slice_inner(axis=1) == (slice(0, 3), slice(1, 2))
    assert buffer.raw_masked_data.count() == 9
    nothing = result("nav", np.arange(12.0), valid=np.zeros(12, bool))
    assert nothing.valid_slice_bounding == (slice(0, 0), slice(0, 0))
    assert nothing.get_valid_slice_inner() == (slice(0, 0), slice(0, 4))


def test_mask_that_does_not_fit() -> None:
    with pytest.raises(InvalidMaskError, match="'x'"):
        result("nav", np.arange(12.0), valid=np.zeros(11, bool))


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [("f4", np.nan), ("i4", 0), (bool, False), ("U2", ""), (object, None), ("u1", 0)],
)
def test_fill_values(dtype, fill) -> None:
    buffer = result("nav", np.ones(4, dtype), roi=ROI)
    outside = buffer.data[2, 3]
    assert outside is None if fill is None else (outside == fill or np.isnan(fill))


def test_declaration_holds_no_data() -> None:
    with pytest.raises(RuntimeError, match="declaration"):
        _ = BufferWrapper("nav").data


def test_unknown_use() -> None:
    with pytest.raises(ValueError, match="'secret'"):
        BufferWrapper("nav", use="secret")


def test_array_conversion() -> None:
    buffer = result("single", np.arange(3.0), extra=(3,)) if False else result("nav", np.arange(12.0))
    assert np.asarray(buffer, dtype="i4").dtype == np.int32
    assert not np.shares_memory(np.array(buffer, copy=True), buffer.data)
    with pytest.raises(ValueError, match="copy"):
        np.array(buffer, dtype="i4", copy=False)


@pytest.mark.parametrize(
    ("kind", "shape", "extra"), [("sig", (5, 5), ()), ("nav", (13,), ()), ("nav", (12, 3), (2,))]
)
def test_aux_data_must_fit(kind, shape, extra) -> None:
    with pytest.raises(ValueError, match="aux data"):
        AuxBuffer(np.zeros(shape, "f4"), kind, extra).fit(SHAPE, None)


def test_aux_data_of_the_roi() -> None:
    full, selected = AuxBuffer(np.arange(12.0), "nav", dtype="f8").fit(SHAPE, ROI)
    assert np.array_equal(selected, full.reshape(3, 4)[ROI])
    single, _ = AuxBuffer(np.arange(4.0), "single", (2, 2), "f8").fit(SHAPE, ROI)
    assert single.shape == (2, 2)
