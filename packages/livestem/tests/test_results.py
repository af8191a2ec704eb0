"""Results on their way to files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from livestem import read_results
from livestem._results import (
    Scales,
    Snapshot,
    drawable,
    file_name,
    overview,
    take_snapshot,
    write_results,
)
from livestem.views import Calibration, Channel


@dataclass
class FakeBuffer:
    data: npt.NDArray[Any]
    kind: str = "nav"
    extra_shape: tuple[int, ...] = ()
    valid_mask: Any = None

    def __post_init__(self) -> None:
        if self.valid_mask is None:
            self.valid_mask = np.ones(self.data.shape, dtype=bool)


def com_buffers(shape: tuple[int, int] = (3, 4)) -> dict[str, FakeBuffer]:
    rng = np.random.default_rng(1)
    vector, scalar = (*shape, 2), shape
    return {
        "raw_com": FakeBuffer(rng.random(vector), extra_shape=(2,)),
        "raw_shifts": FakeBuffer(rng.random(vector), extra_shape=(2,)),
        "field": FakeBuffer(rng.random(vector), extra_shape=(2,)),
        "field_y": FakeBuffer(rng.random(scalar)),
        "field_x": FakeBuffer(rng.random(scalar)),
        "magnitude": FakeBuffer(rng.random(scalar)),
        "divergence": FakeBuffer(rng.random(scalar)),
        "curl": FakeBuffer(rng.random(scalar) * 0.01),
        "regression": FakeBuffer(np.zeros((3, 2)), kind="single", extra_shape=(3, 2)),
    }


def snapshot(buffers: Any, label: str = "com", shape: tuple[int, ...] = (3, 4), **wishes: Any) -> Snapshot:
    return take_snapshot([buffers], np.ones(shape, dtype=bool), [label], **wishes)


def names(taken: Snapshot) -> list[str]:
    return [channel.name for channel in drawable(taken)]


def test_vectors_are_drawn_whole_and_intermediates_not_at_all() -> None:
    assert names(snapshot(com_buffers())) == ["field", "magnitude", "divergence", "curl"]


def test_curl_has_the_span_of_the_divergence_beside_it() -> None:
    by_name = {channel.name: channel for channel in drawable(snapshot(com_buffers()))}

    span = by_name["curl"].span
    assert span is not None
    assert span[1] == pytest.approx(by_name["divergence"].data.max(), rel=0.1)


def test_stack_of_masks_becomes_one_map_each() -> None:
    data = np.arange(36.0).reshape(3, 4, 3)

    taken = snapshot({"intensity": FakeBuffer(data, extra_shape=(3,))}, "masks")

    channels = drawable(taken)
    assert [file_name(channel) for channel in channels] == [
        "masks-intensity_0.png",
        "masks-intensity_1.png",
        "masks-intensity_2.png",
    ]
    assert np.array_equal(channels[1].data, data[..., 1])


def test_single_mask_is_a_plain_map() -> None:
    taken = snapshot({"intensity": FakeBuffer(np.ones((3, 4, 1)), extra_shape=(1,))}, "masks")

    assert [file_name(channel) for channel in drawable(taken)] == ["masks.png"]


def test_picked_frames_are_detector_images() -> None:
    picked = np.random.default_rng(1).random((6, 8, 8))

    taken = snapshot({"intensity": FakeBuffer(picked, kind="single", extra_shape=(6, 8, 8))}, "pick")

    assert [channel.kind for channel in drawable(taken)] == ["sig"] * 4


def test_snapshot_is_a_copy() -> None:
    data = np.zeros((3, 4))
    taken = snapshot({"intensity": FakeBuffer(data)})

    data[:] = 5

    assert not taken.channels[0].data.any()


def test_position_is_valid_if_all_its_values_are() -> None:
    valid = np.ones((3, 4, 2), dtype=bool)
    valid[1, 2, 0] = False

    taken = snapshot({"field": FakeBuffer(np.ones((3, 4, 2)), extra_shape=(2,), valid_mask=valid)})

    mask = taken.channels[0].valid
    assert mask is not None
    assert mask.sum() == 11
    assert not mask[1, 2]


def test_scales_go_to_scan_and_detector() -> None:
    scales = Scales(Calibration((0.1, 0.1), "nm"), Calibration((0.5, 0.5), "mrad"))
    buffers = {"intensity": FakeBuffer(np.ones((3, 4))), "frame": FakeBuffer(np.ones((5, 5)), kind="sig")}

    taken = snapshot(buffers, scales=scales)

    assert [channel.calibration.unit for channel in taken.channels] == ["nm", "mrad"]


def test_numbers_and_their_making_come_back(tmp_path: Path) -> None:
    taken = snapshot(com_buffers())

    files = write_results(tmp_path / "new", taken, {"detector": "merlin://x", "nav_shape": (3, 4)})
    arrays, about = read_results(tmp_path / "new" / "results.npz")

    assert files[-1].name == "results.npz"
    assert np.array_equal(arrays["com.field"], taken.channels[2].data)
    assert arrays["valid"].all()
    assert about == {"detector": "merlin://x", "nav_shape": [3, 4]}


def test_second_run_replaces_the_files(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        write_results(tmp_path, snapshot({"intensity": FakeBuffer(np.full((3, 4), value))}, "bf"), {})

    assert sorted(path.name for path in tmp_path.iterdir()) == ["bf.png", "results.npz"]
    assert read_results(tmp_path / "results.npz")[0]["bf.intensity"].max() == 2.0


def test_file_names_are_harmless() -> None:
    assert file_name(Channel("my field/x", np.ones((2, 2)), source="../com")) == "..-com-my-field-x.png"


def test_share_done_is_that_of_the_scan() -> None:
    taken = take_snapshot([], np.array([True, False, False, True]), [])

    assert taken.share_done == 0.5


def test_overview_is_a_png() -> None:
    assert overview(snapshot(com_buffers()), most=2).startswith(b"\x89PNG")
