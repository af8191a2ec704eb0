"""Another project on PyPI is called ``arraystream`` and has the same import name.

Our distribution is ``arraystream-protocol``.  If both are installed into the same place, they overwrite
each other's files: what is left works by chance, or not.  So that is refused, with what to do.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

REPAIR = "pip uninstall arraystream && pip install --force-reinstall arraystream-protocol"


def refuse_mixture(package_file: str) -> None:
    """Raise if the other project's files lie where ours do.

    Parameters
    ----------
    package_file
        Our ``__init__.py``.

    Raises
    ------
    ImportError
        With the commands that repair the installation.
    """
    try:
        stranger = distribution("arraystream")
    except PackageNotFoundError:
        return
    theirs = Path(str(stranger.locate_file("arraystream/__init__.py")))
    if theirs.resolve() == Path(package_file).resolve():
        raise ImportError(
            f"An unrelated project, arraystream {stranger.version}, is installed over arraystream-protocol "
            f"in {theirs.parent}: their files are mixed up. Run: {REPAIR}"
        )
