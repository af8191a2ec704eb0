"""(b), (c) Ours: the receiver and the ring alone, or with UDFs."""

from __future__ import annotations

import time

import numpy as np
from protocol import Case, serve

from arraystream import Connection, FeedChunk
from livestem import LiveContext
from udf_4dstem import ApplyMasksUDF, CoMUDF, RingUDF, SumUDF
from udf_core import UDF

CHANNELS = {"sum": "intensity", "mask": "intensity", "masks4": "intensity", "com": "raw_com"}


def four_masks() -> np.ndarray:
    rng = np.random.default_rng(4)
    return rng.random((4, 256, 256), dtype=np.float32)


def udf_of(work: str) -> UDF:
    return {
        "sum": lambda: SumUDF(),
        "mask": lambda: RingUDF(cy=128, cx=128, inner=20, outer=60),
        "masks4": lambda: ApplyMasksUDF(mask_factories=four_masks, mask_count=4, mask_dtype=np.float32),
        "com": lambda: CoMUDF.with_params(cy=128, cx=128),
    }[work]()


def drain(conn: Connection) -> tuple[float, float]:
    """Take every chunk of an acquisition and give it back unread."""
    pending = conn.wait_for_acquisition(timeout=60)
    assert pending is not None
    conn.wait_for_first_item(pending, timeout=10)
    feed = conn.feed(pending)
    member = feed.join()
    received, first = 0, 0.0
    while (verdict := feed.verdict()) is None or received < verdict.n_items:
        chunk = member.recv(0.1)
        if isinstance(chunk, FeedChunk):
            first = first or time.monotonic()
            received += chunk.n
            feed.settle(member.number, [chunk.lease.token])
            chunk.lease.release()
    member.close()
    feed.close()
    return float(received), first


def main() -> None:
    case = Case.from_arguments()
    with (
        LiveContext.make_with(case.executor) as ctx,
        ctx.make_connection("merlin").open(data_host="127.0.0.1", data_port=case.port) as conn,
    ):

        def process() -> tuple[float, float | None]:
            pending = conn.wait_for_acquisition(timeout=60)
            aq = ctx.make_acquisition(conn=conn, pending_aq=pending, nav_shape=case.nav_shape)
            first_partial = None
            for partial in ctx.run_udf_iter(dataset=aq, udf=udf_of(case.work)):
                buffers = partial.buffers
                if first_partial is None:
                    first_partial = time.monotonic()
            result = buffers[0][CHANNELS[case.work]].data
            return float(np.nansum(result, dtype=np.float64)), first_partial

        serve(process if case.work != "none" else lambda: drain(conn))


if __name__ == "__main__":
    main()
