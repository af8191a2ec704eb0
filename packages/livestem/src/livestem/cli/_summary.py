"""What is printed when a scan is over."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from arraystream import FeedVerdict
from livestem._figures import Figures
from livestem._live_run import Outcome


def print_summary(
    console: Console, *, detector: str, scan: str, outcome: Outcome, files: Iterable[Path], folder: Path
) -> None:
    """Print how a scan went and where the results are.

    Parameters
    ----------
    console
        Where to.
    detector, scan
        What was read, in words.
    outcome
        How it went.
    files, folder
        What was written.
    """
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in summary_rows(detector, scan, outcome.figures, outcome.verdict):
        table.add_row(name, escape(text))
    names = sorted(path.name for path in files)
    if names:
        table.add_row("results", f"{escape(str(folder))}/: {escape(', '.join(names))}")
    console.print(table)


def summary_rows(
    detector: str, scan: str, figures: Figures, verdict: FeedVerdict | None = None
) -> list[tuple[str, str]]:
    """Put the figures of a run into words.

    Parameters
    ----------
    detector, scan
        What was read.
    figures
        Of the run.
    verdict
        How the acquisition ended; says why frames are missing.
    """
    rows = [
        ("detector", detector),
        ("scan", scan),
        ("frames", _frames(figures)),
        ("speed", _speed(figures)),
        ("losses", _losses(figures)),
        *[("", text) for text in _reasons(verdict)],
        ("buffer fill", f"{figures.buffer_high_water:.0%} at most"),
        ("latency", _latency(figures)),
        *([] if figures.kept_up or not figures.n_received else [("backlog", _backlog(figures))]),
        ("workers", f"{figures.n_workers} ({figures.executor})"),
    ]
    if figures.cpu_us_per_frame is not None:
        busy = "" if not figures.duration_s else f", {figures.cpu_s / figures.duration_s:.0%} of one core"
        rows.append(("CPU", f"{figures.cpu_s:.2f} s{busy}, {figures.cpu_us_per_frame:.0f} µs per frame"))
    return rows


def _frames(figures: Figures) -> str:
    text = f"{figures.n_frames} of {figures.n_frames_expected} in the result"
    if figures.n_passes > 1:
        text += f", the newest of {figures.n_passes} passes"
    if figures.n_surplus:
        text += f"; {figures.n_surplus} more came after the end of the scan"
    return text


def _speed(figures: Figures) -> str:
    if figures.frames_per_s is None or figures.mib_per_s is None:
        return "too few frames to tell"
    return f"{figures.frames_per_s:,.0f} frames/s, {figures.mib_per_s:,.0f} MiB/s"


def _losses(figures: Figures) -> str:
    kinds = (
        ("lost", figures.n_lost),
        ("stale", figures.n_stale),
        ("duplicate", figures.n_duplicate),
        ("out of order", figures.n_out_of_order),
        ("corrupt", figures.n_corrupt),
        ("discarded", figures.n_discarded),
    )
    counted = [f"{count} {kind}" for kind, count in kinds if count or kind == "lost"]
    return ", ".join(counted)


def _reasons(verdict: FeedVerdict | None) -> list[str]:
    """Say why frames are missing, and what else there is to say of an acquisition that is complete."""
    if verdict is None:
        return []
    missing: dict[str, int] = {}
    for gap in verdict.gaps:
        missing[gap.reason] = missing.get(gap.reason, 0) + gap.stop - gap.first
    texts = [f"{count} {reason}" for reason, count in missing.items()]
    return texts + ([verdict.reason] if verdict.status == "complete" and verdict.reason else [])


def _backlog(figures: Figures) -> str:
    waited = "" if figures.latency_s is None else f", so the result came {figures.latency_s:.1f} s late"
    return (
        f"this machine can't keep up: frames filled the buffer{waited}. Use more --workers, fewer or "
        "cheaper algorithms, or a --roi"
    )


def _latency(figures: Figures) -> str:
    parts = []
    if figures.first_result_s is not None:
        parts.append(f"first partial result {1e3 * figures.first_result_s:.0f} ms after the first frame")
    if figures.latency_s is not None:
        parts.append(f"final result {1e3 * figures.latency_s:.0f} ms after the last one")
    return ", ".join(parts) or "not known"
