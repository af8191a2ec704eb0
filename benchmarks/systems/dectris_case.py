"""What a system is asked to do with the frames of a DECTRIS detector: geometry that all systems share."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

COLUMNS = 128

CHANNELS = {"sum": "intensity", "mask": "intensity", "masks4": "intensity", "com": "raw_com"}
"""Results that are compared; both systems call them the same."""


@dataclass(frozen=True)
class DectrisCase:
    """What a system is asked to do.

    Parameters
    ----------
    port, control_port
        Of the stream and of the REST interface.
    size, dtype
        Rows and columns of a frame, and the type of its pixels.
    n_frames
        Of one acquisition.
    work
        Which algorithm, or ``receive``, ``decode``, ``noop``.
    executor
        Ours.
    """

    port: int
    control_port: int
    size: int
    dtype: str
    n_frames: int
    work: str
    executor: str

    @classmethod
    def from_arguments(cls) -> DectrisCase:
        """Read the case from the command line."""
        parser = argparse.ArgumentParser()
        parser.add_argument("--port", type=int, required=True)
        parser.add_argument("--control-port", type=int, required=True)
        parser.add_argument("--size", type=int, required=True)
        parser.add_argument("--dtype", required=True)
        parser.add_argument("--n-frames", type=int, required=True)
        parser.add_argument("--work", required=True)
        parser.add_argument("--executor", default="threads")
        return cls(**vars(parser.parse_args()))

    @property
    def nav_shape(self) -> tuple[int, int]:
        """Shape of the scan."""
        return self.n_frames // COLUMNS, COLUMNS


def center(size: int) -> int:
    """Return the centre of a frame in pixels, along both axes."""
    return size // 2


def ring_radii(size: int) -> tuple[float, float]:
    """Return inner and outer radius of the ring mask in pixels."""
    return 5 * size / 64, 15 * size / 64


def four_masks(size: int) -> npt.NDArray[np.float32]:
    """Return a stack of dense masks, shape ``(4, size, size)``."""
    return np.random.default_rng(4).random((4, size, size), dtype=np.float32)
