"""One system receiving acquisitions, and its sender: two processes that the driver tells what to do."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measure import MachineTime, cpu_seconds, memory_bytes

HERE = Path(__file__).resolve().parent
PEER_PYTHON = os.environ.get("LIVESTEM_LIBERTEM_PYTHON")
PATIENCE_S = 240.0


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


@dataclass(frozen=True)
class Entry:
    """What a contestant is: a cell of the table.

    Parameters
    ----------
    pixels, system, work
        Names for the table.
    n_frames
        Of one acquisition.
    pixel_bytes
        Of a decoded frame.
    """

    pixels: str
    system: str
    work: str
    n_frames: int
    pixel_bytes: int


class Contestant:
    """One system doing one kind of work, with a sender of its own, kept alive between samples.

    Parameters
    ----------
    entry
        What it is.
    sender
        Command that sends acquisitions; prints its data and control port first.
    receiver
        Command of the system; the ports are added.
    """

    def __init__(self, entry: Entry, sender: Sequence[str], receiver: Sequence[str]) -> None:
        self.entry = entry
        self._sender = self._spawn(sender)
        port, control_port = self._line(self._sender).split()
        self._receiver = self._spawn([*receiver, "--port", port, "--control-port", control_port])

    def wait_until_ready(self) -> None:
        """Wait until the system has come up."""
        if self._line(self._receiver) != "ready":
            raise RuntimeError(f"{self.entry.system}/{self.entry.work} did not come up")

    @staticmethod
    def _spawn(command: Sequence[str]) -> subprocess.Popen[str]:
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
        n_frames = self.entry.n_frames
        return Sample(
            pixels=self.entry.pixels,
            system=self.entry.system,
            work=self.entry.work,
            rate=rate,
            n_frames=n_frames,
            frames_per_s=n_frames / seconds,
            mib_per_s=n_frames * self.entry.pixel_bytes / seconds / 2**20,
            cpu_us_per_frame=used / n_frames * 1e6,
            memory_mib=memory_bytes(self._receiver.pid) / 2**20,
            first_partial_ms=None if first is None else (first - sent["first"]) * 1e3,
            latency_ms=(report["result"] - sent["last"]) * 1e3,
            checksum=report["checksum"],
            busy=load["busy"],
            stolen=load["stolen"],
        )

    def keep_result(self, path: Path) -> None:
        """Have the system write its newest result to a file of NumPy's format."""
        self._tell(self._receiver, f"keep {path}")
        if self._line(self._receiver) != "kept":
            raise RuntimeError(f"{self.entry.system}/{self.entry.work} kept no result")

    def close(self) -> None:
        """End both processes."""
        for process in (self._receiver, self._sender):
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
