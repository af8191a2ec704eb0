"""The one home of index arithmetic, against a slow and obvious model."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from udf_core import DuplicatePositionError, Scan, ScanError, ScanMap


def model(scan: Scan, n_items: int) -> list[tuple[int, int]]:
    """Walk the scan step by step; return pass and position of each item."""
    if scan.order is not None:
        path = scan.order.tolist()
    else:
        path = []
        *frames, height, width = (1, *scan.shape)
        for frame in range(int(np.prod(frames))):
            for row in range(height):
                start = (frame * height + row) * width
                columns = reversed(range(width)) if scan.snake and row % 2 else range(width)
                path += [start + column for column in columns] + [-1] * scan.flyback
            path += [-1] * ((width + scan.flyback) * scan.flyback_lines)
    items = []
    for item in range(n_items):
        number, place = divmod(item - scan.offset, len(path))
        if number < 0 or (number >= scan.repeats and not scan.endless) or path[place] == -1:
            items.append((max(0, number), -1))
        elif scan.endless:
            items.append((number, path[place]))
        else:
            items.append((0, number * int(np.prod(scan.shape)) + path[place]))
    return items


shapes = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)
again = st.sampled_from([{}, {}, {"repeats": 2}, {"repeats": 3}, {"endless": True}])
lined_scans = st.builds(
    lambda shape, more, **options: Scan(shape, **options, **more),
    shapes,
    again,
    offset=st.integers(-9, 9),
    flyback=st.integers(0, 3),
    flyback_lines=st.integers(0, 2),
    snake=st.booleans(),
)


@st.composite
def free_scans(draw: st.DrawFn) -> Scan:
    shape = draw(shapes)
    n = int(np.prod(shape))
    order = draw(st.permutations([*range(n), -1, -1]))
    kept = draw(st.integers(1, n + 2))
    return Scan.from_positions(order[:kept], shape, offset=draw(st.integers(-9, 9)), **draw(again))


scans = st.one_of(lined_scans, free_scans())


@given(scans, st.integers(0, 40), st.integers(0, 40))
def test_positions_are_those_of_the_model(scan: Scan, first: int, n: int) -> None:
    assert scan.positions(first, n).tolist() == [position for _, position in model(scan, first + n)[first:]]


@given(scans, st.integers(0, 40), st.integers(0, 200))
def test_passes_are_those_of_the_model(scan: Scan, first: int, n: int) -> None:
    expected = [number if scan.endless else 0 for number, _ in model(scan, first + n)[first:]]
    found = []
    for number, start, count in scan.passes(first, n):
        assert start == first + len(found)
        found += [number] * count
    assert found == expected


@given(scans)
def test_a_complete_scan_reaches_every_position_once_in_each_pass(scan: Scan) -> None:
    n_passes = 4
    items = model(scan, max(0, scan.offset) + scan.items_per_pass * max(scan.repeats, n_passes))
    scan_map = ScanMap(scan)
    for number in range(n_passes if scan.endless else 1):
        reached = [p for n, p in items if p != -1 and (n == number or not scan.endless)]
        assert len(set(reached)) == len(reached)
        if scan.endless:
            assert scan_map.n_expected(number) == len(reached)
        if scan.order is None and scan.offset >= 0:
            assert sorted(reached) == list(range(scan.n_positions))


@given(scans, st.data())
def test_stretches_hold_each_selected_item_once_in_order_of_position(scan: Scan, data: st.DataObject) -> None:
    n_positions = scan.n_positions
    roi = np.array(data.draw(st.lists(st.booleans(), min_size=n_positions, max_size=n_positions)))
    scan_map = ScanMap(scan, roi.reshape(scan.nav_shape) if data.draw(st.booleans()) else None)
    first, n = data.draw(st.integers(0, 20)), data.draw(st.integers(0, 40))
    positions = scan_map.positions(first, n)
    seen = {}
    last = (0, -1)
    for stretch in scan_map.stretches(first, n):
        items = np.arange(n)[stretch.items]
        assert len(items) == stretch.n > 0
        assert (stretch.scan_pass, stretch.first) > last
        last = (stretch.scan_pass, stretch.first + stretch.n - 1)
        places = range(stretch.first, last[1] + 1)
        assert not set(items.tolist()) & set(seen)
        seen.update((i, (stretch.scan_pass, p)) for i, p in zip(items.tolist(), places, strict=True))
    passes = [number for number, _ in model(scan, first + n)[first:]]
    passes = passes if scan.endless else [0] * n
    expected = zip(passes, positions.tolist(), strict=True)
    assert seen == {i: (number, p) for i, (number, p) in enumerate(expected) if p != -1}


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
        ((-1, 4), 36, {"repeats": 3}, (3, 4)),
        ((3, -1), 16, {"flyback_lines": 1}, (3, 4)),
        ((-1, 4), 20, {"flyback_lines": 2}, (3, 4)),
        ((-1, 3, 4), 32, {"flyback_lines": 1}, (2, 3, 4)),
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


@pytest.mark.parametrize(
    ("scan", "n_items", "text"),
    [
        (Scan((256, 255)), 65536, "65536 items = 256 x 256 or "),
        (Scan((128, 128)), 4096, "4096 items = 32 x 128 or 64 x 64 or 128 x 32$"),
        (Scan((3, 3), repeats=2), 24, "24 items = 2 x 3 x 4"),
        (Scan((3, 5), flyback=1), 20, "20 items = 4 x 4 or .* plus flyback"),
        (Scan((6, 4), flyback=1, flyback_lines=1), 25, "25 items = 4 x 4 plus flyback"),
        (Scan((4, 4), endless=True), 15, r"needs 16 items per pass.*not even one pass"),
        (Scan.from_positions([1, 2], (2, 2)), 3, "scan of 2 given items, which needs 2 items,"),
    ],
)
def test_shapes_that_would_fit_are_named(scan: Scan, n_items: int, text: str) -> None:
    with pytest.raises(ScanError, match=text):
        scan.resolve(n_items)


@pytest.mark.parametrize("n_items", [None, 16, 17, 1000])
def test_endless_scan_takes_any_number_of_items_from_one_pass_on(n_items: int | None) -> None:
    scan = Scan((4, 4), endless=True)
    assert scan.resolve(n_items) == scan
    with pytest.raises(ScanError, match="no last item"):
        _ = scan.n_items


@pytest.mark.parametrize("n_items", [None, 32])
def test_endless_scan_needs_a_whole_shape(n_items: int | None) -> None:
    with pytest.raises(ScanError, match="endless"):
        Scan((-1, 4), endless=True).resolve(n_items)


@pytest.mark.parametrize("offset", [0, 3, -3])
def test_items_behind_the_last_pass_are_counted(offset: int) -> None:
    scan = Scan((2, 3), repeats=2, offset=offset)
    assert sum(scan.n_surplus(first, 5) for first in range(0, 40, 5)) == 40 - 12 - offset
    assert Scan((2, 3), endless=True).n_surplus(0, 1000) == 0


def test_each_frame_of_a_snake_begins_forwards() -> None:
    once = Scan((3, 2), snake=True).positions(0, 6)
    assert once.tolist() == [0, 1, 3, 2, 4, 5]
    for scan in (Scan((2, 3, 2), snake=True), Scan((3, 2), snake=True, repeats=2)):
        assert scan.positions(0, 12).tolist() == [*once, *(once + 6)]


def test_scans_compare_by_what_they_do() -> None:
    scan = Scan.from_positions([2, 0], (3,))
    assert scan == Scan.from_positions(np.array([2, 0], "u1"), (3,))
    assert scan != Scan.from_positions([0, 2], (3,))
    assert scan != Scan((3,))
    copy = pickle.loads(pickle.dumps(scan))
    assert copy == scan
    assert hash(copy) == hash(scan)


def test_order_is_a_copy_that_nobody_changes() -> None:
    mine = np.array([0, 1])
    scan = Scan.from_positions(mine, (2,))
    mine[:] = 1
    assert scan.order.tolist() == [0, 1]
    assert not scan.order.flags.writeable


def test_position_given_twice_is_refused() -> None:
    with pytest.raises(DuplicatePositionError, match=r"items 1 and 3 are both at position 2 \(1, 0\)"):
        Scan.from_positions([0, 2, 1, 2], (2, 2))


@pytest.mark.parametrize(
    ("indices", "text"),
    [
        ([0, 4], r"item 1 is at position 4, outside of the 4 positions of \(2, 2\)"),
        ([-2], "item 0 is at position -2"),
        ([0.5], "float64"),
        ([[0, 1]], r"\(1, 2\)"),
    ],
)
def test_positions_that_make_no_sense_are_refused(indices: Any, text: str) -> None:
    with pytest.raises(ScanError, match=text):
        Scan.from_positions(indices, (2, 2))


def test_coordinates_are_snapped_to_the_nearest_position() -> None:
    coordinates = [(10.4, -1.1), (19.0, 2.0), (30.2, 0.4), (9.0, 5.0), (np.nan, 0)]
    scan = Scan.from_coordinates(coordinates, (3, 4), origin=(10, -1), step=(10, 1))
    assert scan.order.tolist() == [0, 4 + 3, 8 + 1, -1, -1]


@given(st.integers(1, 6), st.integers(1, 6), st.floats(0.01, 100), st.integers(0, 2**32 - 1))
def test_grid_in_any_order_is_found_again(height: int, width: int, step: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(height * width)
    coordinates = np.stack(np.unravel_index(order, (height, width)), axis=1) * step + rng.normal(size=2)
    noise = rng.uniform(-0.3, 0.3, coordinates.shape) * step
    scan = Scan.from_coordinates(coordinates + noise, (height, width), origin=coordinates.min(0), step=step)
    assert scan.order.tolist() == order.tolist()
    assert Scan.from_coordinates(coordinates, (height, width)).order.tolist() == order.tolist()


def test_several_coordinates_at_one_position() -> None:
    coordinates = [0.3, 0.1, 1.0, -0.1]
    with pytest.raises(DuplicatePositionError, match="items 0 and 1"):
        Scan.from_coordinates(coordinates, (2,), origin=0, step=1)
    scan = Scan.from_coordinates(coordinates, (2,), origin=0, step=1, on_duplicate="nearest")
    assert scan.order.tolist() == [-1, 0, 1, -1]


@pytest.mark.parametrize(
    ("coordinates", "more", "text"),
    [
        ([(0, 0, 0)], {}, r"\(1, 3\).*\(n_items, 2\)"),
        ([(0, 0)], {"step": 0}, "other than 0"),
        ([(0, 0)], {"on_duplicate": "last"}, "'last'"),
    ],
)
def test_coordinates_that_make_no_sense_are_refused(coordinates: Any, more: dict, text: str) -> None:
    with pytest.raises(ScanError, match=text):
        Scan.from_coordinates(coordinates, (2, 2), **more)


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


@pytest.mark.parametrize(
    "bad",
    [
        {"shape": ()},
        {"shape": (-2, 3)},
        {"shape": (3,), "flyback": -1},
        {"shape": (3,), "flyback_lines": -1},
        {"shape": (3,), "repeats": 0},
        {"shape": (3,), "repeats": 2, "endless": True},
        {"shape": (3,), "order": [0, 1], "snake": True},
        {"shape": (-1,), "order": [0, 1]},
    ],
)
def test_nonsense_is_refused(bad: dict) -> None:
    with pytest.raises(ScanError):
        Scan(**bad)
