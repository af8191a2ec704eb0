"""``livestem detectors``: what can be read, live and from files."""

from __future__ import annotations

from typing import Any

import click

from arraystream import ConnectionBuilder

from ._catalogue import first_line, print_catalogue
from ._errors import debug_option


def _describe(source: Any) -> tuple[str, Any]:
    if isinstance(source, type):
        source = source()
    if isinstance(source, ConnectionBuilder):
        return f"live: {first_line(source)}", source.open
    return f"file: {first_line(source)}", source


HELP = """\
List the detectors and file formats that are installed.

\b
A detector is used as
  livestem run NAME://HOST …                   on the command line
  ctx.make_connection("NAME").open(…)          in Python, with the parameters shown
A file format is used as ctx.load("NAME", …).
"""


@click.command(help=HELP)
@debug_option
def detectors() -> None:
    """List the detectors and file formats that are installed."""
    print_catalogue(
        "arraystream.sources",
        noun="detector",
        describe=_describe,
        advice="No detector is installed.  E.g. for a Merlin: pip install detector-merlin",
    )
