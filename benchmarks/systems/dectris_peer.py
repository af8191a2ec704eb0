"""LiberTEM-live on a DECTRIS stream: its receiver, with its decoder, or with UDFs on its default executor."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import libertem_dectris
import numpy as np
from dectris_case import CHANNELS, DectrisCase, center, four_masks, ring_radii
from libertem import masks
from libertem.executor.pipelined import PipelinedExecutor
from libertem.udf import UDF
from libertem.udf.base import NoOpUDF
from libertem.udf.com import CoMUDF
from libertem.udf.masks import ApplyMasksUDF
from libertem.udf.sum import SumUDF
from libertem_live.api import LiveContext
from protocol import serve

BUFFER_MIB = 1024
PATIENCE_S = 180.0
STACK = 24
"""Frames per stack: what LiberTEM-live takes by default."""


def ring_mask(size: int) -> np.ndarray:
    inner, outer = ring_radii(size)
    ring = masks.ring(
        centerX=center(size),
        centerY=center(size),
        imageSizeX=size,
        imageSizeY=size,
        radius=outer,
        radius_inner=inner,
    )
    return ring.astype(np.float32)


def udf_of(work: str, size: int) -> UDF:
    return {
        "noop": lambda: NoOpUDF(),
        "sum": lambda: SumUDF(),
        "mask": lambda: ApplyMasksUDF(mask_factories=[partial(ring_mask, size)]),
        "masks4": lambda: ApplyMasksUDF(
            mask_factories=partial(four_masks, size), mask_count=4, mask_dtype=np.float32
        ),
        "com": lambda: CoMUDF.with_params(cy=center(size), cx=center(size)),
    }[work]()


def serve_receiver(case: DectrisCase) -> None:
    """Take stacks from its receiver in this process, and decode them if asked to."""
    with tempfile.TemporaryDirectory() as folder:
        frame_bytes = case.size**2 * np.dtype(case.dtype).itemsize
        # It plans with a quarter of the pixels' bytes, as its own connection does by default.
        connection = libertem_dectris.DectrisConnection(
            f"tcp://127.0.0.1:{case.port}",
            STACK,
            str(Path(folder) / "handle"),
            num_slots=(BUFFER_MIB << 20) // (STACK * frame_bytes // 4),
            bytes_per_frame=frame_bytes // 4,
            huge=False,
        )
        connection.start_passive()
        client = libertem_dectris.CamClient(connection.get_socket_path())
        pixels = np.empty((STACK, case.size, case.size), case.dtype)

        def receive() -> tuple[float, float | None]:
            while connection.wait_for_arm(1.0) is None:
                pass
            n, first = 0, None
            while (stack := connection.get_next_stack(STACK)) is not None:
                first = first or time.monotonic()
                if case.work == "decode":
                    client.decode_range_into_buffer(stack, pixels, 0, len(stack))
                n += len(stack)
                client.done(stack)
            return float(n), first

        serve(receive)


def serve_udf(case: DectrisCase) -> None:
    udf = udf_of(case.work, case.size)
    result: dict[str, Any] = {}
    # Its default executor, with patience for a busy machine.
    with LiveContext(executor=PipelinedExecutor.make_local(startup_timeout=PATIENCE_S)) as ctx:
        builder = ctx.make_connection("dectris")
        with builder.open(
            api_host="127.0.0.1",
            api_port=case.control_port,
            data_host="127.0.0.1",
            data_port=case.port,
            buffer_size=BUFFER_MIB,
            frame_stack_size=STACK,
        ) as conn:

            def receive() -> tuple[float, float | None]:
                pending = conn.wait_for_acquisition(timeout=60)
                aq = ctx.make_acquisition(conn=conn, pending_aq=pending, nav_shape=case.nav_shape)
                first_partial = None
                for part in ctx.run_udf_iter(dataset=aq, udf=udf):
                    buffers = part.buffers
                    if first_partial is None:
                        first_partial = time.monotonic()
                if case.work not in CHANNELS:
                    return 0.0, first_partial
                result["newest"] = buffers[0][CHANNELS[case.work]].data
                return float(np.nansum(result["newest"], dtype=np.float64)), first_partial

            serve(receive, lambda: result["newest"])


def main() -> None:
    case = DectrisCase.from_arguments()
    if case.work in ("receive", "decode"):
        serve_receiver(case)
    else:
        serve_udf(case)


if __name__ == "__main__":
    main()
