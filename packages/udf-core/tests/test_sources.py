"""Files of every kind, on every executor, give what the same array in memory gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from udf_core import UDF, Context

h5py = pytest.importorskip("h5py")
zarr = pytest.importorskip("zarr")
da = pytest.importorskip("dask.array")

DATA = np.random.default_rng(5).integers(0, 1000, (6, 7, 8, 9)).astype("<u2")


class Sums(UDF):
    def get_result_buffers(self):
        return {"nav": self.buffer("nav", dtype="f8"), "sig": self.buffer("sig", dtype="f8")}

    def process_tile(self, tile):
        self.results.nav += tile.sum(axis=(1, 2), dtype="f8")
        self.results.sig += tile.sum(axis=0, dtype="f8")

    def merge(self, dest, src):
        dest.nav[:] = src.nav
        dest.sig[:] += src.sig


def _write(kind: str, folder: Path) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Write `DATA`; return how to load it."""
    if kind == "memory":
        return kind, (DATA,), {}
    if kind == "dask-array":
        return kind, (da.from_array(DATA, chunks=(2, 4, 8, 9)).map_blocks(lambda block: block + 0),), {}
    path = folder / f"scan-{kind}"
    if kind == "raw":
        DATA.tofile(path)
        return kind, (path,), {"dtype": "<u2", "sig_shape": (8, 9), "nav_shape": (6, 7)}
    if kind == "npy":
        np.save(path, DATA)
        return kind, (f"{path}.npy",), {}
    if kind.startswith("hdf5"):
        options = {
            "hdf5": {},
            "hdf5-gzip": {"chunks": (2, 3, 8, 9), "compression": "gzip", "shuffle": True},
            "hdf5-chunked": {"chunks": (1, 4, 8, 9)},
            "hdf5-lzf": {"chunks": (1, 4, 5, 9), "compression": "lzf"},
        }[kind]
        with h5py.File(path, "w") as file:
            file.create_dataset("scan", data=DATA, **options)
        return "hdf5", (path,), {}
    if kind == "series":
        with h5py.File(path, "w") as file:
            for number in range(3):
                part = DATA[2 * number : 2 * number + 2].reshape(-1, 8, 9)
                file.create_dataset(f"entry/data/data_{number + 1:06d}", data=part, chunks=(1, 8, 9))
        return "hdf5", (path,), {"nav_shape": (6, 7)}
    array = zarr.create_array(path, shape=DATA.shape, dtype=DATA.dtype, chunks=(2, 3, 8, 9))
    array[...] = DATA
    return kind, (path,), {}


KINDS = [
    "memory",
    "raw",
    "npy",
    "hdf5",
    "hdf5-gzip",
    "hdf5-chunked",
    "hdf5-lzf",
    "series",
    "zarr",
    "dask-array",
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_gives_the_same_as_memory(context: Context, tmp_path, kind):
    filetype, args, kwargs = _write(kind, tmp_path)
    dataset = context.load(filetype, *args, **kwargs)
    assert dataset.shape.to_tuple() == DATA.shape
    result = context.run_udf(dataset, Sums())
    assert np.array_equal(result["nav"].data, DATA.sum(axis=(2, 3)))
    assert np.array_equal(result["sig"].data, DATA.sum(axis=(0, 1)))
    roi = np.random.default_rng(1).random((6, 7)) < 0.3
    result = context.run_udf(dataset, Sums(), roi=roi)
    assert np.array_equal(result["nav"].raw_data, DATA.sum(axis=(2, 3))[roi])
    assert np.array_equal(result["sig"].data, DATA[roi].sum(axis=0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_shape_given_by_the_user_wins(inline, tmp_path, kind):
    filetype, args, kwargs = _write(kind, tmp_path)
    dataset = inline.load(filetype, *args, **{**kwargs, "nav_shape": (3, -1)}, chunk_items=4)
    result = inline.run_udf(dataset, Sums())
    assert np.array_equal(result["nav"].data, DATA.sum(axis=(2, 3)).reshape(3, 14))


def test_a_file_is_opened_as_what_it_is(inline, tmp_path):
    for kind in ("npy", "hdf5-gzip", "zarr"):
        _, (path,), _ = _write(kind, tmp_path)
        assert np.array_equal(
            inline.run_udf(inline.load("auto", path), Sums())["nav"].data, DATA.sum(axis=(2, 3))
        )
