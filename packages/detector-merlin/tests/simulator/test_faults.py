"""Every fault that can be switched on does to the byte stream what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from detector_merlin._control import frame_message
from detector_merlin._simulator import DetectorStatus, Faults


@pytest.fixture
def armed(bench: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Gives a function that starts an acquisition of 12 frames with these faults, header not yet read."""

    def start(**faults: Any) -> Any:
        one = bench(faults=Faults(**faults))
        one.control.cmd("STARTACQUISITION")
        return one

    return start


def numbers(one: Any, n: int) -> list[int]:
    return [frame.number for frame in one.data.read_frames(n)]


def test_header_comes_several_times(armed: Callable[..., Any]) -> None:
    one = armed(duplicate_hdr=2)
    for _ in range(3):
        one.data.read_hdr()
    assert numbers(one, 12) == list(range(1, 13))


def test_old_header_is_shorter(armed: Callable[..., Any]) -> None:
    assert len(armed(old_hdr=True).data.read_message()) == 2020


def test_fields_are_missing(armed: Callable[..., Any]) -> None:
    one = armed(missing_thresholds=True, missing_mq1a=True)
    one.data.read_hdr()
    assert one.data.read_frame().fields[13:] == ["0", "", ""]
    one = armed(missing_dacs=True)
    one.data.read_hdr()
    assert "3RX" not in one.data.read_frame().fields


def test_lost_frames_leave_their_numbers_out(armed: Callable[..., Any]) -> None:
    one = armed(lost=range(3, 6))
    one.data.read_hdr()
    assert numbers(one, 9) == [1, 2, 6, 7, 8, 9, 10, 11, 12]


def test_duplicated_and_swapped_frames(armed: Callable[..., Any]) -> None:
    one = armed(duplicated={2}, swapped={5, 12})
    one.data.read_hdr()
    assert numbers(one, 13) == [1, 2, 2, 3, 4, 6, 5, 7, 8, 9, 10, 11, 12]


def test_corrupted_frame_keeps_its_length(armed: Callable[..., Any]) -> None:
    one = armed(corrupted={2})
    one.data.read_hdr()
    good = one.data.read_message()
    bad = one.data.read_message()
    assert bad[:40] == b"?" * 40
    assert len(bad) == len(good)
    assert one.data.read_frame().number == 3


def test_header_instead_of_a_frame(armed: Callable[..., Any]) -> None:
    one = armed(hdr_instead_of={4})
    one.data.read_hdr()
    assert numbers(one, 3) == [1, 2, 3]
    one.data.read_hdr()
    assert numbers(one, 8) == list(range(5, 13))


def test_garbage_before_a_frame(armed: Callable[..., Any]) -> None:
    one = armed(garbage_before={2: b"GARBAGE"})
    one.data.read_hdr()
    one.data.read_frame()
    assert one.data.read_exactly(7) == b"GARBAGE"
    assert numbers(one, 11) == list(range(2, 13))


@pytest.mark.parametrize("n_bytes", [0, 1, 7, 15, 300, None])
def test_disconnect_in_the_middle_of_a_frame_happens_once(
    armed: Callable[..., Any], n_bytes: int | None
) -> None:
    one = armed(disconnect_in=3, disconnect_after_bytes=n_bytes)
    one.data.read_hdr()
    one.data.read_frames(2)
    length = one.simulator.frame_format.message_bytes
    assert len(one.data.read_rest()) == (length // 2 if n_bytes is None else n_bytes)
    assert one.simulator.wait_for_status(DetectorStatus.IDLE)
    one.data.close()
    one.reconnect()
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()
    assert numbers(one, 12)[-1] == 12


@pytest.mark.parametrize("n_bytes", [0, 10, 500])
def test_stall_lasts_until_resumed(armed: Callable[..., Any], n_bytes: int) -> None:
    one = armed(stall_at=3, stall_after_bytes=n_bytes)
    one.data.read_hdr()
    assert numbers(one, 2) == [1, 2]
    begun = one.data.read_exactly(n_bytes)
    assert one.control.get("DETECTORSTATUS") == "1"
    one.simulator.faults.resume()
    rest = one.data.read_exactly(one.simulator.frame_format.message_bytes - n_bytes)
    assert (begun + rest)[15:25] == b"MQ1,000003"
    assert numbers(one, 9) == list(range(4, 13))


def test_stall_ends_with_abort_and_the_frame_is_whole(armed: Callable[..., Any]) -> None:
    one = armed(stall_at=3, stall_after_bytes=100)
    one.data.read_hdr()
    one.data.read_frames(2)
    begun = one.data.read_exactly(100)
    one.control.cmd("ABORT")
    assert begun[15:25] == b"MQ1,000003"
    one.data.read_exactly(one.simulator.frame_format.message_bytes - 100)
    one.simulator.faults.clear()
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()


def test_acquisition_ends_silently(armed: Callable[..., Any]) -> None:
    one = armed(abort_at=5)
    one.data.read_hdr()
    assert numbers(one, 4) == [1, 2, 3, 4]
    assert one.simulator.wait_for_status(DetectorStatus.IDLE)
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()


def test_frames_follow_after_abort(armed: Callable[..., Any]) -> None:
    one = armed(abort_at=5, late_frames=2)
    one.data.read_hdr()
    assert len(numbers(one, 6)) == 6
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()


def test_new_client_gets_stale_frames_first(armed: Callable[..., Any]) -> None:
    one = armed(abort_at=5)
    one.data.read_hdr()
    one.data.read_frames(4)
    assert one.simulator.wait_for_status(DetectorStatus.IDLE)
    one.data.close()
    assert one.simulator.wait_for_client(connected=False)
    one.simulator.faults.clear()
    one.simulator.faults.stale_frames = 3
    one.reconnect()
    stale = numbers(one, 3)
    assert stale == sorted(stale)
    assert stale[0] > 4
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()
    assert numbers(one, 12) == list(range(1, 13))


def test_server_goes_on_without_client(bench: Callable[..., Any]) -> None:
    one = bench(faults=Faults(keep_running=True), frames=0, period_ms=1)
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()
    one.data.close()
    assert one.simulator.wait_for_client(connected=False)
    one.reconnect()
    first = one.data.read_frame().number  # no header: in the middle of the acquisition
    assert first > 1
    assert one.control.get("DETECTORSTATUS") == "1"
    one.control.cmd("ABORT")


@pytest.mark.parametrize("sizes", [1, 14, [1, 3, 700, 14, 2]])
def test_segments_change_nothing_but_the_writes(bench: Callable[..., Any], sizes: Any) -> None:
    data = np.arange(3 * 4 * 4, dtype=np.uint16).reshape(3, 4, 4)
    one = bench(data=data, faults=Faults(segment_bytes=sizes))
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()
    assert [frame.payload for frame in one.data.read_frames(3)] == [
        row.astype(">u2").tobytes() for row in data
    ]


def test_slow_sender_sends_all(bench: Callable[..., Any]) -> None:
    one = bench(data=np.zeros((2, 4, 4), np.uint8), faults=Faults(bytes_per_s=50_000))
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()
    assert numbers(one, 2) == [1, 2]


def test_first_number_may_be_near_the_limit_of_the_field(bench: Callable[..., Any]) -> None:
    one = bench(faults=Faults(first_number=999_998))
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()
    frames = one.data.read_frames(4)
    assert [frame.fields[1] for frame in frames] == ["999998", "999999", "1000000", "1000001"]
    assert {frame.fields[2] for frame in frames} == {"00384"}


def test_clear_switches_all_off() -> None:
    faults = Faults(lost={1}, stall_at=2, duplicate_hdr=1, segment_bytes=3)
    faults.clear()
    fresh = Faults()
    assert all(getattr(faults, one.name) == getattr(fresh, one.name) for one in fields(Faults))
    assert not faults.touch(0, 10**9)


def test_message_frame_is_the_references() -> None:
    assert frame_message(b"x" * 2048)[:15] == b"MPX,0000002049,"
