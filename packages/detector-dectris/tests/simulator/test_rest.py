"""The simulator's REST interface: parameters, states, refusals."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


def test_a_parameter_tells_about_itself(bench: Callable[..., Any]) -> None:
    told = bench().get("/detector/api/1.8.0/config/trigger_mode")
    assert told["value"] == "ints"
    assert told["value_type"] == "string"
    assert told["access_mode"] == "rw"
    assert {"ints", "exts", "inte", "exte"} <= set(told["allowed_values"])
    assert bench().get("/detector/api/1.8.0/config/x_pixel_size/")["unit"] == "m"


@pytest.mark.parametrize("version", ["1.6.0", "1.8.0"])
def test_both_interface_versions_and_odd_slashes_are_served(bench: Callable[..., Any], version: str) -> None:
    one = bench()
    assert one.get(f"/detector/api/{version}//config/nimages/")["value"] == 12
    assert one.get("/stream/api/version/") == {"value": "1.8.0", "value_type": "string"}


@pytest.mark.parametrize("module", ["detector", "stream", "filewriter", "monitor"])
@pytest.mark.parametrize("task", ["config", "status"])
def test_keys_lists_what_can_be_asked_for(bench: Callable[..., Any], module: str, task: str) -> None:
    one = bench()
    keys = one.get(f"/{module}/api/1.8.0/{task}/keys")
    assert keys
    for key in keys:
        assert "value" in one.get(f"/{module}/api/1.8.0/{task}/{key}")


def test_exposure_and_period_follow_each_other(bench: Callable[..., Any]) -> None:
    one = bench()
    assert "frame_time" in one.put("config/count_time", 0.5)
    assert one.get("/detector/api/1.8.0/config/frame_time")["value"] > 0.5
    assert "count_time" in one.put("config/frame_time", 0.1)
    assert one.get("/detector/api/1.8.0/config/count_time")["value"] < 0.1


def test_binning_changes_the_size_of_images(bench: Callable[..., Any]) -> None:
    one = bench()
    assert "x_pixels_in_detector" in one.put("config/binning_mode", "2x2")
    assert one.get("/detector/api/1.8.0/config/x_pixels_in_detector")["value"] == 12


@pytest.mark.parametrize(
    ("path", "value", "status", "match"),
    [
        ("config/no_such", 1, 404, "no_such"),
        ("config/nimages", "many", 400, "must be of type"),
        ("config/nimages", 0, 400, "not within"),
        ("config/trigger_mode", "never", 400, "not among"),
        ("config/bit_depth_image", 8, 400, "read-only"),
        ("config/pixel_mask", {"data": "!"}, 400, "__darray__"),
        ("config/nimages", None, 400, "body"),
        ("command/explode", None, 404, "explode"),
        ("command/trigger", None, 400, "arm first"),
        ("/detector/api/9.9.9/command/arm", None, 404, "9.9.9"),
        ("/kitchen/api/1.8.0/command/arm", None, 404, "kitchen"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(
    bench: Callable[..., Any], path: str, value: Any, status: int, match: str
) -> None:
    found = bench().refused(path, value)
    assert found[0] == status
    assert match in found[1]


def test_states_follow_the_commands(bench: Callable[..., Any]) -> None:
    one = bench(initialized=False)

    def state() -> str:
        return str(one.get("/detector/api/1.8.0/status/state")["value"])

    assert state() == "na"
    assert "initialize first" in one.refused("command/arm")[1]
    one.put("command/initialize")
    assert state() == "idle"
    one.put("config/mode", "enabled", module="stream")
    assert one.put("command/arm") == {"sequence id": 1}
    assert state() == "ready"
    assert one.get("/stream/api/1.8.0/status/state")["value"] == "acquire"
    assert "can't be set in state ready" in one.refused("config/nimages", 3)[1]
    assert one.put("command/disarm") == {"sequence id": 1}
    assert state() == "idle"
    assert one.put("command/arm") == {"sequence id": 2}
    one.put("command/trigger")
    assert state() == "idle"


def test_initialize_forgets_the_settings_and_ends_the_series(bench: Callable[..., Any]) -> None:
    one = bench()
    one.put("config/count_time", 0.5)
    one.put("command/arm")
    one.put("command/initialize")
    assert len(one.series()) == 2
    assert one.get("/detector/api/1.8.0/config/count_time")["value"] < 0.5
    assert one.get("/stream/api/1.8.0/config/mode")["value"] == "disabled"


def test_single_exposure_modes_want_one_image_per_trigger(bench: Callable[..., Any]) -> None:
    one = bench()
    one.put("config/trigger_mode", "exte")
    assert "nimages must be 1" in one.refused("command/arm")[1]


def test_an_array_goes_there_and_back_and_is_reset(bench: Callable[..., Any]) -> None:
    one = bench()
    mask = np.zeros((16, 24), "<u4")
    mask[2, 3] = 2
    array = {
        "__darray__": [1, 0, 0],
        "type": "<u4",
        "shape": [24, 16],
        "filters": ["base64"],
        "data": base64.b64encode(mask.tobytes()).decode(),
    }
    assert one.put("config/pixel_mask", array) == ["pixel_mask"]
    assert one.get("/detector/api/1.8.0/config/pixel_mask")["value"] == array
    assert one.http.delete("/detector/api/1.8.0/config/pixel_mask").status_code == 200
    assert one.get("/detector/api/1.8.0/config/pixel_mask")["value"]["data"] != array["data"]


def test_abort_ends_a_trigger_that_waits(bench: Callable[..., Any]) -> None:
    one = bench(rate=0.5)
    one.put("command/arm")
    waiting = threading.Thread(target=one.simulator.trigger)
    waiting.start()
    assert one.simulator.wait_for_state("acquire")
    one.put("command/abort")
    waiting.join(10)
    assert not waiting.is_alive()
    assert len(one.series()) < 12
