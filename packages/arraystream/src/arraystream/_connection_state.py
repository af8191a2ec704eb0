"""The one state machine of every connection, as a table and as a thing to wait on.

The table is the only place that says which state may follow which; the machine refuses anything
else, the documentation prints it, the tests walk it.
"""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ._errors import ConnectionClosed, ConnectionFailed, StateError


class ConnectionState(enum.Enum):
    """Where a connection is."""

    CLOSED = "closed"
    CONNECTING = "connecting"
    IDLE = "idle"
    ARMED = "armed"
    RUNNING = "running"
    COMPLETE = "complete"
    ABORTED = "aborted"
    FAILED = "failed"


_S = ConnectionState

TRANSITIONS: Mapping[ConnectionState, Mapping[ConnectionState, str]] = MappingProxyType(
    {
        _S.CLOSED: MappingProxyType({_S.CONNECTING: "the connection is being opened"}),
        _S.CONNECTING: MappingProxyType(
            {
                _S.IDLE: "the other side answered",
                _S.FAILED: "the other side can't be reached or refused",
                _S.CLOSED: "closed by us while connecting",
            }
        ),
        _S.IDLE: MappingProxyType(
            {
                _S.ARMED: "the source is armed, or the header of an acquisition arrived",
                _S.FAILED: "the connection broke between acquisitions",
                _S.CLOSED: "closed by us",
            }
        ),
        _S.ARMED: MappingProxyType(
            {
                _S.RUNNING: "the first item arrived",
                _S.COMPLETE: "the acquisition ended as announced, with no item",
                _S.ABORTED: "ended by us or the source before the first item",
                _S.FAILED: "the connection broke, or the header was wrong",
                _S.CLOSED: "closed by us",
            }
        ),
        _S.RUNNING: MappingProxyType(
            {
                _S.COMPLETE: "the last item arrived",
                _S.ABORTED: "ended by us or the source before the last item",
                _S.FAILED: "the connection broke, stalled, or sent what can't be understood",
                _S.CLOSED: "closed by us",
            }
        ),
        _S.COMPLETE: MappingProxyType({_S.IDLE: "ready for the next acquisition", _S.CLOSED: "closed by us"}),
        _S.ABORTED: MappingProxyType({_S.IDLE: "ready for the next acquisition", _S.CLOSED: "closed by us"}),
        _S.FAILED: MappingProxyType(
            {
                _S.IDLE: "recovered, the connection still stands",
                _S.CONNECTING: "connecting anew",
                _S.CLOSED: "closed by us",
            }
        ),
    }
)
"""What may follow each state, and when it does."""


@dataclass(frozen=True, slots=True)
class StateChange:
    """One transition taken.

    Parameters
    ----------
    serial
        Counts the transitions of one machine from 1.
    old, new
        The two states.
    reason
        Why, in words.
    error
        The typed error of a transition to FAILED.
    time_s
        ``time.monotonic()`` of the transition.
    """

    serial: int
    old: ConnectionState
    new: ConnectionState
    reason: str
    error: Exception | None
    time_s: float


class ConnectionStateMachine:
    """Holds the state of one connection.  Thread-safe.

    Parameters
    ----------
    name
        Names the connection in error messages, e.g. its URL.

    Examples
    --------
    >>> machine = ConnectionStateMachine("tcp://localhost:9000")
    >>> machine.to(ConnectionState.CONNECTING).serial
    1
    >>> machine.to(ConnectionState.RUNNING)
    Traceback (most recent call last):
    ...
    arraystream._errors.StateError: tcp://localhost:9000: CONNECTING can't be followed by RUNNING, only ...
    """

    def __init__(self, name: str = "connection") -> None:
        self._name = name
        self._changed = threading.Condition()
        self._last = StateChange(0, _S.CLOSED, _S.CLOSED, "not opened yet", None, time.monotonic())
        self._newest: dict[ConnectionState, StateChange] = {}
        self._closed = False
        self._listeners: list[Callable[[StateChange], None]] = []

    @property
    def state(self) -> ConnectionState:
        """The present state."""
        return self._last.new

    @property
    def last(self) -> StateChange:
        """The newest transition; its `serial` is what `wait_for` takes as `since`."""
        return self._last

    def to(self, state: ConnectionState, *, reason: str = "", error: Exception | None = None) -> StateChange:
        """Go to another state; reason defaults to what `TRANSITIONS` says.

        Raises
        ------
        StateError
            If `TRANSITIONS` doesn't have it.
        ConnectionClosed
            After `close`.
        """
        with self._changed:
            if self._closed:
                raise self._closed_error()
            change = self._go(state, reason, error)
        self._tell(change)
        return change

    def wait_for(
        self,
        states: Collection[ConnectionState],
        timeout: float | None = None,
        *,
        since: int | None = None,
    ) -> ConnectionState | None:
        """Wait until one of `states` is reached.

        Parameters
        ----------
        states
            Any of these will do.
        timeout
            Seconds; ``None`` waits for ever.
        since
            Serial of a transition.  A state entered later counts even if it has been left again, so
            that a short acquisition can't be missed.  Without, only the present state counts.

        Returns
        -------
        ConnectionState or None
            The state reached, ``None`` if none was within `timeout`.

        Raises
        ------
        ConnectionClosed
            If the connection is closed, now or while waiting.
        StreamError
            If it failed and FAILED was not waited for: the error that made it fail.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while True:
                reached = self._reached(states, since)
                if reached is not None:
                    return reached.new
                if self._closed:
                    raise self._closed_error()
                failed = self._reached((_S.FAILED,), since)
                if failed is not None:
                    raise failed.error or ConnectionFailed(f"{self._name}: {failed.reason}.")
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._changed.wait(left)

    def subscribe(self, listener: Callable[[StateChange], None]) -> Callable[[], None]:
        """Call `listener` with each transition, in the thread that made it; return how to stop that."""
        with self._changed:
            self._listeners.append(listener)

        def unsubscribe() -> None:
            with self._changed:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return unsubscribe

    def close(self) -> None:
        """Go to CLOSED for good: each wait, now and later, ends with `ConnectionClosed`.  Idempotent."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            if self.state is _S.CLOSED:
                self._changed.notify_all()
                return
            change = self._go(_S.CLOSED, "", None)
        self._tell(change)

    def _go(self, state: ConnectionState, reason: str, error: Exception | None) -> StateChange:
        old = self.state
        allowed = TRANSITIONS[old]
        if state not in allowed:
            raise StateError(
                f"{self._name}: {old.name} can't be followed by {state.name}, only by "
                f"{', '.join(s.name for s in allowed)}."
            )
        words = reason or (str(error) if error is not None else allowed[state])
        self._last = StateChange(self._last.serial + 1, old, state, words, error, time.monotonic())
        self._newest[state] = self._last
        self._changed.notify_all()
        return self._last

    def _reached(self, states: Collection[ConnectionState], since: int | None) -> StateChange | None:
        if since is None:
            return self._last if self.state in states else None
        entered = [c for s in states if (c := self._newest.get(s)) is not None and c.serial > since]
        return max(entered, key=lambda change: change.serial, default=None)

    def _tell(self, change: StateChange) -> None:
        with self._changed:
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener(change)

    def _closed_error(self) -> ConnectionClosed:
        return ConnectionClosed(f"{self._name} was closed ({self._last.reason}); open a new connection.")
