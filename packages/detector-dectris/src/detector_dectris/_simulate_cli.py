"""``livestem simulate dectris``: a simulated DECTRIS detector in a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ._simulator import MODELS, DectrisSimulator, Faults, synthetic_scan

# Time for a client that wants to arm by itself to say so, before the simulator starts on its own.
_AUTOSTART_DELAY_S = 0.5
_ELECTRONS_PER_PIXEL = 0.03

HELP = """\
Simulate a DECTRIS detector: its REST interface and its streams V1 and V2, over the real protocols.

\b
In one terminal, then in another:
  livestem simulate dectris
  livestem run dectris://localhost --scan 96x96 --udf com
A 128 x 128 scan of your own at 10 kHz over stream V2, once a client arms it:
  livestem simulate dectris --data scan.npy --format v2 --rate 10000 --wait-for-arm

Without --data it shows a synthetic scan.  As soon as a data client connects, a series is armed and
triggered by itself, so that a passive client gets data without any command.  A client that sets
the detector over REST within half a second takes over: then nothing starts by itself before the next
client connects, ten seconds later at the earliest.  With --wait-for-arm nothing ever does.
"""


def _rate(ctx: click.Context, param: click.Parameter, value: str) -> float | str:
    """Read ``max``, ``period`` or images per second."""
    if value in ("max", "period"):
        return value
    try:
        rate = float(value)
    except ValueError:
        rate = 0.0
    if not 0 < rate < 1e9:
        text = f"{value!r} is neither max nor period nor a positive number of images per second"
        raise click.BadParameter(text, ctx, param)
    return rate


def _size(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, int]:
    """Read ``ROWSxCOLUMNS``."""
    rows, _, columns = value.lower().partition("x")
    if not (rows.isdigit() and columns.isdigit() and int(rows) and int(columns)):
        raise click.BadParameter(f"{value!r} is no size like 96x96", ctx, param)
    return int(rows), int(columns)


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Read ``1,5,7-9``."""
    found: list[int] = []
    for part in (value or "").split(","):
        first, _, last = part.strip().partition("-")
        if not part.strip():
            continue
        if not first.isdigit() or not (last or first).isdigit():
            raise click.BadParameter(f"{part!r} is no image number; write e.g. 5,17,100-120", ctx, param)
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


@click.command("dectris", context_settings={"help_option_names": ["-h", "--help"]}, help=HELP)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Images to send: .npy of shape (nav…, y, x), or DECTRIS .h5, sent without encoding it anew.",
)
@click.option("--model", type=click.Choice(sorted(MODELS)), default="arina", show_default=True)
@click.option(
    "--scan",
    callback=_size,
    default="96x96",
    show_default=True,
    metavar="ROWSxCOLUMNS",
    help="Positions of the synthetic scan.",
)
@click.option(
    "--format",
    "stream_format",
    type=click.Choice(["v1", "v2"]),
    default="v1",
    show_default=True,
    help="Stream interface: V1 (legacy, port 9999) or V2 (cbor, port 31001), until a client says otherwise.",
)
@click.option(
    "--compression", type=click.Choice(["bslz4", "lz4", "none"]), help="[bslz4, or the recording's]"
)
@click.option(
    "--header-detail", type=click.Choice(["all", "basic", "none"]), default="basic", show_default=True
)
@click.option(
    "--rate",
    callback=_rate,
    default="max",
    show_default=True,
    metavar="max|period|HZ",
    help="Images per second; period: as frame_time says.  With a rate, what finds no room is dropped.",
)
@click.option(
    "--trigger-mode",
    type=click.Choice(["ints", "exts", "inte", "exte"]),
    default="ints",
    show_default=True,
    help="Until a client says otherwise; external triggers come as soon as armed.",
)
@click.option("--nimages", type=click.IntRange(min=1), help="Images per trigger [all of the data].")
@click.option("--ntrigger", type=click.IntRange(min=1), help="Triggers per series [1; exte, inte: all].")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--api-port", type=click.IntRange(0, 65535), default=8910, show_default=True)
@click.option("--legacy-port", type=click.IntRange(0, 65535), default=9999, show_default=True)
@click.option("--cbor-port", type=click.IntRange(0, 65535), default=31001, show_default=True)
@click.option(
    "--hwm",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Messages that wait for a client.",
)
@click.option("--wait-for-arm", is_flag=True, help="Send nothing before a client arms.")
@click.option("--repeat", is_flag=True, help="Acquire again and again while a client stays.")
@click.option(
    "--pause",
    "pause_s",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Between repeats, s.",
)
@click.option("--fault-lost", callback=_numbers, metavar="N,…", help="Images that are never sent.")
@click.option("--fault-duplicated", callback=_numbers, metavar="N,…", help="Images that are sent twice.")
@click.option("--fault-corrupted", callback=_numbers, metavar="N,…", help="Images with a damaged blob.")
@click.option("--fault-truncated", callback=_numbers, metavar="N,…", help="Images with half a blob.")
@click.option("--fault-swapped", callback=_numbers, metavar="N,…", help="Images sent after their successor.")
@click.option("--fault-stall", type=click.IntRange(min=0), help="Image before which to stop sending.")
@click.option("--fault-restart", type=click.IntRange(min=0), help="Image before which the unit restarts.")
@click.option("--fault-stale", type=click.IntRange(min=0), default=0, help="Images of the series before.")
@click.option("--fault-missing-end", is_flag=True, help="No end message.")
@click.option("--fault-double-start", is_flag=True, help="The header comes twice.")
@click.option("--fault-split-header", is_flag=True, help="V1's header in two messages.")
@click.option("--fault-second-client", is_flag=True, help="Every second message goes to somebody else.")
def simulator_command(
    data: Path | None,
    model: str,
    scan: tuple[int, int],
    stream_format: str,
    wait_for_arm: bool,
    trigger_mode: str,
    **options: Any,
) -> None:
    """Simulate a DECTRIS detector."""
    fault_names = [name for name in options if name.startswith("fault_")]
    faults = _faults({name.removeprefix("fault_"): options.pop(name) for name in fault_names})
    started = time.monotonic()

    def report(text: str) -> None:
        click.echo(f"[{time.monotonic() - started:8.2f} s] {text}")

    try:
        images: Any = data
        if data is None:
            report(f"making a synthetic scan of {scan[0]} x {scan[1]} positions")
            one = MODELS[model]
            electrons = _ELECTRONS_PER_PIXEL * one.shape[0] * one.shape[1]
            images = synthetic_scan(scan, one.shape, electrons=electrons, dtype=one.dtypes[0])
        simulator = DectrisSimulator(
            images,
            model=model,
            stream_format="cbor" if stream_format == "v2" else "legacy",
            trigger_mode=trigger_mode,
            auto_trigger=True,
            autostart=not wait_for_arm,
            autostart_delay_s=_AUTOSTART_DELAY_S,
            faults=faults,
            report=report,
            **options,
        )
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        return
    _run(simulator, report)


def _run(simulator: DectrisSimulator, report: Callable[[str], None]) -> None:
    try:
        begun = time.monotonic()
        simulator.encode_all()
        report(f"{simulator.n_images} images of {simulator.image_text}, in {time.monotonic() - begun:.1f} s")
        simulator.start()
    except OSError as error:
        raise click.ClickException(f"{error}; are the ports taken? Give others, see --help") from error
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        return
    try:
        report(
            f"REST on port {simulator.api_port}, V1 on port {simulator.legacy_port}, "
            f"V2 on port {simulator.cbor_port}"
        )
        report("waiting for a data client; Ctrl-C ends")
        while True:
            simulator.wait(0.5)
    except KeyboardInterrupt:
        report("ending")
    finally:
        simulator.close()


def _faults(options: dict[str, Any]) -> Faults:
    return Faults(
        lost=options["lost"],
        duplicated=options["duplicated"],
        corrupted=options["corrupted"],
        truncated=options["truncated"],
        swapped=options["swapped"],
        stall_at=options["stall"],
        restart_at=options["restart"],
        stale_images=options["stale"],
        missing_end=options["missing_end"],
        double_start=options["double_start"],
        split_header=options["split_header"],
        second_client=options["second_client"],
    )


if __name__ == "__main__":
    simulator_command()
