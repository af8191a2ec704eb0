"""DECTRIS detectors (ARINA, QUADRO, EIGER2): receive, control, decode, simulate.

Usually opened by name: ``ctx.make_connection("dectris").open(api_host=…)``.  Public names are loaded at
first use: workers need the codec only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# "arraystream" is also the name of an unrelated project: say so rather than fail obscurely.
try:
    from arraystream import PROTOCOL_VERSION as _PROTOCOL_VERSION  # noqa: F401
except ImportError as error:
    raise ImportError(
        "This needs arraystream-protocol, but found another 'arraystream', or none. Run: "
        "pip uninstall arraystream && pip install --force-reinstall arraystream-protocol"
    ) from error

if TYPE_CHECKING:
    from ._codec import DectrisCodec
    from ._connection import DectrisConnection
    from ._controller import DectrisController
    from ._hdf5_source import open_dectris_h5
    from ._plugin import DectrisConnectionBuilder
    from ._simplon import SimplonClient
    from ._simulator import DectrisSimulator, Faults

_HOMES = {
    "DectrisCodec": "_codec",
    "DectrisConnection": "_connection",
    "DectrisConnectionBuilder": "_plugin",
    "DectrisController": "_controller",
    "DectrisSimulator": "_simulator",
    "Faults": "_simulator",
    "SimplonClient": "_simplon",
    "open_dectris_h5": "_hdf5_source",
}

__all__ = [
    "DectrisCodec",
    "DectrisConnection",
    "DectrisConnectionBuilder",
    "DectrisController",
    "DectrisSimulator",
    "Faults",
    "SimplonClient",
    "open_dectris_h5",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
