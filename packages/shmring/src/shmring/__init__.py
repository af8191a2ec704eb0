"""A shared-memory ring that hands stacks of bytes from one writer to many workers.

The owner makes a `Ring`, writes into slots in place and commits them.  A `Consumer` in this or in any
other process needs only the file descriptor that `Ring.attach` made; it gets each stack as a read-only
array without a copy, and the slot goes back when no array looks at it any more.  If a consumer dies,
what it held goes to another one.
"""

from ._errors import (
    IncompatibleRing,
    RingClosed,
    RingConfigError,
    RingError,
    RingForked,
    RingFull,
    RingMemoryError,
    StackInUse,
    StackReleased,
    StackTooLarge,
    TooManyConsumers,
)
from ._shmring import LAYOUT_VERSION, Consumer, End, Ring, Stack, Writer
from ._stats import ConsumerLeft, ConsumerLost, ConsumerMisbehaving, ConsumerStats, RingEvent, RingStats

__all__ = [
    "LAYOUT_VERSION",
    "Consumer",
    "ConsumerLeft",
    "ConsumerLost",
    "ConsumerMisbehaving",
    "ConsumerStats",
    "End",
    "IncompatibleRing",
    "Ring",
    "RingClosed",
    "RingConfigError",
    "RingError",
    "RingEvent",
    "RingForked",
    "RingFull",
    "RingMemoryError",
    "RingStats",
    "Stack",
    "StackInUse",
    "StackReleased",
    "StackTooLarge",
    "TooManyConsumers",
    "Writer",
]
