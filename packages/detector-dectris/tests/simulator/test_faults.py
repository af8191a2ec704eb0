"""Every fault that can be switched on does to the stream what it says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from detector_dectris._simulator import Faults


@pytest.fixture
def armed(bench: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a function that arms twelve images with these faults and triggers them from outside."""

    def start(**faults: Any) -> Any:
        one = bench(faults=Faults(**faults), trigger_mode="exts", auto_trigger=True, nimages=12)
        one.put("command/arm")
        return one

    return start


def kinds(one: Any) -> list[str]:
    """What the parts of a series' messages say they are."""
    return [json.loads(message[0])["htype"] for message in one.series()]


def test_lost_images_leave_their_numbers_out(armed: Callable[..., Any]) -> None:
    assert armed(lost=range(3, 6)).numbers() == [0, 1, 2, 6, 7, 8, 9, 10, 11]


def test_duplicated_and_swapped_images(armed: Callable[..., Any]) -> None:
    one = armed(duplicated={2}, swapped={5, 11})
    assert one.numbers() == [0, 1, 2, 2, 3, 4, 6, 5, 7, 8, 9, 10, 11]


def test_damaged_blobs_keep_the_label_honest(armed: Callable[..., Any]) -> None:
    one = armed(corrupted={2}, truncated={3})
    _, *images, _ = one.series()
    assert images[2][2].endswith(b"\xff" * (len(images[2][2]) // 2))
    assert json.loads(images[3][1])["size"] == len(images[3][2])
    assert len(images[3][2]) < len(images[4][2]) * 0.7


def test_missing_end_and_missing_start(armed: Callable[..., Any]) -> None:
    one = armed(missing_end=True)
    messages = [one.message() for _ in range(13)]
    assert json.loads(messages[-1][0])["frame"] == 11
    assert one.simulator.wait_for_series(1)
    one = armed(missing_start=True)
    assert kinds(one)[0] == "dimage-1.0"


def test_header_comes_twice_or_in_two_messages(armed: Callable[..., Any]) -> None:
    assert kinds(armed(double_start=True))[:3] == ["dheader-1.0", "dheader-1.0", "dimage-1.0"]
    one = armed(split_header=True)
    assert json.loads(one.message()[0])["htype"] == "dheader-1.0"
    assert json.loads(one.message()[0])["nimages"] == 12


def test_stale_messages_are_of_the_series_before(armed: Callable[..., Any]) -> None:
    messages = armed(stale_images=2, stale_end=True).series()
    assert json.loads(messages[1][0]) == {"htype": "dseries_end-1.0", "series": 0}
    one = armed(stale_images=2)
    series = [json.loads(message[0])["series"] for message in one.series()]
    assert series[:5] == [1, 0, 0, 1, 1]


def test_an_end_without_a_start(armed: Callable[..., Any]) -> None:
    one = armed(early_end=True)
    assert kinds(one) == ["dseries_end-1.0"]
    assert one.numbers() == list(range(12))


def test_stall_lasts_until_resumed(armed: Callable[..., Any]) -> None:
    one = armed(stall_at=3)
    for _ in range(4):
        one.message()
    assert one.simulator.state == "acquire"
    one.simulator.faults.resume()
    assert one.numbers() == list(range(3, 12))


def test_stall_ends_with_abort(armed: Callable[..., Any]) -> None:
    one = armed(stall_at=3)
    for _ in range(4):
        one.message()
    one.put("command/abort")
    assert kinds(one) == ["dseries_end-1.0"]


def test_restart_begins_to_count_again(armed: Callable[..., Any]) -> None:
    one = armed(restart_at=5)
    for _ in range(6):
        one.message()
    assert one.simulator.wait_for_state("na")
    one.simulator.faults.clear()
    one.put("command/initialize")
    one.put("config/mode", "enabled", module="stream")
    one.put("command/arm")
    assert json.loads(one.message()[0])["series"] == 1


def test_a_second_client_gets_every_second_message(armed: Callable[..., Any]) -> None:
    one = armed(second_client=True)
    assert one.message()[0].startswith(b'{"header_detail"')
    frames = [json.loads(one.message()[0])["frame"] for _ in range(6)]
    assert frames == [1, 3, 5, 7, 9, 11]


def test_hashes(armed: Callable[..., Any]) -> None:
    one = armed(hash="blob")
    image = one.series()[1]
    assert json.loads(image[0])["hash"] == hashlib.md5(image[2]).hexdigest()
    one = armed(hash="wrong")
    image = one.series()[1]
    digests = {hashlib.md5(part).hexdigest() for part in image}
    assert json.loads(image[0])["hash"] not in digests


def test_clear_switches_all_off() -> None:
    faults = Faults(lost=[1], missing_end=True, stall_at=2, hash="blob")
    faults.clear()
    fresh = Faults()
    for one in fields(Faults):
        assert getattr(faults, one.name) == getattr(fresh, one.name)
