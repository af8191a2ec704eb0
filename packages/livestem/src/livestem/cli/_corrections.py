"""The options that name files with detector corrections."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

HELP = """\
Corrections: every frame becomes (frame - DARK) * GAIN, then each dead pixel the mean of the pixels around
it, before any algorithm sees it.  Files are .npy, .npz or .mib, in the shape of a frame; a stack of dark
frames is averaged.  Dead pixels are an image that is not 0 where a pixel is dead, or their rows and columns:
integers of shape (n, 2) in .npy, or text with one pixel per line, e.g. "17 203".  Files that do not fit the
frames are refused before the first one is processed.  What was used is noted in results.npz.
"""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def correction_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--dark``, ``--gain`` and ``--dead-pixels`` to a command.

    Parameters
    ----------
    command
        Function or command to decorate.
    """
    options = (
        ("--dark", "Dark frame, subtracted from each frame: .npy, .npz or .mib; a stack is averaged."),
        ("--gain", "Gain map, multiplied with each frame after that: .npy, .npz or .mib."),
        (
            "--dead-pixels",
            "Pixels to replace by the mean of their neighbours: image or coordinates, see above.",
        ),
    )
    for name, text in reversed(options):
        command = click.option(name, type=_FILE, help=text)(command)
    return command
