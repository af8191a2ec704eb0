"""``livestem run``: scans of a live detector become pictures and numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import numpy.typing as npt
from rich.console import Console

from arraystream import Connection, ConnectionFailed, ConnectionStatistics, PendingAcquisition, PluginError
from livestem._correction_files import CorrectionFiles
from livestem._errors import AcquisitionTimeout
from livestem._figures import Meter
from livestem._nav_shape import NavShape, shape_text
from livestem._spec import AlgorithmSpec, unique_labels
from udf_core import CorrectionError, CorrectionSet, Scan, ScanError

from ._corrections import HELP as CORRECTIONS
from ._corrections import correction_options
from ._errors import EXIT_FAILED, EXIT_INTERRUPTED, Failure, debug_option, explain, no_server, unknown_name
from ._parameters import Algorithm, Length, Region, ScanShape, Setting, read_region

if TYPE_CHECKING:
    from livestem._acquisition import Acquisition
    from livestem._context import LiveContext
    from livestem._live_run import Job, Outcome
    from livestem._results import Scales

    from ._display import WaitingLine

OPEN_TIMEOUT_S = 5.0
SCAN_OPTIONS = ("sync_offset", "flyback", "flyback_lines", "snake", "repeats", "endless")
USUAL_FRAME, USUAL_DTYPES = (256, 256), ("u1", "u2")
HELP = f"""\
Process scans of the live detector at URL, or a file; write pictures and numbers.

\b
Examples
  livestem run merlin://127.0.0.1 --scan 128x128 --udf sum --udf com --out result/
  livestem run merlin://192.168.0.10 --udf adf=ring:inner=40,outer=120 --step 0.05nm --live
  livestem run dectris://192.168.0.20 --scan 512x512 --udf com
  livestem run merlin://127.0.0.1 --scan 256x256 --acquisitions 0 --executor processes
  livestem run merlin://127.0.0.1 --scan 128x128 --endless --flyback 4 --live
  livestem run merlin://127.0.0.1 --scan 64x64 --repeats 10 --snake --sync-offset 3
  livestem run scan.h5 --udf com --udf sum
  livestem run merlin://127.0.0.1 --scan 64x64 --roi 0:32,0:64 --timeout 30
  livestem run merlin://127.0.0.1 --scan 64x64 --trigger --set trigger_start=soft --set counter_depth=12
  livestem run merlin://127.0.0.1 --scan 64x64 --dark dark.npy --gain gain.npy --dead-pixels dead.txt

Somebody else arms the detector and starts the scan, unless --arm or --trigger says otherwise.
Algorithms and their parameters: livestem udfs.  Detectors: livestem detectors.

How frames come about: --scan is the shape of one pass.  --sync-offset, --flyback, --flyback-lines and
--snake say which frame belongs to which position; frames that belong to none are left out.  With
--repeats the result has an axis more.  With --endless it shows the newest value of each position, and
sums of the newest complete pass, until Ctrl-C or the detector's end.  A scan that does not fit the
frames that the detector announces is refused before the first one.

\b
  --scan 4x5 --flyback 2        5 frames of a line, 2 that belong nowhere, 5 of the next line …
  --scan 4x5 --flyback-lines 1  4 lines of 5, one line that belongs nowhere, the next pass …
  --scan 4x5 --snake            every second line of a pass is scanned backwards
  --scan 4x5 --sync-offset 3    3 frames come before the first position; −3: the first 3 positions
                                have no frame
  --acquisitions 10             10 acquisitions of the detector, one result folder each
  --repeats 10                  one acquisition that scans the shape 10 times

{CORRECTIONS}
Writes one PNG per result and results.npz with all numbers, the map of valid positions and how they
were made.  Ctrl-C ends the scan and keeps what is there.  Exit code 0: complete, or an endless scan
ended by Ctrl-C; 1: an error, or the detector stopped early; 130: Ctrl-C.
"""


@dataclass(frozen=True)
class _Wishes:
    """What the user asked for."""

    url: str
    scan: NavShape | None
    scan_options: dict[str, Any]
    specs: list[AlgorithmSpec]
    out: Path
    executor: str
    workers: int | None
    timeout: float | None
    repeat: int
    roi: str | None
    step: tuple[float, str] | None
    detector_step: tuple[float, str] | None
    live: bool
    arm: bool
    trigger: bool
    settings: dict[str, Any]
    dark: Path | None
    gain: Path | None
    dead_pixels: Path | None

    @property
    def correction_files(self) -> CorrectionFiles:
        """Where the corrections are."""
        return CorrectionFiles(self.dark, self.gain, self.dead_pixels)


@click.command(help=HELP)
@click.argument("url")
@click.option(
    "--scan",
    type=ScanShape(),
    help="Shape of the scan, e.g. 128x128; −1 is filled in.  Default: what the detector announces.",
)
@click.option(
    "--sync-offset",
    "--offset",
    "sync_offset",
    type=int,
    default=0,
    show_default=True,
    help="Frames before the scan's first position; below 0: first positions without a frame.",
)
@click.option(
    "--flyback",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Frames at the end of each line that belong to no position.",
)
@click.option(
    "--flyback-lines",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Lines at the end of each pass that belong to no position.",
)
@click.option("--snake", is_flag=True, help="Every second line is scanned backwards.")
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Passes in one acquisition; the result gets an axis for them.",
)
@click.option(
    "--endless",
    is_flag=True,
    help="Passes without end in one acquisition; the result shows the newest, until Ctrl-C.",
)
@click.option(
    "--udf",
    "specs",
    type=Algorithm(),
    multiple=True,
    help="What to compute: [LABEL=]NAME[:KEY=VALUE,…]; may be repeated.  Default: sum.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("result"),
    show_default=True,
    help="Folder for pictures and results.npz.",
)
@click.option("--executor", default="threads", show_default=True, help="inline, threads, processes or dask.")
@click.option(
    "--workers", type=click.IntRange(min=1), help="How many.  Default: as many as the executor likes."
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds to wait for a scan and its first frame.  Default: until Ctrl-C.",
)
@click.option(
    "--acquisitions",
    "--repeat",
    "repeat",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Acquisitions to process; 0: until Ctrl-C.",
)
@click.option(
    "--roi",
    type=Region(),
    help="Positions to process: Y0:Y1,X0:X1 or a boolean .npy file; of one pass, or of all.",
)
@click.option("--step", type=Length(), help="Distance of scan positions, e.g. 0.2nm, for axes and scale bar.")
@click.option("--detector-step", type=Length(), help="Distance of detector pixels, e.g. 0.5mrad.")
@click.option("--live", is_flag=True, help="Keep preview.png up to date while the scan runs.")
@click.option("--arm", is_flag=True, help="Arm the detector through its control port, for each scan.")
@click.option("--trigger", is_flag=True, help="Arm it and start the scan by a software trigger.")
@click.option(
    "--set",
    "settings",
    type=Setting(),
    multiple=True,
    help="NAME=VALUE for the detector, with --arm or --trigger; may be repeated.",
)
@correction_options
@debug_option
@click.pass_context
def run(
    ctx: click.Context,
    /,
    specs: tuple[AlgorithmSpec, ...],
    settings: tuple[tuple[str, Any], ...],
    **options: Any,
) -> None:
    """Process scans of a live detector."""
    scan_options = {name: options.pop(name) for name in SCAN_OPTIONS}
    wishes = _Wishes(
        specs=unique_labels(list(specs) or [AlgorithmSpec("sum")]),
        settings=dict(settings),
        scan_options=scan_options,
        **options,
    )
    console = Console(highlight=False)
    _check(wishes)
    algorithms = [_build(spec) for spec in wishes.specs]
    corrections = wishes.correction_files.load()
    if "://" not in wishes.url and Path(wishes.url).exists():
        _run_file(ctx, console, wishes, algorithms, corrections)
        return
    with _session(console, wishes, algorithms, corrections) as (context, connection):
        number, failed, counters = 0, False, ConnectionStatistics()
        while wishes.repeat == 0 or number < wishes.repeat:
            number += 1
            folder = wishes.out if wishes.repeat == 1 else wishes.out / f"scan-{number:04d}"
            meter = Meter(connection.statistics, since=counters)
            try:
                outcome = _one_scan(
                    console, wishes, context, connection, algorithms, corrections, folder, meter
                )
                if outcome.interrupted and wishes.scan_options["endless"]:
                    break
                if outcome.error is not None:
                    _fail(ctx, wishes, outcome, folder)
            except CorrectionError as error:  # the files fit no scan of this detector
                raise Failure(wishes.correction_files.explain(error)) from error
            except (Failure, ScanError) as error:
                failure = error if isinstance(error, Failure) else Failure(explain(error))
                if wishes.repeat == 1 or failure.exit_code == EXIT_INTERRUPTED:
                    raise
                # One bad scan must not end the session.
                failed = True
                failure.show()
            counters = meter.last
        if failed:
            raise click.exceptions.Exit(EXIT_FAILED)


def _check(wishes: _Wishes) -> None:
    if wishes.scan_options["endless"]:
        if wishes.scan_options["repeats"] != 1:
            raise Failure("--endless and --repeats contradict each other: choose one")
        if wishes.scan is not None and -1 in wishes.scan:
            raise Failure("--endless needs a --scan without −1: no number of frames tells its shape")
    if wishes.settings and not (wishes.arm or wishes.trigger):
        raise Failure("--set goes with --arm or --trigger: without, somebody else sets up the detector")


def _build(spec: AlgorithmSpec) -> Any:
    try:
        return spec.build()
    except PluginError as error:
        raise unknown_name("UDF", spec.name, error) from error


def _run_file(
    ctx: click.Context,
    console: Console,
    wishes: _Wishes,
    algorithms: list[Any],
    corrections: CorrectionSet | None,
) -> None:
    """Process a file instead of a detector."""
    from livestem._context import LiveContext

    from ._errors import DEBUG
    from ._file_run import open_file, process_file

    live_only = {
        "--live": wishes.live,
        "--arm": wishes.arm,
        "--trigger": wishes.trigger,
        "--timeout": wishes.timeout is not None,
        "--acquisitions": wishes.repeat != 1,
        "--endless": wishes.scan_options["endless"],
    }
    given = [name for name, is_given in live_only.items() if is_given]
    if given:
        raise Failure(f"{', '.join(given)} can't be used here: {wishes.url} is a file, not a detector")
    try:
        with LiveContext.make_with(wishes.executor, cpus=wishes.workers) as context:
            dataset = open_file(context, wishes.url, wishes.scan, wishes.scan_options)
            job = _job(wishes, context, algorithms, corrections, dataset.scan)
            how = {
                "livestem": version("livestem"),
                "written": datetime.now(UTC).isoformat(timespec="seconds"),
                "algorithms": {
                    spec.label: {"name": spec.name, "parameters": dict(spec.parameters)}
                    for spec in wishes.specs
                },
                "corrections": wishes.correction_files.given,
            }
            process_file(console, context, dataset, job, wishes.out, how)
    except KeyboardInterrupt:
        raise Failure("interrupted", EXIT_INTERRUPTED) from None
    except Failure:
        raise
    except CorrectionError as error:
        raise Failure(wishes.correction_files.explain(error)) from error
    except Exception as error:
        if ctx.find_root().meta.get(DEBUG):
            raise
        raise Failure(explain(error)) from error


@contextlib.contextmanager
def _session(
    console: Console, wishes: _Wishes, algorithms: list[Any], corrections: CorrectionSet | None
) -> Iterator[tuple[LiveContext, Connection]]:
    """Make everything ready for the first frame, then connect."""
    import livestem._results  # noqa: F401  (slow to import)
    from livestem._context import LiveContext
    from livestem._live_run import warm_up

    name, separator, _ = wishes.url.partition("://")
    if not separator:
        raise Failure(
            f"{wishes.url!r} is not the URL of a detector, nor a file; write e.g. merlin://127.0.0.1"
        )
    with LiveContext.make_with(wishes.executor, cpus=wishes.workers) as context:
        try:
            builder = context.make_connection(wishes.url)
        except PluginError as error:
            raise unknown_name("detector", name, error) from error
        with console.status("loading the algorithms"):
            for dtype in USUAL_DTYPES:
                frame = USUAL_FRAME if corrections is None else corrections.sig_shape or USUAL_FRAME
                warm_up(context, algorithms, frame, dtype, corrections)
        try:
            connection = builder.open(timeout=min(OPEN_TIMEOUT_S, wishes.timeout or OPEN_TIMEOUT_S))
        except ConnectionFailed as error:
            raise no_server(wishes.url, error) from error
        with connection:
            yield context, connection


def _one_scan(
    console: Console,
    wishes: _Wishes,
    context: LiveContext,
    connection: Connection,
    algorithms: list[Any],
    corrections: CorrectionSet | None,
    folder: Path,
    meter: Meter,
) -> Outcome:
    """Process the next scan, write what it gave, say how it went."""
    from livestem._live_run import process_scan
    from livestem._preview import Preview
    from livestem._results import write_results

    from ._display import ScanDisplay, WaitingLine
    from ._summary import print_summary

    waiting = WaitingLine(connection, wishes.url)
    with console.status(waiting):
        acquisition = _next_acquisition(wishes, context, connection, waiting)
    scan_text = shape_text(acquisition.nav_shape)
    job = _job(wishes, context, algorithms, corrections, acquisition.scan)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        preview = stack.enter_context(Preview(folder / "preview.png")) if wishes.live else None
        display = stack.enter_context(ScanDisplay(console, job, meter, f"scan {scan_text}", preview))
        outcome = process_scan(context, acquisition, job, meter, display.show)
        display.conclude(outcome)
    files = []
    if outcome.snapshot is not None:
        how = describe(wishes.url, wishes.specs, acquisition, outcome)
        files = write_results(folder, outcome.snapshot, how | {"corrections": wishes.correction_files.given})
    print_summary(console, detector=wishes.url, scan=scan_text, outcome=outcome, files=files, folder=folder)
    return outcome


def _next_acquisition(
    wishes: _Wishes, context: LiveContext, connection: Connection, waiting: WaitingLine
) -> Acquisition:
    from livestem._software_trigger import SoftwareTrigger

    if wishes.arm or wishes.trigger:
        controller = connection.get_active_controller(**wishes.settings)
        return context.make_acquisition(
            connection,
            wishes.scan,
            controller=controller,
            hooks=SoftwareTrigger(controller) if wishes.trigger else None,
            timeout=wishes.timeout,
            **wishes.scan_options,
        )
    pending = connection.wait_for_acquisition(wishes.timeout)
    if pending is None:
        raise AcquisitionTimeout(
            f"{wishes.url}: no scan began within {wishes.timeout:g} s; "
            + (waiting.hint() or "arm the detector, or pass --arm to have it armed")
        )
    return context.make_acquisition(
        connection, wishes.scan, pending_aq=pending, timeout=wishes.timeout, **wishes.scan_options
    )


def _job(
    wishes: _Wishes,
    context: LiveContext,
    algorithms: list[Any],
    corrections: CorrectionSet | None,
    scan: Scan,
) -> Job:
    from livestem._live_run import Job

    roi: npt.NDArray[np.bool_] | None = None
    if wishes.roi is not None:
        try:
            roi = read_region(wishes.roi, scan.nav_shape, scan.shape)
        except (ValueError, OSError) as error:
            raise Failure(str(error)) from error
    return Job(
        algorithms,
        [spec.label for spec in wishes.specs],
        roi,
        _scales(wishes),
        endless=scan.endless,
        corrections=corrections,
        executor=context.executor.name,
        n_workers=context.executor.n_workers,
    )


def _scales(wishes: _Wishes) -> Scales:
    from livestem._results import Scales
    from livestem.views import Calibration

    def calibration(step: tuple[float, str] | None) -> Calibration:
        return Calibration() if step is None else Calibration((step[0], step[0]), step[1])

    return Scales(calibration(wishes.step), calibration(wishes.detector_step))


def describe(
    url: str, specs: list[AlgorithmSpec], acquisition: Acquisition, outcome: Outcome
) -> dict[str, Any]:
    """Say how results were made, for the metadata of ``results.npz``.

    Parameters
    ----------
    url, specs, acquisition
        Where from, and what was computed.
    outcome
        How it went.
    """
    pending: PendingAcquisition | None = acquisition.pending
    verdict = outcome.verdict
    scan = acquisition.scan
    regular = outcome.error is None or (scan.endless and outcome.interrupted)
    ended = "interrupted" if outcome.interrupted else "left early" if verdict is None else verdict.status
    return {
        "livestem": version("livestem"),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "detector": url,
        "algorithms": {
            spec.label: {"name": spec.name, "parameters": dict(spec.parameters)} for spec in specs
        },
        "nav_shape": list(acquisition.nav_shape),
        "scan": {name: getattr(scan, name) for name in ("shape", "offset", *SCAN_OPTIONS[1:])},
        "acquisition": {} if pending is None else dict(pending.meta),
        "verdict": ended,
        "complete": regular and outcome.snapshot is not None and outcome.figures.n_lost == 0,
        "error": None if outcome.error is None else explain(outcome.error),
        "gaps": [] if verdict is None else [[gap.first, gap.stop, gap.reason] for gap in verdict.gaps],
        "figures": outcome.figures.as_dict(),
    }


def _fail(ctx: click.Context, wishes: _Wishes, outcome: Outcome, folder: Path) -> None:
    """Say what went wrong, and that partial results are there."""
    from ._errors import DEBUG

    kept = ""
    if outcome.snapshot is not None:
        kept = f"; partial results ({outcome.snapshot.share_done:.0%} of the scan) are in {folder}/"
    if outcome.interrupted:
        raise Failure(f"interrupted{kept}", EXIT_INTERRUPTED)
    assert outcome.error is not None
    if ctx.find_root().meta.get(DEBUG):
        raise outcome.error
    text = explain(outcome.error).rstrip(".")
    if isinstance(outcome.error, CorrectionError):
        text = wishes.correction_files.explain(outcome.error)
    raise Failure(f"{text}{kept}", EXIT_FAILED)
