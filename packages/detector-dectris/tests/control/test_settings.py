"""How images are divided among triggers, in which order parameters are set, and when they are taken."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector_dectris._controller import DectrisController
from detector_dectris._settings import TRIGGER_MODES, in_order, longest_series, matches, plan_series


@pytest.mark.parametrize(
    ("mode", "n_items", "wished", "plan"),
    [
        ("exte", 100, {}, (1, 100)),
        ("inte", 100, {"nimages": 1}, (1, 100)),
        ("exte", 100, {"ntrigger": 100}, (1, 100)),
        ("ints", 100, {}, (100, 1)),
        ("exts", 100, {"nimages": 10}, (10, 10)),
        ("exts", 100, {"ntrigger": 10}, (10, 10)),
        ("ints", 100, {"nimages": 20, "ntrigger": 5}, (20, 5)),
        ("extg", 100, {}, (100, 1)),
        ("eies", 100, {"nimages": 50}, (50, 2)),
        ("exte", 1 << 48, {}, (1, 1 << 48)),
    ],
)
def test_images_are_divided_by_the_trigger_mode(
    mode: str, n_items: int, wished: dict[str, int], plan: tuple[int, int]
) -> None:
    assert plan_series(mode, n_items, **wished) == plan


@pytest.mark.parametrize(
    ("mode", "n_items", "wished", "match"),
    [
        ("exte", 100, {"nimages": 2}, "nimages=2"),
        ("exte", 100, {"ntrigger": 99}, "ntrigger=99"),
        ("exts", 100, {"nimages": 7}, "nimages=7"),
        ("exts", 5, {"nimages": 7}, "nimages=7"),
        ("ints", 100, {"ntrigger": 7}, "ntrigger=7"),
        ("ints", 100, {"nimages": 10, "ntrigger": 9}, "nimages=10, ntrigger=9"),
        ("ints", 0, {}, "n_items=0"),
        ("ints", (1 << 48) + 1, {}, "n_items=281474976710657"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(
    mode: str, n_items: int, wished: dict[str, int], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        plan_series(mode, n_items, **wished)


@given(
    st.sampled_from(TRIGGER_MODES),
    st.integers(1, 10**6),
    st.none() | st.integers(1, 1000),
    st.none() | st.integers(1, 1000),
)
def test_a_plan_gives_the_images_that_were_asked_for(
    mode: str, n_items: int, nimages: int | None, ntrigger: int | None
) -> None:
    try:
        plan = plan_series(mode, n_items, nimages, ntrigger)
    except ValueError:
        return
    assert plan.nimages * plan.ntrigger == n_items
    assert ntrigger in (None, plan.ntrigger)
    assert mode == "extg" or nimages in (None, plan.nimages)


@given(st.permutations(["frame_time", "count_time", "roi_mode", "trigger_mode", "counting_mode"]))
def test_what_resets_others_is_set_before_them(names: list[str]) -> None:
    ordered = list(in_order(dict.fromkeys(names, 1)))
    assert ordered == ["roi_mode", "counting_mode", "count_time", "frame_time", "trigger_mode"]


def test_an_endless_series_is_as_long_as_the_detector_allows() -> None:
    assert longest_series(1e-4) * 1e-4 < 7 * 24 * 3600
    assert longest_series(1e9) == 1
    assert longest_series(0) == 2**31 - 1


@pytest.mark.parametrize(
    ("name", "wanted", "found", "same"),
    [
        ("count_time", 1e-5, 1.002e-5, True),  # one tick of 20 ns
        ("count_time", 1e-5, 2e-5, False),
        ("frame_time", 1, 1.0000001, True),
        ("threshold/1/energy", 10_000, 10_000.7, True),
        ("threshold/1/energy", 10_000, 10_002.0, False),
        ("nimages", 5, 6, False),
        ("mask_to_zero", True, 1, True),
        ("compression", "bslz4", "lz4", False),
        ("compression", "bslz4", None, False),
        ("nimages", 1, "1", False),
    ],
)
def test_detectors_may_round_but_not_choose(name: str, wanted: Any, found: Any, same: bool) -> None:
    assert matches(name, wanted, found) is same


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"trigger_mode": "sometimes"}, "trigger_mode='sometimes'"),
        ({"count_time": 2.0, "frame_time": 1.0}, r"frame_time=1\.0 s is shorter"),
        ({"count_time": -1.0}, "count_time"),
        ({"frame_time": float("nan")}, "frame_time"),
        ({"nimages": 2}, "nimages=2"),
        ({"nimages": 0, "trigger_mode": "ints"}, "nimages=0"),
        ({"ntrigger": 1.5}, r"ntrigger=1\.5"),
        ({"roi_mode": "merge2x2", "binning_mode": "2x2"}, "merge2x2"),
        ({"threshold_energies": [5e3, 9e3], "stream_format": "legacy"}, "legacy"),
        ({"stream_format": "v2"}, "stream_format='v2'"),
        ({"header_detail": "most"}, "header_detail='most'"),
        ({"name_pattern": "a", "enable_file_writing": False}, "name_pattern"),
        ({"extra": {"nosuch/config/mode": 1}}, "nosuch"),
        ({"extra": {"nimages": 0}}, "nimages=0"),
    ],
)
def test_impossible_settings_are_refused_before_connecting(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        DectrisController(**settings)


@pytest.mark.parametrize(
    ("settings", "n_items", "shape"),
    [
        ({"trigger_mode": "exts", "nimages": 4}, 12, (3, 4)),
        ({"trigger_mode": "exts", "ntrigger": 3}, 12, (3, 4)),
        ({"trigger_mode": "exts", "nimages": 4, "ntrigger": 3}, None, (3, 4)),
        ({"trigger_mode": "exts", "nimages": 5}, 12, None),
        ({"trigger_mode": "exts", "nimages": 12}, 12, None),
        ({"trigger_mode": "exts", "nimages": 4}, None, None),
        ({"trigger_mode": "exte", "ntrigger": 12}, 12, None),
        ({}, 12, None),
    ],
)
def test_a_trigger_per_line_tells_the_scan_shape(
    settings: dict[str, Any], n_items: int | None, shape: tuple[int, int] | None
) -> None:
    with DectrisController(**settings) as controller:
        assert controller.determine_nav_shape(n_items) == shape
