"""The commands as a user runs them: processes, terminals, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from livestem import read_results
from livestem._simulator_process import SimulatorProcess

pytest.importorskip("detector_merlin")
pytestmark = pytest.mark.timeout(300)

LIVESTEM = [sys.executable, "-m", "livestem"]
PATIENCE_S = 120.0
# A shell calls both 130; Python ends by the signal itself if it came in the middle of an import.
INTERRUPTED = (130, -signal.SIGINT)
NAV, SIG = (12, 10), (64, 64)


@pytest.fixture(scope="module")
def data() -> npt.NDArray[np.uint16]:
    return np.random.default_rng(3).poisson(4.0, (*NAV, *SIG)).astype("u2")


@pytest.fixture
def scan_file(tmp_path: Path, data: npt.NDArray[np.uint16]) -> Path:
    path = tmp_path / "scan.npy"
    np.save(path, data)
    return path


def simulator(scan_file: Path, *options: str) -> SimulatorProcess:
    ports = ("--data-port", "0", "--control-port", "0")
    return SimulatorProcess("merlin", ["--data", str(scan_file), *ports, *options])


def url_of(running: SimulatorProcess) -> str:
    return f"merlin://127.0.0.1:{running.ports['data']}?api_port={running.ports['commands']}"


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LIVESTEM, *arguments], text=True, capture_output=True, timeout=PATIENCE_S, check=False
    )


def test_two_terminals(tmp_path: Path, scan_file: Path, data: Any) -> None:
    out = tmp_path / "result"
    with simulator(scan_file, "--depth", "12", "--raw", "--rate", "max") as running:
        finished = call(
            *("run", url_of(running), "--scan", "12x10", "--out", str(out)),
            *("--udf", "sum", "--udf", "ring:inner=5,outer=20", "--udf", "com"),
        )

    assert finished.returncode == 0, finished.stderr
    arrays, about = read_results(out / "results.npz")
    assert np.array_equal(arrays["sum.intensity"], data.sum(axis=(0, 1)))
    assert about["complete"] is True
    assert about["verdict"] == "complete"
    assert about["acquisition"]["header"]
    assert {"sum.png", "ring.png", "com-field.png", "overview.png"} <= {path.name for path in out.iterdir()}
    assert "120 of 120" in finished.stdout


def test_run_arms_and_triggers(tmp_path: Path, scan_file: Path, data: Any) -> None:
    with simulator(scan_file, "--wait-for-arm") as running:
        finished = call(
            *("run", url_of(running), "--scan", "12x10", "--out", str(tmp_path), "--trigger"),
            *("--set", "trigger_start=soft", "--set", "counter_depth=12"),
        )

    assert finished.returncode == 0, finished.stderr
    arrays, _ = read_results(tmp_path / "results.npz")
    assert np.array_equal(arrays["sum.intensity"], data.sum(axis=(0, 1)))


def test_two_terminals_in_active_mode(tmp_path: Path, scan_file: Path, data: Any) -> None:
    out = tmp_path / "result"
    with simulator(scan_file, "--wait-for-arm", "--announce-scan", "12x10") as running:
        finished = call(
            "run", url_of(running), "--arm", "--scan", "12x10", "--repeat", "2", "--out", str(out)
        )

    assert finished.returncode == 0, finished.stderr
    for name in ("scan-0001", "scan-0002"):
        arrays, _ = read_results(out / name / "results.npz")
        assert np.array_equal(arrays["sum.intensity"], data.sum(axis=(0, 1)))


def test_lost_frame_is_shown_as_such(tmp_path: Path, scan_file: Path) -> None:
    out = tmp_path / "result"
    with simulator(scan_file, "--fault-lost", "38") as running:
        finished = call("run", url_of(running), "--scan", "12x10", "--udf", "sumsig", "--out", str(out))

    assert finished.returncode == 0, finished.stderr
    assert "1 lost" in finished.stdout
    arrays, about = read_results(out / "results.npz")
    assert np.flatnonzero(~arrays["valid"].ravel()).tolist() == [37]
    assert about["complete"] is False
    assert [gap[:2] for gap in about["gaps"]] == [[37, 38]]


def test_stalled_scan_keeps_what_is_there_and_fails(tmp_path: Path, scan_file: Path) -> None:
    out = tmp_path / "result"
    with simulator(scan_file, "--fault-stall", "61") as running:
        url = f"{url_of(running)}&stall_timeout=0.5"
        finished = call("run", url, "--scan", "12x10", "--udf", "sumsig", "--out", str(out))

    assert finished.returncode == 1
    assert "partial results (50% of the scan)" in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1
    arrays, about = read_results(out / "results.npz")
    assert arrays["valid"].sum() == 60
    assert about["verdict"] == "failed"


def test_shape_that_does_not_fit_is_one_line(tmp_path: Path, scan_file: Path) -> None:
    with simulator(scan_file) as running:
        finished = call("run", url_of(running), "--scan", "128x128", "--out", str(tmp_path / "result"))

    assert finished.returncode == 1
    assert "128×128 needs 16384 frames, but the detector announced 120" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_missing_server_names_host_port_and_hint() -> None:
    finished = call("run", "merlin://127.0.0.1:1", "--timeout", "0.5")

    assert finished.returncode == 1
    assert "127.0.0.1" in finished.stderr
    assert "port 1 " in finished.stderr
    assert "running" in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1


def descendants(root: int) -> set[int]:
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if words[0] != "Z":
            parents[int(entry.parent.name)] = int(words[1])
    family = {root}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return family - {root}


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"timed out: {what}"
        time.sleep(0.02)


@pytest.fixture
def start() -> Iterator[Any]:
    """Return what starts a command in a session of its own; all are ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def launch(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*LIVESTEM, *arguments],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield launch
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_ctrl_c_writes_what_is_there_and_leaves_no_process(
    tmp_path: Path, scan_file: Path, start: Any, executor: str
) -> None:
    out = tmp_path / "result"
    with simulator(scan_file, "--fault-stall", "61") as running:
        command = start(
            *(
                "run",
                f"{url_of(running)}&stall_timeout={PATIENCE_S}",
                "--scan",
                "12x10",
                "--udf",
                "sumsig",
                "--live",
            ),
            *("--executor", executor, "--workers", "2", "--out", str(out)),
        )
        until(
            lambda: (out / "preview.png").exists() or command.poll() is not None, "the first partial results"
        )
        assert command.poll() is None, command.communicate()
        family = descendants(command.pid)

        # As the terminal does it: the whole foreground group gets it.
        os.killpg(command.pid, signal.SIGINT)
        _, errors = command.communicate(timeout=PATIENCE_S)

        assert command.returncode == 130
        assert "interrupted; partial results (" in errors
        assert "Traceback" not in errors
        until(lambda: not any(is_alive(child) for child in family), "the end of all workers")
    arrays, about = read_results(out / "results.npz")
    assert 0 < arrays["valid"].sum() <= 60
    assert about["verdict"] == "interrupted"


def test_ctrl_c_is_the_end_of_an_endless_scan(tmp_path: Path, scan_file: Path, data: Any, start: Any) -> None:
    out = tmp_path / "result"
    with simulator(scan_file, "--frames", "0", "--rate", "2000") as running:
        command = start(
            *("run", url_of(running), "--scan", "12x10", "--endless", "--live", "--out", str(out)),
            *("--udf", "sum", "--udf", "sumsig"),
        )
        seen: set[int] = set()

        def changed_twice() -> bool:
            if (out / "preview.png").exists():
                seen.add((out / "preview.png").stat().st_mtime_ns)
            return len(seen) > 2

        until(changed_twice, "pictures that are drawn anew")
        os.killpg(command.pid, signal.SIGINT)
        output, errors = command.communicate(timeout=PATIENCE_S)

    assert command.returncode == 0, errors
    assert "Traceback" not in errors
    assert "120 of 120 in the result, the newest of" in output
    arrays, about = read_results(out / "results.npz")
    assert np.array_equal(arrays["sum.intensity"], data.sum(axis=(0, 1)))
    assert np.array_equal(arrays["sumsig.intensity"], data.sum(axis=(2, 3)))
    assert arrays["valid"].all()
    assert about["complete"] is True
    assert about["figures"]["n_passes"] > 2


def test_ctrl_c_while_waiting_ends_at_once(tmp_path: Path, scan_file: Path, start: Any) -> None:
    with simulator(scan_file, "--wait-for-arm") as running:
        command = start("run", url_of(running), "--scan", "12x10", "--out", str(tmp_path))
        until(lambda: any("connected" in line for line in running.output), "the connection")
        os.killpg(command.pid, signal.SIGINT)
        _, errors = command.communicate(timeout=PATIENCE_S)

    assert command.returncode in INTERRUPTED
    assert errors.strip() == "livestem: interrupted"


def test_demo_shows_pictures_numbers_and_the_known_answer(tmp_path: Path) -> None:
    out = tmp_path / "demo"

    finished = call(
        *("demo", "--out", str(out), "--scan", "24x24", "--frame", "64x64"),
        *("--electrons", "3000", "--rate", "max"),
    )

    assert finished.returncode == 0, finished.stderr + finished.stdout
    for words in ("detector", "576 of 576", "frames/s", "MiB/s", "0 lost", "buffer fill", "latency", "CPU"):
        assert words in finished.stdout, words
    assert "0 of 4096 pixels differ from the frames sent" in finished.stdout
    names = {path.name for path in out.iterdir()}
    assert {"bright_field.png", "annular_dark_field.png", "com-field.png", "sum.png", "results.npz"} <= names
    _, about = read_results(out / "results.npz")
    assert about["figures"]["n_frames"] == 576


def test_ctrl_c_ends_the_demo_with_its_simulator(tmp_path: Path, start: Any) -> None:
    command = start("demo", "--out", str(tmp_path), "--scan", "24x24", "--frame", "64x64", "--rate", "20")
    until(lambda: len(descendants(command.pid)) > 0, "the simulator")
    family = descendants(command.pid)

    os.killpg(command.pid, signal.SIGINT)
    _, errors = command.communicate(timeout=PATIENCE_S)

    assert command.returncode in INTERRUPTED
    assert "Traceback" not in errors
    until(lambda: not any(is_alive(child) for child in family), "the end of the simulator")


def test_killed_demo_takes_its_simulator_along(tmp_path: Path, start: Any) -> None:
    command = start("demo", "--out", str(tmp_path), "--scan", "24x24", "--frame", "64x64", "--rate", "20")
    until(lambda: len(descendants(command.pid)) > 0, "the simulator")
    family = descendants(command.pid)
    (simulated,) = family
    until(lambda: b"_child_main" in Path(f"/proc/{simulated}/cmdline").read_bytes(), "its command line")

    command.kill()

    until(lambda: not any(is_alive(child) for child in family), "the end of the simulator")


def test_generate_makes_the_same_scan_for_the_same_seed(tmp_path: Path) -> None:
    options = ("--scan", "4x5", "--frame", "32x32", "--electrons", "300")
    for name in ("one.npy", "two.npy"):
        finished = call("generate", str(tmp_path / name), *options)
        assert finished.returncode == 0, finished.stderr

    one, two = (np.load(tmp_path / name) for name in ("one.npy", "two.npy"))

    assert one.shape == (4, 5, 32, 32)
    assert one.dtype == np.uint16
    assert np.array_equal(one, two)
    assert int(one.sum()) == pytest.approx(20 * 300, rel=0.1)


def test_generate_into_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    finished = call("generate", str(tmp_path / "missing" / "scan.npy"))

    assert finished.returncode == 1
    assert "there is no folder" in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1


def test_simulator_that_can_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match=r"scan\.npy"):
        simulator(tmp_path / "scan.npy")
