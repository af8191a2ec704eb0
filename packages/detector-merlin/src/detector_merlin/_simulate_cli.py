"""``livestem simulate merlin``: a simulated Merlin in a terminal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from ._encode import LAYOUTS
from ._simulator import Faults, MerlinSimulator, TriggerStart

# Time for a client that wants to arm by itself to say so, before the simulator starts on its own.
_AUTOSTART_DELAY_S = 0.5


def _rate(ctx: click.Context, param: click.Parameter, value: str | None) -> float | str | None:
    """Read ``max``, ``period`` or frames per second."""
    if value in (None, "max", "period"):
        return value
    try:
        rate = float(value)
    except ValueError:
        rate = 0.0
    if not 0 < rate < 1e9:
        text = f"{value!r} is neither max nor period nor a positive number of frames per second"
        raise click.BadParameter(text, ctx, param)
    return rate


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read ``ROWSxCOLUMNS``."""
    if value is None:
        return None
    rows, _, columns = value.lower().partition("x")
    if not (rows.isdigit() and columns.isdigit() and int(rows) and int(columns)):
        raise click.BadParameter(f"{value!r} is no size like 128x128", ctx, param)
    return int(rows), int(columns)


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Read ``1,5,7-9``."""
    found: list[int] = []
    for part in (value or "").split(","):
        first, _, last = part.strip().partition("-")
        if not part.strip():
            continue
        if not first.isdigit() or not (last or first).isdigit():
            raise click.BadParameter(f"{part!r} is no frame number; write e.g. 5,17,100-120", ctx, param)
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


@click.command("merlin", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="Frames to send: .npy of shape (nav…, y, x), or .mib/.hdr to be replayed.",
)
@click.option("--depth", type=click.Choice(["1", "6", "12", "24"]), help="Counter depth in bits [12].")
@click.option("--raw/--no-raw", default=None, help="Pixels as R64, or as plain numbers [raw].")
@click.option("--layout", type=click.Choice(LAYOUTS), default="1x1", show_default=True, help="Chip layout.")
@click.option(
    "--rate",
    callback=_rate,
    metavar="max|period|HZ",
    help="Frames per second, or max, or period [max; period if --period is given].",
)
@click.option(
    "--period", "period_ms", type=click.FloatRange(min=0, min_open=True), help="ACQUISITIONPERIOD, ms."
)
@click.option("--frames", type=click.IntRange(min=0), help="NUMFRAMESTOACQUIRE, 0 endless [all of the data].")
@click.option("--frames-per-trigger", type=click.IntRange(min=1), help="NUMFRAMESPERTRIGGER [all].")
@click.option("--scale", type=float, help="Factor that makes counts of real numbers.")
@click.option(
    "--announce-scan", callback=_size, metavar="ROWSxCOLUMNS", help="ScanY x ScanX in the acquisition header."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--data-port", type=click.IntRange(0, 65535), default=6342, show_default=True)
@click.option("--control-port", type=click.IntRange(0, 65535), default=6341, show_default=True)
@click.option(
    "--trigger-port", type=click.IntRange(0, 65535), help="Port on which TRIGGER is an external trigger."
)
@click.option("--auto-trigger", is_flag=True, help="External triggers come as soon as armed.")
@click.option("--wait-for-arm", is_flag=True, help="Send nothing before a control client arms.")
@click.option("--repeat", is_flag=True, help="Acquire again and again while the client stays.")
@click.option(
    "--pause",
    "pause_s",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Between repeats, s.",
)
@click.option("--fault-lost", callback=_numbers, metavar="N,…", help="Frames that are never sent.")
@click.option("--fault-duplicated", callback=_numbers, metavar="N,…", help="Frames that are sent twice.")
@click.option("--fault-corrupted", callback=_numbers, metavar="N,…", help="Frames with an unreadable header.")
@click.option("--fault-swapped", callback=_numbers, metavar="N,…", help="Frames sent after their successor.")
@click.option("--fault-garbage", callback=_numbers, metavar="N,…", help="Frames preceded by garbage bytes.")
@click.option("--fault-hdr-instead", callback=_numbers, metavar="N,…", help="Frames replaced by a header.")
@click.option("--fault-disconnect", type=click.IntRange(min=1), help="Frame in which to disconnect.")
@click.option("--fault-stall", type=click.IntRange(min=1), help="Frame before which to stop sending.")
@click.option("--fault-abort", type=click.IntRange(min=1), help="Frame before which to abort silently.")
@click.option("--fault-duplicate-hdr", is_flag=True, help="Send the acquisition header twice.")
@click.option("--fault-stale", type=click.IntRange(min=0), default=0, help="Old frames for a new client.")
@click.option("--fault-segment", type=click.IntRange(min=1), help="Bytes per write.")
@click.option("--fault-old-headers", is_flag=True, help="2020-byte HDR; no thresholds, DACs and MQ1A.")
@click.option("--fault-bytes-per-s", type=click.FloatRange(min=1), help="Slow sender.")
def simulator_command(
    data: Path,
    depth: str | None,
    wait_for_arm: bool,
    announce_scan: tuple[int, int] | None,
    **options: Any,
) -> None:
    """Simulate a Quantum Detectors Merlin: a server that sends your data over the real protocol.

    As soon as a data client connects, an acquisition starts by itself, so that a passive client gets
    data without any command.  A client that sends SET or CMD on the control port within half a second
    takes over: then nothing starts by itself until it has been quiet for ten seconds.  With
    --wait-for-arm nothing ever does.
    """
    fault_names = [name for name in options if name.startswith("fault_")]
    faults = _faults({name.removeprefix("fault_"): options.pop(name) for name in fault_names})
    started = time.monotonic()

    def report(text: str) -> None:
        click.echo(f"[{time.monotonic() - started:8.2f} s] {text}")

    try:
        simulator = MerlinSimulator(
            data,
            depth=None if depth is None else int(depth),
            scan_shape=announce_scan,
            autostart=not wait_for_arm,
            autostart_delay_s=_AUTOSTART_DELAY_S,
            trigger_start=TriggerStart.INTERNAL,
            faults=faults,
            report=report,
            **options,
        )
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    _run(simulator, report)


def _run(simulator: MerlinSimulator, report: Any) -> None:
    fmt = simulator.frame_format
    rows, columns = fmt.item_shape
    report(
        f"{simulator.n_frames} frames of {columns} x {rows} pixels, {fmt.kind} {fmt.depth} bit, "
        f"{fmt.layout}, {fmt.message_bytes} bytes each"
    )
    try:
        begun = time.monotonic()
        if simulator.encode_all():
            report(f"encoded all frames in {time.monotonic() - begun:.1f} s")
        else:
            report("frames are read and encoded while sending")
        simulator.start()
    except OSError as error:
        raise click.ClickException(f"can't listen: {error}; are the ports taken?") from error
    except KeyboardInterrupt:
        return
    try:
        trigger = "" if simulator.trigger_port is None else f", triggers on port {simulator.trigger_port}"
        report(f"commands on port {simulator.control_port}, data on port {simulator.data_port}{trigger}")
        report("waiting for a data client; Ctrl-C ends")
        while simulator.alive:
            simulator.wait(0.5)
    except KeyboardInterrupt:
        report("ending")
    finally:
        simulator.close()


def _faults(options: dict[str, Any]) -> Faults:
    old = bool(options["old_headers"])
    return Faults(
        duplicate_hdr=int(options["duplicate_hdr"]),
        old_hdr=old,
        missing_thresholds=old,
        missing_mq1a=old,
        stale_frames=options["stale"],
        lost=options["lost"],
        duplicated=options["duplicated"],
        corrupted=options["corrupted"],
        swapped=options["swapped"],
        hdr_instead_of=options["hdr_instead"],
        garbage_before=dict.fromkeys(options["garbage"], b"GARBAGE" * 100),
        disconnect_in=options["disconnect"],
        stall_at=options["stall"],
        abort_at=options["abort"],
        segment_bytes=options["segment"],
        bytes_per_s=options["bytes_per_s"],
    )


if __name__ == "__main__":
    simulator_command()
