"""A control unit that speaks the SIMPLON interfaces: for demos, teaching and tests."""

from ._faults import Faults
from ._models import MODELS
from ._scene import disc_center, synthetic_scan
from ._simulator import DectrisSimulator

__all__ = ["MODELS", "DectrisSimulator", "Faults", "disc_center", "synthetic_scan"]
