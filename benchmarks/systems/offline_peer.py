"""LiberTEM, on data at rest: its inline, pipelined and default (dask) executors."""

from __future__ import annotations

import time

import numpy as np
from libertem.api import Context
from libertem.executor.pipelined import PipelinedExecutor
from libertem.udf import UDF
from libertem.udf.com import CoMUDF
from libertem.udf.masks import ApplyMasksUDF
from libertem.udf.stddev import StdDevUDF
from libertem.udf.sum import SumUDF
from libertem.udf.sumsigudf import SumSigUDF
from offline_case import WORKS, Case, Masks, Task, serve


def udf_of(work: str) -> UDF:
    return {
        "sum": lambda: SumUDF(),
        "sumsig": lambda: SumSigUDF(),
        "masks1": lambda: _masks(1),
        "masks4": lambda: _masks(4),
        "masks16": lambda: _masks(16),
        "com": lambda: CoMUDF.with_params(cy=128, cx=128),
        "stddev": lambda: StdDevUDF(),
    }[work]()


def _masks(n_masks: int) -> UDF:
    return ApplyMasksUDF(mask_factories=Masks(n_masks), mask_count=n_masks, mask_dtype=np.float32)


def context_with(executor: str) -> Context:
    if executor == "pipelined":  # its own limit is 30 s, which a machine without byte code in caches exceeds
        return Context(PipelinedExecutor.make_local(startup_timeout=240))
    return Context() if executor == "dask" else Context.make_with(executor)


def main() -> None:
    case = Case.from_arguments()
    started = time.monotonic()
    context = context_with(case.executor)
    made = time.monotonic()
    tiny = context.load("memory", data=np.ones((4, 4, 8, 8), np.uint16), num_partitions=1)
    context.run_udf(dataset=tiny, udf=SumUDF())
    start_up = {"context_s": made - started, "first_result_s": time.monotonic() - started}
    if case.kind == "raw":
        dataset = context.load(
            "raw", path=str(case.path), dtype="u2", nav_shape=case.nav_shape, sig_shape=(256, 256)
        )
    else:
        dataset = context.load("memory", data=case.array(), sig_dims=2)

    def run(task: Task) -> tuple[np.ndarray, int]:
        result = context.run_udf(dataset=dataset, udf=udf_of(task.work))
        return np.asarray(result[WORKS[task.work]].data), 0

    with context:
        serve(case, start_up, run)


if __name__ == "__main__":
    main()
