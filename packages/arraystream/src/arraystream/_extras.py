"""Optional dependencies: imported when a source needs them, with a clear word if they aren't there."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ._errors import PluginError


def require(module: str, extra: str) -> Any:
    """Import an optional dependency.

    Parameters
    ----------
    module
        Name of the module.
    extra
        The extra of this distribution that installs it.

    Raises
    ------
    PluginError
        If it isn't installed; the text has the line that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise PluginError(
            f"Source {extra!r} needs {module}, which can't be imported ({error}). "
            f'To get it: pip install "arraystream-protocol[{extra}]"'
        ) from error
