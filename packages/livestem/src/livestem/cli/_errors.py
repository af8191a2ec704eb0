"""What a user sees when something goes wrong: one line that says what to do, and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from arraystream import ConnectionFailed, PluginError, StreamError

DEBUG = "livestem.debug"
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def _remember_debug(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().meta[DEBUG] = True


def debug_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--debug`` to a command.

    Parameters
    ----------
    command
        Function or command to decorate.
    """
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_remember_debug,
        help="Show the traceback of an error.",
    )(command)


class Failure(click.ClickException):
    """Something that went wrong, in one line.

    Parameters
    ----------
    message
        What happened and what to do.
    exit_code
        Of the process.
    """

    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.__dict__["exit_code"] = exit_code  # click declares it for the class

    def show(self, file: Any = None) -> None:
        """Print the line."""
        click.echo(f"livestem: {self.message}", file=file or sys.stderr)


def explain(error: BaseException) -> str:
    """Put an error into one line.

    Parameters
    ----------
    error
        Any error.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines) or type(error).__name__
    if isinstance(error, (StreamError, ValueError, OSError, click.ClickException)):
        return text
    return f"{type(error).__name__}: {text}"


@contextmanager
def one_line_errors(ctx: click.Context) -> Iterator[None]:
    """Turn errors into a `Failure`, unless ``--debug`` was given.

    Parameters
    ----------
    ctx
        Of the command.
    """
    try:
        yield
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "livestem"
        raise Failure(f"{error.format_message()} (see {command} --help)", EXIT_USAGE) from error
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except KeyboardInterrupt:
        raise Failure("interrupted", EXIT_INTERRUPTED) from None
    except Exception as error:
        if ctx.find_root().meta.get(DEBUG):
            raise
        raise Failure(explain(error)) from error


def unknown_name(noun: str, name: str, error: PluginError) -> Failure:
    """Say that there is no plug-in of that name, what there is, and how to get a known one.

    Parameters
    ----------
    noun
        What was looked for.
    name
        As typed.
    error
        From the registry; its text lists what is there.
    """
    text = str(error)
    if text.startswith("No plug-in"):
        _, _, rest = text.partition("; installed: ")
        text = f"unknown {noun} {name!r}; installed: {rest}"
    return Failure(text)


def no_server(url: str, error: ConnectionFailed) -> Failure:
    """Say that nothing answers at an address.

    Parameters
    ----------
    url
        As typed.
    error
        From the detector's package; says host and port.
    """
    return Failure(f"{url}: {explain(error)}")
