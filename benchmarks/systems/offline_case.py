"""How the driver talks to a system that processes data at rest: one line in, one line of JSON out.

The driver starts the system with an executor and a file.  The system prints how long its context took to
start, then for each line (a `Task` as JSON) does one run, stores the result as ``.npy`` and reports times.
Nothing of the systems is imported here.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FRAME_SHAPE = (256, 256)
DTYPE = np.dtype("u2")
FRAME_BYTES = 256 * 256 * 2
COLUMNS = 128

WORKS = {
    "sum": "intensity",
    "sumsig": "intensity",
    "masks1": "intensity",
    "masks4": "intensity",
    "masks16": "intensity",
    "com": "raw_com",
    "stddev": "std",
}
"""What is computed, and which of its results is compared."""


@dataclass(frozen=True)
class Task:
    """One run.

    Parameters
    ----------
    work
        Key of `WORKS`, or a special one that only ours knows.
    times
        How often to go over the file in one run.
    look
        Take every partial result there is.
    """

    work: str
    times: int = 1
    look: bool = False


@dataclass(frozen=True)
class Case:
    """What a system is set up with for all its runs."""

    path: Path
    n_frames: int
    kind: str
    executor: str
    result: Path

    @classmethod
    def from_arguments(cls) -> Case:
        """Read the case from the command line."""
        parser = argparse.ArgumentParser()
        parser.add_argument("--path", type=Path, required=True)
        parser.add_argument("--n-frames", type=int, required=True)
        parser.add_argument("--kind", choices=["raw", "memory"], required=True)
        parser.add_argument("--executor", required=True)
        parser.add_argument("--result", type=Path, required=True)
        return cls(**vars(parser.parse_args()))

    @property
    def nav_shape(self) -> tuple[int, int]:
        """A raster of 128 columns."""
        return self.n_frames // COLUMNS, COLUMNS

    def array(self) -> np.ndarray:
        """Read the whole file into memory."""
        data: np.ndarray = np.fromfile(self.path, DTYPE)
        return data.reshape(*self.nav_shape, *FRAME_SHAPE)


def random_masks(n_masks: int) -> np.ndarray:
    """Make dense masks without any structure."""
    rng = np.random.default_rng(n_masks)
    return rng.random((n_masks, *FRAME_SHAPE), dtype=np.float32)


class Masks:
    """A picklable factory of `n_masks` masks."""

    def __init__(self, n_masks: int) -> None:
        self.n_masks = n_masks

    def __call__(self) -> np.ndarray:
        return random_masks(self.n_masks)


def serve(case: Case, start_up: dict[str, float], run: Callable[[Task], tuple[np.ndarray, int]]) -> None:
    """Do one run per line; `run` returns the result and how many states of it were looked at."""
    print(json.dumps(start_up), flush=True)
    for line in sys.stdin:
        task = Task(**json.loads(line))
        started = time.monotonic()
        result, n_partials = run(task)
        report: dict[str, Any] = {"seconds": time.monotonic() - started, "n_partials": n_partials}
        print(json.dumps(report), flush=True)
        # Stored afterwards, when the driver has read the clocks and asks for it.
        if sys.stdin.readline():
            np.save(case.result, result)
            print("stored", flush=True)
