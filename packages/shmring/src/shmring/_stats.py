"""What a ring tells about itself: numbers and events."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerStats:
    """Numbers of one consumer.

    Parameters
    ----------
    id
        Its number, as `Ring.settle` wants it.
    tag
        Tag it is attached to; ``None`` for a broadcast of all tags.
    pid
        Its process, once it has mapped the ring.
    n_held
        Slots it may look at: delivered or on the way.
    n_undelivered
        Stacks it has not taken yet.
    n_lent
        Stacks given to it so far.
    n_skipped
        Stacks that a ``latest`` consumer did not get.
    longest_hold_s
        Longest time from lending a stack to its return.
    is_outcast
        Whether it is out and only its slots are waited for.
    """

    id: int
    tag: int | None
    pid: int | None
    n_held: int
    n_undelivered: int
    n_lent: int
    n_skipped: int
    longest_hold_s: float
    is_outcast: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RingStats:
    """Numbers of a ring; ``n_free + n_writing + n_lent + n_settled + n_quarantined == n_slots``.

    Parameters
    ----------
    n_slots, slot_bytes
        Size of the ring.
    n_free, n_writing, n_lent, n_settled, n_quarantined
        Slots by what they are in.  *Settled*: done, but a consumer still looks at it.  *Quarantined*:
        only consumers that are out can still look at it.
    n_undelivered
        Stacks that no consumer has taken yet.
    high_water
        Most slots that were not free at a time.
    n_committed, n_bytes
        Stacks committed and their bytes of data.
    n_discarded
        Reserved slots given back without a commit.
    n_dropped
        `Ring.reserve` calls refused under ``full="drop_newest"``.
    n_unwanted
        Stacks discarded because their tag had been dropped, or had nobody to go to.
    n_redelivered
        Stacks lent again after their consumer was lost.
    n_skipped
        Stacks that ``latest`` consumers did not get.
    n_lost_consumers, n_misbehaving
        Consumers that died; consumers thrown out for writing nonsense into the shared queues.
    n_waits, wait_time_s
        Waits in `Ring.reserve`, of at most 0.1 s each (it looks for signals in between), and their time
        in all.
    longest_hold_s
        Longest time a consumer held a stack.
    consumers
        The consumers, outcasts included.
    """

    n_slots: int
    slot_bytes: int
    n_free: int
    n_writing: int
    n_lent: int
    n_settled: int
    n_quarantined: int
    n_undelivered: int
    high_water: int
    n_committed: int
    n_bytes: int
    n_discarded: int
    n_dropped: int
    n_unwanted: int
    n_redelivered: int
    n_skipped: int
    n_lost_consumers: int
    n_misbehaving: int
    n_waits: int
    wait_time_s: float
    longest_hold_s: float
    consumers: tuple[ConsumerStats, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerLeft:
    """A consumer closed its end; `n_relent` stacks went to others."""

    id: int
    n_relent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerLost:
    """A consumer's process is gone without having closed its end; `n_relent` stacks went to others."""

    id: int
    pid: int | None
    n_relent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerMisbehaving:
    """A consumer wrote nonsense into the shared queues and was thrown out."""

    id: int
    pid: int | None
    reason: str


RingEvent = ConsumerLeft | ConsumerLost | ConsumerMisbehaving
