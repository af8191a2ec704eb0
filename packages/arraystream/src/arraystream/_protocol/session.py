"""Greeting and credit, without any I/O."""

from __future__ import annotations

import dataclasses
import hmac
import os
import time
import uuid
from collections.abc import Collection

from .limits import ErrorCode, Limits, wire_error
from .messages import Credit, Hello, Welcome
from .stream_state import Delivery

PROTOCOL_VERSION = 1
"""Version of the messages; goes up only if an old receiver would misunderstand."""

MOST_CHUNKS_AHEAD = 4096


def hello(
    *,
    limits: Limits,
    token: str | None = None,
    codecs: Collection[str] = (),
    features: Collection[str] = (),
    group: str | None = None,
) -> Hello:
    """Return a consumer's greeting: everything from now on, or the share of a member of `group`."""
    return Hello(
        versions=(PROTOCOL_VERSION, PROTOCOL_VERSION),
        features=tuple(sorted(features)),
        codecs=tuple(sorted(codecs)),
        limits=dataclasses.asdict(limits),
        token=token,
        delivery="lossless" if group is None else "group",
        group=group,
    )


def same_token(token: str | None, expected: str) -> bool:
    """Compare a token in a time that does not depend on where the two differ."""
    return hmac.compare_digest((token or "").encode(), expected.encode())


def welcome(
    greeting: Hello,
    *,
    limits: Limits,
    heartbeat_s: float,
    token: str | None = None,
    delivery: Delivery = "lossless",
) -> tuple[Welcome, Limits]:
    """Answer a greeting; also returns what was agreed.

    Raises
    ------
    ProtocolError, AuthError
        If the consumer can't be served; tell it so with an ERROR.
    """
    if token is not None and not same_token(greeting.token, token):
        raise wire_error(ErrorCode.UNAUTHORISED, "The token is wrong or missing; pass the producer's token.")
    if len(greeting.versions) != 2 or not greeting.versions[0] <= PROTOCOL_VERSION <= greeting.versions[1]:
        raise wire_error(
            ErrorCode.UNSUPPORTED_VERSION,
            f"The consumer speaks versions {greeting.versions}, the producer {PROTOCOL_VERSION}; update one.",
        )
    in_group = greeting.group is not None
    if greeting.role != "consumer" or greeting.delivery != delivery or in_group != (delivery == "group"):
        raise wire_error(
            ErrorCode.STATE,
            f"Role {greeting.role!r} with delivery {greeting.delivery!r} is not offered here; a consumer "
            f"with delivery {delivery!r} is.",
        )
    agreed = limits.narrowed(greeting.limits)
    answer = Welcome(
        version=PROTOCOL_VERSION, limits=dataclasses.asdict(agreed), heartbeat_s=heartbeat_s, resume="live"
    )
    return answer, agreed


class CreditWindow:
    """A consumer's side of credit: how much may be under way, and when to grant more.

    Parameters
    ----------
    window_bytes
        Most payload bytes sent but not yet consumed.
    chunks_ahead
        Most messages sent but not yet consumed.
    """

    def __init__(self, window_bytes: int, chunks_ahead: int = MOST_CHUNKS_AHEAD) -> None:
        self._window_bytes = window_bytes
        self._chunks_ahead = chunks_ahead
        self._received = 0
        self._consumed = 0
        self._seq = 0
        self._granted = Credit(0, 0)

    def received(self, n_bytes: int, seq: int) -> None:
        """Count a chunk that came; an error if it was not covered."""
        self._received += n_bytes
        if self._received > self._granted.n_bytes or seq > self._granted.seq:
            raise wire_error(
                ErrorCode.CREDIT_VIOLATION,
                f"Chunk {seq} makes {self._received} bytes; granted were {self._granted.n_bytes}.",
                seq=seq,
            )

    def consumed(self, n_bytes: int, seq: int) -> None:
        """Count a message that has been dealt with."""
        self._consumed += n_bytes
        self._seq = seq

    def grant(self) -> Credit | None:
        """Return a new grant if it is worth a message."""
        credit = Credit(self._seq + self._chunks_ahead, self._consumed + self._window_bytes)
        more_bytes = credit.n_bytes - self._granted.n_bytes
        more_chunks = credit.seq - self._granted.seq
        # A narrow window is granted anew for each message: the producer may be waiting for just that.
        enough = 1 if self._chunks_ahead < 64 else self._chunks_ahead // 4
        if more_bytes < self._window_bytes // 4 and more_chunks < enough:
            return None
        self._granted = credit
        return credit


def new_section_id() -> str:
    """Return a UUIDv7: unique, and sorted by time."""
    random = int.from_bytes(os.urandom(10), "big")
    value = (time.time_ns() // 1_000_000) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))
