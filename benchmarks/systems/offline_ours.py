"""Ours, on data at rest."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from offline_case import COLUMNS, WORKS, Case, Masks, Task, serve
from repetition import repeated

from arraystream import open_memory, open_raw
from udf_4dstem import ApplyMasksUDF, CoMUDF, StdDevUDF, SumSigUDF, SumUDF
from udf_core import UDF, Context
from udf_core._dataset import SourceDataSet

CHUNK_FRAMES = 32
"""For the figures of overhead: how many chunks there are must be known."""


class Idle(UDF):
    """Has a result, but does nothing."""

    def get_preferred_input_dtype(self) -> Any:
        return self.USE_NATIVE_DTYPE

    def get_result_buffers(self) -> Any:
        return {"intensity": self.buffer(kind="nav", dtype="f4")}

    def process_tile(self, tile: Any) -> None:
        pass


class IdleInPartitions(Idle):
    """The same, but one partition per chunk."""

    CONTIGUOUS_PARTITIONS = True


def udfs_of(work: str) -> list[UDF]:
    made = {
        "sum": lambda: [SumUDF()],
        "sumsig": lambda: [SumSigUDF()],
        "masks1": lambda: [_masks(1)],
        "masks4": lambda: [_masks(4)],
        "masks16": lambda: [_masks(16)],
        "com": lambda: [CoMUDF.with_params(cy=128, cx=128)],
        "stddev": lambda: [StdDevUDF()],
        "idle": lambda: [Idle()],
        "idle+10": lambda: [Idle() for _ in range(11)],
        "idle in partitions": lambda: [IdleInPartitions()],
        "all in one pass": lambda: [udf for name in WORKS for udf in udfs_of(name)],
    }
    return made[work]()


def _masks(n_masks: int) -> UDF:
    return ApplyMasksUDF(mask_factories=Masks(n_masks), mask_count=n_masks, mask_dtype=np.float32)


def main() -> None:
    case = Case.from_arguments()
    started = time.monotonic()
    context = Context.make_with(case.executor)
    made = time.monotonic()
    tiny = np.ones((4, 4, 8, 8), np.uint16)
    context.run_udf(context.load("memory", tiny), SumUDF())
    start_up = {"context_s": made - started, "first_result_s": time.monotonic() - started}
    in_memory = open_memory(case.array()) if case.kind == "memory" else None

    def run(task: Task) -> tuple[np.ndarray, int]:
        # Opened anew each time, so that mapping the file is part of what is measured.
        source = in_memory or open_raw(case.path, "u2", (256, 256), index_shape=case.nav_shape)
        chunk_items = CHUNK_FRAMES if task.work.startswith("idle") else None
        if task.times == 1:
            dataset = SourceDataSet(source, nav_shape=case.nav_shape, chunk_items=chunk_items)
        else:
            # Chunks that divide the file: a range must not go over its end.
            dataset = SourceDataSet(
                repeated(source, task.times), nav_shape=(-1, COLUMNS), chunk_items=COLUMNS
            )
        udfs = udfs_of(task.work)
        n_partials = 0
        if task.look:
            for partial in context.run_udf_iter(dataset, udfs):
                buffers = partial.buffers
                n_partials += 1
        else:
            buffers = context.run_udf(dataset, udfs)
        return np.asarray(buffers[0][WORKS.get(task.work, "intensity")].data), n_partials

    with context:
        serve(case, start_up, run)


if __name__ == "__main__":
    main()
