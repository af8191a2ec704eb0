"""What the terminal shows while a scan runs: a bar for the scan, a line for the connection."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from arraystream import Connection, ConnectionState
from livestem._figures import Meter
from livestem._live_run import Job, Outcome
from livestem._preview import Preview

REFRESHES_PER_S = 8


class WaitingLine:
    """Says what is waited for, and why it may not come; looks each time the terminal is redrawn.

    Parameters
    ----------
    connection
        Is waiting for an acquisition.
    url
        Of the detector, for the text.
    """

    def __init__(self, connection: Connection, url: str) -> None:
        self._connection = connection
        self._url = url
        self._n_stale = connection.statistics().n_stale

    def hint(self) -> str:
        """Say why no acquisition has begun, as far as that shows; empty if it doesn't."""
        n_stale = self._connection.statistics().n_stale - self._n_stale
        if self._connection.state in (ConnectionState.CONNECTING, ConnectionState.FAILED):
            return "the connection is lost, and is being made anew"
        if n_stale > 0:
            return f"{n_stale} frames came of a scan that was armed before: arm the detector again"
        return ""

    def __rich__(self) -> Text:
        hint = self.hint()
        return Text(f"waiting for a scan on {self._url} (Ctrl-C ends)" + (f" · {hint}" if hint else ""))


class _StatusLine:
    """Asks the connection for its counters each time the terminal is redrawn."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def __rich__(self) -> Text:
        return Text(f"  {self._meter.status()}", style="dim")


class ScanDisplay:
    """Shows a running scan on the terminal and, if wanted, in a picture file.

    Parameters
    ----------
    console
        Where to.
    job
        What is computed.
    meter
        Whose counters are shown.
    title
        Beside the bar.
    preview
        Picture file that follows the scan.
    """

    def __init__(
        self, console: Console, job: Job, meter: Meter, title: str, preview: Preview | None = None
    ) -> None:
        self._job = job
        self._preview = preview
        self._title = title
        self._looked_s = 0.0
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task(f"{title}: waiting for the first frame", total=None)
        self._live = Live(
            Group(self._progress, _StatusLine(meter)),
            console=console,
            refresh_per_second=REFRESHES_PER_S,
        )

    def show(self, part: Any) -> None:
        """Take over a partial result.

        Parameters
        ----------
        part
            What ``run_udf_iter`` yields.
        """
        # Looking at a partial result costs more than merging it: no more often than it can be seen.
        now = time.monotonic()
        if now - self._looked_s < 1 / REFRESHES_PER_S:
            return
        self._looked_s = now
        valid = part.damage.data
        n_wanted = valid.size if self._job.roi is None else int(np.count_nonzero(self._job.roi))
        self._move(int(np.count_nonzero(valid)), n_wanted, part.scan_pass)
        if self._preview is not None and self._preview.is_due:
            self._preview.show(self._job.snapshot(part))

    def conclude(self, outcome: Outcome) -> None:
        """Show how far the scan came.

        Parameters
        ----------
        outcome
            Of the run.
        """
        figures = outcome.figures
        self._move(figures.n_frames, figures.n_frames_expected, max(0, figures.n_passes - 1))
        if self._preview is not None and outcome.snapshot is not None:
            self._preview.show(outcome.snapshot)

    def _move(self, n_done: int, n_wanted: int, scan_pass: int) -> None:
        title = f"{self._title}, pass {scan_pass + 1}" if self._job.endless else self._title
        self._progress.update(self._task, description=title, total=n_wanted or None, completed=n_done)

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()
        if not self._live.console.is_terminal:
            self._live.console.print()
