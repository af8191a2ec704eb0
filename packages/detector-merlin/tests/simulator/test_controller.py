"""The controller against the simulator."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from arraystream import ConnectionClosed, ConnectionFailed, Controller, Stalled, StreamError
from detector_merlin._control import (
    MerlinBusyError,
    MerlinControl,
    MerlinOutOfRangeError,
    MerlinSettingError,
    MerlinUnknownCommandError,
)
from detector_merlin._controller import MerlinController
from detector_merlin._simulator import DetectorStatus, MerlinSimulator, TriggerStart
from detector_merlin._variables import Gain


@pytest.fixture
def controlled(bench: Callable[..., Any]) -> Callable[..., tuple[MerlinController, Any]]:
    """Gives a function that makes a controller with these settings and a simulator for it."""

    def make(*, simulator: dict[str, Any] | None = None, **settings: Any) -> tuple[MerlinController, Any]:
        one = bench(**(simulator or {}))
        one.control.close()
        return MerlinController("127.0.0.1", one.simulator.control_port, **settings), one

    return make


def test_it_is_a_controller() -> None:
    controller: Controller = MerlinController()
    controller.close()


def test_settings_reach_the_detector(controlled: Callable[..., Any]) -> None:
    controller, one = controlled(
        counter_depth=6,
        continuous_rw=True,
        acquisition_time_ms=0.5,
        acquisition_period_ms=0.75,
        trigger_start=TriggerStart.RISING_TTL,
        frames_per_trigger=4,
        hv_bias=110,
        thresholds=[20, 50.5],
        gain="hgm",
        raw=True,
        roi_rows=4,
        scan_shape=(3, 4),
        run_headless=True,
        file_enable=False,
        variables={"TriggerOutTTL": 5},
    )
    controller.arm(n_items=12)
    assert controller.status() is DetectorStatus.ARMED
    wanted = {
        "COUNTERDEPTH": "6",
        "CONTINUOUSRW": "1",
        "ACQUISITIONTIME": "0.500000",
        "ACQUISITIONPERIOD": "0.750000",
        "TRIGGERSTART": "1",
        "NUMFRAMESPERTRIGGER": "4",
        "NUMFRAMESTOACQUIRE": "12",
        "HVBIAS": "110.000000",
        "THRESHOLD0": "20.000000",
        "THRESHOLD1": "50.500000",
        "GAIN": str(int(Gain.HGM)),
        "FILEFORMAT": "2",
        "ROIROWS": "4",
        "SCANX": "4",
        "SCANY": "3",
        "RUNHEADLESS": "1",
        "TriggerOutTTL": "5",
    }
    with controller.control() as control:
        assert {name: control.get(name) for name in wanted} == wanted
    header = one.data.read_hdr()
    assert header["Frames in Acquisition (Number)"] == "12"


def test_what_is_not_given_stays(controlled: Callable[..., Any]) -> None:
    controller, _ = controlled(counter_depth=6)
    with controller.control() as control:
        control.set("HVBIAS", 77)
    controller.arm(n_items=3)
    with controller.control() as control:
        assert control.get("HVBIAS") == "77.000000"


def test_software_trigger_starts_the_whole_scan(controlled: Callable[..., Any]) -> None:
    controller, one = controlled(trigger_start="soft")
    controller.arm(n_items=10)
    one.data.read_hdr()
    controller.trigger()
    assert one.data.read_frames(10)[-1].number == 10


def test_trigger_while_not_armed_is_refused(controlled: Callable[..., Any]) -> None:
    controller, _ = controlled()
    with pytest.raises(MerlinBusyError, match="SOFTTRIGGER"):
        controller.trigger()


def test_endless_acquisition_until_aborted(controlled: Callable[..., Any]) -> None:
    controller, one = controlled()
    controller.arm(n_items=None)
    assert one.data.read_hdr()["Frames in Acquisition (Number)"] == "0"
    one.data.read_frames(50)
    controller.abort()
    assert controller.status() is DetectorStatus.IDLE


def test_both_counters_count_as_frames(controlled: Callable[..., Any]) -> None:
    controller, one = controlled(enable_counter1=2)
    with pytest.raises(ValueError, match="n_items=7"):
        controller.arm(n_items=7)
    controller.arm(n_items=8)
    assert one.data.read_hdr()["Frames in Acquisition (Number)"] == "4"
    assert len(one.data.read_frames(8)) == 8


def test_arming_takes_over_from_what_runs(controlled: Callable[..., Any]) -> None:
    controller, one = controlled(trigger_start="soft")
    for _ in range(3):
        controller.arm(n_items=5)
        one.data.read_hdr()


def test_stop_ends_an_armed_acquisition(controlled: Callable[..., Any]) -> None:
    controller, one = controlled(trigger_start="soft")
    controller.arm(n_items=5)
    controller.stop()
    assert one.simulator.wait_for_status(DetectorStatus.IDLE)


def test_error_state_is_cleared_when_arming(controlled: Callable[..., Any]) -> None:
    controller, one = controlled()
    one.simulator.fail(5)
    assert controller.status() is DetectorStatus.ERROR
    controller.arm(n_items=1)
    one.data.read_hdr()
    controller.clear_error()


def test_reset_waits_until_the_server_is_back(controlled: Callable[..., Any]) -> None:
    controller, _ = controlled(simulator={"reset_s": 0.2})
    controller.reset(timeout=10)
    assert controller.status() is DetectorStatus.IDLE


def test_close_interrupts_waiting_for_a_reset(controlled: Callable[..., Any]) -> None:
    controller, one = controlled(simulator={"reset_s": 60})
    timer = threading.Timer(0.0, controller.close)

    def close_once_down() -> None:
        one.simulator.wait_for_status(DetectorStatus.INIT)
        controller.close()

    timer = threading.Thread(target=close_once_down)
    timer.start()
    with pytest.raises(ConnectionClosed):
        controller.reset(timeout=60)
    timer.join()


def test_reset_that_takes_too_long_is_an_error(controlled: Callable[..., Any]) -> None:
    controller, _ = controlled(simulator={"reset_s": 60})
    with pytest.raises(Stalled, match="RESET"):
        controller.reset(timeout=0.01)


@pytest.mark.parametrize(
    ("settings", "kind", "match"),
    [
        ({"hv_bias": 10_000}, MerlinOutOfRangeError, "HVBIAS,10000 "),
        ({"variables": {"NOSUCHTHING": 1}}, MerlinUnknownCommandError, "NOSUCHTHING"),
    ],
)
def test_refused_setting_is_named(
    controlled: Callable[..., Any], settings: dict[str, Any], kind: type[Exception], match: str
) -> None:
    controller, _ = controlled(**settings)
    with pytest.raises(kind, match=match):
        controller.arm(n_items=1)


def test_parameter_that_reads_back_differently_is_an_error(
    controlled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    controller, _ = controlled(acquisition_time_ms=2)
    get = MerlinControl.get
    monkeypatch.setattr(
        MerlinControl, "get", lambda self, name: "1.0" if name == "ACQUISITIONTIME" else get(self, name)
    )
    with pytest.raises(
        MerlinSettingError, match=r"ACQUISITIONTIME was set to 2 but reads back '1.0'"
    ) as caught:
        controller.arm(n_items=1)
    assert (caught.value.parameter, caught.value.value) == ("ACQUISITIONTIME", "2")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"counter_depth": 13}, "COUNTERDEPTH=13"),
        ({"counter_depth": 24, "continuous_rw": True}, "24"),
        ({"acquisition_time_ms": 2, "acquisition_period_ms": 1}, "shorter"),
        ({"trigger_start": "sometimes"}, "trigger_start='sometimes'"),
        ({"gain": 7}, "gain=7"),
        ({"thresholds": [1] * 9}, "nine|eight"),
        ({"frames_per_trigger": 1.5}, "whole"),
        ({"hv_bias": float("nan")}, "HVBIAS"),
    ],
)
def test_impossible_settings_are_refused_before_connecting(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        MerlinController(**settings)


def test_shape_comes_from_settings_or_the_scan_interface(controlled: Callable[..., Any]) -> None:
    assert MerlinController(scan_shape=(3, 4)).determine_nav_shape(12) == (3, 4)
    controller, _ = controlled(simulator={"scan_shape": (2, 6)})
    assert controller.determine_nav_shape(12) == (2, 6)
    assert controller.determine_nav_shape(None) == (2, 6)
    assert controller.determine_nav_shape(13) is None
    controller, _ = controlled(frames_per_trigger=4)
    assert controller.determine_nav_shape(12) == (3, 4)
    assert controller.determine_nav_shape(None) is None


def test_nobody_there_is_a_connection_error(controlled: Callable[..., Any]) -> None:
    controller, one = controlled()
    one.simulator.close()
    with pytest.raises(ConnectionFailed):
        controller.arm(n_items=1)


def test_closed_controller_says_so(controlled: Callable[..., Any]) -> None:
    controller, _ = controlled()
    with controller:
        controller.status()
    controller.close()
    with pytest.raises(ConnectionClosed):
        controller.status()


def test_error_that_stays_is_raised(controlled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    controller, one = controlled()
    one.simulator.fail(9)
    monkeypatch.setattr(MerlinController, "_read_status", lambda self, control: DetectorStatus.ERROR)
    for act in (controller.clear_error, lambda: controller.arm(n_items=1)):
        with pytest.raises(StreamError, match="ERRORCODE"):
            act()


def test_abort_from_another_thread(controlled: Callable[..., Any]) -> None:
    controller, one = controlled(trigger_start="soft")
    controller.arm(n_items=5)
    thread = threading.Thread(target=controller.abort)
    thread.start()
    thread.join(10)
    assert one.simulator.wait_for_status(DetectorStatus.IDLE)


def test_simulator_type_is_public(controlled: Callable[..., Any]) -> None:
    assert MerlinSimulator.__doc__ is not None
