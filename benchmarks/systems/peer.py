"""(e) LiberTEM-live, with its default executor, on the same bytes."""

from __future__ import annotations

import time

import numpy as np
from libertem import masks
from libertem.udf import UDF
from libertem.udf.base import NoOpUDF
from libertem.udf.com import CoMUDF
from libertem.udf.masks import ApplyMasksUDF
from libertem.udf.sum import SumUDF
from libertem_live.api import LiveContext
from protocol import Case, serve


def ring_mask() -> np.ndarray:
    return masks.ring(
        centerX=128, centerY=128, imageSizeX=256, imageSizeY=256, radius=60, radius_inner=20
    ).astype(np.float32)


def four_masks() -> np.ndarray:
    rng = np.random.default_rng(4)
    return rng.random((4, 256, 256), dtype=np.float32)


def udf_of(work: str) -> UDF:
    return {
        "none": lambda: NoOpUDF(),
        "sum": lambda: SumUDF(),
        "mask": lambda: ApplyMasksUDF(mask_factories=[ring_mask]),
        "masks4": lambda: ApplyMasksUDF(mask_factories=four_masks, mask_count=4, mask_dtype=np.float32),
        "com": lambda: CoMUDF.with_params(cy=128, cx=128),
    }[work]()


def main() -> None:
    case = Case.from_arguments()
    name = {"none": None, "sum": "intensity", "mask": "intensity", "masks4": "intensity", "com": "raw_com"}
    udf = udf_of(case.work)
    with LiveContext() as ctx:
        builder = ctx.make_connection("merlin")
        with builder.open(data_host="127.0.0.1", data_port=case.port, api_port=case.control_port) as conn:

            def receive() -> tuple[float, float | None]:
                pending = conn.wait_for_acquisition(timeout=60)
                aq = ctx.make_acquisition(conn=conn, pending_aq=pending, nav_shape=case.nav_shape)
                first_partial = None
                for partial in ctx.run_udf_iter(dataset=aq, udf=udf):
                    buffers = partial.buffers
                    if first_partial is None:
                        first_partial = time.monotonic()
                channel = name[case.work]
                checksum = np.nansum(buffers[0][channel].data, dtype=np.float64) if channel else 0.0
                return float(checksum), first_partial

            serve(receive)


if __name__ == "__main__":
    main()
