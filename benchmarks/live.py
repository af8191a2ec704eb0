"""What receiving and processing a Merlin scan costs, ours beside others, on the same bytes.

Every figure comes from the same run: the systems take turns sample by sample, the same sender feeds all
of them, and each sample is stored with how busy the machine was.  CPU time is that of the receiving
side's whole process tree; the sender's is not counted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from contestant import HERE, PEER_PYTHON, Contestant, Entry, Sample
from stream import PixelFormat, write_stream

WORKS = {
    "bare": ["none"],
    "ours": ["none", "sum", "mask", "masks4", "com"],
    "numpy_loop": ["sum"],
    "peer": ["none", "sum", "mask", "masks4", "com"],
}
SLOW_FRAMES, SLOW_RATE = 1024, 1000.0


def contestants(
    pixels: PixelFormat, stream: Path, n_frames: int, works: dict[str, list[str]], executor: str
) -> list[Contestant]:
    """Start the given systems on one pixel format, one process for each kind of work."""
    sizes = [str(n_frames), str(pixels.message_bytes), str(pixels.depth)]
    sender = [sys.executable, str(HERE / "sender.py"), str(stream), *sizes]
    case = ["--pixels", pixels.name, "--n-frames", str(n_frames), "--executor", executor]
    case += ["--message-bytes", str(pixels.message_bytes)]
    field = []
    for system, of_system in works.items():
        python = PEER_PYTHON if system == "peer" else sys.executable
        assert python is not None
        receiver = [python, str(HERE / "systems" / f"{system}.py"), *case]
        for work in of_system:
            entry = Entry(pixels.name, system, work, n_frames, pixels.pixel_bytes)
            field.append(Contestant(entry, sender, [*receiver, "--work", work]))
            field[-1].wait_until_ready()
    return field


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
