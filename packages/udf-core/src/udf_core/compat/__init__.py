"""Lets programs written for LiberTEM import its names where LiberTEM is not installed, and get ours.

``import udf_core.compat.libertem`` or `install` puts alias modules in place: after it
``from libertem.udf import UDF`` gives `udf_core.UDF`.  ``python -m udf_core.compat script.py`` does that and
runs a program.

What always holds: an alias *is* our object, so classes and errors of both spellings are the same; a name that
has no counterpart here raises `ImportError` when it is imported; and the real LiberTEM is never shadowed
unless that is asked for.
"""

from ._finder import AliasError, AliasModule, active, alias_modules, install, uninstall

__all__ = ["AliasError", "AliasModule", "active", "alias_modules", "install", "uninstall"]
