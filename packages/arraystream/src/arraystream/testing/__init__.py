"""Tests that every source of array streams passes, for its own package to subclass.

Import this module in a test, subclass `FeedConformance` or `ConnectionConformance`, and give the
fixtures that the class asks for; pytest runs the rest.  `SimulatedConnection` is a connection without
hardware, which passes both.
"""

from ._connection import ConnectionConformance, SourceHandle
from ._feed import FeedConformance
from ._simulated import SimulatedConnection, SimulatedFeed, SimulatedSource

__all__ = [
    "ConnectionConformance",
    "FeedConformance",
    "SimulatedConnection",
    "SimulatedFeed",
    "SimulatedSource",
    "SourceHandle",
]
