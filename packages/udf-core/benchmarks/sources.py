"""How fast files of each kind are read and summed, from the page cache.

    python packages/udf-core/benchmarks/sources.py [MiB] [executor] [kind …]

One line per kind: decoded GB/s of a sum over all frames (best of the turns), and CPU seconds per GB.
Frames are 256 × 256 u16 with Poisson counts of mean 3; chunks hold one frame, those of Zarr one row of the
scan unless it says otherwise.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from arraystream import load_plugin
from udf_core import Context

FRAME = (256, 256)
TURNS = 3


def write_hdf5(**options: Any) -> Callable[[Path, np.ndarray], None]:
    """Return a writer of HDF5."""

    def write(path: Path, data: np.ndarray) -> None:
        import h5py

        with h5py.File(path, "w") as file:
            file.create_dataset("data", data=data, **options)

    return write


def write_zarr(chunks: tuple[int, ...], **options: Any) -> Callable[[Path, np.ndarray], None]:
    """Return a writer of Zarr."""

    def write(path: Path, data: np.ndarray) -> None:
        import zarr

        array = zarr.create_array(path, shape=data.shape, dtype=data.dtype, chunks=chunks, **options)
        array[...] = data

    return write


def kinds() -> dict[str, tuple[str, Callable[[Path, np.ndarray], None]]]:
    """Source and writer by name."""
    import hdf5plugin

    frame, row = (1, 1, *FRAME), (1, 32, *FRAME)
    return {
        "npy": ("npy", lambda path, data: np.lib.format.write_array(path.open("wb"), data)),
        "hdf5 contiguous": ("hdf5", write_hdf5()),
        "hdf5 chunked": ("hdf5", write_hdf5(chunks=frame)),
        "hdf5 gzip-1": ("hdf5", write_hdf5(chunks=frame, compression="gzip", compression_opts=1)),
        "hdf5 shuffle gzip-1": (
            "hdf5",
            write_hdf5(chunks=frame, compression="gzip", compression_opts=1, shuffle=True),
        ),
        "hdf5 bslz4": ("hdf5", write_hdf5(chunks=frame, **hdf5plugin.Bitshuffle())),
        "zarr zstd": ("zarr", write_zarr(row)),
        "zarr zstd, frames": ("zarr", write_zarr(frame)),
        "zarr plain": ("zarr", write_zarr(row, compressors=None)),
    }


def cpu_s() -> float:
    """Return the CPU time of this process and of those that ended."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, who))


def main() -> None:
    """Write, read, print."""
    mib = int(sys.argv[1]) if len(sys.argv) > 1 else 512
    executor = sys.argv[2] if len(sys.argv) > 2 else "threads"
    n_rows = max(1, mib * 2**20 // (32 * FRAME[0] * FRAME[1] * 2))
    rng = np.random.default_rng(0)
    some = rng.poisson(3.0, (4, 32, *FRAME)).astype("u2")
    data = np.ascontiguousarray(np.broadcast_to(some, (-(-n_rows // 4), *some.shape)))
    data = data.reshape(-1, 32, *FRAME)[:n_rows]
    expected = int(data.sum(dtype="u8"))
    sum_udf = load_plugin("udf_core.udfs", "sum")
    with tempfile.TemporaryDirectory() as folder, Context.make_with(executor) as context:
        context.run_udf(context.load("memory", data[:1]), sum_udf(), progress=False)
        for name, (source, write) in kinds().items():
            if sys.argv[3:] and name not in sys.argv[3:]:
                continue
            path = Path(folder) / name.replace(" ", "-")
            write(path, data)
            best, cpu = 0.0, 0.0
            for _ in range(TURNS):
                before, start = cpu_s(), time.perf_counter()
                with_source = context.load(source, path)
                result = context.run_udf(with_source, sum_udf(), progress=False)
                rate = data.nbytes / (time.perf_counter() - start) / 1e9
                if rate > best:
                    best, cpu = rate, (cpu_s() - before) / (data.nbytes / 1e9)
                assert int(result["intensity"].data.sum(dtype="f8")) == expected
            print(f"{name:24} {best:6.2f} GB/s {cpu:8.2f} CPU s/GB", flush=True)


if __name__ == "__main__":
    main()
