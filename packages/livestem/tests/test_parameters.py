"""Values on the command line."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pytest

from livestem.cli._parameters import Length, Region, ScanShape, read_region


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("128x96", (128, 96)),
        ("128X96", (128, 96)),
        ("128×96", (128, 96)),
        ("50", (50,)),
        ("-1x64", (-1, 64)),
        ("2x3x4", (2, 3, 4)),
    ],
)
def test_scan_is_rows_by_columns(text: str, shape: tuple[int, ...]) -> None:
    assert ScanShape().convert(text, None, None) == shape


@pytest.mark.parametrize("text", ["0x5", "5x0", "-2x5", "", "axb", "5x", "1.5x2"])
def test_scan_without_positions_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"no positions|not a scan"):
        ScanShape().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "length"), [("0.2nm", (0.2, "nm")), ("1.5 mrad", (1.5, "mrad")), ("2e-3Å⁻¹", (0.002, "Å⁻¹"))]
)
def test_length_has_number_and_unit(text: str, length: tuple[float, str]) -> None:
    assert Length().convert(text, None, None) == length


@pytest.mark.parametrize("text", ["5", "nm", "0nm", "-1nm", "1.2.3nm", ""])
def test_length_without_number_or_unit_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="not a length"):
        Length().convert(text, None, None)


def test_region_selects_a_rectangle() -> None:
    region = read_region(Region().convert("1:3,2:", None, None), (4, 5))

    assert region.sum() == 2 * 3
    assert region[1, 2]
    assert region[2, 4]


def test_region_can_be_a_file(tmp_path: Path) -> None:
    wanted = np.eye(4, dtype=bool)
    np.save(tmp_path / "roi.npy", wanted)

    assert np.array_equal(read_region(str(tmp_path / "roi.npy"), (4, 4)), wanted)
    with pytest.raises(ValueError, match=r"shape \(4, 4\), but the scan is \(4, 5\)"):
        read_region(str(tmp_path / "roi.npy"), (4, 5))


@pytest.mark.parametrize(("text", "problem"), [("1:1,0:2", "selects no position"), ("0:2", "1 axes")])
def test_region_that_does_not_fit_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_region(text, (4, 5))


def test_region_that_is_none_is_refused() -> None:
    with pytest.raises(click.BadParameter, match="neither"):
        Region().convert("everything", None, None)
