"""Hand our data sets to LiberTEM's `Context`; for its own interpreter, see test_bridge.py.

Usage: ``python bridged_datasets.py out.npz``.
"""

import sys
import warnings

import numpy as np
from libertem.api import Context
from libertem.io.corrections import CorrectionSet
from libertem.udf import UDF
from libertem.udf.com import CoMUDF
from libertem.udf.stddev import StdDevUDF
from libertem.udf.sum import SumUDF

import udf_core
from arraystream import StateError, open_memory
from udf_core.bridge import as_libertem_dataset

NAV, SIG = (6, 9), (16, 12)


class Places(UDF):
    """Where each frame belongs, and a number from it."""

    def get_result_buffers(self):
        """Declare the results."""
        return {
            "at": self.buffer(kind="nav", extra_shape=(2,), dtype="int64"),
            "total": self.buffer(kind="nav", dtype="float64"),
        }

    def process_frame(self, frame):
        """Take a frame."""
        self.results.at[:] = self.meta.coordinates[0]
        self.results.total[:] = frame.sum()


class Highest(UDF):
    """Needs whole partitions."""

    def get_result_buffers(self):
        """Declare the result."""
        return {"highest": self.buffer(kind="sig", dtype="float32")}

    def process_partition(self, partition):
        """Take a partition."""
        assert len(partition) == self.meta.slice.shape[0]
        self.results.highest[:] = partition.max(axis=0)

    def merge(self, dest, src):
        """Take the larger."""
        dest.highest[:] = np.maximum(dest.highest, src.highest)


class Live:
    """An acquisition whose shape is known only when it has begun, and that can be run over once."""

    def __init__(self, data):
        self._inside = udf_core.SourceDataSet(open_memory(data), chunk_items=4)
        self._started = False
        self.finished = []

    def _known(self, name):
        if not self._started:
            raise StateError("the acquisition has not begun")
        return getattr(self._inside, name)

    shape = property(lambda self: self._known("shape"))
    dtype = property(lambda self: self._known("dtype"))
    scan = property(lambda self: self._known("scan"))

    def start(self):
        """Begin."""
        assert not self._started, "started twice"
        self._started = True
        return self._inside.start()

    def finish(self, error):
        """Note the end."""
        self.finished.append(error)


def udfs():
    """Return the UDFs under test."""
    return [SumUDF(), StdDevUDF(), CoMUDF.with_params(cy=8, cx=6, r=5), Places(), Highest()]


def main(target):
    """Write all results."""
    data = np.random.default_rng(0).integers(0, 300, (*NAV, *SIG)).astype("u2")
    roi = np.random.default_rng(1).random(NAV) < 0.6
    roi[2] = False
    excluded = np.zeros(SIG, bool)
    excluded[3, 4] = excluded[9, 9] = True
    corrections = CorrectionSet(
        dark=np.ones(SIG, "f4"),
        gain=np.linspace(1, 2, 192, dtype="f4").reshape(SIG),
        excluded_pixels=excluded,
    )
    ours = udf_core.SourceDataSet(open_memory(data), chunk_items=5)
    snake = data.copy()
    snake[1::2] = snake[1::2, ::-1]
    scan = udf_core.Scan(NAV, snake=True)
    late = udf_core.SourceDataSet(open_memory(data), nav_shape=NAV, sync_offset=-3)
    results = {}

    def take(label, found):
        for number, result in enumerate(found):
            for name, buffer in result.items():
                results[f"{label} {number} {name}"] = buffer.data

    for executor in ("inline", "threads"):
        with Context.make_with(executor) as context:
            theirs = context.load("memory", data=data, sig_dims=2, num_partitions=4)
            bridged = as_libertem_dataset(ours)
            for kind, options in (
                ("all", {}),
                ("roi", {"roi": roi}),
                ("corrected", {"corrections": corrections}),
            ):
                take(f"theirs {executor} {kind}", context.run_udf(dataset=theirs, udf=udfs(), **options))
                take(f"ours {executor} {kind}", context.run_udf(dataset=bridged, udf=udfs(), **options))
            take(f"theirs {executor} snake", context.run_udf(dataset=theirs, udf=udfs()))
            snaking = udf_core.SourceDataSet(open_memory(snake), scan=scan, chunk_items=5)
            take(f"ours {executor} snake", context.run_udf(dataset=as_libertem_dataset(snaking), udf=udfs()))
            take(f"theirs {executor} live", context.run_udf(dataset=theirs, udf=udfs()))
            live = Live(data)
            take(f"ours {executor} live", context.run_udf(dataset=as_libertem_dataset(live), udf=udfs()))
            assert live.finished == [None], live.finished
            results[f"late {executor}"] = context.run_udf(as_libertem_dataset(late), Places())["total"].data
    n_partial = 0
    with Context.make_with("inline") as context:
        dataset = as_libertem_dataset(Live(data), num_partitions=6)
        for _ in context.run_udf_iter(dataset=dataset, udf=SumUDF()):
            n_partial += 1
    results["n_partial"] = np.array(n_partial)
    results["expected late"] = np.concatenate([np.zeros(3), data.sum(axis=(2, 3)).ravel()[:-3]]).reshape(NAV)
    np.savez(target, **results)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1])
