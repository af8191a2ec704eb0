"""The messages of the protocol as frozen dataclasses.

Arrays are not part of a header: `Describe` and `Chunk` carry them beside it, as buffers by role.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .fields import wire

_NOTHING: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Hello:
    """Consumer to producer: what I speak and what I want."""

    TYPE = 1
    versions: tuple[int, ...] = wire("versions", "[u32]")
    features: tuple[str, ...] = wire("features", "[str]", ())
    codecs: tuple[str, ...] = wire("codecs", "[str]", ())
    limits: Mapping[str, int] = wire("max", "map", _NOTHING)
    role: str = wire("role", "str", "consumer")
    token: str | None = wire("token", "?str", None)
    streams: tuple[str, ...] = wire("streams", "[str]", ())
    delivery: str = wire("delivery", "str", "lossless")
    rate_hz: float | None = wire("rate_hz", "?number", None)
    every: int | None = wire("every", "?u32", None)
    group: str | None = wire("group", "?str", None)
    resume: Mapping[str, Any] | None = wire("resume", "?map", None)


@dataclass(frozen=True, slots=True)
class Welcome:
    """Producer to consumer: what was agreed."""

    TYPE = 2
    version: int = wire("version", "u32")
    features: tuple[str, ...] = wire("features", "[str]", ())
    codecs: tuple[str, ...] = wire("codecs", "[str]", ())
    limits: Mapping[str, int] = wire("max", "map", _NOTHING)
    heartbeat_s: float = wire("heartbeat_s", "number", 1.0)
    resume: str = wire("resume", "str", "live")
    slow_consumer: str = wire("slow_consumer", "str", "block")


@dataclass(frozen=True, slots=True)
class Error:
    """Something is wrong with what the other side sent."""

    TYPE = 3
    code: int = wire("code", "u32")
    text: str = wire("text", "str", "")
    fatal: bool = wire("fatal", "bool", True)
    seq: int | None = wire("seq", "?u64", None)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """I am alive."""

    TYPE = 4
    clock_ns: int = wire("clock_ns", "i64")
    seq: int = wire("seq", "u64", 0)
    queue_depth: int = wire("queue_depth", "u64", 0)
    n_dropped: int = wire("dropped", "u64", 0)


@dataclass(frozen=True, slots=True)
class Credit:
    """Consumer to producer: chunks up to this sequence number and this many payload bytes in all."""

    TYPE = 5
    seq: int = wire("seq", "u64")
    n_bytes: int = wire("bytes", "u64")


@dataclass(frozen=True, slots=True)
class Ack:
    """Consumer to producer: everything up to this sequence number is done with."""

    TYPE = 6
    seq: int = wire("seq", "u64")


@dataclass(frozen=True, slots=True)
class Bye:
    """Orderly end of this direction."""

    TYPE = 7
    reason: str = wire("reason", "str", "")


@dataclass(frozen=True, slots=True)
class Begin:
    """A section starts; sections nest."""

    TYPE = 16
    id: str = wire("id", "str")
    kind: str = wire("kind", "str", "acquisition")
    parent: str | None = wire("parent", "?str", None)
    n_items: int | None = wire("n_items", "?index", None)
    clock: Mapping[str, Any] = wire("clock", "map", _NOTHING)
    meta: Mapping[str, Any] = wire("meta", "map", _NOTHING)


@dataclass(frozen=True, slots=True, eq=False)
class Describe:
    """What the items of a channel look like, in this revision."""

    TYPE = 17
    channel: int = wire("ch", "u32")
    dtype: str = wire("dtype", "str")
    item_shape: tuple[int, ...] = wire("item_shape", "[u64]")
    rev: int = wire("rev", "u32", 0)
    name: str = wire("name", "str", "")
    dims: tuple[str, ...] = wire("dims", "[str]", ())
    index_shape: tuple[int, ...] = wire("index_shape", "[i64]", ())
    index_order: str = wire("index_order", "str", "C")
    units: str = wire("units", "str", "")
    axes: tuple[Mapping[str, Any], ...] = wire("axes", "[map]", ())
    layout: str = wire("layout", "str", "dense")
    index_dtype: str = wire("index_dtype", "str", "<u4")
    canonical: bool = wire("canonical", "bool", False)
    codecs: tuple[Mapping[str, Any], ...] = wire("codecs", "[map]", ())
    lossy: str = wire("lossy", "str", "")
    fill: float | None = wire("fill", "?number", None)
    saturation: float | None = wire("saturation", "?number", None)
    nodata: float | None = wire("nodata", "?number", None)
    derived_from: str = wire("derived_from", "str", "")
    transform: Mapping[str, Any] = wire("transform", "map", _NOTHING)
    table_shapes: Mapping[str, Any] = wire("tables", "map", _NOTHING)
    meta: Mapping[str, Any] = wire("meta", "map", _NOTHING)
    buffers: Mapping[str, npt.NDArray[Any] | Encoded] = field(default_factory=dict)

    @property
    def n_columns(self) -> int:
        """Elements of one item, which is what a flat index counts."""
        return math.prod(self.item_shape)


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A buffer as its codec left it.

    Parameters
    ----------
    data
        Encoded bytes, dtype uint8.
    dtype
        Type of the decoded elements.
    decoded_bytes
        Size when decoded.
    codec
        Index into `Describe.codecs`.
    """

    data: npt.NDArray[np.uint8]
    dtype: np.dtype[Any]
    decoded_bytes: int
    codec: int


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Consecutive items of a channel."""

    TYPE = 18
    channel: int = wire("ch", "u32")
    at: int = wire("at", "index")
    n: int = wire("n", "index")
    rev: int = wire("rev", "u32", 0)
    skipped: int = wire("skipped", "u64", 0)
    t0: int | None = wire("t0", "?i64", None)
    dt: int | None = wire("dt", "?i64", None)
    lease: int | None = wire("lease", "?u64", None)
    attempt: int = wire("attempt", "u32", 0)
    buffers: Mapping[str, npt.NDArray[Any] | Encoded] = field(default_factory=dict)
    describe: Describe | None = None

    @property
    def array(self) -> npt.NDArray[Any]:
        """The items of a dense channel, read-only, shape ``(n, *item_shape)``."""
        if self.describe is None or self.describe.layout != "dense":
            layout = "not described" if self.describe is None else self.describe.layout
            raise TypeError(f"Channel {self.channel} is {layout}, not dense; use its buffers.")
        values = self.buffers["values"]
        if isinstance(values, Encoded):
            raise TypeError(f"Channel {self.channel} is encoded; decode buffers['values'] first.")
        return values

    @property
    def time(self) -> npt.NDArray[np.int64] | None:
        """Ticks of the section's clock for each item, shape ``(n,)``; ``None`` if not stated."""
        if "item_time" in self.buffers:
            times = self.buffers["item_time"]
            return times if isinstance(times, np.ndarray) else None
        if self.t0 is None:
            return None
        return self.t0 + (self.dt or 0) * np.arange(self.n, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Mark:
    """An annotation at an item or a time."""

    TYPE = 19
    kind: str = wire("kind", "str")
    channel: int | None = wire("ch", "?u32", None)
    at: int | None = wire("at", "?index", None)
    time: int | None = wire("time", "?i64", None)
    text: str = wire("text", "str", "")
    meta: Mapping[str, Any] = wire("meta", "map", _NOTHING)


@dataclass(frozen=True, slots=True)
class Gap:
    """Items ``[first, stop)`` of a channel are missing."""

    TYPE = 20
    channel: int = wire("ch", "u32")
    first: int = wire("first", "index")
    stop: int = wire("stop", "index")
    reason: str = wire("reason", "str")


@dataclass(frozen=True, slots=True)
class End:
    """A section ends, with a verdict.

    Parameters
    ----------
    id
        Of the section.
    status
        ``complete``, ``aborted`` or ``failed``.  ``truncated`` is never sent: it is what a receiver
        says about a stream that stopped without an END.
    reason
        In words.
    counts
        For each channel of the section ``(channel, items, lost items, payload bytes)``, flat.
    digest
        See PROTOCOL.md; filled in by the encoder.
    """

    TYPE = 21
    id: str = wire("id", "str")
    status: str = wire("status", "str")
    reason: str = wire("reason", "str", "")
    counts: tuple[int, ...] = wire("counts", "[u64]", ())
    digest: str = wire("digest", "str", "")


SYNC_SIGNATURE = "arraystream-SYNC"


@dataclass(frozen=True, slots=True)
class Sync:
    """A place in a file where reading can start; `signature` is always the same text."""

    TYPE = 22
    at: int = wire("at", "u64")
    seq: int = wire("seq", "u64")
    signature: str = wire("sig", "str")


Message = (
    Hello
    | Welcome
    | Error
    | Heartbeat
    | Credit
    | Ack
    | Bye
    | Begin
    | Describe
    | Chunk
    | Mark
    | Gap
    | End
    | Sync
)

MESSAGES: dict[int, type[Any]] = {
    cls.TYPE: cls
    for cls in (
        Hello,
        Welcome,
        Error,
        Heartbeat,
        Credit,
        Ack,
        Bye,
        Begin,
        Describe,
        Chunk,
        Mark,
        Gap,
        End,
        Sync,
    )
}
"""Class of each message type."""

CRITICAL_TYPES = frozenset(
    {Begin.TYPE, Describe.TYPE, Chunk.TYPE, Gap.TYPE, End.TYPE, Hello.TYPE, Welcome.TYPE}
)
"""Sent with the flag CRITICAL: a receiver that does not know them must not go on."""
