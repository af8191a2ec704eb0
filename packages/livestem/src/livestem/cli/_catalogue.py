"""Tables of plug-ins: name, package, version, what it is, which parameters it takes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from arraystream import PluginError, PluginInfo, list_plugins, load_plugin
from livestem._spec import accepted_parameters

_IMPLEMENTS = re.compile(r"\s*\(implements [^)]*\)")


def print_catalogue(
    group: str,
    *,
    noun: str,
    describe: Callable[[Any], tuple[str, Any]],
    advice: str,
) -> None:
    """Print what is installed in an entry-point group.

    Parameters
    ----------
    group
        The entry-point group.
    noun
        Heading of the first column.
    describe
        Gives one line about a plug-in, and the callable whose parameters count.
    advice
        What to say if there is none.
    """
    console = Console()
    plugins = list_plugins(group)
    if not plugins:
        console.print(advice, soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in (noun, "package", "what it is, and its parameters"):
        table.add_column(heading, overflow="fold", no_wrap=heading != "what it is, and its parameters")
    for name, info in plugins.items():
        table.add_row(
            f"[bold]{escape(name)}[/]", f"{info.distribution} {info.version}", _about(group, info, describe)
        )
    console.print(table)


def _about(group: str, info: PluginInfo, describe: Callable[[Any], tuple[str, Any]]) -> str:
    if info.error is not None:
        return f"[red]broken:[/] {escape(info.error)}"
    try:
        line, factory = describe(load_plugin(group, info.name))
    except PluginError as error:
        return f"[red]broken:[/] {escape(str(error))}"
    parameters = parameters_text(factory)
    return escape(line) + (f"\n[dim]{escape(parameters)}[/]" if parameters else "")


def first_line(thing: Any) -> str:
    """Return the first line of a thing's documentation.

    Parameters
    ----------
    thing
        A class, function or object.
    """
    line = (inspect.getdoc(thing) or "").partition("\n")[0].strip()
    return _IMPLEMENTS.sub("", line).replace("`", "")


def parameters_text(factory: Any) -> str:
    """Write the keywords of a callable as one types them: ``cy, cx, r=inf``.

    Parameters
    ----------
    factory
        A class or function.
    """
    known, open_ended = accepted_parameters(factory)
    words = [
        name if parameter.default is inspect.Parameter.empty else f"{name}={_short(parameter.default)}"
        for name, parameter in known.items()
    ]
    return ", ".join([*words, "…"] if open_ended and words else words)


def _short(value: Any) -> str:
    text = value.__name__ if isinstance(value, type) else str(value)
    return text if len(text) <= 24 else text[:21] + "…"
