"""The command line: ``livestem run``, ``simulate``, ``demo``, ``detectors``, ``udfs``, ``doctor``.

Each command lives in a module of its own that is imported when it is called.  What a user did wrong
ends as one line on standard error and an exit code; ``--debug`` shows the traceback instead.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from ._errors import debug_option, one_line_errors

COMMANDS = {
    "demo": "Show what this is: a simulated scan becomes live pictures.",
    "run": "Process scans of a live detector; write pictures and numbers.",
    "simulate": "Serve a simulated detector that speaks the vendor's own protocol.",
    "generate": "Make a synthetic 4D STEM scan with a known answer.",
    "detectors": "List the detectors and file formats that are installed.",
    "udfs": "List the algorithms that are installed, with their parameters.",
    "doctor": "Say what this machine can do, and how to make it faster.",
}


HELP = """\
Live 4D STEM: pictures while the scan runs.

\b
First look, nothing else needed:
  livestem demo
\b
Two terminals, a simulated detector and the live analysis:
  livestem generate scan.npy
  livestem simulate merlin --data scan.npy --depth 12 --raw --rate max
  livestem run merlin://127.0.0.1 --scan 128x128 --udf sum --udf 'ring:inner=20,outer=60' --out result/
\b
What is installed, what this machine can do:
  livestem detectors ; livestem udfs ; livestem doctor
"""


class _Commands(click.Group):
    """Finds commands by name and imports them late."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{cmd_name}", __name__), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        with one_line_errors(ctx):
            return super().invoke(ctx)


@click.command(cls=_Commands, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="livestem")
@debug_option
def main() -> None:
    """Live 4D STEM on the command line."""


__all__ = ["main"]
