"""Render the samples of DECTRIS streams as Markdown tables: medians, and ratios in the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from table import cell, median

if TYPE_CHECKING:
    from contestant import Sample

ARINA_HZ = 120_000
ARINA_MODES = "192"

SYSTEMS = {"bare": "bare socket", "ours": "ours", "ours V2": "ours, stream V2", "peer": "LiberTEM-live"}
WORKS = {
    "receive": "receive only",
    "decode": "receive and decode",
    "noop": "no-op UDF",
    "sum": "sum",
    "mask": "ring mask",
    "masks4": "four masks",
    "com": "CoM",
}


def print_dectris_tables(samples: list[Sample]) -> None:
    """Print the full-rate table, then the one at rates that all can keep up with."""
    full = [sample for sample in samples if not sample.rate]
    print("\n## DECTRIS streams at full rate: medians\n")
    print(
        "| frames (rows, type, electrons per pixel) | work | system | CPU µs/frame | LiberTEM-live ÷ ours "
        f"| frames/s | cores for {ARINA_HZ // 1000} kHz | memory MiB | first partial ms "
        "| last frame → result ms |"
    )
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for pixels in dict.fromkeys(sample.pixels for sample in full):
        for work, what in WORKS.items():
            of_work = [s for s in full if (s.pixels, s.work) == (pixels, work)]
            peer_cpu = median((s for s in of_work if s.system == "peer"), lambda s: s.cpu_us_per_frame)
            for system, who in SYSTEMS.items():
                rows = [s for s in of_work if s.system == system]
                if not rows:
                    continue
                cpu = median(rows, lambda s: s.cpu_us_per_frame)
                ratio = peer_cpu / cpu if peer_cpu and cpu and system.startswith("ours") else None
                cores = cpu * 1e-6 * ARINA_HZ if cpu and pixels.startswith(ARINA_MODES) else None
                print(
                    f"| {pixels} | {what} | {who} | {cell(cpu)} | {cell(ratio, 2)} "
                    f"| {cell(median(rows, lambda s: s.frames_per_s), 0)} | {cell(cores)} "
                    f"| {cell(median(rows, lambda s: s.memory_mib), 0)} "
                    f"| {cell(median(rows, lambda s: s.first_partial_ms))} "
                    f"| {cell(median(rows, lambda s: s.latency_ms))} |"
                )
    easy = [sample for sample in samples if sample.rate]
    if not easy:
        return
    print("\n## DECTRIS streams at a rate that all can keep up with\n")
    print("| frames | frames/s | work | system | CPU µs/frame | first partial ms | last frame → result ms |")
    print("| --- | ---: | --- | --- | ---: | ---: | ---: |")
    for pixels, rate, work, system in dict.fromkeys((s.pixels, s.rate, s.work, s.system) for s in easy):
        rows = [s for s in easy if (s.pixels, s.rate, s.work, s.system) == (pixels, rate, work, system)]
        print(
            f"| {pixels} | {cell(rate, 0)} | {WORKS[work]} | {SYSTEMS[system]} "
            f"| {cell(median(rows, lambda s: s.cpu_us_per_frame))} "
            f"| {cell(median(rows, lambda s: s.first_partial_ms))} "
            f"| {cell(median(rows, lambda s: s.latency_ms))} |"
        )
