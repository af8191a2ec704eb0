"""``livestem udfs``: what can be computed."""

from __future__ import annotations

from typing import Any

import click

from livestem._spec import maker

from ._catalogue import first_line, print_catalogue
from ._errors import debug_option


def _describe(algorithm: Any) -> tuple[str, Any]:
    return first_line(algorithm), maker(algorithm)


HELP = """\
List the algorithms that are installed, with their parameters.

\b
On the command line:
  livestem run … --udf sum --udf 'ring:inner=20,outer=60'
  livestem run … --udf adf=ring:inner=40        a label of your own names the files
In Python each is a class of its package, e.g. udf_4dstem.RingUDF(inner=20, outer=60).
"""


@click.command(help=HELP)
@debug_option
def udfs() -> None:
    """List the algorithms that are installed, with their parameters."""
    print_catalogue(
        "udf_core.udfs",
        noun="algorithm",
        describe=_describe,
        advice="No algorithm is installed: pip install udf-4dstem",
    )
