"""What every connection to a source offers, whatever stands behind it.

Waiting for an acquisition and waiting for its first item are two things: a detector may be armed for
minutes before it is triggered.  Everything that waits can be interrupted by `Connection.close`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from ._chunk import ItemDescriptor
from ._connection_state import ConnectionState
from ._feed import Feed


@dataclass(frozen=True, slots=True)
class PendingAcquisition:
    """An acquisition that has been announced.

    Parameters
    ----------
    number
        Counts the acquisitions of one connection.
    n_items
        How many items are announced; ``None`` if that isn't known.
    index_shape
        The index space the source announces; empty if it announces none.
    meta
        What the source says about it; plain values.
    """

    number: int
    n_items: int | None = None
    index_shape: tuple[int, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nimages(self) -> int | None:
        """`n_items` under the name that LiberTEM-live uses."""
        return self.n_items


@dataclass(slots=True)
class ConnectionStatistics:
    """Counters of one connection since it was opened.

    Parameters
    ----------
    n_items, n_bytes
        Items and bytes received.
    n_lost, n_stale, n_duplicate, n_out_of_order, n_corrupt
        Items that never came; that belonged to an earlier acquisition; that came twice; that came
        late but were placed right; that could not be understood.
    n_discarded
        Items received but not wanted by anybody, e.g. after an early close of the feed.
    n_acquisitions, n_reconnects
        Acquisitions seen, and times the connection had to be made anew.
    buffer_fill, buffer_high_water
        Share of the buffer in use now and at most, 0 to 1.
    first_item_time_s, last_item_time_s
        ``time.monotonic()`` of the first and the newest item of the newest acquisition, ``None``
        before the first one.
    """

    n_items: int = 0
    n_bytes: int = 0
    n_lost: int = 0
    n_stale: int = 0
    n_duplicate: int = 0
    n_out_of_order: int = 0
    n_corrupt: int = 0
    n_discarded: int = 0
    n_acquisitions: int = 0
    n_reconnects: int = 0
    buffer_fill: float = 0.0
    buffer_high_water: float = 0.0
    first_item_time_s: float | None = None
    last_item_time_s: float | None = None


@runtime_checkable
class Controller(Protocol):
    """Active mode: we arm and trigger the source ourselves."""

    def determine_nav_shape(self, n_items: int | None) -> tuple[int, ...] | None:
        """Return the index space the source is set to, ``None`` if it can't tell."""
        ...

    def arm(self, *, n_items: int | None) -> None:
        """Set the parameters in the right order, then arm.  Returns when the source is armed."""
        ...

    def trigger(self) -> None:
        """Start the armed acquisition by software."""
        ...

    def abort(self) -> None:
        """End the acquisition; from any thread."""
        ...

    def close(self) -> None:
        """Let go of the control connection.  Idempotent."""
        ...


@runtime_checkable
class KnowsItemShape(Protocol):
    """A controller that can tell what the items will look like before the source is armed."""

    def determine_item_shape(self) -> tuple[int, ...] | None:
        """Return the shape that items will have once armed, ``None`` unless that is certain."""
        ...


class Connection(ABC):
    """A connection to a source of acquisitions, received one after the other.

    Thread-safe.  Leaving the ``with`` block closes it.  Subclasses keep their state in a
    `ConnectionStateMachine`.
    """

    @property
    @abstractmethod
    def state(self) -> ConnectionState:
        """Where the connection is in `TRANSITIONS`."""

    @abstractmethod
    def wait_for_acquisition(self, timeout: float | None = None) -> PendingAcquisition | None:
        """Wait until the source is armed or the header of an acquisition arrives.

        Parameters
        ----------
        timeout
            Seconds; ``None`` waits until there is one.

        Returns
        -------
        PendingAcquisition or None
            ``None`` if there was none within `timeout`.

        Raises
        ------
        ConnectionClosed
            If the connection is closed, now or while waiting.
        StreamError
            If the connection failed.
        """

    @abstractmethod
    def wait_for_first_item(
        self, pending: PendingAcquisition, timeout: float | None = None
    ) -> ItemDescriptor:
        """Wait for the first item: only then shape and type are certain.

        Raises
        ------
        Stalled
            If there was no item within `timeout` seconds.
        AcquisitionAborted
            If the acquisition ended before its first item.
        ConnectionClosed
            If the connection is closed, now or while waiting.
        StreamError
            If the connection failed.
        """

    @abstractmethod
    def feed(self, pending: PendingAcquisition) -> Feed:
        """Return the items of an acquisition whose first item has arrived.

        Raises
        ------
        StateError
            Before the first item, for an acquisition that is over and gone, or at a second call.
        """

    def correction_data(self, pending: PendingAcquisition) -> Mapping[str, Any]:
        """Return what the source itself says is wrong with its pixels; by default nothing.

        Called once the first item has arrived.

        Returns
        -------
        mapping
            Any of the arrays ``dark``, ``gain`` and ``excluded_pixels``, each in the shape of an item; items
            are to be corrected by ``(item - dark) * gain``, and excluded pixels hold no data.  With
            ``allow_empty``, excluded pixels that are surrounded by others of their kind are no error.
        """
        return {}

    @abstractmethod
    def get_active_controller(self, **settings: Any) -> Controller:
        """Return a controller that arms the source with these settings.

        Raises
        ------
        StateError
            If the source can't be controlled.
        """

    @abstractmethod
    def abort(self) -> None:
        """End the running or armed acquisition; nothing to do if there is none.  From any thread."""

    @abstractmethod
    def statistics(self) -> ConnectionStatistics:
        """Return a snapshot of the counters; allowed in every state."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection; every wait ends with `ConnectionClosed`.  Idempotent, any thread."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@runtime_checkable
class ConnectionBuilder(Protocol):
    """Entry point of the group ``arraystream.sources`` for sources that are connected to."""

    def open(self, **kwargs: Any) -> Connection:
        """Open a connection.

        Every builder knows the keyword ``timeout``: seconds until the attempt ends with
        `ConnectionFailed`.
        """
        ...

    def from_url(self, url: str, **kwargs: Any) -> Connection:
        """Open the connection that a URL names; keywords win over the URL's query."""
        ...
