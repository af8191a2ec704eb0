"""What receiving and processing a Merlin scan costs, ours beside others, on the same bytes.

Every figure comes from the same run: the systems take turns sample by sample, the same sender feeds all
of them, and each sample is stored with how busy the machine was.  CPU time is that of the receiving
side's whole process tree; the sender's is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from measure import MachineTime, cpu_seconds, memory_bytes
from stream import PixelFormat, write_stream

HERE = Path(__file__).resolve().parent
PEER_PYTHON = os.environ.get("LIVESTEM_LIBERTEM_PYTHON")

WORKS = {
    "bare": ["none"],
    "ours": ["none", "sum", "mask", "masks4", "com"],
    "numpy_loop": ["sum"],
    "peer": ["none", "sum", "mask", "masks4", "com"],
}
PATIENCE_S = 240.0
SLOW_FRAMES, SLOW_RATE = 1024, 1000.0


@dataclass(frozen=True)
class Sample:
    """One acquisition received by one system."""

    pixels: str
    system: str
    work: str
    rate: float
    n_frames: int
    frames_per_s: float
    mib_per_s: float
    cpu_us_per_frame: float
    memory_mib: float
    first_partial_ms: float | None
    latency_ms: float
    checksum: float
    busy: float
    stolen: float


class Contestant:
    """One system doing one kind of work, with a sender of its own, kept alive between samples."""

    def __init__(
        self, system: str, work: str, pixels: PixelFormat, stream: Path, n_frames: int, executor: str
    ) -> None:
        self.system, self.work, self.pixels, self.n_frames = system, work, pixels, n_frames
        sizes = [str(n_frames), str(pixels.message_bytes), str(pixels.depth)]
        self._sender = self._spawn([sys.executable, str(HERE / "sender.py"), str(stream), *sizes])
        port, control_port = self._line(self._sender).split()
        python = PEER_PYTHON if system == "peer" else sys.executable
        assert python is not None
        arguments = [
            "--port",
            port,
            "--control-port",
            control_port,
            "--pixels",
            pixels.name,
            "--n-frames",
            str(n_frames),
        ]
        arguments += ["--message-bytes", str(pixels.message_bytes), "--work", work, "--executor", executor]
        self._receiver = self._spawn([python, str(HERE / "systems" / f"{system}.py"), *arguments])
        if self._line(self._receiver) != "ready":
            raise RuntimeError(f"{system}/{work} did not come up")

    @staticmethod
    def _spawn(command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    @staticmethod
    def _line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{process.args} ended with {process.wait(PATIENCE_S)}")
        return line.strip()

    @staticmethod
    def _tell(process: subprocess.Popen[str], line: str) -> None:
        assert process.stdin is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()

    def sample(self, rate: float = 0.0) -> Sample:
        """Let the system receive one acquisition."""
        machine, cpu = MachineTime.now(), cpu_seconds(self._receiver.pid)
        self._tell(self._receiver, "receive")
        self._tell(self._sender, f"go {rate}")
        sent = json.loads(self._line(self._sender))
        report = json.loads(self._line(self._receiver))
        used = cpu_seconds(self._receiver.pid) - cpu
        load = MachineTime.now().since(machine)
        seconds = report["result"] - sent["first"]
        first = report["first_partial"]
        return Sample(
            pixels=self.pixels.name,
            system=self.system,
            work=self.work,
            rate=rate,
            n_frames=self.n_frames,
            frames_per_s=self.n_frames / seconds,
            mib_per_s=self.n_frames * self.pixels.pixel_bytes / seconds / 2**20,
            cpu_us_per_frame=used / self.n_frames * 1e6,
            memory_mib=memory_bytes(self._receiver.pid) / 2**20,
            first_partial_ms=None if first is None else (first - sent["first"]) * 1e3,
            latency_ms=(report["result"] - sent["last"]) * 1e3,
            checksum=report["checksum"],
            busy=load["busy"],
            stolen=load["stolen"],
        )

    def close(self) -> None:
        """End both processes."""
        for process in (self._receiver, self._sender):
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def contestants(
    pixels: PixelFormat, stream: Path, n_frames: int, works: dict[str, list[str]], executor: str
) -> list[Contestant]:
    """Start the given systems on one pixel format, one process for each kind of work."""
    return [
        Contestant(system, work, pixels, stream, n_frames, executor)
        for system, of_system in works.items()
        for work in of_system
    ]


def measure_live(pixels: PixelFormat, arguments: argparse.Namespace, systems: list[str]) -> list[Sample]:
    """Measure all systems on one pixel format, taking turns."""
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="livestem-bench-", dir=arguments.scratch) as folder:
        stream = Path(folder) / "stream.bin"
        write_stream(stream, pixels, arguments.frames)
        short_stream = Path(folder) / "short.bin"
        write_stream(short_stream, pixels, SLOW_FRAMES)
        works = {system: WORKS[system] for system in systems}
        field = contestants(pixels, stream, arguments.frames, works, arguments.executor)
        slow_works = {s: ["sum"] for s in systems if s in ("ours", "peer")}
        slow = contestants(pixels, short_stream, SLOW_FRAMES, slow_works, arguments.executor)
        try:
            for one in field + slow:  # JIT compilation, first touch
                one.sample()
            for turn in range(arguments.turns):
                for one in field:
                    samples.append(one.sample())
                    last = samples[-1]
                    print(
                        f"{last.pixels:6} {last.system:10} {last.work:7} turn {turn + 1}: "
                        f"{last.frames_per_s:8.0f} frames/s {last.cpu_us_per_frame:6.1f} us CPU "
                        f"busy {last.busy:.0%} stolen {last.stolen:.0%}",
                        flush=True,
                    )
            samples += [one.sample(rate=SLOW_RATE) for _ in range(arguments.turns) for one in slow]
        finally:
            for one in field + slow:
                one.close()
    return samples
