"""``livestem simulate dectris`` as a user meets it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import zmq
from click.testing import CliRunner

from detector_dectris._simulate_cli import simulator_command


@pytest.fixture
def npy(tmp_path: Path, scan: npt.NDArray[np.uint16]) -> str:
    np.save(tmp_path / "scan.npy", scan)
    return str(tmp_path / "scan.npy")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--data", "nowhere.npy"], "there is no file nowhere.npy"),
        (["--rate", "fast"], "'fast' is neither max nor period nor a positive number"),
        (["--rate", "-3"], "'-3' is neither"),
        (["--scan", "12"], "'12' is no size like 96x96"),
        (["--model", "camera"], "--model"),
        (["--fault-lost", "1,x"], "'x' is no image number"),
        (["--api-port", "99999"], "--api-port"),
        (["--data", "{npy}", "--trigger-mode", "exte", "--nimages", "2"], "nimages must be 1"),
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
    assert "by itself" in output


class Terminal:
    """A simulator in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        code = "from detector_dectris._simulate_cli import simulator_command; simulator_command()"
        ports = ["--api-port", "0", "--legacy-port", "0", "--cbor-port", "0"]
        command = [sys.executable, "-u", "-c", code, *ports, *arguments]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self.lines: list[str] = []
        found = self.wait_for(r"REST on port (\d+), V1 on port (\d+), V2 on port (\d+)")
        self.api_port, self.legacy_port, self.cbor_port = (int(text) for text in found.groups())

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


@pytest.fixture
def client() -> Iterator[zmq.Socket[Any]]:
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.setsockopt(zmq.RCVTIMEO, 20_000)
        socket.setsockopt(zmq.LINGER, 0)
        yield socket


@pytest.mark.parametrize("stream", ["v1", "v2"])
def test_passive_client_gets_data_without_any_command(
    terminal: Any, client: zmq.Socket[Any], stream: str
) -> None:
    one = terminal("--scan", "3x4", "--format", stream, "--fault-lost", "3-4,7", "--trigger-mode", "exte")
    client.connect(f"tcp://127.0.0.1:{one.legacy_port if stream == 'v1' else one.cbor_port}")
    messages = [client.recv_multipart() for _ in range(1 + 9 + 1)]
    assert b"end" in messages[-1][0]
    one.wait_for(r"1 data client connected")
    one.wait_for(r"series 1 armed: 12 images, exte")
    one.wait_for(r"series 1 over: 9 images sent")
    assert one.interrupt() == 0
    assert "Traceback" not in "".join(one.lines)


def test_wait_for_arm_waits(terminal: Any, npy: str, client: zmq.Socket[Any]) -> None:
    one = terminal("--data", npy, "--wait-for-arm")
    client.connect(f"tcp://127.0.0.1:{one.legacy_port}")
    base = f"http://127.0.0.1:{one.api_port}"
    httpx.put(f"{base}/stream/api/1.8.0/config/mode", json={"value": "enabled"})
    assert httpx.put(f"{base}/detector/api/1.8.0/command/arm").json() == {"sequence id": 1}
    assert b"dheader-1.0" in client.recv_multipart()[0]
    one.wait_for("detector: arm")


def test_port_in_use_is_said(terminal: Any, npy: str) -> None:
    one = terminal("--data", npy)
    ports = ["--legacy-port", "0", "--cbor-port", str(one.cbor_port)]
    result = CliRunner().invoke(simulator_command, ["--data", npy, "--api-port", "0", *ports])
    assert result.exit_code == 1
    assert "can't listen" in result.output
