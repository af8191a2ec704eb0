"""``livestem simulate merlin`` as a user meets it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from detector_merlin._control import MerlinControl
from detector_merlin._simulate_cli import simulator_command


@pytest.fixture
def npy(tmp_path: Path, scan: np.ndarray) -> str:
    np.save(tmp_path / "scan.npy", scan)
    return str(tmp_path / "scan.npy")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], "Missing option '--data'"),
        (["--data", "nowhere.npy"], "there is no file nowhere.npy"),
        (["--data", "{npy}", "--rate", "fast"], "'fast' is neither max nor period nor a positive number"),
        (["--data", "{npy}", "--rate", "-3"], "'-3' is neither"),
        (["--data", "{npy}", "--depth", "7"], "--depth"),
        (["--data", "{npy}", "--depth", "1"], "multiple"),
        (["--data", "{npy}", "--layout", "3x3"], "--layout"),
        (["--data", "{npy}", "--fault-lost", "1,x"], "'x' is no frame number"),
        (["--data", "{npy}", "--announce-scan", "12"], "'12' is no size like 128x128"),
        (["--data", "{npy}", "--data-port", "99999"], "--data-port"),
    ],
)
def test_bad_argument_gets_one_clear_line(npy: str, arguments: list[str], match: str) -> None:
    result = CliRunner().invoke(simulator_command, [one.replace("{npy}", npy) for one in arguments])
    assert result.exit_code != 0
    assert match in result.output
    assert "Traceback" not in result.output


def test_help_explains_the_autostart() -> None:
    output = CliRunner().invoke(simulator_command, ["--help"]).output
    assert "--wait-for-arm" in output
    assert "starts by itself" in output


class Terminal:
    """A simulator in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        code = "from detector_merlin._simulate_cli import simulator_command; simulator_command()"
        command = [sys.executable, "-u", "-c", code, "--data-port", "0", "--control-port", "0", *arguments]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self.lines: list[str] = []
        ports = self.wait_for(r"commands on port (\d+), data on port (\d+)")
        self.control_port, self.data_port = int(ports[1]), int(ports[2])

    def wait_for(self, pattern: str) -> re.Match[str]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"{pattern!r} was not printed: {self.lines}")

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        assert self.process.stdout is not None
        self.lines += self.process.stdout.readlines()
        self.process.stdout.close()
        return self.process.wait(10)


@pytest.fixture
def terminal() -> Iterator[Any]:
    opened: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        opened.append(Terminal(*arguments))
        return opened[-1]

    yield start
    for one in opened:
        if one.process.poll() is None:
            one.interrupt()


def test_passive_client_gets_data_without_any_command(terminal: Any, npy: str, client_type: Any) -> None:
    one = terminal("--data", npy, "--fault-lost", "3-4,7")
    client = client_type(one.data_port)
    client.read_hdr()
    assert [frame.number for frame in client.read_frames(9)] == [1, 2, 5, 6, 8, 9, 10, 11, 12]
    one.wait_for(r"data client connected")
    one.wait_for(r"armed: 12 frames")
    one.wait_for(r"complete: 9 frames, \d+ frames/s, \d+ MiB/s")
    client.close()
    one.wait_for("data client disconnected")
    assert one.interrupt() == 0
    assert "Traceback" not in "".join(one.lines)


def test_wait_for_arm_waits(terminal: Any, npy: str, client_type: Any) -> None:
    one = terminal("--data", npy, "--wait-for-arm", "--no-raw", "--period", "0.5")
    client = client_type(one.data_port)
    with MerlinControl("127.0.0.1", one.control_port) as control:
        assert control.get("ACQUISITIONPERIOD") == "0.500000"
        control.set("NUMFRAMESTOACQUIRE", 2)
        control.cmd("STARTACQUISITION")
    assert client.read_hdr()["Frames in Acquisition (Number)"] == "2"
    assert client.read_frame().fields[6] == "U16"
    one.wait_for(r"SET,NUMFRAMESTOACQUIRE,2 -> 0")
    client.close()


def test_port_in_use_is_said(terminal: Any, npy: str) -> None:
    one = terminal("--data", npy)
    result = CliRunner().invoke(simulator_command, ["--data", npy, "--data-port", str(one.data_port)])
    assert result.exit_code == 1
    assert "can't listen" in result.output
