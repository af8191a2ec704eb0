"""What the engine costs: time per tile and UDF, and throughput of a trivial UDF.

Run it with ``python packages/udf-core/benchmarks/engine.py``; takes about ten seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from arraystream import FeedChunk, ItemDescriptor, Lease
from udf_core import UDF, Context, NoOpUDF, Scan, ScanMap, Shape
from udf_core._commit import Job, UDFSpec
from udf_core._partition import Partition
from udf_core._scan import Stretch
from udf_core._tile_reader import TileReader
from udf_core._tiling import TilingScheme
from udf_core._worker_udf import WorkerUDF

N_FRAMES = 4096


@numba.njit(nogil=True, cache=True)
def add_frames(stack: Any, total: Any) -> None:
    """Add the frames of a stack to a total."""
    for i in range(stack.shape[0]):
        for y in range(stack.shape[1]):
            for x in range(stack.shape[2]):
                total[y, x] += stack[i, y, x]


class Sum(UDF):
    """Sum of all frames, as float32 or in the type of the data."""

    def get_preferred_input_dtype(self) -> Any:
        """Return the type asked for."""
        return self.USE_NATIVE_DTYPE if self.params.native else np.float32

    def get_result_buffers(self) -> Any:
        """Return the sum."""
        return {"sum": self.buffer("sig", dtype="u8" if self.params.native else "f4")}

    def process_tile(self, tile: Any) -> None:
        """Add a tile."""
        add_frames(tile, self.results.sum)

    def merge(self, dest: Any, src: Any) -> None:
        """Add a partial sum."""
        dest.sum += src.sum


class Idle(UDF):
    """Has buffers but does nothing."""

    def get_result_buffers(self) -> Any:
        """Return one buffer of each important kind."""
        return {"sig": self.buffer("sig"), "nav": self.buffer("nav")}

    def process_tile(self, tile: Any) -> None:
        """Do nothing."""


class IdleFrames(Idle):
    """The same frame by frame."""

    process_tile = None

    def get_method(self) -> Any:
        """Return frames."""
        return self.UDF_METHOD.FRAME

    def process_frame(self, frame: Any) -> None:
        """Do nothing."""


class NoDecoder:
    """Decodes nothing."""

    def decode(self, *_: Any) -> None:
        """Do nothing."""


def best_of(repeats: int, work: Callable[[], None]) -> float:
    """Return the shortest time, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def tile_time_us(classes: list[type[UDF]], rows: int, depth: int) -> float:
    """Return the time per tile without decoding."""
    descriptor = ItemDescriptor(np.dtype("u2"), (64, 16))
    scheme = TilingScheme((64, 16), rows=rows, depth=depth, intent="tile")
    specs = tuple(UDFSpec(cls, {}) for cls in classes)
    dtype = np.dtype("f4")
    job = Job(0, descriptor, specs, ScanMap(Scan((N_FRAMES,))), Shape((N_FRAMES, 64, 16), 2), dtype, scheme)
    reader = TileReader(descriptor, NoDecoder(), dtype, scheme)
    udfs = [WorkerUDF(spec, job) for spec in specs]
    stretch = Stretch(0, slice(0, N_FRAMES), N_FRAMES)
    offsets = np.arange(N_FRAMES, dtype=np.uint64)
    chunk = FeedChunk(0, N_FRAMES, np.zeros(8, np.uint8), offsets, Lease(0, lambda: None))

    def work() -> None:
        Partition(job, udfs, reader, stretch, N_FRAMES, 0).take(chunk, stretch)

    return best_of(9, work) / (len(scheme) * -(-N_FRAMES // depth)) * 1e6


def report_overhead() -> None:
    """Print the time per tile."""
    engine = tile_time_us([], 4, 32)
    one, five = tile_time_us([Idle], 4, 32), tile_time_us([Idle] * 5, 4, 32)
    print(f"engine alone          {engine:6.2f} µs per tile")
    print(f"first UDF             {one - engine:6.2f} µs per tile")
    print(f"each further UDF      {(five - one) / 4:6.2f} µs per tile")
    print(f"frame UDF             {tile_time_us([IdleFrames], 64, 32) / 32:6.2f} µs per frame")


def report_throughput() -> None:
    """Print the speed over frames in memory."""
    data = np.random.default_rng(0).integers(0, 1000, (64, 64, 256, 256)).astype("u2")
    cases = [("inline", None), ("threads", 1), ("threads", 2), ("processes", 1), ("processes", 2)]
    udfs = {
        "nothing, u2 in place": NoOpUDF(),
        "nothing, to f4": NoOpUDF("f4"),
        "sum of f4": Sum(native=False),
        "sum of u2": Sum(native=True),
    }
    for executor, cpus in cases:
        with Context.make_with(executor, cpus=cpus) as context:
            dataset = context.load("memory", data)
            for name, udf in udfs.items():
                seconds = best_of(4, lambda d=dataset, u=udf, c=context: c.run_udf(d, u))
                print(
                    f"{executor:9} {cpus or '-'}  {name:21} {data.nbytes / seconds / 1e9:6.2f} GB/s "
                    f"{len(data.reshape(-1, 256, 256)) / seconds:8.0f} frames/s"
                )


if __name__ == "__main__":
    report_overhead()
    report_throughput()
