"""What a DECTRIS detector would send: patterns with counting noise, compressed with the vendor's filter.

Frames are compressed by the HDF5 filter that the detectors' format is defined by, not by our encoder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt

COLUMNS = 128


@dataclass(frozen=True)
class DetectorMode:
    """One kind of stream.

    Parameters
    ----------
    name
        For tables.
    size
        Rows and columns of a frame.
    dtype
        Of its pixels.
    dose
        Mean electrons per pixel.
    n_frames
        Of one acquisition.
    n_distinct
        Frames that are made; an acquisition shows them again and again.
    """

    name: str
    size: int
    dtype: str
    dose: float
    n_frames: int
    n_distinct: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of a decoded frame."""
        return self.size**2 * np.dtype(self.dtype).itemsize


MODES = {
    one.name: one
    for one in (
        DetectorMode("192 u16 0.1", 192, "u2", 0.1, 16384, 512),
        DetectorMode("192 u16 1", 192, "u2", 1.0, 16384, 512),
        DetectorMode("512 u32 1", 512, "u4", 1.0, 2048, 64),
    )
}


def patterns(mode: DetectorMode) -> npt.NDArray[np.unsignedinteger]:
    """Make a convergent-beam pattern: overlapping disks that wander with the scan, and diffuse scattering."""
    rng = np.random.default_rng(1)
    size = mode.size
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    diffuse = 1.0 / (1.0 + (np.hypot(y, x) / (size / 8)) ** 2) ** 2
    frames = np.empty((mode.n_distinct, size, size), mode.dtype)
    for index in range(mode.n_distinct):
        cy, cx = size / 64 * np.sin(index / 40), size / 64 * np.cos(index / 23)
        intensity = 0.15 * diffuse
        for order in range(7):
            angle, far = order * np.pi / 3, 0.0 if order == 0 else size / 4
            disk = np.hypot(y - cy - far * np.sin(angle), x - cx - far * np.cos(angle)) < size / 7
            intensity = intensity + disk * (1.0 if order == 0 else 0.2 + 0.1 * np.sin(index / 60 + order))
        frames[index] = rng.poisson(intensity * (mode.dose / intensity.mean()))
    return frames


def write_frames(folder: Path, mode: DetectorMode) -> npt.NDArray[np.unsignedinteger]:
    """Write compressed frames, one after the other, to `folder`; return them uncompressed."""
    frames = patterns(mode)
    lengths = []
    with (
        (folder / "blobs.bin").open("wb") as blobs,
        h5py.File("frames", "w", driver="core", backing_store=False) as file,
    ):
        dataset = file.create_dataset(
            "frames",
            data=frames,
            chunks=(1, *frames.shape[1:]),
            **hdf5plugin.Bitshuffle(nelems=8192 // frames.itemsize, cname="lz4"),
        )
        for index in range(len(frames)):
            _, blob = dataset.id.read_direct_chunk((index, 0, 0))
            lengths.append(len(blob))
            blobs.write(blob)
    (folder / "frames.json").write_text(
        json.dumps({"size": mode.size, "dtype": mode.dtype, "lengths": lengths})
    )
    return frames
