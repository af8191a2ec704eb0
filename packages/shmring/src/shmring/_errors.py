"""What can go wrong with a ring, by name.

Each error is also the built-in exception that a caller would expect.  The Rust core raises them.
"""

# The names say the condition, as `BrokenPipe` would; ruff wants them to end in Error.
# ruff: noqa: N818

from __future__ import annotations

from typing import Literal


class RingError(Exception):
    """Base of all errors of a ring."""


class RingFull(RingError, TimeoutError):
    """No slot became free in time, or at once where the policy is to drop."""


class RingClosed(RingError, ConnectionError):
    """Nothing more will come through this end of the ring.

    Parameters
    ----------
    message
        What happened and what to do.
    reason
        ``"closed"``: the owner or this end closed it.  ``"detached"``: the owner put this consumer
        out and goes on without it.  ``"owner_lost"``: the owner's process is gone.
    """

    def __init__(self, message: str, reason: Literal["closed", "detached", "owner_lost"] = "closed") -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def owner_lost(self) -> bool:
        """Whether the owner's process is gone without having closed the ring."""
        return self.reason == "owner_lost"


class RingForked(RingError, RuntimeError):
    """The ring was opened before this process was forked; the child must attach anew."""


class RingConfigError(RingError, ValueError):
    """A ring can't be made with these numbers."""


class RingMemoryError(RingError, MemoryError):
    """The memory for the ring is not there."""


class TooManyConsumers(RingError, RuntimeError):
    """A ring has 64 consumers at most."""


class IncompatibleRing(RingError, ValueError):
    """The other end speaks another layout, or this is no ring at all."""


class StackTooLarge(RingError, ValueError):
    """Data and meta values do not fit a slot."""


class StackInUse(RingError, BufferError):
    """Arrays still look at the stack."""


class StackReleased(RingError, ValueError):
    """The stack was released, or the slot committed or discarded, before."""
