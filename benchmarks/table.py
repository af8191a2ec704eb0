"""Render samples as Markdown tables: medians, and ratios to LiberTEM-live in the same run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contestant import Sample

LABELS = {
    ("bare", "none"): "bare socket",
    ("ours", "none"): "ours, receiver + ring",
    ("ours", "sum"): "ours, sum",
    ("ours", "mask"): "ours, ring mask",
    ("ours", "masks4"): "ours, four masks",
    ("ours", "com"): "ours, CoM",
    ("numpy_loop", "sum"): "Python loop, sum",
    ("peer", "none"): "LiberTEM-live, no-op",
    ("peer", "sum"): "LiberTEM-live, sum",
    ("peer", "mask"): "LiberTEM-live, ring mask",
    ("peer", "masks4"): "LiberTEM-live, four masks",
    ("peer", "com"): "LiberTEM-live, CoM",
}


def median(samples: Iterable[Sample], figure: Callable[[Sample], float | None]) -> float | None:
    """Return the median of a figure, or ``None`` if no sample has it."""
    values = [value for sample in samples if (value := figure(sample)) is not None]
    return statistics.median(values) if values else None


def cell(value: float | None, digits: int = 1) -> str:
    """Format one figure."""
    return "–" if value is None else f"{value:,.{digits}f}"


def print_tables(samples: list[Sample]) -> None:
    """Print the full-rate table, then the one at 1,000 frames/s."""
    full = [sample for sample in samples if not sample.rate]
    print("\n## Full rate: medians\n")
    print(
        "| pixels | system | CPU µs/frame | LiberTEM-live ÷ ours | frames/s | MiB/s of pixels "
        "| memory MiB | first partial ms | last frame → result ms |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for pixels in dict.fromkeys(sample.pixels for sample in full):
        for (system, work), label in LABELS.items():
            rows = [s for s in full if (s.pixels, s.system, s.work) == (pixels, system, work)]
            if not rows:
                continue
            peer = [s for s in full if (s.pixels, s.system, s.work) == (pixels, "peer", work)]
            cpu = median(rows, lambda s: s.cpu_us_per_frame)
            peer_cpu = median(peer, lambda s: s.cpu_us_per_frame) if system == "ours" else None
            ratio = peer_cpu / cpu if peer_cpu and cpu else None
            print(
                f"| {pixels} | {label} | {cell(cpu)} | {cell(ratio, 2)} "
                f"| {cell(median(rows, lambda s: s.frames_per_s), 0)} "
                f"| {cell(median(rows, lambda s: s.mib_per_s), 0)} "
                f"| {cell(median(rows, lambda s: s.memory_mib), 0)} "
                f"| {cell(median(rows, lambda s: s.first_partial_ms))} "
                f"| {cell(median(rows, lambda s: s.latency_ms))} |"
            )
    slow = [sample for sample in samples if sample.rate]
    if not slow:
        return
    print("\n## At 1,000 frames/s\n")
    print("| pixels | system | CPU µs/frame | first partial ms | last frame → result ms |")
    print("| --- | --- | ---: | ---: | ---: |")
    for pixels, system, work in dict.fromkeys((s.pixels, s.system, s.work) for s in slow):
        rows = [s for s in slow if (s.pixels, s.system, s.work) == (pixels, system, work)]
        print(
            f"| {pixels} | {LABELS[system, work]} | {cell(median(rows, lambda s: s.cpu_us_per_frame))} "
            f"| {cell(median(rows, lambda s: s.first_partial_ms))} "
            f"| {cell(median(rows, lambda s: s.latency_ms))} |"
        )
