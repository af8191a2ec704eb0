"""``livestem simulate``: the simulators of the installed detector packages."""

from __future__ import annotations

import click

from arraystream import PluginError, list_plugins, load_plugin

from ._errors import debug_option, unknown_name

GROUP = "arraystream.simulators"


class _Simulators(click.Group):
    """Finds simulators among the plug-ins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(list_plugins(GROUP, check=False))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        try:
            command = load_plugin(GROUP, cmd_name)
        except PluginError as error:
            if ctx.resilient_parsing:
                return None
            raise unknown_name("simulator", cmd_name, error) from error
        if not isinstance(command, click.Command):
            raise unknown_name("simulator", cmd_name, PluginError(f"{cmd_name!r} has no command line"))
        return command


HELP = """\
Serve a simulated detector that speaks the vendor's own protocol.

\b
For instance a Merlin on its usual ports 6341 (control) and 6342 (data):
  livestem generate scan.npy
  livestem simulate merlin --data scan.npy --depth 12 --raw --rate max
Each simulator has its own options: livestem simulate NAME --help
"""


@click.command(cls=_Simulators, help=HELP)
@debug_option
def simulate() -> None:
    """Serve a simulated detector that speaks the vendor's own protocol."""
