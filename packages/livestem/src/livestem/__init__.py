"""Live 4D STEM: detectors, algorithms, live pictures and a command line in one.

Public names are loaded at first use, so that the command line answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._acquisition import Acquisition
    from ._context import LiveContext
    from ._errors import AcquisitionTimeout, ShapeMismatch, SpecError
    from ._hooks import DetermineNavShapeEnv, Hooks, ReadyForDataEnv
    from ._results import read_results
    from ._spec import AlgorithmSpec

_HOMES = {
    "Acquisition": "_acquisition",
    "AcquisitionTimeout": "_errors",
    "AlgorithmSpec": "_spec",
    "DetermineNavShapeEnv": "_hooks",
    "Hooks": "_hooks",
    "LiveContext": "_context",
    "ReadyForDataEnv": "_hooks",
    "ShapeMismatch": "_errors",
    "SpecError": "_errors",
    "read_results": "_results",
}

__all__ = [
    "Acquisition",
    "AcquisitionTimeout",
    "AlgorithmSpec",
    "DetermineNavShapeEnv",
    "Hooks",
    "LiveContext",
    "ReadyForDataEnv",
    "ShapeMismatch",
    "SpecError",
    "read_results",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
