"""``livestem demo``: a simulated scan becomes live pictures, in under a minute."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from livestem._nav_shape import NavShape, shape_text
from livestem._spec import AlgorithmSpec

from ._errors import EXIT_INTERRUPTED, Failure, debug_option, explain
from ._parameters import ScanShape
from .generate import simulated_scan, write_scan

if TYPE_CHECKING:
    from livestem._acquisition import Acquisition
    from livestem._context import LiveContext
    from livestem._known_answer import Comparison
    from livestem._live_run import Job, Outcome
    from livestem._simulator_process import SimulatorProcess
    from udf_4dstem.specimen import SimulatedScan

DEPTH = 6  # bits of a counter
OPEN_TIMEOUT_S = 10.0
FRAME_TIMEOUT_S = 20.0
HELP = """\
Show what this is: a simulated scan becomes live pictures, in under a minute.

Makes a synthetic specimen, starts a simulated MerlinEM as a process of its own that speaks the vendor's
protocol over TCP, arms and triggers it through its control port, processes the scan while it runs, writes
pictures and numbers, and compares them with the known answer.

\b
Examples
  livestem demo
  livestem demo --out pictures --scan 64x64 --rate max
"""


@click.command(help=HELP)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-result"),
    show_default=True,
    help="Folder for pictures and results.npz.",
)
@click.option("--scan", type=ScanShape(), default="96x96", show_default=True, help="Scan positions.")
@click.option("--frame", type=ScanShape(), default="256x256", show_default=True, help="Detector pixels.")
@click.option("--rate", default="2000", show_default=True, help="Frames per second, or max.")
@click.option(
    "--electrons", type=click.FloatRange(min=1), default=12000, show_default=True, help="Per frame."
)
@click.option("--seed", type=int, default=1, show_default=True, help="For specimen and noise.")
@click.option("--executor", default="threads", show_default=True, help="inline, threads, processes or dask.")
@click.option("--live", is_flag=True, help="Keep preview.png up to date while the scan runs.")
@debug_option
def demo(
    out: Path,
    scan: NavShape,
    frame: NavShape,
    rate: str,
    electrons: float,
    seed: int,
    executor: str,
    live: bool,
) -> None:
    """Show what this is."""
    from livestem._known_answer import compare
    from livestem._simulator_process import SimulatorProcess

    began_s = time.monotonic()
    console = Console(highlight=False)
    if rate != "max" and not _is_positive(rate):
        raise Failure(f"--rate {rate!r} is neither max nor a number of frames per second")
    simulated = simulated_scan(scan, frame, electrons=electrons, depth=DEPTH, seed=seed)
    with tempfile.TemporaryDirectory(prefix="livestem-demo-") as folder:
        data = Path(folder) / "scan.npy"
        console.print(
            f"[bold]specimen[/]   a synthetic particle on a thin film: {shape_text(scan)} positions, "
            f"{shape_text(frame)} pixels, {electrons:,.0f} electrons per frame",
            soft_wrap=True,
        )
        write_scan(console, simulated, data, "[bold]specimen[/]   counting electrons")
        ports = ["--control-port", "0", "--data-port", "0"]
        acquisition = ["--depth", str(DEPTH), "--raw", "--rate", rate, "--wait-for-arm"]
        with SimulatorProcess("merlin", ["--data", str(data), *acquisition, *ports]) as simulator:
            outcome = _scan(console, simulator, simulated, out, executor, live)
        if outcome.error is not None or outcome.snapshot is None:
            _fail(outcome, out)
        assert outcome.snapshot is not None
        comparisons = compare(simulated, np.load(data, mmap_mode="r"), outcome.snapshot)
    _print_comparison(console, comparisons)
    console.print(f"\nDone in {time.monotonic() - began_s:.0f} s.  Look at [bold]{out}/overview.png[/].")
    if not all(comparison.agrees for comparison in comparisons):
        raise Failure("the results do not agree with the known answer")


def _is_positive(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return 0 < float(text) < float("inf")
    return False


def _algorithms(simulated: SimulatedScan) -> list[AlgorithmSpec]:
    cy, cx = simulated.center
    radius = simulated.bright_field_radius
    outside = float(np.hypot(*simulated.sig_shape))
    return [
        AlgorithmSpec("disk", {"cy": cy, "cx": cx, "r": 1.1 * radius}, "bright_field"),
        AlgorithmSpec(
            "ring", {"cy": cy, "cx": cx, "inner": 1.3 * radius, "outer": outside}, "annular_dark_field"
        ),
        AlgorithmSpec("com", {"cy": cy, "cx": cx}),
        AlgorithmSpec("sum"),
    ]


def _scan(
    console: Console,
    simulator: SimulatorProcess,
    simulated: SimulatedScan,
    out: Path,
    executor: str,
    live: bool,
) -> Outcome:
    """Connect, arm, trigger, process, write; say how it went."""
    from livestem._context import LiveContext
    from livestem._figures import Meter
    from livestem._live_run import process_scan, warm_up
    from livestem._preview import Preview
    from livestem._results import write_results

    from ._display import ScanDisplay
    from ._summary import print_summary
    from .run import describe

    specs = _algorithms(simulated)
    url = f"merlin://127.0.0.1:{simulator.ports['data']}"
    console.print(
        f"[bold]detector[/]   simulated MerlinEM, process {simulator.pid}: commands on port "
        f"{simulator.ports['commands']}, data on port {simulator.ports['data']}",
        soft_wrap=True,
    )
    out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        context = stack.enter_context(LiveContext.make_with(executor))
        job = _job(context, simulated, specs)
        with console.status("[bold]workers[/]    loading their kernels"):
            warm_up(context, job.algorithms, simulated.sig_shape, simulated.dtype)
        acquisition = _acquisition(context, simulator, simulated)
        connection = stack.enter_context(acquisition.connection)
        meter = Meter(connection.statistics, strangers=(simulator.pid,))
        preview = stack.enter_context(Preview(out / "preview.png")) if live else None
        with ScanDisplay(console, job, meter, "[bold]scan[/]    ", preview) as display:
            outcome = process_scan(context, acquisition, job, meter, display.show)
            display.conclude(outcome)
    files = []
    if outcome.snapshot is not None:
        files = write_results(out, outcome.snapshot, describe(url, specs, acquisition, outcome))
    print_summary(
        console,
        detector=f"simulated MerlinEM at {url}, {DEPTH} bit raw",
        scan=f"{shape_text(simulated.scan_shape)} positions, {shape_text(simulated.sig_shape)} pixels",
        outcome=outcome,
        files=files,
        folder=out,
    )
    return outcome


def _job(context: LiveContext, simulated: SimulatedScan, specs: list[AlgorithmSpec]) -> Job:
    from livestem._live_run import Job
    from livestem._results import Scales
    from livestem.views import Calibration

    mrad = 1e3 * simulated.pixel_per_m * simulated.optics.wavelength_m
    return Job(
        [spec.build() for spec in specs],
        [spec.label for spec in specs],
        scales=Scales(Calibration.from_metres(simulated.step_m), Calibration((mrad, mrad), "mrad")),
        executor=context.executor.name,
        n_workers=context.executor.n_workers,
    )


def _acquisition(context: LiveContext, simulator: SimulatorProcess, simulated: SimulatedScan) -> Acquisition:
    """Connect to the simulator, to be armed and triggered by the run."""
    from livestem._software_trigger import SoftwareTrigger

    connection = context.make_connection("merlin").open(
        data_host="127.0.0.1",
        data_port=simulator.ports["data"],
        api_port=simulator.ports["commands"],
        timeout=OPEN_TIMEOUT_S,
    )
    controller = connection.get_active_controller(trigger_start="soft")
    return context.make_acquisition(
        connection,
        nav_shape=simulated.scan_shape,
        controller=controller,
        hooks=SoftwareTrigger(controller),
        timeout=FRAME_TIMEOUT_S,
    )


def _fail(outcome: Outcome, out: Path) -> None:
    kept = "" if outcome.snapshot is None else f"; partial results are in {out}/"
    if outcome.interrupted:
        raise Failure(f"interrupted{kept}", EXIT_INTERRUPTED)
    if outcome.error is not None:
        raise Failure(f"{explain(outcome.error)}{kept}") from outcome.error
    raise Failure("the scan ended without any frame")


def _print_comparison(console: Console, comparisons: list[Comparison]) -> None:
    console.print("\n[bold]known answer[/]")
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for comparison in comparisons:
        mark = "[green]✓[/]" if comparison.agrees else "[red]✗[/]"
        table.add_row(mark, comparison.what, comparison.words)
    console.print(table)
