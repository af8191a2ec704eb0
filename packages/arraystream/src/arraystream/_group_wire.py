"""A feed's descriptor and chunks as messages, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ._chunk import FeedChunk, ItemDescriptor, Lease
from ._protocol.limits import ErrorCode, wire_error
from ._protocol.messages import Begin, Chunk, Describe, Encoded
from ._protocol.session import new_section_id
from ._range_ledger import Loan

REFERENCE = "reference"
"""Feature of a member that reads the items itself, and the layout of what it gets."""


def begin_of(descriptor: ItemDescriptor, member: int) -> Begin:
    """Return the BEGIN for a member."""
    return Begin(new_section_id(), "group", None, descriptor.n_items, meta={"member": member})


def member_of(begin: Begin) -> int:
    """Return the member's number."""
    number = begin.meta.get("member")
    if type(number) is not int or number < 0:
        raise wire_error(ErrorCode.MALFORMED_HEADER, f"BEGIN of a group names no member: {number!r}.")
    return number


def describe_of(descriptor: ItemDescriptor, *, by_reference: bool) -> Describe:
    """Return the DESCRIBE of a feed's only channel."""
    return Describe(
        0,
        descriptor.dtype.str,
        tuple(descriptor.item_shape),
        index_shape=tuple(descriptor.index_shape),
        layout=REFERENCE if by_reference else "dense",
        codecs=({"name": descriptor.codec, "params": dict(descriptor.codec_params)},),
        meta=dict(descriptor.meta),
    )


def descriptor_of(begin: Begin, describe: Describe) -> ItemDescriptor:
    """Return what the items look like; the codec is only looked up by name among those installed."""
    codec: Mapping[str, Any] = describe.codecs[0] if describe.codecs else {"name": "raw"}
    params = codec.get("params", {})
    if not isinstance(params, dict):
        raise wire_error(ErrorCode.MALFORMED_HEADER, f"Parameters of codec {codec['name']!r} are no map.")
    return ItemDescriptor(
        np.dtype(describe.dtype),
        describe.item_shape,
        codec["name"],
        params,
        tuple(describe.index_shape),
        begin.n_items,
        dict(describe.meta),
    )


def chunk_of(descriptor: ItemDescriptor, chunk: FeedChunk) -> Chunk:
    """Return a chunk as it is sent, still encoded; its memory must stay until then."""
    decoded_bytes = chunk.n * descriptor.item_size * descriptor.dtype.itemsize
    values = Encoded(chunk.payload, descriptor.dtype, decoded_bytes, 0)
    buffers: dict[str, npt.NDArray[Any] | Encoded] = {"values": values, "offsets": chunk.offsets}
    return Chunk(0, chunk.first, chunk.n, lease=chunk.lease.token, attempt=chunk.attempt, buffers=buffers)


def range_of(loan: Loan) -> Chunk:
    """Return a range as it is sent to a member that reads it itself."""
    return Chunk(0, loan.first, loan.n, lease=loan.token, attempt=loan.attempt)


def loan_of(message: Chunk) -> Loan:
    """Return which range a chunk is."""
    if message.lease is None:
        raise wire_error(ErrorCode.MALFORMED_HEADER, f"The chunk of items from {message.at} on has no lease.")
    return Loan(message.lease, message.at, message.n, message.attempt)


def feed_chunk_of(message: Chunk, release: Callable[[], None]) -> FeedChunk:
    """Return a received chunk; its memory goes with the last array that looks at it."""
    loan = loan_of(message)
    values, offsets = message.buffers["values"], message.buffers.get("offsets")
    if not isinstance(values, Encoded) or not isinstance(offsets, np.ndarray):
        raise wire_error(
            ErrorCode.SIZE_MISMATCH,
            f"The chunk of items from {loan.first} on is no encoded bytes and offsets.",
        )
    payload = values.data
    payload.flags.writeable = False
    if int(offsets.max()) > payload.nbytes:
        raise wire_error(
            ErrorCode.SIZE_MISMATCH,
            f"An item of the chunk from {loan.first} on starts at byte {offsets.max()} of {payload.nbytes}.",
        )
    return FeedChunk(loan.first, loan.n, payload, offsets, Lease(loan.token, release), loan.attempt)
