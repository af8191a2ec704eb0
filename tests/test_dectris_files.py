"""DECTRIS HDF5 files as data sets: the same result in every executor, with a region, with the file's mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt
import pytest

from udf_4dstem import PickUDF, SumSigUDF, SumUDF
from udf_core import Context, CorrectionSet

NAV_SHAPE = (6, 7)
FRAMES = np.random.default_rng(3).poisson(2.0, (42, 24, 20)).astype("<u2")


@pytest.fixture
def master(tmp_path: Path) -> Path:
    """A master file with three data files and a mask of one dead pixel."""
    path = tmp_path / "scan_master.h5"
    mask = np.zeros((24, 20), "u4")
    mask[5, 6] = 2
    with h5py.File(path, "w") as file:
        specific = file.create_group("entry/instrument/detector/detectorSpecific")
        specific["pixel_mask"], specific["nimages"], specific["ntrigger"] = mask, 1, 42
        for number, (start, stop) in enumerate(((0, 20), (20, 40), (40, 42)), 1):
            name = f"scan_data_{number:06d}.h5"
            with h5py.File(tmp_path / name, "w") as data:
                data.create_dataset(
                    "entry/data/data", data=FRAMES[start:stop], chunks=(1, 24, 20), **hdf5plugin.Bitshuffle()
                )
            file[f"entry/data/data_{number:06d}"] = h5py.ExternalLink(name, "/entry/data/data")
    return path


def run(ctx: Context, dataset: Any, udf: Any, **options: Any) -> npt.NDArray[Any]:
    result = ctx.run_udf(dataset=dataset, udf=udf, **options)
    return np.asarray(result["intensity"].data)


@pytest.mark.parametrize("executor", ["inline", "threads", "processes", "dask"])
def test_every_executor_gives_the_sum_of_each_frame(master: Path, executor: str) -> None:
    with Context.make_with(executor, cpus=None if executor == "inline" else 2) as ctx:
        dataset = ctx.load("dectris-h5", path=master, nav_shape=NAV_SHAPE)
        intensity = run(ctx, dataset, SumSigUDF(), corrections=CorrectionSet())

    np.testing.assert_array_equal(intensity, FRAMES.sum(axis=(1, 2)).reshape(NAV_SHAPE))


def test_region_of_interest_reads_these_frames(master: Path) -> None:
    roi = np.zeros(NAV_SHAPE, bool)
    roi[2:5, 1::3] = True
    with Context.make_with("threads", cpus=2) as ctx:
        dataset = ctx.load("auto", master, nav_shape=NAV_SHAPE)
        frames = run(ctx, dataset, PickUDF(), roi=roi, corrections=CorrectionSet())

    np.testing.assert_array_equal(frames, FRAMES[roi.reshape(-1)])


def test_mask_of_the_file_is_used_unless_other_corrections_are_given(master: Path) -> None:
    with Context.make_with("inline") as ctx:
        dataset = ctx.load("dectris-h5", path=master, nav_shape=NAV_SHAPE)
        total = run(ctx, dataset, SumUDF())
        as_stored = run(ctx, dataset, SumUDF(), corrections=CorrectionSet())

    expected = FRAMES.sum(axis=0, dtype=np.float64)
    np.testing.assert_array_equal(as_stored, expected)
    around = expected[4:7, 5:8]
    expected[5, 6] = (around.sum() - expected[5, 6]) / 8
    np.testing.assert_allclose(total, expected, rtol=1e-6)
