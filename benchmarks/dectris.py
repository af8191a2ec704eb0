"""What receiving and processing the stream of a DECTRIS detector costs, ours beside LiberTEM-live.

The same sender feeds all systems; they take turns sample by sample.  Every result is compared with the
one NumPy makes of the frames before they were compressed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from contestant import HERE, PEER_PYTHON, Contestant, Entry, Sample
from dectris_stream import MODES, DetectorMode, write_frames
from systems.dectris_case import center, four_masks, ring_radii

UDF_WORKS = ["noop", "sum", "mask", "masks4", "com"]
WORKS = ["receive", "decode", *UDF_WORKS]
DECTRIS_SYSTEMS = {"bare": ["receive"], "ours": WORKS, "ours V2": WORKS, "peer": WORKS}
"""The peer knows stream V1 only; ``ours V2`` is compared with its V1."""

SCRIPTS = {"bare": "dectris_bare.py", "ours": "dectris_ours.py", "ours V2": "dectris_ours.py"}
TOLERANCE = 1e-4
"""Of the largest value: LiberTEM adds up in single precision, ours are exact."""

EASY_RATES = {192: 10_000.0, 512: 500.0}
"""Frames/s, by size, that both systems can keep up with on two cores: to see how soon results come."""

EASY_SECONDS = 0.8


def measure_dectris(arguments: argparse.Namespace, systems: list[str]) -> list[Sample]:
    """Measure all systems on all detector modes asked for."""
    samples: list[Sample] = []
    for name in arguments.modes:
        mode = MODES[name]
        if arguments.quick:
            mode = replace(mode, n_frames=mode.n_frames // 8)
        samples += measure_mode(mode, arguments, systems)
    return samples


def measure_mode(mode: DetectorMode, arguments: argparse.Namespace, systems: list[str]) -> list[Sample]:
    """Measure all systems on one mode, taking turns."""
    samples: list[Sample] = []
    easy_rate = EASY_RATES[mode.size]
    easy = replace(mode, n_frames=int(easy_rate * EASY_SECONDS) // 128 * 128)
    with tempfile.TemporaryDirectory(prefix="livestem-bench-", dir=arguments.scratch) as name:
        folder = Path(name)
        expected = Expectation(folder, mode)
        works = {s: [w for w in DECTRIS_SYSTEMS[s] if w in arguments.dectris_works] for s in systems}
        easy_works = {s: [w for w in ("sum",) if w in works[s]] for s in systems if s != "bare"}
        field: list[Contestant] = []
        slow: list[Contestant] = []
        try:
            start(field, folder, mode, works, arguments.executor)
            start(slow, folder, easy, easy_works, arguments.executor)
            for one in field + slow:  # JIT compilation, first touch
                one.sample()
                expected.check(one)
            for turn in range(arguments.turns):
                for one in field:
                    samples.append(one.sample())
                    expected.check(one)
                    say(samples[-1], turn)
                for one in slow:
                    samples.append(one.sample(rate=easy_rate))
                    expected.check(one)
                    say(samples[-1], turn)
        finally:
            for one in field + slow:
                one.close()
    return samples


def say(sample: Sample, turn: int) -> None:
    """Print one sample."""
    print(
        f"{sample.pixels:12} {sample.system:8} {sample.work:7} turn {turn + 1}: "
        f"{sample.frames_per_s:8.0f} frames/s {sample.cpu_us_per_frame:6.1f} us CPU "
        f"{sample.latency_ms:6.0f} ms behind, busy {sample.busy:.0%} stolen {sample.stolen:.0%}",
        flush=True,
    )


def start(
    field: list[Contestant], folder: Path, mode: DetectorMode, works: dict[str, list[str]], executor: str
) -> None:
    """Start one process for each system and kind of work, one after the other."""
    for system, of_system in works.items():
        version = "2" if system == "ours V2" else "1"
        sender = [sys.executable, str(HERE / "dectris_sender.py"), str(folder), str(mode.n_frames), version]
        python = PEER_PYTHON if system == "peer" else sys.executable
        assert python is not None
        script = SCRIPTS.get(system, f"dectris_{system}.py")
        case = ["--size", str(mode.size), "--dtype", mode.dtype, "--n-frames", str(mode.n_frames)]
        receiver = [python, str(HERE / "systems" / script), *case, "--executor", executor]
        for work in of_system:
            entry = Entry(mode.name, system, work, mode.n_frames, mode.frame_bytes)
            field.append(Contestant(entry, sender, [*receiver, "--work", work]))
            field[-1].wait_until_ready()


class Expectation:
    """Frames of a mode, written to a folder, and what the systems should make of them.

    Parameters
    ----------
    folder
        Where frames are written, and results are kept.
    mode
        Which frames.
    """

    def __init__(self, folder: Path, mode: DetectorMode) -> None:
        self._path = folder / "result.npy"
        frames = write_frames(folder, mode).astype(np.float64)
        size, middle = mode.size, center(mode.size)
        y, x = np.mgrid[:size, :size]
        inner, outer = ring_radii(size)
        distance = np.hypot(y - middle, x - middle)
        ring = (inner < distance) & (distance <= outer)
        flat = frames.reshape(len(frames), -1)
        total = flat.sum(axis=1)
        self._sums = flat
        self._of_frames = {
            "mask": flat @ ring.reshape(-1),
            "masks4": flat @ four_masks(size).reshape(4, -1).T.astype(np.float64),
            "com": np.stack([flat @ y.reshape(-1) / total, flat @ x.reshape(-1) / total], axis=-1),
        }

    def check(self, one: Contestant) -> None:
        """Compare the newest result of a system with what it should be.

        Raises
        ------
        ValueError
            If it is another one.
        """
        entry = one.entry
        if entry.work not in ("sum", *self._of_frames):
            return
        one.keep_result(self._path)
        found = np.load(self._path)
        expected = self._expect(entry.work, entry.n_frames)
        deviation = np.abs(found.reshape(expected.shape) - expected).max() / np.abs(expected).max()
        if not deviation <= TOLERANCE:
            raise ValueError(
                f"{entry.system}, {entry.work} on {entry.pixels}: the result deviates by {deviation:.2g} "
                "of the largest value from the sum of the frames that were sent"
            )

    def _expect(self, work: str, n_frames: int) -> npt.NDArray[np.float64]:
        shown = np.arange(n_frames) % len(self._sums)
        if work == "sum":
            total: npt.NDArray[np.float64] = np.bincount(shown, minlength=len(self._sums)) @ self._sums
            return total
        result: npt.NDArray[np.float64] = self._of_frames[work][shown]
        return result
