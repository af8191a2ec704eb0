"""Devices of this machine, as ``libertem.utils.devices`` lists them."""

from __future__ import annotations

import importlib.util
import os
from typing import Any


def has_cupy() -> bool:
    """Tell whether CuPy is installed."""
    return importlib.util.find_spec("cupy") is not None


def detect() -> dict[str, Any]:
    """Return the devices of this machine: ``cpus`` and ``cudas`` as lists of numbers, ``has_cupy``."""
    cudas: list[int] = []
    if has_cupy():
        import cupy

        try:
            cudas = list(range(cupy.cuda.runtime.getDeviceCount()))
        except cupy.cuda.runtime.CUDARuntimeError:
            cudas = []
    cpus = sorted(os.sched_getaffinity(0))
    return {"cpus": list(range(len(cpus))), "cudas": cudas, "has_cupy": has_cupy()}
