"""``livestem generate``: a synthetic scan with a known answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from rich.console import Console
from rich.progress import Progress

from livestem._nav_shape import NavShape, shape_text

from ._errors import Failure, debug_option
from ._parameters import ScanShape

if TYPE_CHECKING:
    from udf_4dstem.specimen import SimulatedScan

HELP = """\
Make a synthetic 4D STEM scan with a known answer: a crystalline particle on a thin film.

\b
Examples
  livestem generate scan.npy
  livestem generate small.npy --scan 64x64 --frame 128x128 --electrons 5000

The file is a NumPy array of shape (rows, columns, y, x); frames are counted electron by electron, and
the same seed gives the same frames.  Use it with livestem simulate, or offline:
ctx.load("npy", path="scan.npy").
"""


@click.command(help=HELP)
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--scan", type=ScanShape(), default="128x128", show_default=True, help="Scan positions.")
@click.option("--frame", type=ScanShape(), default="256x256", show_default=True, help="Detector pixels.")
@click.option(
    "--electrons",
    type=click.FloatRange(min=1),
    default=8000,
    show_default=True,
    help="Mean electrons per frame; the time for a frame grows with it.",
)
@click.option("--depth", type=click.IntRange(1, 16), default=12, show_default=True, help="Bits of a counter.")
@click.option("--seed", type=int, default=1, show_default=True, help="For specimen and noise.")
@debug_option
def generate(path: Path, scan: NavShape, frame: NavShape, electrons: float, depth: int, seed: int) -> None:
    """Make a synthetic 4D STEM scan."""
    console = Console(highlight=False)
    if not path.parent.exists():
        raise Failure(f"there is no folder {path.parent} to write {path.name} to")
    simulated = simulated_scan(scan, frame, electrons=electrons, depth=depth, seed=seed)
    write_scan(console, simulated, path, "counting electrons")
    size = path.stat().st_size / 2**20
    console.print(
        f"{path}: {shape_text(scan)} positions, {shape_text(frame)} pixels, "
        f"{simulated.dtype}, {size:,.0f} MiB"
    )
    console.print(
        f"the direct beam is at ({simulated.center[0]:g}, {simulated.center[1]:g}) with a radius of "
        f"{simulated.bright_field_radius:.1f} pixels",
        soft_wrap=True,
    )


def simulated_scan(
    scan: NavShape, frame: NavShape, *, electrons: float, depth: int, seed: int
) -> SimulatedScan:
    """Set up the synthetic scan.

    Parameters
    ----------
    scan, frame
        Shapes, two axes each.
    electrons, depth, seed
        As in `udf_4dstem.specimen.SimulatedScan`.
    """
    from udf_4dstem.specimen import SimulatedScan

    for noun, shape in (("--scan", scan), ("--frame", frame)):
        if len(shape) != 2 or -1 in shape:
            raise Failure(f"{noun} {shape_text(shape)} has to be ROWSxCOLUMNS here")
    return SimulatedScan(
        (scan[0], scan[1]),
        (frame[0], frame[1]),
        electrons=electrons,
        dtype=np.uint8 if depth <= 8 else np.uint16,
        depth=depth,
        seed=seed,
    )


def write_scan(console: Console, simulated: SimulatedScan, path: Path, title: str) -> None:
    """Write the scan with a progress bar.

    Parameters
    ----------
    console, title
        What to show where.
    simulated, path
        What to write where.
    """
    with Progress(console=console) as progress:
        task = progress.add_task(title, total=simulated.n_frames)
        simulated.write_npy(path, progress=lambda done, total: progress.update(task, completed=done))
