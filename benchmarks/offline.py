"""What processing data at rest costs: ours beside LiberTEM, in one run, on the same bytes.

The systems take turns sample by sample; every result is compared with that of the others.  CPU time is that
of a system's whole process tree.  Beside them the speed of reading memory is measured, in the same turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from bandwidth import MemoryReading
from measure import MachineTime, cpu_seconds, private_bytes
from stream import specimen

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "systems"))

from offline_case import COLUMNS, FRAME_BYTES, WORKS, Task  # noqa: E402  (the systems' folder)

PEER_PYTHON = os.environ.get("LIVESTEM_LIBERTEM_PYTHON")
OURS = ["inline", "threads", "processes"]
# An array in memory would have to travel to LiberTEM's other workers with each task.
EXECUTORS = {
    "raw": {"ours": OURS, "peer": ["inline", "pipelined", "dask"]},
    "memory": {"ours": OURS, "peer": ["inline"]},
}
OFFLINE_WORKS = list(WORKS)
DISTINCT_FRAMES = 512
MOST_DEVIATION = 1e-4


@dataclass(frozen=True)
class OfflineSample:
    """One run over the data by one system."""

    kind: str
    system: str
    executor: str
    work: str
    times: int
    look: bool
    n_bytes: int
    seconds: float
    cpu_s: float
    n_partials: int
    private_mib: float
    busy: float
    stolen: float

    @property
    def gb_per_s(self) -> float:
        """Throughput."""
        return self.n_bytes / self.seconds / 1e9

    @property
    def gb_per_cpu_s(self) -> float:
        """Data per CPU time."""
        return self.n_bytes / self.cpu_s / 1e9


@dataclass
class OfflineSamples:
    """All that one run of this part has measured."""

    n_frames: int
    runs: list[OfflineSample] = field(default_factory=list)
    bandwidth: list[float] = field(default_factory=list)
    start_up: dict[str, dict[str, float]] = field(default_factory=dict)
    deviation: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Return plain values for a file."""
        return asdict(self)


class OfflineContestant:
    """One system with one executor on one kind of data, kept alive between samples."""

    def __init__(self, kind: str, system: str, executor: str, path: Path, n_frames: int) -> None:
        self.kind, self.system, self.executor, self.n_frames = kind, system, executor, n_frames
        self._result = path.with_name(f"{kind}-{system}-{executor}.npy")
        python = PEER_PYTHON if system == "peer" else sys.executable
        assert python is not None
        arguments = ["--path", str(path), "--n-frames", str(n_frames), "--kind", kind]
        arguments += ["--executor", executor, "--result", str(self._result)]
        self._process = subprocess.Popen(
            [python, "-W", "ignore", str(HERE / "systems" / f"offline_{system}.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.system} {self.executor} {self.kind}"

    def start_up(self) -> dict[str, float]:
        """Wait until the system is ready; return how long its context took."""
        times: dict[str, float] = json.loads(self._line())
        return times

    def sample(self, task: Task) -> tuple[OfflineSample, np.ndarray]:
        """Let the system do one run."""
        machine, cpu = MachineTime.now(), cpu_seconds(self._process.pid)
        self._tell(json.dumps(asdict(task)))
        report = json.loads(self._line())
        used = cpu_seconds(self._process.pid) - cpu
        load = MachineTime.now().since(machine)
        private_mib = private_bytes(self._process.pid) / 2**20
        self._tell("store")
        self._line()
        sample = OfflineSample(
            self.kind,
            self.system,
            self.executor,
            task.work,
            task.times,
            task.look,
            task.times * self.n_frames * FRAME_BYTES,
            report["seconds"],
            used,
            report["n_partials"],
            private_mib,
            load["busy"],
            load["stolen"],
        )
        return sample, np.load(self._result)

    def close(self) -> None:
        """End the system."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {self._process.wait()}")
        return line

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


@contextmanager
def data_file(arguments: argparse.Namespace) -> Iterator[tuple[Path, int]]:
    """Have a file of frames in the page cache; with ``--keep`` it stays for the next time."""
    n_frames = max(1, int(arguments.size * 2**30) // (COLUMNS * FRAME_BYTES)) * COLUMNS
    with ExitStack() as stack:
        if arguments.keep:
            folder = Path(arguments.keep)
            folder.mkdir(parents=True, exist_ok=True)
        else:
            scratch = tempfile.TemporaryDirectory(prefix="livestem-offline-", dir=arguments.scratch)
            folder = Path(stack.enter_context(scratch))
        path = folder / f"frames-{n_frames}.bin"
        if not path.exists() or path.stat().st_size != n_frames * FRAME_BYTES:
            _write(path, n_frames)
        with path.open("rb") as file:  # into the page cache
            while file.read(1 << 24):
                pass
        yield path, n_frames


def _write(path: Path, n_frames: int) -> None:
    data = specimen(DISTINCT_FRAMES, 12)
    with path.open("wb") as file:
        for first in range(0, n_frames, DISTINCT_FRAMES):
            data[: n_frames - first].tofile(file)


def measure_offline(arguments: argparse.Namespace, systems: list[str]) -> OfflineSamples:
    """Measure everything about data at rest."""
    with data_file(arguments) as (path, n_frames):
        samples = OfflineSamples(n_frames)
        memory = MemoryReading()
        for kind, executors in EXECUTORS.items():
            samples.bandwidth.append(memory.sample())
            field: list[OfflineContestant] = []
            try:
                for system in systems:
                    for executor in executors[system]:
                        one = OfflineContestant(kind, system, executor, path, n_frames)
                        field.append(one)
                        samples.start_up[one.name] = one.start_up()
                _compare_systems(samples, field, memory, arguments)
                for one in field:
                    if one.system == "ours":
                        _measure_ours(samples, one, arguments)
            finally:
                for one in field:
                    one.close()
        return samples


def _compare_systems(
    samples: OfflineSamples,
    field: list[OfflineContestant],
    memory: MemoryReading,
    arguments: argparse.Namespace,
) -> None:
    for work in arguments.works:
        reference: np.ndarray | None = None
        for turn in range(arguments.turns + 1):
            samples.bandwidth.append(memory.sample())
            for one in field:
                sample, result = one.sample(Task(work))
                if reference is None:
                    reference = result
                _check(samples, f"{one.name} {work}", result, reference)
                if turn == 0:  # JIT compilation, first touch
                    continue
                samples.runs.append(sample)
                print(
                    f"{one.name:22} {work:8} turn {turn}: {sample.gb_per_s:6.2f} GB/s "
                    f"{sample.gb_per_cpu_s:6.2f} GB/CPU-s busy {sample.busy:.0%} stolen {sample.stolen:.0%}",
                    flush=True,
                )


def _check(samples: OfflineSamples, what: str, result: np.ndarray, reference: np.ndarray) -> None:
    """Compare two systems' results; LiberTEM adds up in single precision."""
    if result.shape != reference.shape:
        raise RuntimeError(f"{what}: the result has shape {result.shape}, not {reference.shape}")
    deviation = float(np.max(np.abs(result - reference)) / np.max(np.abs(reference)))
    if not deviation <= MOST_DEVIATION:
        raise RuntimeError(f"{what}: the result deviates by {deviation:.1e} of its largest value")
    samples.deviation[what] = max(deviation, samples.deviation.get(what, 0.0))


def _measure_ours(samples: OfflineSamples, one: OfflineContestant, arguments: argparse.Namespace) -> None:
    """Measure what has no counterpart: overheads, partial results, growing data."""
    tasks: list[Task] = []
    n_times = max(1, round(arguments.longest / arguments.size))
    if one.executor == "inline":
        tasks = [Task(work) for work in ("idle", "idle+10", "idle in partitions", "all in one pass")]
    elif one.executor == "threads" and one.kind == "raw":
        growing = [Task("sum", times) for times in (1, 2, 4, 8, 16, 32) if times < n_times]
        tasks = [*growing, Task("sum", n_times), Task("sum", n_times, look=True)]
    for turn in range(arguments.turns + 1):
        for task in tasks:
            sample, _ = one.sample(task)
            if turn:
                samples.runs.append(sample)
    print(f"{one.name:22} overheads and growing data measured", flush=True)
