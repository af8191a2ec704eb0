"""Quantum Detectors Merlin / MerlinEM: receive, control, decode, simulate.

Usually opened by name: ``ctx.make_connection("merlin").open(data_host=…)`` and ``ctx.load("mib", …)``.
"""

from ._codec import MerlinCodec
from ._connection import MerlinConnection
from ._controller import MerlinController
from ._feed import MerlinFeed
from ._mib import open_mib
from ._plugin import MerlinConnectionBuilder

__all__ = [
    "MerlinCodec",
    "MerlinConnection",
    "MerlinConnectionBuilder",
    "MerlinController",
    "MerlinFeed",
    "open_mib",
]
