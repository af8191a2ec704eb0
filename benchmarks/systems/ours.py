"""(b), (c) Ours: the receiver and the ring alone, or with UDFs."""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from livestem import LiveContext
from protocol import Case, serve
from udf_4dstem import ApplyMasksUDF, CoMUDF, RingUDF, SumUDF
from udf_core import UDF


class NoOpUDF(UDF):
    """Decodes nothing, computes nothing: what is left is the receiver, the ring and the worker loop."""


def four_masks() -> np.ndarray:
    rng = np.random.default_rng(4)
    return rng.random((4, 256, 256), dtype=np.float32)


def main() -> None:
    """Placeholder until integration."""
    sys.exit(f"{argparse} {time} {np} {LiveContext} {Case} {serve} {ApplyMasksUDF} {CoMUDF} {RingUDF} {SumUDF}")


if __name__ == "__main__":
    main()
