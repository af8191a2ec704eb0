"""Every variable and command of the tables, as a client sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from detector_merlin._control import (
    MerlinBusyError,
    MerlinControl,
    MerlinOutOfRangeError,
    MerlinUnknownCommandError,
    frame_message,
)
from detector_merlin._simulator import DetectorStatus
from detector_merlin._variables import COMMANDS, VARIABLES, Variable

WRITABLE = [row for row in VARIABLES.values() if row.writable]
BOUNDED = [row for row in WRITABLE if row.kind != "text"]


def another_value(row: Variable) -> str:
    """A value that is allowed and not the default."""
    if row.kind == "text":
        return "C:\\data,with comma"
    options = row.choices or (max(row.low, 1), min(row.high, 2))
    return str(int(next(value for value in options if value != row.default)))


@pytest.mark.parametrize("row", WRITABLE, ids=lambda row: row.name)
def test_variable_reads_back_what_was_set(bench: Callable[..., Any], row: Variable) -> None:
    control = bench(connect=False).control
    text = another_value(row)
    control.set(row.name, text)
    assert control.get(row.name.lower()) == (f"{float(text):.6f}" if row.kind == "real" else text)


@pytest.mark.parametrize("row", BOUNDED, ids=lambda row: row.name)
def test_value_out_of_range_is_error_3_and_changes_nothing(bench: Callable[..., Any], row: Variable) -> None:
    control = bench(connect=False).control
    before = control.get(row.name)
    for text in (f"{row.high + 1:.0f}", f"{row.low - 1:.0f}", "many", "nan"):
        with pytest.raises(MerlinOutOfRangeError, match=row.name):
            control.set(row.name, text)
    assert control.get(row.name) == before


@pytest.mark.parametrize(
    "row", [row for row in VARIABLES.values() if not row.writable], ids=lambda row: row.name
)
def test_read_only_variable_reads_and_refuses_to_be_set(bench: Callable[..., Any], row: Variable) -> None:
    control = bench(connect=False).control
    row.parse(control.get(row.name))
    with pytest.raises(MerlinUnknownCommandError):
        control.set(row.name, 1)


@pytest.mark.parametrize(
    "name", sorted(COMMANDS - {"SOFTTRIGGER", "SWTRIGGER", "RESET", "THSCAN", "STARTACQUISITION"})
)
def test_command_is_accepted_while_idle(bench: Callable[..., Any], name: str) -> None:
    control = bench(connect=False).control
    control.cmd(name)
    assert control.get("DETECTORSTATUS") == "0"


def test_unknown_names_are_error_2(bench: Callable[..., Any]) -> None:
    control = bench(connect=False).control
    for ask in (lambda: control.get("X"), lambda: control.set("X", 1), lambda: control.cmd("PROFILES")):
        with pytest.raises(MerlinUnknownCommandError):
            ask()


def test_reply_echoes_the_name_with_the_right_length(bench: Callable[..., Any]) -> None:
    control = bench(connect=False).control
    wire = control._socket
    wire.sendall(frame_message(b"GET,TriggerOutTTL,0") + b"\0" + frame_message(b"CMD,Abort"))
    expected = frame_message(b"GET,TriggerOutTTL,0,0") + frame_message(b"CMD,Abort,0")
    received = b""
    while len(received) < len(expected):
        received += wire.recv(4096)
    assert received == expected


def test_nonsense_is_answered_and_the_connection_goes_on(bench: Callable[..., Any]) -> None:
    control = bench(connect=False).control
    control._socket.sendall(frame_message(b"PUT,X"))
    assert control._socket.recv(4096).endswith(b",2")
    assert control.get("GAIN") == "0"


def test_request_one_byte_short_is_answered(bench: Callable[..., Any]) -> None:
    control = bench(connect=False).control
    control._socket.sendall(b"MPX,0000000010,GET,GAIN")
    assert control._socket.recv(4096) == frame_message(b"GET,GAIN,0,0")


def test_real_numbers_come_back_with_six_decimals(bench: Callable[..., Any]) -> None:
    control = bench(connect=False).control
    control.set("ACQUISITIONTIME", 1)
    assert control.get("ACQUISITIONTIME") == "1.000000"


def test_tcpconnected_tells_the_data_client(bench: Callable[..., Any]) -> None:
    one = bench(connect=False)
    assert one.control.get("TCPCONNECTED") == "0"
    one.reconnect()
    assert one.control.get("TCPCONNECTED") == "1"
    one.data.close()
    assert one.simulator.wait_for_client(connected=False)
    assert one.control.get("TCPCONNECTED") == "0"


def test_image_size_follows_layout_and_roi(bench: Callable[..., Any]) -> None:
    control = bench(connect=False, layout="2x2G").control
    assert (control.get("IMAGEX"), control.get("IMAGEY")) == ("18", "10")
    control.set("ROIROWS", 2)
    assert (control.get("IMAGEX"), control.get("IMAGEY")) == ("18", "6")


def test_depth_that_the_data_can_not_have_is_out_of_range(bench: Callable[..., Any]) -> None:
    control = bench(connect=False, raw=True).control
    with pytest.raises(MerlinOutOfRangeError):
        control.set("COUNTERDEPTH", 1)  # 16 pixels do not fill a word of 64
    control.set("COUNTERDEPTH", 6)


def test_continuous_readout_does_not_go_with_24_bit(bench: Callable[..., Any]) -> None:
    control = bench(connect=False).control
    control.set("COUNTERDEPTH", 24)
    with pytest.raises(MerlinOutOfRangeError):
        control.set("CONTINUOUSRW", 1)


def test_error_state_refuses_to_arm_until_cleared(bench: Callable[..., Any]) -> None:
    one = bench()
    one.simulator.fail(17)
    assert one.control.get("DETECTORSTATUS") == "3"
    assert one.control.get("ERRORCODE") == "17"
    with pytest.raises(MerlinBusyError):
        one.control.cmd("STARTACQUISITION")
    one.control.cmd("CLEARERROR")
    assert one.control.get("DETECTORSTATUS") == "0"


def test_settings_can_not_change_while_armed_but_file_names_can(bench: Callable[..., Any]) -> None:
    one = bench(trigger_start=5)
    one.control.cmd("STARTACQUISITION")
    with pytest.raises(MerlinBusyError):
        one.control.set("COUNTERDEPTH", 6)
    with pytest.raises(MerlinBusyError):
        one.control.cmd("STARTACQUISITION")
    one.control.set("FILENAME", "x")
    one.control.cmd("ABORT")
    assert one.simulator.wait_for_status(DetectorStatus.IDLE)
    one.control.set("COUNTERDEPTH", 6)


def test_reset_drops_both_sockets_and_restores_the_variables(bench: Callable[..., Any]) -> None:
    one = bench(reset_s=0.05)
    one.control.set("HVBIAS", 99)
    one.control.cmd("RESET")
    assert one.data.read_rest() == b""
    assert one.simulator.wait_for_status(DetectorStatus.IDLE)
    one.control.close()
    one.control.connect()
    assert one.control.get("HVBIAS") == "120.000000"
    one.data.close()
    one.reconnect()
    one.control.cmd("STARTACQUISITION")
    one.data.read_hdr()


def test_second_control_client_is_served_when_the_first_has_gone(bench: Callable[..., Any]) -> None:
    one = bench(connect=False)
    second = MerlinControl("127.0.0.1", one.simulator.control_port)
    second.connect()
    one.control.close()
    with second:
        assert second.get("GAIN") == "0"
