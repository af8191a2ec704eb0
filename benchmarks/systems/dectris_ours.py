"""Ours on a DECTRIS stream: the receiver and the ring alone, with the decoder, or with UDFs."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
from dectris_case import CHANNELS, DectrisCase, center, four_masks, ring_radii
from protocol import serve

from arraystream import Connection, FeedChunk, open_decoder
from livestem import LiveContext
from udf_4dstem import ApplyMasksUDF, CoMUDF, RingUDF, SumUDF
from udf_core import UDF

STACK = 24
"""Frames that are decoded at once where no UDF asks for tiles."""


class NoOpUDF(UDF):
    """Looks at nothing."""

    def get_preferred_input_dtype(self) -> np.dtype[Any]:
        return self.USE_NATIVE_DTYPE

    def get_result_buffers(self) -> dict[str, Any]:
        return {}

    def process_tile(self, tile: np.ndarray) -> None:
        pass


def udf_of(work: str, size: int) -> UDF:
    inner, outer = ring_radii(size)
    middle = center(size)
    return {
        "noop": lambda: NoOpUDF(),
        "sum": lambda: SumUDF(),
        "mask": lambda: RingUDF(cy=middle, cx=middle, inner=inner, outer=outer),
        "masks4": lambda: ApplyMasksUDF(
            mask_factories=partial(four_masks, size), mask_count=4, mask_dtype=np.float32
        ),
        "com": lambda: CoMUDF.with_params(cy=middle, cx=middle),
    }[work]()


def drain(conn: Connection, decode: bool) -> tuple[float, float | None]:
    """Take every chunk of an acquisition, decode it if asked to, and give it back."""
    pending = conn.wait_for_acquisition(timeout=60)
    assert pending is not None
    descriptor = conn.wait_for_first_item(pending, timeout=10)
    decoder = open_decoder(descriptor)
    pixels = np.empty((STACK, *descriptor.item_shape), descriptor.dtype)
    rows = (0, descriptor.item_shape[0])
    feed = conn.feed(pending)
    member = feed.join()
    received, first = 0, None
    while (verdict := feed.verdict()) is None or received < verdict.n_items:
        chunk = member.recv(0.1)
        if isinstance(chunk, FeedChunk):
            first = first or time.monotonic()
            received += chunk.n
            for start in range(0, chunk.n if decode else 0, STACK):
                some = chunk.offsets[start : start + STACK]
                decoder.decode(chunk.payload, some, rows, pixels[: len(some)])
            feed.settle(member.number, [chunk.lease.token])
            chunk.lease.release()
    member.close()
    feed.close()
    return float(received), first


def main() -> None:
    case = DectrisCase.from_arguments()
    newest: dict[str, Any] = {}
    with (
        LiveContext.make_with(case.executor) as ctx,
        ctx.make_connection("dectris").open(
            api_host="127.0.0.1", api_port=case.control_port, data_host="127.0.0.1", data_port=case.port
        ) as conn,
    ):

        def process() -> tuple[float, float | None]:
            pending = conn.wait_for_acquisition(timeout=60)
            aq = ctx.make_acquisition(conn=conn, pending_aq=pending, nav_shape=case.nav_shape)
            first_partial = None
            for part in ctx.run_udf_iter(dataset=aq, udf=udf_of(case.work, case.size)):
                buffers = part.buffers
                if first_partial is None:
                    first_partial = time.monotonic()
            if case.work not in CHANNELS:
                return 0.0, first_partial
            newest["result"] = buffers[0][CHANNELS[case.work]].data
            return float(np.nansum(newest["result"], dtype=np.float64)), first_partial

        if case.work in ("receive", "decode"):
            serve(lambda: drain(conn, case.work == "decode"))
        else:
            serve(process, lambda: newest["result"])


if __name__ == "__main__":
    main()
