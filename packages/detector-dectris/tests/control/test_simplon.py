"""The REST client against a bare HTTP server that answers whatever a test wants."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from arraystream import ConnectionClosed, ConnectionFailed, LimitError, ProtocolError, Stalled, StateError
from detector_dectris._simplon import SimplonClient
from detector_dectris._simplon_errors import (
    SimplonError,
    SimplonStateError,
    SimplonUnknownKeyError,
    SimplonValueError,
)
from detector_dectris._simplon_values import encode_array

DEADLINE_S = 20.0
CONFIG = "/detector/api/1.8.0/config/"
STATUS = "/detector/api/1.8.0/status/"
COMMAND = "/detector/api/1.8.0/command/"


# ---- parameters ---------------------------------------------------------------------------------


def test_value_comes_with_its_metadata(unit: Any, client: SimplonClient) -> None:
    unit.answer(
        CONFIG + "count_time", 0.5, value_type="float", min=1e-6, max=1800, unit="s", access_mode="rw"
    )
    found = client.describe_config("count_time")
    assert (found.value, found.unit, found.minimum, found.maximum) == (0.5, "s", 1e-6, 1800)
    assert found.describe_range() == "allowed: 1e-06 to 1800 s"
    assert client.get_config("count_time") == 0.5


def test_modules_have_addresses_of_their_own(unit: Any, client: SimplonClient) -> None:
    unit.answer("/stream/api/1.8.0/config/mode", "enabled")
    unit.answer("/stream/api/1.8.0/status/dropped", 7)
    unit.answer(CONFIG + "threshold/1/energy", 15e3)
    assert client.get_config("mode", "stream") == "enabled"
    assert client.get_status("dropped", "stream") == 7
    assert client.get_config("threshold/1/energy") == 15e3


def test_setting_tells_what_changed_with_it(unit: Any, client: SimplonClient) -> None:
    unit.replies[CONFIG + "photon_energy"] = (200, b'["threshold_energy", "flatfield"]')
    assert client.set_config("photon_energy", np.float32(12000)) == ["threshold_energy", "flatfield"]
    assert unit.requests == [("PUT", CONFIG + "photon_energy", b'{"value": 12000.0}')]
    assert unit.headers_seen[0]["Content-Type"] == "application/json"


@pytest.mark.parametrize("reply", [b"", b"{}", b"[]", b"null"])
def test_setting_without_an_answer_is_fine(unit: Any, client: SimplonClient, reply: bytes) -> None:
    unit.replies[CONFIG + "nimages"] = (200, reply)
    assert client.set_config("nimages", 1) == []


@pytest.mark.parametrize("reply", [b'["a", "b"]', b'{"value": ["a", "b"]}'])
def test_keys_are_listed(unit: Any, client: SimplonClient, reply: bytes) -> None:
    unit.replies[CONFIG + "keys"] = (200, reply)
    assert client.keys("config") == ["a", "b"]


# ---- version ------------------------------------------------------------------------------------


def test_version_is_what_the_unit_says(unit: Any) -> None:
    unit.answer("/detector/api/version", "1.6.0", value_type="string")
    with SimplonClient("127.0.0.1", unit.port) as client:
        assert client.version == "1.6.0"
        assert client.version == "1.6.0"
    assert len(unit.requests) == 1


@pytest.mark.parametrize("version", ["1.8.0", "1.6.0"])
def test_version_is_tried_if_the_unit_does_not_say(unit: Any, version: str) -> None:
    unit.answer(f"/detector/api/{version}/status/state", "idle")
    with SimplonClient("127.0.0.1", unit.port) as client:
        assert client.version == version


def test_another_web_server_is_recognised_as_such(unit: Any) -> None:
    unit.replies["/detector/api/version"] = (200, b"<html>hello</html>")
    with SimplonClient("127.0.0.1", unit.port) as client, pytest.raises(ProtocolError, match="not JSON"):
        client.get_status("state")
    del unit.replies["/detector/api/version"]
    with SimplonClient("127.0.0.1", unit.port) as client, pytest.raises(ProtocolError, match="address"):
        client.get_status("state")


# ---- refusals -----------------------------------------------------------------------------------


def test_unknown_key_is_named(unit: Any, client: SimplonClient) -> None:
    with pytest.raises(SimplonUnknownKeyError, match=r"nosuchkey.*404.*no such thing") as caught:
        client.get_config("nosuchkey")
    assert isinstance(caught.value, LookupError)
    assert caught.value.url.endswith("/config/nosuchkey")


def test_refused_value_comes_with_what_is_allowed(unit: Any, client: SimplonClient) -> None:
    unit.answer(STATUS + "state", "idle")

    def refuse_to_write() -> tuple[int, bytes]:
        if unit.requests[-1][0] == "PUT":
            return 400, b'"invalid value"'
        return 200, b'{"value": "bslz4", "allowed_values": ["bslz4", "lz4", "none"]}'

    unit.replies[CONFIG + "compression"] = refuse_to_write
    with pytest.raises(SimplonValueError, match=r"invalid value.*bslz4, lz4, none") as caught:
        client.set_config("compression", "zip")
    error = caught.value
    assert (error.parameter, error.value, error.http_status) == ("compression", "zip", 400)
    assert error.reply == "invalid value"


@pytest.mark.parametrize(
    ("state", "advice"),
    [("na", "initialize"), ("acquire", "abort"), ("ready", "disarm"), ("error", "status/error")],
)
def test_refused_command_says_what_to_do_in_this_state(
    unit: Any, client: SimplonClient, state: str, advice: str
) -> None:
    unit.answer(STATUS + "state", state)
    unit.replies[COMMAND + "arm"] = (400, b"wrong state")
    with pytest.raises(SimplonStateError, match=f"wrong state.*{advice}") as caught:
        client.arm()
    assert isinstance(caught.value, StateError)


def test_refusal_of_a_unit_that_tells_nothing_more(unit: Any, client: SimplonClient) -> None:
    unit.replies[COMMAND + "arm"] = (500, b"")
    with pytest.raises(SimplonStateError, match="HTTP 500"):
        client.arm()
    unit.replies[STATUS + "state"] = (503, b"busy " * 1000)
    with pytest.raises(SimplonError, match=r"HTTP 503.*…"):
        client.get_status("state")


# ---- commands -----------------------------------------------------------------------------------


def test_arming_gives_the_number_of_the_series(unit: Any, client: SimplonClient) -> None:
    unit.replies[COMMAND + "arm"] = (200, b'{"sequence id": 34}')
    assert client.arm() == 34
    assert unit.requests[-1] == ("PUT", COMMAND + "arm", b"{}")


@pytest.mark.parametrize("reply", [b"", b"{}", b'{"sequence id": "three"}', b'{"sequence id": true}'])
def test_arming_without_a_number_is_an_error(unit: Any, client: SimplonClient, reply: bytes) -> None:
    unit.replies[COMMAND + "arm"] = (200, reply)
    with pytest.raises(ProtocolError, match="sequence id"):
        client.arm()


@pytest.mark.parametrize("name", ["initialize", "trigger", "disarm", "cancel", "abort"])
def test_commands_need_no_answer(unit: Any, client: SimplonClient, name: str) -> None:
    unit.replies[COMMAND + name] = (200, b"")
    getattr(client, name)()
    assert unit.requests[-1][:2] == ("PUT", COMMAND + name)


def test_trigger_may_carry_the_exposure(unit: Any, client: SimplonClient) -> None:
    unit.replies[COMMAND + "trigger"] = (200, b"{}")
    client.trigger(0.25)
    assert unit.requests[-1][2] == b'{"value": 0.25}'


# ---- waiting ------------------------------------------------------------------------------------


def test_silent_unit_is_an_error_in_time(unit: Any) -> None:
    unit.hang(STATUS + "state")
    with (
        SimplonClient("127.0.0.1", unit.port, api_version="1.8.0", timeout=0.05) as client,
        pytest.raises(Stalled, match=r"status/state within 0\.05 s"),
    ):
        client.get_status("state")


def test_trickling_reply_ends_in_time() -> None:
    """Each byte comes in time, the whole does not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def trickle() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not over.wait(0.005):
                    try:
                        peer.sendall(b" ")
                    except OSError:
                        return

        thread = threading.Thread(target=trickle)
        thread.start()
        port = listener.getsockname()[1]
        with (
            SimplonClient("127.0.0.1", port, api_version="1.8.0", timeout=0.2) as client,
            pytest.raises(Stalled),
        ):
            client.get_status("state")
        over.set()
        thread.join(DEADLINE_S)


def test_nobody_there_is_a_connection_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        SimplonClient("127.0.0.1", port) as client,
        pytest.raises(ConnectionFailed, match="is this its address"),
    ):
        client.get_status("state")


def test_unit_that_vanishes_during_a_trigger_is_a_connection_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def vanish() -> None:
            peer, _ = listener.accept()
            peer.recv(4096)
            peer.close()

        thread = threading.Thread(target=vanish)
        thread.start()
        port = listener.getsockname()[1]
        with (
            SimplonClient("127.0.0.1", port, api_version="1.8.0") as client,
            pytest.raises(ConnectionFailed, match="trigger"),
        ):
            client.trigger()
        thread.join(DEADLINE_S)


def in_thread(call: Callable[[], Any]) -> tuple[threading.Thread, list[BaseException]]:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, errors


def test_other_threads_are_served_while_a_trigger_blocks(unit: Any, client: SimplonClient) -> None:
    unit.hang(COMMAND + "trigger")
    unit.replies[COMMAND + "abort"] = (200, b'{"sequence id": 3}')
    thread, errors = in_thread(client.trigger)
    assert unit.asked.wait(DEADLINE_S)
    client.abort()
    unit.release.set()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert errors == []


def test_interrupt_lets_go_of_one_command_only(unit: Any, client: SimplonClient) -> None:
    unit.hang(COMMAND + "trigger")
    thread, errors = in_thread(client.trigger)
    assert unit.asked.wait(DEADLINE_S)
    client.interrupt("initialize")
    assert thread.is_alive()
    client.interrupt("trigger")
    thread.join(DEADLINE_S)
    assert isinstance(errors[0], ConnectionClosed)
    unit.answer(STATUS + "state", "idle")
    assert client.get_status("state") == "idle"


def test_close_ends_every_wait(unit: Any, client: SimplonClient) -> None:
    unit.hang(COMMAND + "initialize")
    thread, errors = in_thread(client.initialize)
    assert unit.asked.wait(DEADLINE_S)
    client.close()
    client.close()
    thread.join(DEADLINE_S)
    assert isinstance(errors[0], ConnectionClosed)
    with pytest.raises(ConnectionClosed, match="make a new one"):
        client.get_status("state")


def test_proxies_of_the_environment_are_not_used(
    unit: Any, client: SimplonClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    unit.answer(STATUS + "state", "idle")
    with SimplonClient("127.0.0.1", unit.port, api_version="1.8.0") as other:
        assert other.get_status("state") == "idle"


@pytest.mark.parametrize(
    ("arguments", "match"),
    [(("",), "host"), (("http://a",), "host"), (("a", 0), "port"), (("a", 70000), "port")],
)
def test_wrong_addresses_are_refused_at_once(arguments: tuple[Any, ...], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        SimplonClient(*arguments)


# ---- replies that make no sense -----------------------------------------------------------------


@pytest.mark.parametrize("reply", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"min": 3}'])
def test_reply_that_is_no_parameter_is_an_error(unit: Any, client: SimplonClient, reply: bytes) -> None:
    unit.replies[CONFIG + "nimages"] = (200, reply)
    with pytest.raises(ProtocolError):
        client.get_config("nimages")


def test_endless_reply_is_cut_off(unit: Any, client: SimplonClient) -> None:
    unit.replies[CONFIG + "nimages"] = (200, b" " * (5 << 20))
    with pytest.raises(LimitError, match="longer than"):
        client.get_config("nimages")


# ---- arrays -------------------------------------------------------------------------------------


def test_mask_is_decoded_to_rows_and_columns(unit: Any, client: SimplonClient) -> None:
    mask = np.arange(6, dtype=np.uint32).reshape(2, 3)
    description = encode_array(mask)
    assert description["shape"] == [3, 2]
    unit.answer(CONFIG + "pixel_mask", description, value_type="uint32[][]")
    found = client.get_array("pixel_mask")
    assert_array_equal(found, mask)
    assert found is not None
    assert found.dtype == np.uint32
    unit.replies[CONFIG + "pixel_mask"] = (200, json.dumps(description).encode())
    assert_array_equal(client.get_array("pixel_mask"), mask)


def test_nested_lists_are_arrays_too(unit: Any, client: SimplonClient) -> None:
    unit.answer(CONFIG + "flatfield", [[1.0, 0.5], [2.0, 1.0]])
    assert_array_equal(client.get_array("flatfield"), [[1.0, 0.5], [2.0, 1.0]])
    unit.answer(CONFIG + "flatfield", [[]])
    assert client.get_array("flatfield") is None


def test_array_can_be_uploaded(unit: Any, client: SimplonClient) -> None:
    mask = np.array([[1, 2, 3], [4, 5, 6]], ">u4")
    unit.replies[CONFIG + "pixel_mask"] = (200, b'["pixel_mask"]')
    assert client.set_array("pixel_mask", mask) == ["pixel_mask"]
    sent = json.loads(unit.requests[-1][2])["value"]
    assert (sent["type"], sent["shape"]) == ("<u4", [3, 2])
    unit.answer(CONFIG + "pixel_mask", sent)
    assert_array_equal(client.get_array("pixel_mask"), mask)
