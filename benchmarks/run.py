"""The benchmarks of the whole: live scans of each detector and data at rest, ours beside LiberTEM.

Prints Markdown tables and stores them, with all samples, in the folder of results.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path

from contestant import PEER_PYTHON, Sample
from dectris import DECTRIS_SYSTEMS, measure_dectris
from dectris import WORKS as DECTRIS_WORKS
from dectris_stream import MODES
from dectris_table import print_dectris_tables
from live import WORKS, measure_live
from offline import OFFLINE_WORKS, OfflineSamples, measure_offline
from offline_table import print_offline_tables
from stream import FORMATS
from table import print_tables

HERE = Path(__file__).resolve().parent
PARTS = ["offline", "live", "dectris"]


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--quick", action="store_true", help="small data, one turn: does it work, roughly")
    parser.add_argument("--turns", type=int, default=3, help="samples per system and row")
    parser.add_argument("--scratch", default=None, help="folder for files (2.2 GB at a time, page cache)")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder for tables and samples")
    parser.add_argument("--no-peer", action="store_true", help="leave LiberTEM out")
    parser.add_argument("--executor", default="threads", help="ours, live: threads, processes or inline")
    live = parser.add_argument_group("live")
    live.add_argument("--frames", type=int, default=8192, help="frames of one acquisition")
    live.add_argument("--formats", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    live.add_argument("--systems", nargs="+", choices=list(WORKS), default=list(WORKS))
    dectris = parser.add_argument_group("dectris")
    dectris.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES))
    dectris.add_argument(
        "--dectris-systems", nargs="+", choices=list(DECTRIS_SYSTEMS), default=list(DECTRIS_SYSTEMS)
    )
    dectris.add_argument("--dectris-works", nargs="+", choices=DECTRIS_WORKS, default=DECTRIS_WORKS)
    offline = parser.add_argument_group("offline")
    offline.add_argument("--size", type=float, default=2.0, help="GiB of data")
    offline.add_argument("--longest", type=float, default=16.0, help="GiB of the longest run, data repeated")
    offline.add_argument("--works", nargs="+", choices=OFFLINE_WORKS, default=OFFLINE_WORKS)
    offline.add_argument("--keep", default=None, metavar="FOLDER", help="keep the data for the next time")
    return parser


def main() -> None:
    """Run the benchmarks from the command line."""
    arguments = parser().parse_args()
    if arguments.quick:
        arguments.turns, arguments.frames, arguments.formats = 1, 2048, ["u16"]
        arguments.modes = arguments.modes[:1]
        arguments.size, arguments.longest = 0.25, 1.0
    with_peer = bool(PEER_PYTHON) and not arguments.no_peer
    if not with_peer:
        print("measuring without LiberTEM (LIVESTEM_LIBERTEM_PYTHON, --no-peer)", file=sys.stderr)
    offline: OfflineSamples | None = None
    live: list[Sample] = []
    if "offline" in arguments.parts:
        offline = measure_offline(arguments, ["ours", "peer"] if with_peer else ["ours"])
    if "live" in arguments.parts:
        systems = [name for name in arguments.systems if with_peer or name != "peer"]
        for name in arguments.formats:
            live += measure_live(FORMATS[name], arguments, systems)
    dectris: list[Sample] = []
    if "dectris" in arguments.parts:
        systems = [name for name in arguments.dectris_systems if with_peer or name != "peer"]
        dectris = measure_dectris(arguments, systems)
    store(arguments.out, live, dectris, offline)


def store(folder: Path, live: list[Sample], dectris: list[Sample], offline: OfflineSamples | None) -> None:
    """Print the tables, and write them beside all samples."""
    tables = io.StringIO()
    with contextlib.redirect_stdout(tables):
        if live:
            print_tables(live)
        if dectris:
            print_dectris_tables(dectris)
        if offline is not None:
            print_offline_tables(offline)
    print(tables.getvalue())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / time.strftime("%Y-%m-%dT%H%M%S.json")
    machine = {"cores": os.cpu_count(), "processor": platform.processor(), "kernel": platform.release()}
    samples = {
        "machine": machine,
        "samples": [asdict(sample) for sample in live],
        "dectris": [asdict(sample) for sample in dectris],
        "offline": None if offline is None else offline.as_dict(),
    }
    path.write_text(json.dumps(samples, indent=1))
    path.with_suffix(".md").write_text(tables.getvalue())
    print(f"samples in {path}")


if __name__ == "__main__":
    main()
