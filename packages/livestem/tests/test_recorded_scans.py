"""Recorded scans are data sets of the shape that their files tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from livestem import LiveContext
from udf_4dstem import SumSigUDF


def record(folder: Path, frames: np.ndarray) -> Path:
    """Write a scan of 3 x 4 positions as the Merlin software does; return its header file."""
    n, height, width = frames.shape
    content = b""
    for number, pixels in enumerate(frames, 1):
        header = (
            f"MQ1,{number:06d},00384,01,{width:04d},{height:04d},U16,   1x1,01,2024-01-01 12:00:00.000000,"
            f"0.001000,0,0,0,,MQ1A,2024-01-01T12:00:00.0Z,1000000ns,12,"
        )
        content += header.encode().ljust(384, b"\0") + pixels.astype(">u2").tobytes()
    (folder / "fly.mib").write_bytes(content)
    lines = ("HDR,\t", f"Frames in Acquisition (Number):\t{n}", "ScanX:\t4", "ScanY:\t3", "End\t")
    (folder / "fly.hdr").write_text("\n".join(lines))
    return folder / "fly.hdr"


def test_the_shape_in_the_header_reaches_the_data_set(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 2**12, (12, 5, 9), dtype=np.uint16)
    header = record(tmp_path, frames)
    with LiveContext.make_with("inline") as context:
        dataset = context.load("mib", header)
        assert dataset.shape.to_tuple() == (3, 4, 5, 9)
        sums = context.run_udf(dataset, SumSigUDF())["intensity"].data
        assert context.load("auto", header, nav_shape=(6, 2)).shape.nav.to_tuple() == (6, 2)
    np.testing.assert_array_equal(sums, frames.sum(axis=(1, 2)).reshape(3, 4))
