"""The picture that follows a running scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from livestem._preview import Preview
from livestem._results import Snapshot
from livestem.views import Channel


def snapshot(value: float) -> Snapshot:
    channel = Channel("intensity", np.full((4, 4), value), source="bf")
    return Snapshot((channel,), np.ones((4, 4), dtype=bool))


def test_last_snapshot_is_drawn_before_the_end(tmp_path: Path) -> None:
    with Preview(tmp_path / "preview.png") as preview:
        for value in range(50):
            preview.show(snapshot(value))

    assert (tmp_path / "preview.png").read_bytes().startswith(b"\x89PNG")
    assert 1 <= preview.n_drawn <= 50
    assert [path.name for path in tmp_path.iterdir()] == ["preview.png"]


def test_nothing_is_due_while_one_is_drawn(tmp_path: Path) -> None:
    with Preview(tmp_path / "preview.png") as preview:
        assert preview.is_due
        preview.show(snapshot(1.0))
        assert not preview.is_due


def test_folder_that_is_gone_is_noted_and_does_no_harm(tmp_path: Path) -> None:
    with Preview(tmp_path / "missing" / "preview.png") as preview:
        preview.show(snapshot(1.0))

    assert isinstance(preview.error, FileNotFoundError)


def test_empty_results_do_no_harm(tmp_path: Path) -> None:
    with Preview(tmp_path / "preview.png") as preview:
        preview.show(Snapshot((), np.ones((2, 2), dtype=bool)))

    assert isinstance(preview.error, ValueError)


def test_closing_without_any_snapshot_ends(tmp_path: Path) -> None:
    with Preview(tmp_path / "preview.png") as preview:
        pass

    assert preview.n_drawn == 0
