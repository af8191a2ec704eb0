"""Quantum Detectors Merlin / MerlinEM: receive, control, decode, simulate.

Usually opened by name: ``ctx.make_connection("merlin").open(data_host=…)`` and ``ctx.load("mib", …)``.
"""

# "arraystream" is also the name of an unrelated project: say so rather than fail obscurely.
try:
    from arraystream import PROTOCOL_VERSION as _PROTOCOL_VERSION  # noqa: F401
except ImportError as error:
    raise ImportError(
        "This needs arraystream-protocol, but found another 'arraystream', or none. Run: "
        "pip uninstall arraystream && pip install --force-reinstall arraystream-protocol"
    ) from error

from ._codec import MerlinCodec
from ._connection import MerlinConnection
from ._control import MerlinControl
from ._controller import MerlinController
from ._mib import open_mib
from ._plugin import MerlinConnectionBuilder
from ._simulator import Faults, MerlinSimulator

__all__ = [
    "Faults",
    "MerlinCodec",
    "MerlinConnection",
    "MerlinConnectionBuilder",
    "MerlinControl",
    "MerlinController",
    "MerlinSimulator",
    "open_mib",
]
