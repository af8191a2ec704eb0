"""The Rust core's Python face."""

from collections.abc import Sequence
from types import TracebackType
from typing import Literal, NoReturn, Self, final

import numpy as np
import numpy.typing as npt

from ._stats import RingEvent, RingStats

LAYOUT_VERSION: int
"""Version of the shared-memory layout, see ``LAYOUT.md``."""

@final
class Ring:
    """The owner of a ring of slots in shared memory.

    All memory exists from the start; nothing stays behind when the process ends, however it ends.
    Thread-safe.  In a forked child each call raises `RingForked` or does nothing.

    Parameters
    ----------
    slot_bytes
        Bytes of one slot; rounded up to whole pages.
    n_slots
        Number of slots.
    queue_depth
        Stacks that wait undelivered in front of one consumer at most; the rest waits in the ring for
        whoever has room.
    full
        What `reserve` does when no slot is free: ``"block"`` waits, ``"drop_newest"`` fails at once and
        counts.
    prefault
        Also make the page tables at creation, not only the memory.

    Raises
    ------
    RingConfigError
        If the numbers make no ring.
    RingMemoryError
        If the memory is not there; says what to do.

    Examples
    --------
    >>> import shmring
    >>> with shmring.Ring(slot_bytes=4096, n_slots=4) as ring:
    ...     number, fd = ring.attach()
    ...     with shmring.Consumer(fd) as consumer:
    ...         with ring.reserve(timeout=1.0) as writer:
    ...             writer.array[:3] = [1, 2, 3]
    ...             writer.commit(3)
    ...         with consumer.recv(timeout=1.0) as stack:
    ...             int(stack.array.sum())
    6
    """

    def __new__(
        cls,
        slot_bytes: int,
        n_slots: int,
        *,
        queue_depth: int = 2,
        full: Literal["block", "drop_newest"] = "block",
        prefault: bool = True,
    ) -> Self: ...
    @property
    def slot_bytes(self) -> int:
        """Bytes of one slot."""

    @property
    def n_slots(self) -> int:
        """Number of slots."""

    @property
    def uuid(self) -> bytes:
        """Names the ring among all rings; 16 bytes."""

    def reserve(self, timeout: float | None = None) -> Writer:
        """Take a free slot for writing, the one used last.

        Parameters
        ----------
        timeout
            Seconds to wait for a slot; ``None`` waits until there is one.  The GIL is released, signals
            are seen within 0.1 s.

        Raises
        ------
        RingFull
            If no slot is free in time, or at once under ``full="drop_newest"``.
        RingClosed
            If the ring is or becomes closed.
        """

    def attach(self, tag: int = 0) -> tuple[int, int]:
        """Admit a consumer that shares the stacks of a tag with the tag's other consumers.

        Returns
        -------
        number
            Names the consumer to `settle` and `detach`.
        fd
            All the consumer needs: give it to `Consumer`, here or in another process.  It belongs to the
            caller, who closes it once it was passed on.

        Raises
        ------
        TooManyConsumers
            If there are 64.
        RingClosed
            If the ring is closed.
        """

    def attach_broadcast(self, tag: int | None = None, *, latest: int | None = None) -> tuple[int, int]:
        """Admit a consumer that gets each stack committed from now on.

        Parameters
        ----------
        tag
            Only the stacks of this tag; ``None`` for all.
        latest
            ``None``: lossless, a slow consumer holds the ring back.  A number: at most that many stacks
            wait, older ones are skipped; `Stack.skipped` says how many.

        Returns
        -------
        number, fd
            As `attach`.
        """

    def settle(self, consumer: int, tokens: Sequence[int]) -> bool:
        """Mark stacks of a consumer as done: they are not lent again, should it die.

        All or nothing.  A stack that the consumer has returned is done already and counts as such.

        Returns
        -------
        bool
            ``False`` if the consumer was taken for dead, left, or was detached: its stacks went to
            others, what it made of them must be forgotten.  Also if a token never was the consumer's.
        """

    def end(self, tag: int = 0) -> None:
        """Tell each consumer of a tag, after the stacks queued so far, that this was all.

        Stacks of a consumer that dies are still lent again; after those the end is repeated.
        """

    def drop_tag(self, tag: int) -> None:
        """Discard what waits for a tag and detach its consumers.

        What is committed for the tag from now on is discarded, until somebody attaches to it again.
        """

    def detach(self, consumer: int) -> None:
        """Put a consumer out; its unsettled stacks go to others.

        Slots that it still looks at are not written before it has returned them or its process is gone.
        """

    def stats(self) -> RingStats:
        """Return the numbers now."""

    def take_events(self) -> list[RingEvent]:
        """Return what happened to consumers since the last call; only the newest 256 are kept."""

    def close(self) -> None:
        """Close the ring; consumers get what is in their queues, then `RingClosed`.

        Arrays of stacks stay valid, in every process.  Idempotent.
        """

    def __enter__(self) -> Self: ...
    def __exit__(
        self, type_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def __reduce__(self) -> NoReturn: ...

@final
class Writer:
    """The right to write one slot; from `Ring.reserve`.

    Leaving the ``with`` block, or losing the object, without a commit discards what was written.
    """

    @property
    def array(self) -> npt.NDArray[np.uint8]:
        """The slot, shape ``(slot_bytes,)``, holding whatever was written last.

        Read-only after the commit.  Views made of it before must not be written after the commit.
        """

    def commit(
        self,
        n_bytes: int,
        *,
        item_first: int = 0,
        n_items: int = 1,
        tag: int = 0,
        meta: Sequence[int] | npt.NDArray[np.uint64] | None = None,
        broadcast_only: bool = False,
    ) -> None:
        """Hand the first `n_bytes` to the consumers of a tag.

        Without a consumer that has room, the stack waits in the ring.

        Parameters
        ----------
        n_bytes
            Bytes of data.
        item_first, n_items
            Which items the stack holds.
        tag
            Whom it is for.
        meta
            Numbers that travel with the data, for instance where each item starts.  Stored in the slot
            behind the data, from the next multiple of 64 bytes on, 8 bytes each.
        broadcast_only
            Only for broadcast consumers; without any, the stack is discarded and counted.

        Raises
        ------
        StackTooLarge
            If data and meta do not fit the slot, which is discarded.
        StackReleased
            If it was committed or discarded before.
        RingClosed
            If the ring is closed.
        """

    def discard(self) -> None:
        """Give the slot back unwritten.  Idempotent, also after a commit."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, type_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def __reduce__(self) -> NoReturn: ...

@final
class Consumer:
    """One consumer of a ring, in any process; for one thread at a time.

    Parameters
    ----------
    fd
        From `Ring.attach` or `Ring.attach_broadcast`.  Belongs to the consumer from now on; can be opened
        once.

    Raises
    ------
    IncompatibleRing
        If the owner has another version of shmring, or the descriptor was opened before.
    RingClosed
        If the owner is gone.
    """

    def __new__(cls, fd: int) -> Self: ...
    @property
    def id(self) -> int:
        """Its number in the ring."""

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""

    def recv(self, timeout: float | None = None) -> Stack | End | None:
        """Wait for a stack or the end of a tag.

        Parameters
        ----------
        timeout
            Seconds; ``None`` waits until something comes.  The GIL is released, signals are seen within
            0.1 s.

        Returns
        -------
        Stack, End or None
            ``None`` if nothing came in time.

        Raises
        ------
        RingClosed
            If the queue is empty and the owner is gone, closed the ring or detached this consumer; or
            if this end is closed, also from another thread.
        """

    def close(self) -> None:
        """Leave the ring; unsettled stacks go to others.

        Arrays of stacks stay valid, and their slots are not written before they are gone.  A stack
        released from now on does not count as done.  Also happens at the exit of the interpreter.
        Idempotent.
        """

    def __enter__(self) -> Self: ...
    def __exit__(
        self, type_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def __reduce__(self) -> NoReturn: ...

@final
class Stack:
    """A stack that is lent to this consumer; from `Consumer.recv`.

    The slot goes back when the stack was released or lost *and* no array looks at it any more.  The stack
    then counts as done, unless the consumer was closed before.  As a context manager it insists, at the
    end of the block, that no array is left.
    """

    @property
    def array(self) -> npt.NDArray[np.uint8]:
        """The data in place, shape ``(n_bytes,)``, read-only.  Keeps the slot as long as it lives."""

    @property
    def meta(self) -> npt.NDArray[np.uint64]:
        """The numbers that came with the data, in place, read-only.  Keeps the slot as `array` does."""

    @property
    def tag(self) -> int:
        """Tag it was committed for."""

    @property
    def item_first(self) -> int:
        """Index of its first item."""

    @property
    def n_items(self) -> int:
        """Number of its items."""

    @property
    def seq(self) -> int:
        """Number of its commit in the ring."""

    @property
    def token(self) -> int:
        """Names it to `Ring.settle`."""

    @property
    def attempt(self) -> int:
        """How many consumers had it before and died."""

    @property
    def skipped(self) -> int:
        """Stacks that this ``latest`` consumer did not get since the one before."""

    @property
    def flags(self) -> int:
        """Flags it was committed with."""

    @property
    def released(self) -> bool:
        """Whether `release` was called."""

    def release(self, *, wait: bool = True) -> None:
        """Let go of the slot.  Idempotent.

        Parameters
        ----------
        wait
            Whether to insist that the slot goes back now.  ``False``: when the last array is gone.

        Raises
        ------
        StackInUse
            If `wait` and arrays of it are alive.  The stack is still good then.
        """

    def __enter__(self) -> Self: ...
    def __exit__(
        self, type_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def __reduce__(self) -> NoReturn: ...

@final
class End:
    """Nothing more is queued for a tag; stacks may still follow if another consumer dies."""

    @property
    def tag(self) -> int:
        """The tag."""
