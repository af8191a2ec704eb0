"""LiberTEM-live's clients against our Merlin simulator; our receiver and controller against its simulator.

The peer runs in a subprocess with an interpreter of its own, named by LIVESTEM_LIBERTEM_PYTHON.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from detector_merlin._control import MerlinControl
from detector_merlin._controller import MerlinController
from detector_merlin._encode import FrameFormat, Layout, encode_frames
from detector_merlin._headers import AcquisitionHeader, FrameHeaders
from detector_merlin._simulator import Faults, MerlinSimulator
from livestem import LiveContext
from udf_4dstem import SumSigUDF, SumUDF

PEER = os.environ.get("LIVESTEM_LIBERTEM_PYTHON", "")
pytestmark = pytest.mark.skipif(
    not PEER, reason="LIVESTEM_LIBERTEM_PYTHON does not name an interpreter with libertem-live"
)
DEADLINE_S = 100.0

FORMATS: list[tuple[Layout, int, bool, Faults]] = [
    ("1x1", 12, False, Faults()),
    ("1x1", 12, True, Faults()),
    ("1x1", 6, True, Faults()),
    ("1x1", 1, True, Faults()),
    ("1x1", 24, False, Faults()),
    ("2x2", 12, True, Faults()),
    ("2x2", 6, False, Faults()),
    ("2x2", 12, True, Faults(missing_thresholds=True, old_hdr=True)),
]

CONTROL_SCRIPT = """
import json, sys
from libertem_live.detectors.merlin.control import MerlinControl
found = {}
with MerlinControl(port=int(sys.argv[1]), timeout=5) as control:
    control.set("COUNTERDEPTH", 6)
    control.set("ACQUISITIONTIME", 1)
    control.set("TRIGGERSTART", 5)
    control.send_command_file(sys.argv[2])
    for name in ("COUNTERDEPTH", "ACQUISITIONTIME", "HVBIAS", "IMAGEX", "DETECTORSTATUS"):
        found[name] = control.get(name).decode()
    control.cmd("STARTACQUISITION")
    found["armed"] = control.get("DETECTORSTATUS").decode()
    control.cmd("ABORT")
    for name, value in (("COUNTERDEPTH", 13), ("NOSUCHTHING", 1)):
        try:
            control.set(name, value)
        except Exception as error:
            found[name + "_error"] = str(error)
print(json.dumps(found))
"""

ACQUISITION_SCRIPT = """
import json, sys
import numpy as np
from libertem_live.api import LiveContext, Hooks
from libertem.udf.sum import SumUDF
from libertem.udf.sumsigudf import SumSigUDF
mode, output, ports = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])

class Arm(Hooks):
    def on_ready_for_data(self, env):
        with env.aq._conn.control() as control:
            control.set("NUMFRAMESTOACQUIRE", 64)
            control.set("NUMFRAMESPERTRIGGER", 64)
            control.set("TRIGGERSTART", 5)
            control.cmd("STARTACQUISITION")
            control.cmd("SOFTTRIGGER")

def acquire(ctx, conn):
    wanted = dict(conn=conn, nav_shape=(8, 8), frames_per_partition=16)
    if mode == "active":
        return ctx.make_acquisition(hooks=Arm(), **wanted)
    pending = conn.wait_for_acquisition(timeout=20)
    assert pending is not None and pending.nimages == 64, pending
    return ctx.make_acquisition(pending_aq=pending, **wanted)

with LiveContext.make_with("inline") as ctx:
    for number, (data_port, control_port) in enumerate(ports):
        with ctx.make_connection("merlin").open(api_port=control_port, data_port=data_port) as conn:
            for run in range(2):
                aq = acquire(ctx, conn)
                total, per_frame = ctx.run_udf(dataset=aq, udf=[SumUDF(), SumSigUDF()])
                found = {"total": total["intensity"].data, "per_frame": per_frame["intensity"].data}
                np.savez(f"{output}/{number}-{run}.npz", **found)
"""


def run_peer(script: str, *arguments: object) -> str:
    result = subprocess.run(
        [PEER, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout


def small_scan(side: int, top: int, seed: int = 3) -> np.ndarray:
    """Few hits, so that sums are exact in the peer's single precision."""
    rng = np.random.default_rng(seed)
    scan = np.zeros((64, side * side), np.uint16)
    for frame in scan:
        frame[rng.integers(0, side * side, 500)] = rng.integers(1, top, 500)
    return scan.reshape(8, 8, side, side)


def test_their_control_client_sets_reads_arms_and_sees_errors(tmp_path: Path) -> None:
    (tmp_path / "commands.txt").write_text("SET,HVBIAS,115\n\nGET,HVBIAS\n")
    with MerlinSimulator(small_scan(64, 10), raw=False) as simulator:
        found = json.loads(run_peer(CONTROL_SCRIPT, simulator.control_port, tmp_path / "commands.txt"))
    assert found == {
        "COUNTERDEPTH": "6",
        "ACQUISITIONTIME": "1.000000",
        "HVBIAS": "115.000000",
        "IMAGEX": "64",
        "DETECTORSTATUS": "0",
        "armed": "4",
        "COUNTERDEPTH_error": "Param out of range",
        "NOSUCHTHING_error": "Unrecognised Command",
    }


@pytest.mark.parametrize("mode", ["active", "passive"])
def test_their_acquisition_gets_the_right_sums(
    tmp_path: Path, mode: str, recording: tuple[Path, np.ndarray]
) -> None:
    passive = mode == "passive"
    own_start = {"autostart": passive, "repeat": passive, "pause_s": 0.2}
    scans, simulators = [], []
    for layout, depth, raw, faults in FORMATS:
        scans.append(small_scan(512 if layout == "2x2" else 256, 1 << min(depth, 14)))
        simulators.append(
            MerlinSimulator(scans[-1], layout=layout, depth=depth, raw=raw, faults=faults, **own_start)
        )
    scans.append(recording[1])
    simulators.append(MerlinSimulator(recording[0], **own_start))
    with ExitStack() as stack:
        for simulator in simulators:
            stack.enter_context(simulator)
        ports = [(one.data_port, one.control_port) for one in simulators]
        run_peer(ACQUISITION_SCRIPT, mode, tmp_path, json.dumps(ports))
    for number, scan in enumerate(scans):
        for run in range(2):
            result = np.load(tmp_path / f"{number}-{run}.npz")
            assert_array_equal(result["total"], scan.sum((0, 1)))
            assert_array_equal(result["per_frame"], scan.sum((2, 3)))


@pytest.fixture
def recording(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A .mib file and its .hdr, written by our encoder."""
    scan = small_scan(256, 4096)
    fmt = FrameFormat.for_frames((256, 256))
    numbers = np.arange(1, 65)
    heads = FrameHeaders(fmt).render(numbers, np.full(64, time.time_ns()))
    frames = np.concatenate([heads, encode_frames(scan.reshape(64, 256, 256), fmt)], axis=1)
    frames.tofile(tmp_path / "scan.mib")
    header = AcquisitionHeader(n_frames=64, frames_per_trigger=8, frame_format=fmt)
    (tmp_path / "scan.hdr").write_bytes(header.encode(datetime.datetime.now()))
    return tmp_path / "scan.hdr", scan


@pytest.fixture
def their_simulator(recording: tuple[Path, np.ndarray]) -> Iterator[tuple[int, int]]:
    """Ports (data, control) of LiberTEM-live's simulator, waiting to be armed."""
    code = "from libertem_live.detectors.merlin.sim import main; main()"
    options = ["--nav-shape", "8", "8", "--host", "127.0.0.1", "--wait-trigger"]
    ports = ["--data-port", "0", "--control-port", "0", "--trigger-port", "0"]
    process = subprocess.Popen(
        [PEER, "-u", "-c", code, str(recording[0]), *options, *ports],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    found: dict[str, int] = {}
    for line in process.stdout:
        if match := re.search(r"(\w+Server)\D*listening\D+[\d.]+\D+(\d+)", line):
            found[match[1]] = int(match[2])
        if {"DataSocketServer", "ControlSocketServer"} <= found.keys():
            break
    yield found["DataSocketServer"], found["ControlSocketServer"]
    process.kill()
    process.stdout.close()
    process.wait()


def test_their_simulator_accepts_our_controller(
    recording: tuple[Path, np.ndarray], their_simulator: tuple[int, int]
) -> None:
    data_port, control_port = their_simulator
    controller = MerlinController(
        "127.0.0.1", control_port, counter_depth=12, trigger_start="soft", acquisition_time_ms=1.5
    )
    with socket.create_connection(("127.0.0.1", data_port), timeout=DEADLINE_S) as data, controller:
        controller.arm(n_items=64)
        controller.trigger()
        with data.makefile("rb") as stream:
            bodies = [stream.read(int(stream.read(15)[4:14]) - 1) for _ in range(65)]
    assert bodies[0].startswith(b"HDR,")
    pixels = np.stack([np.frombuffer(body, ">u2", offset=384).reshape(256, 256) for body in bodies[1:]])
    assert_array_equal(pixels.reshape(recording[1].shape), recording[1])


def test_their_simulator_feeds_our_receiver(
    recording: tuple[Path, np.ndarray], their_simulator: tuple[int, int]
) -> None:
    data_port, control_port = their_simulator
    scan = recording[1]
    with (
        LiveContext.make_with("threads") as ctx,
        ctx.make_connection("merlin").open(data_host="127.0.0.1", data_port=data_port) as connection,
        MerlinController("127.0.0.1", control_port, trigger_start="soft") as controller,
    ):
        controller.arm(n_items=64)
        controller.trigger()
        pending = connection.wait_for_acquisition(timeout=DEADLINE_S)
        aq = ctx.make_acquisition(conn=connection, pending_aq=pending, nav_shape=(8, 8))
        total, per_frame = ctx.run_udf(dataset=aq, udf=[SumUDF(), SumSigUDF()])
    assert_array_equal(total["intensity"].data, scan.sum((0, 1)))
    assert_array_equal(per_frame["intensity"].data, scan.sum((2, 3)))


def test_their_simulator_answers_our_control_client(their_simulator: tuple[int, int]) -> None:
    with MerlinControl("127.0.0.1", their_simulator[1]) as control:
        control.set("ACQUISITIONTIME", 2.5)
        assert control.get("ACQUISITIONTIME") == "2.5"
        control.cmd("ABORT")
