"""How the driver talks to a system under test: a few lines over standard input and output.

The driver starts the system with its case as arguments.  The system prints ``ready``, then, for every
line ``receive``, receives one acquisition and prints when the first partial result and the final result
were there, and a checksum of the result.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """What a system is asked to do."""

    port: int
    control_port: int
    pixels: str
    n_frames: int
    message_bytes: int
    work: str
    executor: str

    @classmethod
    def from_arguments(cls) -> Case:
        """Read the case from the command line."""
        parser = argparse.ArgumentParser()
        parser.add_argument("--port", type=int, required=True)
        parser.add_argument("--control-port", type=int, required=True)
        parser.add_argument("--pixels", required=True)
        parser.add_argument("--n-frames", type=int, required=True)
        parser.add_argument("--message-bytes", type=int, required=True)
        parser.add_argument("--work", required=True)
        parser.add_argument("--executor", default="threads")
        return cls(**vars(parser.parse_args()))

    @property
    def nav_shape(self) -> tuple[int, int]:
        """A raster of 128 columns."""
        return self.n_frames // 128, 128


def serve(receive: Callable[[], tuple[float, float | None]], newest: Callable[[], Any] | None = None) -> None:
    """Run `receive` for every line of the driver; it returns a checksum and the first partial's time.

    Asked to ``keep PATH``, write what `newest` returns to a file of NumPy's format.
    """
    print("ready", flush=True)
    for line in sys.stdin:
        command, _, path = line.strip().partition(" ")
        if command == "keep":
            assert newest is not None
            np.save(path, newest())
            print("kept", flush=True)
            continue
        checksum, first_partial = receive()
        report = {"result": time.monotonic(), "first_partial": first_partial, "checksum": checksum}
        print(json.dumps(report), flush=True)
