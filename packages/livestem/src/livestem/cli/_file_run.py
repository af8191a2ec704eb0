"""``livestem run FILE``: the same pictures and numbers from data at rest."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from livestem._nav_shape import NavShape, shape_text
from udf_core import Scan

if TYPE_CHECKING:
    from livestem._context import LiveContext
    from livestem._live_run import Job
    from udf_core import SourceDataSet


def open_file(
    context: LiveContext, path: str, scan: NavShape | None, options: Mapping[str, Any]
) -> SourceDataSet:
    """Open a file as what it is.

    Parameters
    ----------
    context
        Who opens it.
    path
        The file.
    scan
        Shape of the scan; ``None`` for what the file says.
    options
        Parameters of the scan beside its shape.

    Raises
    ------
    StreamError
        If it can't be opened.
    ScanError
        If the scan does not fit the number of frames.
    """
    special = {name: value for name, value in options.items() if value}
    if special.get("repeats") == 1:
        del special["repeats"]
    if not special:
        return context.load("auto", path, nav_shape=scan)
    special["offset"] = special.pop("sync_offset", 0)
    if scan is None:
        with contextlib.closing(context.load("auto", path)) as dataset:
            scan = dataset.scan.shape
    return context.load("auto", path, scan=Scan(tuple(scan), **special))


def process_file(
    console: Console,
    context: LiveContext,
    dataset: SourceDataSet,
    job: Job,
    folder: Path,
    how: Mapping[str, Any],
) -> None:
    """Run the algorithms over a file, write what they gave, say how it went.

    Parameters
    ----------
    console
        Where to.
    context, dataset, job
        Who, from what, what.
    folder
        Where the results go.
    how
        Metadata of ``results.npz``.
    """
    from livestem._results import write_results

    started_s = time.monotonic()
    context.run_udf(dataset=dataset, udf=list(job.algorithms), roi=job.roi, corrections=job.corrections)
    took_s = time.monotonic() - started_s
    run = context.last_run
    assert run is not None
    snapshot = job.snapshot(run.results)
    described = {**how, "nav_shape": list(dataset.shape.nav), **run.record.as_attributes()}
    files = write_results(folder, snapshot, described)
    n_bytes = run.n_items * dataset.shape.sig.size * dataset.dtype.itemsize
    source = str(dataset.meta.get("source", ""))
    console.print(f"[bold]file[/]     {escape(source)}, {dataset.dtype}")
    console.print(f"[bold]scan[/]     {shape_text(tuple(dataset.shape.nav))}, {run.n_items} frames")
    console.print(f"[bold]speed[/]    {took_s:.2f} s, {n_bytes / 1e9 / max(took_s, 1e-9):.2f} GB/s")
    names = ", ".join(sorted(path.name for path in files))
    console.print(f"[bold]results[/]  {escape(str(folder))}/: {escape(names)}")
