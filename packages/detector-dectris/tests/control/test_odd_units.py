"""The controller against control units that are old, broken, or in trouble."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from arraystream import AcquisitionAborted, ProtocolError, Stalled
from detector_dectris import _controller
from detector_dectris._controller import DectrisController
from detector_dectris._simplon_errors import (
    DetectorWarning,
    SimplonSettingError,
    SimplonStateError,
    SimplonUnknownKeyError,
)
from detector_dectris._simplon_values import encode_array

DEADLINE_S = 20.0
DETECTOR = "/detector/api/1.8.0/"
Make = Callable[..., DectrisController]


def set_up(unit: Any, version: str = "1.8.0") -> None:
    """Make it a detector that is idle and takes everything."""
    detector, stream = f"/detector/api/{version}/", f"/stream/api/{version}/"
    unit.answer("/detector/api/version", version)
    unit.hold(
        detector + "config/",
        trigger_mode="exte",
        nimages=1,
        ntrigger=1,
        count_time=0.5,
        frame_time=0.6,
        photon_energy=8000.0,
        threshold_energy=4000.0,
    )
    unit.hold(stream + "config/", mode="disabled", header_detail="none")
    unit.hold(detector + "status/", state="idle")
    for command in ("disarm", "abort", "initialize", "cancel", "trigger"):
        unit.replies[detector + "command/" + command] = (200, b"{}")
    unit.replies[detector + "command/arm"] = (200, b'{"sequence id": 7}')


@pytest.fixture
def make(unit: Any) -> Iterator[Make]:
    """Gives a function that makes a controller of the bare unit."""
    made: list[DectrisController] = []

    def make(**settings: Any) -> DectrisController:
        made.append(DectrisController("127.0.0.1", unit.port, **settings))
        return made[-1]

    yield make
    for controller in made:
        controller.close()


def commands(unit: Any) -> list[str]:
    return [path.rpartition("/")[2] for verb, path, _ in unit.requests if "/command/" in path]


def test_settings_are_sent_in_order_and_before_the_command(unit: Any, make: Make) -> None:
    set_up(unit)
    make(frame_time=0.3, count_time=0.2).arm(n_items=4)
    sent = [path.rpartition("/")[2] for verb, path, _ in unit.requests if verb == "PUT"]
    assert sent == [
        "mode",
        "header_detail",
        "count_time",
        "frame_time",
        "trigger_mode",
        "nimages",
        "ntrigger",
        "arm",
    ]


def test_missing_high_voltage_is_a_warning(unit: Any, make: Make) -> None:
    set_up(unit)
    unit.hold(DETECTOR + "status/high_voltage/", state="RAMPING")
    controller = make()
    with pytest.warns(DetectorWarning, match="RAMPING"):
        controller.arm(n_items=1)
    with pytest.warns(DetectorWarning, match="RAMPING"):
        assert controller.status().high_voltage == "RAMPING"


def test_error_state_comes_with_the_detectors_words(unit: Any, make: Make) -> None:
    set_up(unit)
    unit.hold(DETECTOR + "status/", state="error", error=["link 3 is down", "too warm"])
    with pytest.raises(SimplonStateError, match="link 3 is down; too warm"):
        make().arm(n_items=1)
    assert commands(unit) == []


def test_detector_that_fails_while_arming_is_disarmed(unit: Any, make: Make) -> None:
    set_up(unit)

    def fail() -> tuple[int, bytes]:
        unit.hold(DETECTOR + "status/", state="error", error="no memory")
        return 200, b'{"sequence id": 8}'

    unit.replies[DETECTOR + "command/arm"] = fail
    with pytest.raises(SimplonStateError, match="no memory"):
        make().arm(n_items=1)
    assert commands(unit) == ["arm", "disarm"]


def test_abort_while_arming_gives_up_and_disarms(unit: Any, make: Make) -> None:
    set_up(unit)
    controller = make()
    errors: list[BaseException] = []

    def arm() -> None:
        try:
            controller.arm(n_items=1)
        except BaseException as error:
            errors.append(error)

    unit.hang(DETECTOR + "command/arm")
    thread = threading.Thread(target=arm)
    thread.start()
    assert unit.asked.wait(DEADLINE_S)
    controller.abort()
    unit.replies[DETECTOR + "command/arm"] = (200, b'{"sequence id": 8}')
    unit.release.set()
    thread.join(DEADLINE_S)
    assert commands(unit)[:2] == ["arm", "abort"]
    assert commands(unit)[-1] == "disarm"
    assert len(errors) == 1


def test_abort_while_settings_are_made_arms_nothing(unit: Any, make: Make) -> None:
    set_up(unit)
    controller = make(count_time=0.1)

    def abort_meanwhile() -> tuple[int, bytes]:
        controller.abort()
        return 200, b"[]"

    unit.replies[DETECTOR + "config/count_time"] = abort_meanwhile
    with pytest.raises(AcquisitionAborted):
        controller.arm(n_items=1)
    assert commands(unit) == ["abort"]


def test_detector_that_stays_busy_is_an_error_in_time(
    unit: Any, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(unit)
    unit.hold(DETECTOR + "status/", state="acquire")
    monkeypatch.setattr(_controller, "_IDLE_TIMEOUT_S", 0.05)
    with pytest.raises(Stalled, match="still in state 'acquire'"):
        make().arm(n_items=1)
    assert commands(unit) == ["abort"]


def test_rounding_is_accepted_and_choosing_is_not(unit: Any, make: Make) -> None:
    set_up(unit)
    unit.answer(DETECTOR + "config/count_time", 1.002e-5)
    make(count_time=1e-5).arm(n_items=1)
    with pytest.raises(SimplonSettingError, match=r"2e-05 but reads back 1\.002e-05"):
        make(count_time=2e-5).arm(n_items=1)
    assert commands(unit) == ["arm"]


def test_arrays_are_set_and_compared_too(unit: Any, make: Make) -> None:
    set_up(unit)
    mask = np.array([[0, 1], [2, 4]], np.uint32)
    unit.hold(DETECTOR + "config/", pixel_mask=None)
    make(extra={"pixel_mask": mask}).arm(n_items=1)
    assert unit.held[DETECTOR + "config/pixel_mask"] == encode_array(mask)
    unit.answer(DETECTOR + "config/pixel_mask", encode_array(np.zeros_like(mask)))
    with pytest.raises(SimplonSettingError, match="pixel_mask"):
        make(extra={"pixel_mask": mask}).arm(n_items=1)


def test_refused_trigger_is_raised_by_trigger(unit: Any, make: Make) -> None:
    set_up(unit)
    controller = make(trigger_mode="ints")
    controller.arm(n_items=1)
    unit.replies[DETECTOR + "command/trigger"] = (400, b"no beam")
    with pytest.raises(SimplonStateError, match="no beam"):
        controller.trigger()
    with pytest.raises(SimplonStateError, match="no beam"):
        controller.wait_for_triggers(DEADLINE_S)


def test_trigger_that_does_not_begin_is_an_error_in_time(unit: Any, make: Make) -> None:
    set_up(unit)
    unit.hang(DETECTOR + "command/trigger")
    controller = make(trigger_mode="ints", timeout=0.2)
    controller.arm(n_items=1)
    with pytest.raises(Stalled, match="not begun"):
        controller.trigger()
    assert not [thread for thread in threading.enumerate() if thread.name == "dectris-trigger"]


# ---- interface 1.6 ------------------------------------------------------------------------------


def test_old_interface_has_other_names(unit: Any, make: Make) -> None:
    set_up(unit, "1.6.0")
    old = "/detector/api/1.6.0/"
    unit.hold(old + "status/board_000/", th0_temp=23.5, th0_humidity=12)
    controller = make(incident_energy=12e3, threshold_energies=[6e3], stream_format="legacy")
    controller.arm(n_items=5)
    assert controller.client.version == "1.6.0"
    assert unit.held[old + "config/photon_energy"] == 12e3
    assert unit.held[old + "config/threshold_energy"] == 6e3
    status = controller.status()
    assert (status.temperature_c, status.humidity_percent) == (23.5, 12)
    assert status.high_voltage is None


def test_old_interface_has_no_second_stream_version(unit: Any, make: Make) -> None:
    set_up(unit, "1.6.0")
    with pytest.raises(SimplonUnknownKeyError, match="format"):
        make(stream_format="cbor").arm(n_items=5)


# ---- corrections --------------------------------------------------------------------------------


def test_each_channel_has_its_corrections(unit: Any, make: Make) -> None:
    set_up(unit)
    low, high = np.array([[1, 0, 0]], np.uint32), np.array([[0, 0, 8]], np.uint32)
    flat = np.array([[1, 1.5, 1]], np.float32)
    unit.hold(DETECTOR + "config/threshold/1/", pixel_mask=encode_array(low), flatfield=encode_array(flat))
    unit.hold(DETECTOR + "config/threshold/2/", pixel_mask=encode_array(high))
    unit.hold(DETECTOR + "config/", flatfield_correction_applied=0, pixel_mask_applied=1)
    controller = make()
    first, second = controller.corrections(), controller.corrections("threshold_2")
    assert_array_equal(first.pixel_mask, low)
    assert_array_equal(first.correction_data["gain"], flat)
    assert_array_equal(second.pixel_mask, high)
    assert second.flatfield is None
    assert_array_equal(controller.corrections("difference").pixel_mask, low | high)
    unit.hold(DETECTOR + "config/threshold/1/", mode="enabled")
    unit.hold(DETECTOR + "config/threshold/2/", mode="enabled")
    unit.hold(DETECTOR + "config/threshold/difference/", mode="enabled")
    every = controller.corrections("all")
    assert_array_equal(every.pixel_mask, [low, high, low | high])
    # Neighbours along the axis of channels would not be neighbours on the detector: no repair, but 0.
    gains = np.array([flat, np.ones_like(flat), np.ones_like(flat)])
    assert_array_equal(every.correction_data["gain"], np.where(every.pixel_mask, 0, gains))
    assert "excluded_pixels" not in every.correction_data
    assert (first.is_mask_applied, first.is_flatfield_applied) == (True, False)
    unit.hold(DETECTOR + "config/", flatfield_correction_applied=True)
    assert set(controller.corrections().correction_data) == {"excluded_pixels"}


def test_masks_of_different_shapes_are_refused(unit: Any, make: Make) -> None:
    set_up(unit)
    unit.hold(DETECTOR + "config/threshold/1/", pixel_mask=[[1, 2]], mode="enabled")
    unit.hold(DETECTOR + "config/threshold/2/", pixel_mask=[[1, 2, 3]], mode="enabled")
    for channel in ("difference", "all"):
        with pytest.raises(ProtocolError, match="differ in shape"):
            make().corrections(channel)
