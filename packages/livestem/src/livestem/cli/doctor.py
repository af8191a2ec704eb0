"""``livestem doctor``: what this machine can do, and how to make it faster."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from arraystream import PluginInfo, list_plugins
from livestem._machine import Finding, examine

from ._errors import debug_option

GROUPS = (
    "arraystream.sources",
    "arraystream.codecs",
    "arraystream.transports",
    "arraystream.simulators",
    "udf_core.executors",
    "udf_core.udfs",
    "livestem.views",
)
_MARKS = {"good": "[green]✓[/]", "improve": "[yellow]![/]", "bad": "[red]✗[/]"}


HELP = """\
Say what this machine can do for live processing, and how to make it faster.

Looks only, changes nothing; takes about a second.  Ends with exit code 1 if something does not work
at all; what could merely be better is not an error.

\b
Example
  livestem doctor
"""


@click.command(help=HELP)
@debug_option
def doctor() -> None:
    """Say what this machine can do."""
    console = Console()
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    findings = [*examine(), *_broken_plugins()]
    for finding in findings:
        table.add_row(_MARKS[finding.verdict], finding.topic, finding.fact)
    console.print(table)
    advice = [finding for finding in findings if finding.advice]
    if advice:
        console.print("\n[bold]What would help[/]")
        for finding in advice:
            console.print(f"  {_MARKS[finding.verdict]} {finding.topic}: {finding.advice}", soft_wrap=True)
    if any(finding.verdict == "bad" for finding in findings):
        raise click.exceptions.Exit(1)
    console.print("\nThis machine can run livestem; try [bold]livestem demo[/].")


def _broken_plugins() -> list[Finding]:
    """Find plug-ins that can't be loaded; one finding per package and group."""
    broken: dict[tuple[str, str], list[PluginInfo]] = {}
    for group in GROUPS:
        for info in list_plugins(group).values():
            if info.error is not None:
                broken.setdefault((group, info.distribution), []).append(info)
    return [
        Finding(
            "plug-ins",
            f"broken in {group}: {', '.join(info.name for info in infos)} ({infos[0].error})",
            "improve",
            f"reinstall or update {distribution}",
        )
        for (group, distribution), infos in broken.items()
    ]
