"""Acquisitions over real sockets: headers, pixels, triggers, stopping, formats."""

from __future__ import annotations

import datetime
import itertools
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from detector_merlin._control import MerlinBusyError, frame_message
from detector_merlin._encode import encode_frames, to_counts
from detector_merlin._simulator import DetectorStatus, MerlinSimulator


def pixels(frames: list[Any], scan: np.ndarray) -> np.ndarray:
    shape = scan.shape[-2:]
    return np.stack([np.frombuffer(one.payload, ">u2").reshape(shape) for one in frames])


def test_internal_trigger_sends_header_and_all_frames(bench: Callable[..., Any], scan: np.ndarray) -> None:
    one = bench()
    one.control.cmd("STARTACQUISITION")
    header = one.data.read_hdr()
    assert header["Frames in Acquisition (Number)"] == "12"
    frames = one.data.read_frames(12)
    assert [frame.fields[1] for frame in frames] == [f"{n:06d}" for n in range(1, 13)]
    assert_array_equal(pixels(frames, scan), scan.reshape(-1, 8, 16))
    assert one.simulator.wait_for_status(DetectorStatus.IDLE)


def test_header_message_has_2048_bytes_and_comes_with_arming(bench: Callable[..., Any]) -> None:
    one = bench(trigger_start=1)
    one.control.cmd("STARTACQUISITION")
    assert one.control.get("DETECTORSTATUS") == "4"
    prefix = one.data.read_exactly(15)
    assert prefix == b"MPX,0000002049,"
    assert len(one.data.read_exactly(2048)) == 2048


def test_connections_stay_open_and_numbers_begin_again(bench: Callable[..., Any], scan: np.ndarray) -> None:
    one = bench()
    for _ in range(3):
        one.control.cmd("STARTACQUISITION")
        one.data.read_hdr()
        assert [frame.number for frame in one.data.read_frames(12)] == list(range(1, 13))
        assert one.simulator.wait_for_status(DetectorStatus.IDLE)


def test_scan_repeats_when_more_frames_are_asked(bench: Callable[..., Any], scan: np.ndarray) -> None:
    one = bench(frames=30)
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()
    frames = one.data.read_frames(30)
    flat = scan.reshape(-1, 8, 16)
    assert_array_equal(pixels(frames, scan), np.concatenate([flat, flat, flat[:6]]))
    assert frames[-1].number == 30


def test_software_triggers_start_bursts(bench: Callable[..., Any]) -> None:
    one = bench(trigger_start=5, frames_per_trigger=5)
    one.control.cmd("STARTACQUISITION")
    assert one.data.read_hdr()["Frames per Trigger (Number)"] == "5"
    for size, last in ((5, 5), (5, 10), (2, 12)):
        assert one.simulator.wait_for_status(DetectorStatus.ARMED)
        one.control.cmd("SOFTTRIGGER")
        assert one.data.read_frames(size)[-1].number == last
    assert one.simulator.wait_for_status(DetectorStatus.IDLE)
    with pytest.raises(MerlinBusyError):
        one.control.cmd("SWTRIGGER")


@pytest.mark.parametrize("edge", [1, 2, 3, 4])
def test_external_triggers_come_from_outside(bench: Callable[..., Any], edge: int) -> None:
    one = bench(trigger_start=edge)
    assert not one.simulator.trigger()
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()
    with pytest.raises(MerlinBusyError):
        one.control.cmd("SOFTTRIGGER")
    assert one.simulator.trigger()
    assert len(one.data.read_frames(12)) == 12
    assert one.simulator.n_missed_triggers == 2


def test_trigger_while_busy_is_dropped(bench: Callable[..., Any]) -> None:
    one = bench(trigger_start=5, frames_per_trigger=2)
    one.simulator.faults.stall_at = 2
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()
    one.control.cmd("SOFTTRIGGER")
    one.data.read_frame()
    assert one.control.get("DETECTORSTATUS") == "1"
    one.control.cmd("SOFTTRIGGER")
    one.simulator.faults.resume()
    one.data.read_frame()
    assert one.simulator.wait_for_status(DetectorStatus.ARMED)
    assert one.simulator.n_missed_triggers == 1


def test_trigger_port_answers_when_the_burst_is_out(bench: Callable[..., Any]) -> None:
    one = bench(trigger_start=1, trigger_port=0)
    with socket.create_connection(("127.0.0.1", one.simulator.trigger_port), timeout=10) as trigger:
        one.control.cmd("STARTACQUISITION")
        one.data.read_hdr()
        trigger.sendall(b"TRIGGER\n")
        assert trigger.recv(100) == b"FINISH\n"
    assert one.simulator.n_frames_sent == 12


def test_automatic_triggers_stand_for_the_scan_generator(bench: Callable[..., Any]) -> None:
    one = bench(trigger_start=1, frames_per_trigger=1, auto_trigger=True)
    one.control.cmd("STARTACQUISITION")
    assert one.data.read_hdr()["Trigger Start (Positive, Negative, Internal)"] == "Rising Edge"
    assert one.data.read_frames(12)[-1].number == 12


@pytest.mark.parametrize("command", ["ABORT", "STOPACQUISITION"])
def test_ending_leaves_whole_frames_and_the_next_message_is_a_header(
    bench: Callable[..., Any], command: str
) -> None:
    one = bench(frames=0)
    one.control.cmd("STARTACQUISITION")
    header = one.data.read_hdr()
    assert header["Frames in Acquisition (Number)"] == header["Frames per Trigger (Number)"] == "0"
    one.data.read_frames(100)
    one.control.cmd(command)

    def arm_again() -> None:
        assert one.simulator.wait_for_status(DetectorStatus.IDLE)
        one.control.set("NUMFRAMESTOACQUIRE", 1)
        one.control.cmd("STARTACQUISITION")

    with ThreadPoolExecutor(1) as pool:
        armed = pool.submit(arm_again)
        while (body := one.data.read_message()).startswith(b"MQ1,"):
            pass
        armed.result()
    assert body.startswith(b"HDR,")
    assert one.data.read_frame().number == 1


def test_arming_and_triggering_do_not_wait_for_a_client_that_does_not_read(bench: Callable[..., Any]) -> None:
    data = np.zeros((64, 512, 512), np.uint16)
    one = bench(data=data, frames=0)
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()  # and nothing more: soon the sender blocks in the middle of a frame
    one.control.cmd("ABORT")
    assert one.control.get("DETECTORSTATUS") == "0"
    one.control.set("NUMFRAMESTOACQUIRE", 3)
    one.control.set("TRIGGERSTART", 5)
    one.control.cmd("STARTACQUISITION")
    assert one.control.get("DETECTORSTATUS") == "4"
    one.control.cmd("SOFTTRIGGER")
    while (body := one.data.read_message()).startswith(b"MQ1,"):
        pass
    assert body.startswith(b"HDR,")
    assert [frame.number for frame in one.data.read_frames(3)] == [1, 2, 3]


def test_abort_while_armed_sends_nothing_else(bench: Callable[..., Any]) -> None:
    one = bench(trigger_start=5)
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()
    one.control.cmd("ABORT")
    assert one.simulator.wait_for_status(DetectorStatus.IDLE)
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()


@pytest.mark.parametrize("depth", [6, 12, 24])
@pytest.mark.parametrize("raw", [True, False])
def test_client_chooses_depth_and_raw(
    bench: Callable[..., Any], scan: np.ndarray, depth: int, raw: bool
) -> None:
    one = bench(layout="2x2")
    one.control.set("COUNTERDEPTH", depth)
    one.control.set("FILEFORMAT", 2 if raw else 0)
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()
    fmt = one.simulator.frame_format
    assert (fmt.depth, fmt.raw) == (depth, raw)
    expected = encode_frames(to_counts(scan.reshape(-1, 8, 16), depth), fmt)
    frames = one.data.read_frames(12)
    assert [frame.payload for frame in frames] == [row.tobytes() for row in expected]
    assert {frame.fields[-2] for frame in frames} == {str(depth)}
    assert {frame.fields[6] for frame in frames} == {fmt.kind}


def test_row_roi_sends_the_outer_rows(bench: Callable[..., Any], scan: np.ndarray) -> None:
    one = bench(layout="2x2")
    one.control.set("ROIROWS", 1)
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()
    frame = one.data.read_frame()
    assert frame.fields[4:6] == ["0016", "0002"]
    assert_array_equal(np.frombuffer(frame.payload, ">u2").reshape(2, 16), scan[0, 0, [0, 7]])


def test_both_counters_give_two_frames_per_exposure(bench: Callable[..., Any]) -> None:
    one = bench(frames=3)
    one.control.set("ENABLECOUNTER1", 2)
    one.control.cmd("STARTACQUISITION")
    assert one.data.read_hdr()["Frames in Acquisition (Number)"] == "3"
    assert [frame.fields[11] for frame in one.data.read_frames(6)] == ["0", "1"] * 3
    assert one.simulator.wait_for_status(DetectorStatus.IDLE)


def test_threshold_scan_sends_a_frame_per_step(bench: Callable[..., Any]) -> None:
    one = bench()
    one.control.set("THSTOP", 4)
    one.control.cmd("THSCAN")
    header = one.data.read_hdr()
    assert header["Acquisition Type (Normal, Th_scan, Config)"] == "Th_scan"
    assert len(one.data.read_frames(int(header["Frames in Acquisition (Number)"]))) == 5


def test_scan_interface_is_announced(bench: Callable[..., Any]) -> None:
    one = bench(scan_shape=(3, 4))
    one.control.cmd("STARTACQUISITION")
    header = one.data.read_hdr()
    assert (header["ScanY"], header["ScanX"]) == ("3", "4")


def test_paced_frames_are_stamped_a_period_apart(bench: Callable[..., Any]) -> None:
    one = bench()
    one.control.set("ACQUISITIONPERIOD", 2)
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()
    stamps = [datetime.datetime.fromisoformat(frame.fields[9]) for frame in one.data.read_frames(12)]
    steps = {(b - a) / datetime.timedelta(microseconds=1) for a, b in itertools.pairwise(stamps)}
    assert steps == {2000.0}
    assert one.simulator.wait_for_status(DetectorStatus.IDLE)


def test_unpaced_stamps_ascend(bench: Callable[..., Any]) -> None:
    one = bench(frames=100, rate="max")
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()
    stamps = [frame.fields[-4] for frame in one.data.read_frames(100)]
    assert stamps == sorted(stamps)


def test_acquisition_without_data_client_takes_its_time_and_ends(bench: Callable[..., Any]) -> None:
    one = bench(connect=False)
    one.control.cmd("STARTACQUISITION")
    assert one.simulator.wait_for_acquisitions(1)
    assert one.simulator.n_frames_sent == 0


def test_client_that_leaves_ends_the_acquisition(bench: Callable[..., Any]) -> None:
    one = bench(frames=0)
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()
    one.data.close()
    assert one.simulator.wait_for_status(DetectorStatus.IDLE)
    one.reconnect()
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()
    assert one.data.read_frame().number == 1


def test_autostart_sends_to_each_client_that_connects(bench: Callable[..., Any]) -> None:
    one = bench(connect=False, autostart=True)
    for _ in range(2):
        one.reconnect()
        one.data.read_hdr()
        assert one.data.read_frames(12)[-1].number == 12
        one.data.close()
        assert one.simulator.wait_for_client(connected=False)


def test_autostart_repeats(bench: Callable[..., Any]) -> None:
    one = bench(autostart=True, repeat=3)
    for _ in range(3):
        one.data.read_hdr()
        one.data.read_frames(12)
    assert one.simulator.wait_for_acquisitions(3)


def test_control_client_keeps_autostart_off(bench: Callable[..., Any]) -> None:
    one = bench(connect=False, autostart=True, trigger_start=5)
    one.control.set("GAIN", 1)
    one.reconnect()
    assert one.simulator.wait_for_client()
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()
    assert one.control.get("DETECTORSTATUS") == "4"


def test_frames_that_do_not_fit_the_cache_are_encoded_again(bench: Callable[..., Any]) -> None:
    data = np.arange(70 * 256 * 256, dtype=np.uint32).reshape(70, 256, 256).astype(np.uint16)
    one = bench(data=data, cache_bytes=5 << 20, frames=150)
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()
    counts = to_counts(data, 12)
    for i, frame in enumerate(one.data.read_frames(150)):
        assert frame.payload == counts[i % 70].astype(">u2").tobytes()


def test_npy_file_is_mapped_and_sent(bench: Callable[..., Any], scan: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", scan)
    one = bench(data=tmp_path / "scan.npy")
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()
    assert_array_equal(pixels(one.data.read_frames(12), scan), scan.reshape(-1, 8, 16))


@pytest.mark.parametrize(
    "name", ["test_12bit_RAW_1frame", "test_12bit_notRAW_1frame", "test_1bit_RAW_1frame"]
)
def test_recording_is_replayed_byte_by_byte(
    bench: Callable[..., Any], vendor_file: Callable[[str], Path], name: str
) -> None:
    path = vendor_file(f"merlin_epsic_quad/{name}.mib")
    one = bench(data=path, raw=None, frames=2, autostart=True)
    assert one.data.read_hdr()["Chip ID"] == "W530_J6,W530_L6,W530_K5,W530_B5"
    recorded = path.read_bytes()
    assert one.data.read_message() == recorded
    assert one.data.read_message() == recorded[:4] + b"000002" + recorded[10:]


@pytest.mark.parametrize(
    ("data", "options", "match"),
    [
        (np.zeros(5), {}, "no frames"),
        (np.zeros((0, 8, 8), "u1"), {}, "no frames"),
        (np.zeros((4, 8, 8)), {}, "scale"),
        (np.zeros((4, 8, 10), "u1"), {"raw": True}, "multiple"),
        (np.zeros((4, 8, 8), "u1"), {"rate": "fast"}, "rate"),
        (np.zeros((4, 8, 8), "u1"), {"rate": 0}, "rate"),
        (np.zeros((4, 8, 8), "u1"), {"frames": -1}, "frames"),
        ("nowhere.npy", {}, "nowhere"),
        (__file__, {}, "npy"),
    ],
)
def test_what_can_not_be_sent_is_refused_at_once(data: Any, options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        MerlinSimulator(data, **options)


def test_port_in_use_is_an_error_and_leaves_nothing_open(bench: Callable[..., Any], scan: np.ndarray) -> None:
    taken = bench(connect=False).simulator.control_port
    with pytest.raises(OSError, match="in use"):
        MerlinSimulator(scan, control_port=taken).start()


def test_close_ends_a_blocked_sender(bench: Callable[..., Any]) -> None:
    one = bench(frames=0)
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()  # and nothing more: the sender blocks
    one.simulator.close()
    assert not one.simulator.alive


def test_not_started_says_so(scan: np.ndarray) -> None:
    with pytest.raises(RuntimeError, match="not running"):
        _ = MerlinSimulator(scan).data_port


def test_requests_in_single_bytes_are_understood(bench: Callable[..., Any]) -> None:
    one = bench(connect=False)
    for byte in frame_message(b"GET,GAIN"):
        one.control._socket.sendall(bytes([byte]))
    assert one.control._socket.recv(100) == frame_message(b"GET,GAIN,0,0")
