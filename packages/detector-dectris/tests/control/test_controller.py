"""The controller against the simulator."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from arraystream import (
    ConnectionClosed,
    ConnectionFailed,
    Controller,
    KnowsItemShape,
    Stalled,
    StateError,
)
from detector_dectris._controller import DectrisController
from detector_dectris._simplon_errors import (
    SimplonSettingError,
    SimplonStateError,
    SimplonUnknownKeyError,
    SimplonValueError,
)
from detector_dectris._simulator import DectrisSimulator

DEADLINE_S = 30.0


@pytest.fixture
def simulator() -> Iterator[DectrisSimulator]:
    """A detector of 16 × 24 pixels that has been switched on, and not initialised."""
    frames = np.random.default_rng(1).integers(0, 100, (12, 16, 24)).astype(np.uint16)
    with DectrisSimulator(frames, model="eiger2-500k", rate="period", initialized=False) as simulator:
        yield simulator


@pytest.fixture
def make(simulator: DectrisSimulator) -> Iterator[Callable[..., DectrisController]]:
    """Gives a function that makes a controller of the simulator with these settings."""
    made: list[DectrisController] = []

    def make(**settings: Any) -> DectrisController:
        made.append(DectrisController("127.0.0.1", simulator.api_port, **settings))
        return made[-1]

    yield make
    for controller in made:
        controller.close()


Make = Callable[..., DectrisController]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_it_is_a_controller(make: Make) -> None:
    controller: Controller = make()
    assert isinstance(controller, KnowsItemShape)


# ---- arming -------------------------------------------------------------------------------------


def test_a_detector_just_switched_on_is_initialised_and_armed(make: Make) -> None:
    controller = make(trigger_mode="ints")
    assert controller.status().state == "na"
    assert controller.series is None
    controller.arm(n_items=12)
    assert controller.status().state == "ready"
    first = controller.series
    assert first is not None
    controller.arm(n_items=12)
    assert controller.series == first + 1


def test_settings_reach_the_detector(make: Make) -> None:
    controller = make(
        trigger_mode="exts",
        count_time=1e-3,
        frame_time=2e-3,
        nimages=4,
        incident_energy=200e3,
        compression="lz4",
        mask_to_zero=True,
        stream_format="cbor",
        header_detail="all",
        name_pattern="gold_$id",
        nimages_per_file=100,
        extra={"sample_name": "gold", "stream/config/image_appendix": "x"},
    )
    controller.arm(n_items=12)
    client = controller.client
    wanted = {
        "trigger_mode": "exts",
        "nimages": 4,
        "ntrigger": 3,
        "count_time": pytest.approx(1e-3),
        "frame_time": pytest.approx(2e-3),
        "incident_energy": pytest.approx(200e3),
        "compression": "lz4",
        "mask_to_zero": True,
        "sample_name": "gold",
    }
    assert {name: client.get_config(name) for name in wanted} == wanted
    wanted = {"mode": "enabled", "format": "cbor", "header_detail": "all", "image_appendix": "x"}
    assert {name: client.get_config(name, "stream") for name in wanted} == wanted
    wanted = {"mode": "enabled", "name_pattern": "gold_$id", "nimages_per_file": 100}
    assert {name: client.get_config(name, "filewriter") for name in wanted} == wanted


@pytest.mark.parametrize(
    ("mode", "nimages", "ntrigger"),
    [("ints", 12, 1), ("exts", 12, 1), ("inte", 1, 12), ("exte", 1, 12), ("extg", 12, 1), ("eies", 12, 1)],
)
def test_each_trigger_mode_is_armed_for_all_images(
    make: Make, mode: str, nimages: int, ntrigger: int
) -> None:
    controller = make(trigger_mode=mode)
    controller.arm(n_items=12)
    assert controller.client.get_config("trigger_mode") == mode
    assert controller.client.get_config("nimages") == nimages
    assert controller.client.get_config("ntrigger") == ntrigger


def test_what_is_not_given_stays(make: Make) -> None:
    controller = make(trigger_mode=None)
    controller.initialize()
    controller.client.set_config("trigger_mode", "inte")
    controller.client.set_config("count_time", 0.125)
    controller.arm(n_items=3)
    assert controller.client.get_config("count_time") == pytest.approx(0.125)
    assert controller.client.get_config("ntrigger") == 3


def test_the_stream_is_enabled_again_after_initialising(make: Make) -> None:
    controller = make()
    controller.arm(n_items=3)
    controller.initialize()
    assert controller.client.get_config("mode", "stream") == "disabled"
    controller.arm(n_items=3)
    assert controller.client.get_config("mode", "stream") == "enabled"


def test_several_thresholds_need_the_second_stream_version(make: Make) -> None:
    controller = make(threshold_energies=[5000.0, 9000.0], threshold_difference=True)
    controller.arm(n_items=3)
    assert controller.client.get_config("format", "stream") == "cbor"
    assert controller.client.get_config("threshold/2/mode") == "enabled"
    assert controller.client.get_config("threshold/2/energy") == pytest.approx(9000)
    assert controller.client.get_config("threshold/difference/mode") == "enabled"


def test_an_endless_series_is_armed_as_long_as_can_be(make: Make) -> None:
    controller = make(trigger_mode="exte", count_time=1e-3, frame_time=2e-3)
    controller.arm(n_items=None)
    assert controller.client.get_config("ntrigger") > 1_000_000
    controller.abort()
    controller = make(trigger_mode="exts", nimages=256, count_time=1e-3, frame_time=2e-3)
    controller.arm(n_items=None)
    assert controller.client.get_config("nimages") == 256
    assert controller.client.get_config("ntrigger") > 100_000


# ---- refusals -----------------------------------------------------------------------------------


def test_unknown_parameter_is_named_with_similar_ones(make: Make) -> None:
    with pytest.raises(SimplonUnknownKeyError, match=r"count_tim = 1\.0.*count_time"):
        make(extra={"count_tim": 1.0}).arm(n_items=1)


def test_value_that_is_not_allowed_comes_with_those_that_are(make: Make) -> None:
    with pytest.raises(SimplonValueError, match=r"zip.*bslz4") as caught:
        make(compression="zip").arm(n_items=1)
    assert (caught.value.parameter, caught.value.value) == ("compression", "zip")


def test_read_only_parameter_is_refused(make: Make) -> None:
    with pytest.raises(SimplonValueError, match="x_pixels_in_detector"):
        make(extra={"x_pixels_in_detector": 7}).arm(n_items=1)


def test_parameter_that_another_one_changes_is_an_error(make: Make) -> None:
    """Both are names of the same energy here."""
    controller = make(photon_energy=8000.0, incident_energy=9000.0)
    with pytest.raises(SimplonSettingError, match=r"photon_energy was set to 8000\.0.*9000") as caught:
        controller.arm(n_items=1)
    assert (caught.value.parameter, caught.value.value) == ("photon_energy", 8000.0)
    assert controller.status().state == "idle"


def test_images_that_do_not_fit_are_refused_before_anything_is_touched(make: Make) -> None:
    controller = make(trigger_mode="exts", nimages=5)
    with pytest.raises(ValueError, match="nimages=5"):
        controller.arm(n_items=12)
    assert controller.status().state == "na"


def test_closed_controller_says_so(make: Make) -> None:
    controller = make()
    with controller:
        controller.status()
    controller.close()
    for act in (controller.status, controller.abort, lambda: controller.arm(n_items=1)):
        with pytest.raises(ConnectionClosed):
            act()


# ---- software triggers --------------------------------------------------------------------------


def test_a_trigger_starts_the_whole_series(make: Make) -> None:
    controller = make(trigger_mode="ints", count_time=5e-4, frame_time=1e-3)
    controller.arm(n_items=12)
    controller.trigger()
    controller.wait_for_triggers(DEADLINE_S)
    wait_until(lambda: controller.status().state == "idle")


def test_each_image_may_have_its_own_trigger(make: Make) -> None:
    controller = make(trigger_mode="inte", count_time=5e-4, frame_time=1e-3)
    controller.arm(n_items=5)
    controller.trigger(n_triggers=2, count_time=2e-4)
    controller.wait_for_triggers(DEADLINE_S)
    assert controller.status().state in ("ready", "acquire")
    controller.trigger()
    controller.wait_for_triggers(DEADLINE_S)
    wait_until(lambda: controller.status().state == "idle")
    with pytest.raises(StateError, match="0 left"):
        controller.trigger()


def test_trigger_returns_while_images_are_being_taken(make: Make) -> None:
    controller = make(trigger_mode="ints", count_time=0.05, frame_time=0.1)
    controller.arm(n_items=100_000)
    controller.trigger()
    assert controller.status().state == "acquire"
    with pytest.raises(StateError, match="not done"):
        controller.trigger()
    with pytest.raises(Stalled, match="0 triggers are done"):
        controller.wait_for_triggers(0.01)
    controller.abort()


def test_trigger_without_arming_is_refused(make: Make) -> None:
    controller = make(trigger_mode="ints")
    with pytest.raises(StateError, match="call arm"):
        controller.trigger()
    controller.arm(n_items=3)
    controller.disarm()
    with pytest.raises(StateError, match="call arm"):
        controller.trigger()


def test_modes_triggered_from_outside_take_no_software_trigger(make: Make) -> None:
    controller = make(trigger_mode="exte")
    controller.arm(n_items=3)
    with pytest.raises(StateError, match="outside"):
        controller.trigger()
    with pytest.raises(SimplonStateError):
        controller.client.trigger()


# ---- ending -------------------------------------------------------------------------------------


def test_abort_from_another_thread_ends_a_blocking_trigger(make: Make) -> None:
    controller = make(trigger_mode="ints", count_time=0.05, frame_time=0.1)
    controller.arm(n_items=100_000)
    controller.trigger()
    thread = threading.Thread(target=controller.abort)
    thread.start()
    controller.wait_for_triggers(DEADLINE_S)
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert controller.status().state == "idle"


@pytest.mark.parametrize("end", ["disarm", "cancel", "abort", "initialize"])
def test_an_armed_series_can_be_ended(make: Make, end: str) -> None:
    controller = make(trigger_mode="ints", count_time=5e-4, frame_time=1e-3)
    controller.arm(n_items=12)
    getattr(controller, end)()
    wait_until(lambda: controller.status().state in ("idle", "ready"))
    controller.arm(n_items=12)
    controller.trigger()
    controller.wait_for_triggers(DEADLINE_S)


@pytest.mark.parametrize("end", ["disarm", "cancel", "abort", "initialize"])
def test_a_running_series_can_be_ended(make: Make, end: str) -> None:
    controller = make(trigger_mode="ints", count_time=0.01, frame_time=0.02)
    controller.arm(n_items=100_000)
    controller.trigger()
    getattr(controller, end)()
    wait_until(lambda: controller.status().state in ("idle", "ready"))


def test_arming_takes_over_from_what_runs(make: Make) -> None:
    first = make(trigger_mode="ints", count_time=0.01, frame_time=0.02)
    first.arm(n_items=100_000)
    first.trigger()
    second = make(trigger_mode="ints", count_time=5e-4, frame_time=1e-3)
    second.arm(n_items=3)
    assert second.status().state == "ready"
    first.close()
    second.trigger()
    second.wait_for_triggers(DEADLINE_S)


def test_abort_of_a_detector_that_does_nothing_is_harmless(make: Make) -> None:
    controller = make()
    controller.abort()
    assert controller.status().state == "na"
    controller.initialize()
    controller.abort()
    assert controller.status().state == "idle"


def test_close_ends_the_triggers(make: Make) -> None:
    controller = make(trigger_mode="ints", count_time=0.05, frame_time=0.1)
    controller.arm(n_items=100_000)
    controller.trigger()
    controller.close()
    controller.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "dectris-trigger"]


# ---- a unit that is not there -------------------------------------------------------------------


def test_unit_that_vanishes_is_a_connection_error(make: Make, simulator: DectrisSimulator) -> None:
    controller = make(trigger_mode="ints", count_time=0.05, frame_time=0.1)
    controller.arm(n_items=100_000)
    controller.trigger()
    simulator.close()
    with pytest.raises(ConnectionFailed):
        controller.wait_for_triggers(DEADLINE_S)
    with pytest.raises(ConnectionFailed):
        controller.arm(n_items=1)


def test_unit_that_hangs_is_an_error_in_time() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        DectrisController("127.0.0.1", listener.getsockname()[1], timeout=0.05) as controller,
        pytest.raises(Stalled, match="no reply"),
    ):
        controller.arm(n_items=1)


def test_close_ends_waiting_for_a_unit_that_hangs() -> None:
    errors: list[BaseException] = []
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        DectrisController("127.0.0.1", listener.getsockname()[1], timeout=DEADLINE_S) as controller,
    ):

        def arm() -> None:
            try:
                controller.arm(n_items=1)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=arm)
        thread.start()
        peer, _ = listener.accept()
        controller.close()
        thread.join(DEADLINE_S)
        peer.close()
    assert isinstance(errors[0], ConnectionClosed)


# ---- what the detector tells ----------------------------------------------------------------------


def test_status_has_units(make: Make) -> None:
    controller = make()
    controller.initialize()
    status = controller.status()
    assert status.state == "idle"
    assert status.high_voltage == "READY"
    assert status.temperature_c is not None
    assert status.humidity_percent is not None
    assert status.n_dropped == 0


def test_corrections_are_arrays_of_the_images_shape(make: Make) -> None:
    controller = make()
    controller.initialize()
    found = controller.corrections()
    assert found.pixel_mask is not None
    assert found.flatfield is not None
    assert found.pixel_mask.shape == found.flatfield.shape == (16, 24)
    assert (found.pixel_mask.dtype, found.flatfield.dtype) == (np.uint32, np.float32)
    assert found.count_cutoff is not None
    mask = np.zeros((16, 24), np.uint32)
    mask[3, 5] = 0b10
    controller.client.set_array("pixel_mask", mask)
    excluded = controller.corrections().correction_data["excluded_pixels"]
    assert excluded[3, 5]
    assert excluded.sum() == 1
    with pytest.raises(ValueError, match="channel='red'"):
        controller.corrections("red")


def test_item_shape_is_known_before_arming_unless_arming_changes_it(make: Make) -> None:
    controller = make()
    assert controller.determine_item_shape() is None
    controller.initialize()
    assert controller.determine_item_shape() == (16, 24)
    assert make(channel="all").determine_item_shape() is None
