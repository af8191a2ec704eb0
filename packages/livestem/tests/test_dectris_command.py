"""``livestem run dectris://…`` beside ``livestem simulate dectris``, as a user has them in two terminals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from livestem import read_results
from livestem._simulator_process import SimulatorProcess

pytest.importorskip("detector_dectris")
pytestmark = pytest.mark.timeout(300)

LIVESTEM = [sys.executable, "-m", "livestem"]
PATIENCE_S = 120.0
PORTS = ("--api-port", "0", "--legacy-port", "0", "--cbor-port", "0")
DATA = np.random.default_rng(3).poisson(4.0, (12, 10, 64, 64)).astype("u2")


@pytest.fixture
def scan_file(tmp_path: Path) -> Path:
    path = tmp_path / "scan.npy"
    np.save(path, DATA)
    return path


def url_of(running: SimulatorProcess, version: str = "V1") -> str:
    return f"dectris://127.0.0.1:{running.ports[version]}?api_port={running.ports['REST']}"


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LIVESTEM, *arguments], text=True, capture_output=True, timeout=PATIENCE_S, check=False
    )


def test_passive_run_of_version_2(tmp_path: Path, scan_file: Path) -> None:
    with SimulatorProcess("dectris", ["--data", str(scan_file), "--format", "v2", *PORTS]) as running:
        finished = call("run", url_of(running, "V2"), "--scan", "12x10", "--out", str(tmp_path / "out"))

    assert finished.returncode == 0, finished.stderr
    arrays, about = read_results(tmp_path / "out" / "results.npz")
    assert np.array_equal(arrays["sum.intensity"], DATA.sum(axis=(0, 1)))
    assert about["complete"] is True
    assert about["acquisition"]["stream_version"] == 2
    assert "120 of 120" in finished.stdout


def test_lost_images_and_their_reason_are_shown(tmp_path: Path, scan_file: Path) -> None:
    options = ["--data", str(scan_file), "--fault-lost", "5,37", *PORTS]
    with SimulatorProcess("dectris", options) as running:
        finished = call("run", url_of(running), "--scan", "12x10", "--out", str(tmp_path / "out"))

    assert finished.returncode == 0, finished.stderr
    assert "2 lost" in finished.stdout
    _, about = read_results(tmp_path / "out" / "results.npz")
    assert [gap[:2] for gap in about["gaps"]] == [[5, 6], [37, 38]]


def test_ctrl_c_keeps_what_is_there(tmp_path: Path, scan_file: Path) -> None:
    options = ["--data", str(scan_file), "--fault-stall", "60", *PORTS]
    with SimulatorProcess("dectris", options) as running:
        url = f"{url_of(running)}&stall_timeout={PATIENCE_S}"
        command = subprocess.Popen(
            [*LIVESTEM, "run", url, "--scan", "12x10", "--live", "--out", str(tmp_path / "out")],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        deadline = time.monotonic() + PATIENCE_S
        while not (tmp_path / "out" / "preview.png").exists() and command.poll() is None:
            assert time.monotonic() < deadline, "no picture came"
            time.sleep(0.02)
        os.killpg(command.pid, signal.SIGINT)
        _, errors = command.communicate(timeout=PATIENCE_S)

    assert command.returncode == 130, errors
    assert "interrupted; partial results (" in errors


def test_missing_detector_says_what_to_look_at() -> None:
    finished = call("run", "dectris://127.0.0.1:1", "--timeout", "0.5")

    assert finished.returncode == 1
    for words in ("tcp://127.0.0.1:1", "stream/config/mode", "31001"):
        assert words in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1


def test_channel_that_is_not_there_names_those_that_are(tmp_path: Path, scan_file: Path) -> None:
    with SimulatorProcess("dectris", ["--data", str(scan_file), "--format", "v2", *PORTS]) as running:
        url = f"{url_of(running, 'V2')}&channel=threshold_7"
        finished = call("run", url, "--scan", "12x10", "--out", str(tmp_path / "out"))

    assert finished.returncode == 1
    assert "threshold_7" in finished.stderr
    assert "threshold_1" in finished.stderr
