"""The one home of index arithmetic, against a slow and obvious model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from udf_core import Scan, ScanError, ScanMap


def model(scan: Scan, n_items: int) -> list[int]:
    """Walk the scan step by step."""
    *outer, width = scan.shape
    path = []
    for line in range(int(np.prod(outer))):
        columns = range(width)
        if scan.snake and line % 2:
            columns = reversed(columns)
        path += [line * width + column for column in columns] + [-1] * scan.flyback
    items = []
    for item in range(n_items):
        place = item - scan.offset
        items.append(path[place] if 0 <= place < len(path) else -1)
    return items


scans = st.builds(
    Scan,
    st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    offset=st.integers(-9, 9),
    flyback=st.integers(0, 3),
    snake=st.booleans(),
)


@given(scans, st.integers(0, 40), st.integers(0, 40))
def test_positions_are_those_of_the_model(scan: Scan, first: int, n: int) -> None:
    assert scan.positions(first, n).tolist() == model(scan, first + n)[first:]


@given(scans, st.data())
def test_stretches_hold_each_selected_item_once_in_order_of_position(scan: Scan, data: st.DataObject) -> None:
    n_positions = scan.n_positions
    roi = np.array(data.draw(st.lists(st.booleans(), min_size=n_positions, max_size=n_positions)))
    scan_map = ScanMap(scan, roi.reshape(scan.shape) if data.draw(st.booleans()) else None)
    first, n = data.draw(st.integers(0, 20)), data.draw(st.integers(0, 40))
    positions = scan_map.positions(first, n)
    seen = {}
    last = -1
    for stretch in scan_map.stretches(first, n):
        items = np.arange(n)[stretch.items]
        assert len(items) == stretch.n
        assert stretch.first > last
        last = stretch.first + stretch.n - 1
        seen.update(zip(items.tolist(), range(stretch.first, last + 1), strict=True))
    assert seen == {i: p for i, p in enumerate(positions.tolist()) if p != -1}


def test_roi_compresses_positions() -> None:
    roi = np.array([[True, False, True], [False, True, True]])
    assert ScanMap(Scan((2, 3)), roi).positions(0, 6).tolist() == [0, -1, 1, -1, 2, 3]


@pytest.mark.parametrize(
    ("shape", "n_items", "more", "resolved"),
    [
        ((-1,), 12, {}, (12,)),
        ((-1, 4), 12, {}, (3, 4)),
        ((3, -1), 12, {}, (3, 4)),
        ((-1, -1), 16, {}, (4, 4)),
        ((2, -1, -1), 18, {}, (2, 3, 3)),
        ((3, -1), 18, {"flyback": 2}, (3, 4)),
        ((3, -1), 16, {"flyback": 2}, (3, 4)),
        ((-1, 4), 13, {"offset": 1}, (3, 4)),
        ((-1, 4), 12, {"offset": 1}, (3, 4)),
    ],
)
def test_placeholders_follow_from_the_number_of_items(shape, n_items, more, resolved) -> None:
    assert Scan(shape, **more).resolve(n_items).shape == resolved


@pytest.mark.parametrize(
    ("shape", "n_items", "more"),
    [
        ((4, 4), 15, {}),
        ((4, 4), 17, {}),
        ((-1, 5), 16, {}),
        ((-1, -1), 15, {}),
        ((4, 4), 16, {"flyback": 1}),
        ((4, 4), 14, {"offset": 1}),
    ],
)
def test_shape_that_does_not_fit_names_shape_and_items(shape, n_items, more) -> None:
    with pytest.raises(ScanError, match=rf"\({shape[0]}, {shape[1]}\).*{n_items} items") as raised:
        Scan(shape, **more).resolve(n_items)
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize("n_items", [20, 19])
def test_last_line_may_come_without_its_flyback(n_items: int) -> None:
    assert Scan((4, 4), flyback=1).resolve(n_items).shape == (4, 4)


@pytest.mark.parametrize("offset", [16, -16, 20])
def test_offset_that_leaves_nothing_is_refused(offset: int) -> None:
    with pytest.raises(ScanError, match=str(offset)):
        Scan((4, 4), offset=offset).resolve(16)


def test_unknown_number_of_items_needs_a_whole_shape() -> None:
    assert Scan((4, 4)).resolve(None).shape == (4, 4)
    with pytest.raises(ScanError, match="unknown"):
        Scan((-1, 4)).resolve(None)
    with pytest.raises(ScanError, match="resolve"):
        Scan((-1, 4)).positions(0, 1)


@pytest.mark.parametrize("bad", [{"shape": ()}, {"shape": (-2, 3)}, {"shape": (3,), "flyback": -1}])
def test_nonsense_is_refused(bad: dict) -> None:
    with pytest.raises(ScanError):
        Scan(**bad)
