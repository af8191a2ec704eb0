"""Run a program that imports LiberTEM, with our names in its place.

Usage::

    python -m udf_core.compat [--force] script.py ARGUMENTS...
    python -m udf_core.compat [--force] -m module ARGUMENTS...

``--force`` hides an installed LiberTEM.
"""

from __future__ import annotations

import os
import runpy
import sys

from udf_core import compat

# The module under "__main__" is not `udf_core.compat.__main__`, hence the absolute import.

_USAGE = "usage: python -m udf_core.compat [--force] (script.py | -m module) [arguments ...]"


def main(arguments: list[str]) -> None:
    """Install the aliases and run the program.

    Raises
    ------
    SystemExit
        If no program is given, with a text that says how.
    """
    arguments = list(arguments)
    force = bool(arguments) and arguments[0] == "--force"
    if force:
        del arguments[0]
    as_module = bool(arguments) and arguments[0] == "-m"
    if as_module:
        del arguments[0]
    if not arguments or (arguments[0].startswith("-") and not as_module):
        print(_USAGE, file=sys.stderr)
        raise SystemExit(2)
    compat.install(force=force)
    program = arguments[0]
    sys.argv = arguments
    if as_module:
        sys.path[0] = os.getcwd()
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(program))
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
