"""A server that speaks the Merlin protocol on both ports: for demos, teaching and tests."""

from detector_merlin._variables import DetectorStatus, TriggerStart

from ._faults import Faults
from ._simulator import MerlinSimulator

__all__ = ["DetectorStatus", "Faults", "MerlinSimulator", "TriggerStart"]
