"""Render samples over data at rest as Markdown tables: medians, and ratios within the same run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from table import cell, median

if TYPE_CHECKING:
    from offline import OfflineSample, OfflineSamples

NAMES = {"ours": "ours", "peer": "LiberTEM"}
WORK_NAMES = {
    "sum": "sum",
    "sumsig": "sum-sig",
    "masks1": "1 mask",
    "masks4": "4 masks",
    "masks16": "16 masks",
    "com": "CoM",
    "stddev": "std-dev",
}
CHUNK_FRAMES = 32

Figure = Callable[["OfflineSample"], float]


def print_offline_tables(samples: OfflineSamples) -> None:
    """Print throughput, data per CPU time, and what else was measured."""
    bandwidth = max(samples.bandwidth)
    kinds = {"raw": "raw file in the page cache", "memory": "array in memory"}
    for kind, title in kinds.items():
        runs = [run for run in samples.runs if run.kind == kind]
        if not runs:
            continue
        print(f"\n## Data at rest: {title}, GB/s (GB per CPU-second), medians\n")
        _print_systems(runs, statistics.median(samples.bandwidth))
    print(
        f"\nReading memory with all cores, measured in the same turns: median "
        f"{statistics.median(samples.bandwidth):.1f} GB/s, best {bandwidth:.1f}. "
        f"Largest deviation between results, of the largest value: {max(samples.deviation.values()):.1e}."
    )
    _print_overheads(samples)
    _print_growth(samples)
    _print_start_up(samples)


def _print_systems(runs: list[OfflineSample], bandwidth: float) -> None:
    systems = list(dict.fromkeys((run.system, run.executor) for run in runs))
    heads = [f"{NAMES[system]} {executor}" for system, executor in systems]
    extra = ["best ÷ best", "per CPU-s ÷", "of memory reading"]
    print("| UDF | " + " | ".join(heads + extra) + " |")
    print("| --- |" + " ---: |" * (len(heads) + len(extra)))
    for work, name in WORK_NAMES.items():
        of_work = [run for run in runs if run.work == work and run.times == 1 and not run.look]
        if not of_work:
            continue
        speeds = {s: _median(of_work, s, lambda r: r.gb_per_s) for s in systems}
        costs = {s: _median(of_work, s, lambda r: r.gb_per_cpu_s) for s in systems}
        cells = [f"{cell(speeds[s], 2)} ({cell(costs[s], 2)})" for s in systems]
        cells += [cell(_ratio(speeds), 2), cell(_ratio(costs), 2)]
        ours = _best(speeds, "ours")
        cells.append("–" if ours is None else f"{ours / bandwidth:.0%}")
        print(f"| {name} | " + " | ".join(cells) + " |")


def _print_overheads(samples: OfflineSamples) -> None:
    print("\n## Overheads of the engine\n")
    n_tiles = samples.n_frames // CHUNK_FRAMES
    inline = [run for run in samples.runs if (run.system, run.executor) == ("ours", "inline")]
    of = {
        (kind, work): median([r for r in inline if (r.kind, r.work) == (kind, work)], lambda r: r.cpu_s)
        for kind in ("raw", "memory")
        for work in ("idle", "idle+10", "idle in partitions", "all in one pass", *WORK_NAMES)
    }
    idle, ten, parts = (of["memory", work] for work in ("idle", "idle+10", "idle in partitions"))
    if idle is not None and ten is not None and parts is not None:
        print("| what | µs of CPU |")
        print("| --- | ---: |")
        print(f"| chunk of {CHUNK_FRAMES} frames with one idle UDF | {cell(idle / n_tiles * 1e6)} |")
        print(f"| each further UDF, per tile | {cell((ten - idle) / 10 / n_tiles * 1e6)} |")
        print(f"| each partition, with its merge | {cell((parts - idle) / n_tiles * 1e6)} |")
    together = of["memory", "all in one pass"]
    alone = [of["memory", work] for work in WORK_NAMES]
    if together is not None and None not in alone:
        each = sum(seconds for seconds in alone if seconds is not None)
        print(f"\nAll {len(alone)} UDFs in one pass cost {together / each:.2f} of one pass each (CPU time).")


def _print_growth(samples: OfflineSamples) -> None:
    threads = [r for r in samples.runs if (r.system, r.executor, r.kind) == ("ours", "threads", "raw")]
    plain = [r for r in threads if r.work == "sum" and not r.look]
    looked = [r for r in threads if r.look]
    if not plain:
        return
    print("\n## Growing data: sum over the raw file again and again in one run, ours with threads\n")
    print("| GiB | GB/s | GB per CPU-second | memory that belongs to no file, MiB |")
    print("| ---: | ---: | ---: | ---: |")
    for times in sorted({r.times for r in plain}):
        rows = [r for r in plain if r.times == times]
        print(
            f"| {rows[0].n_bytes / 2**30:.4g} | {cell(median(rows, lambda r: r.gb_per_s), 2)} "
            f"| {cell(median(rows, lambda r: r.gb_per_cpu_s), 2)} "
            f"| {cell(median(rows, lambda r: r.private_mib), 0)} |"
        )
    if looked:
        same = [r for r in plain if r.times == looked[0].times]
        speed = _share(looked, same, lambda r: r.gb_per_s)
        cost = _share(looked, same, lambda r: r.gb_per_cpu_s)
        rate = median(looked, lambda r: r.n_partials / r.seconds)
        print(
            f"\nEvery partial result looked at ({cell(rate)} a second): {speed:.1%} of the throughput, "
            f"{cost:.1%} of the data per CPU-second."
        )


def _print_start_up(samples: OfflineSamples) -> None:
    print("\n## Start-up in a fresh interpreter, seconds\n")
    print("| system | context | and first result of a tiny data set |")
    print("| --- | ---: | ---: |")
    for name, times in samples.start_up.items():
        system, executor, kind = name.split()
        if kind == "raw":
            label = f"{NAMES[system]} {executor}"
            print(f"| {label} | {times['context_s']:.2f} | {times['first_result_s']:.2f} |")


def _median(runs: Iterable[OfflineSample], system: tuple[str, str], figure: Figure) -> float | None:
    return median([run for run in runs if (run.system, run.executor) == system], figure)


def _best(figures: dict[tuple[str, str], float | None], system: str) -> float | None:
    return max((v for (name, _), v in figures.items() if name == system and v is not None), default=None)


def _ratio(figures: dict[tuple[str, str], float | None]) -> float | None:
    ours, theirs = _best(figures, "ours"), _best(figures, "peer")
    return None if ours is None or theirs is None else ours / theirs


def _share(some: list[OfflineSample], others: list[OfflineSample], figure: Figure) -> float:
    """Median of the ratios, turn by turn."""
    return statistics.median(figure(a) / figure(b) for a, b in zip(some, others, strict=True))
