"""A connection around a native receiver: acquisitions one after the other, passive or active.

The receiver's thread does the work without the GIL.  One small thread here translates its few events
(armed, first item, ended, connection lost) into the state machine and wakes those who wait.
"""

from __future__ import annotations

import threading
import time
import weakref
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from ._arming_controller import ArmingController
from ._chunk import ItemDescriptor
from ._connection import Connection, ConnectionStatistics, Controller, PendingAcquisition
from ._connection_state import ConnectionState, ConnectionStateMachine
from ._errors import (
    AcquisitionAborted,
    ConnectionClosed,
    ConnectionFailed,
    ProtocolError,
    Stalled,
    StateError,
)
from ._feed import Feed
from ._native_receiver import NativeReceiver
from ._received_acquisition import ReceivedAcquisition, descriptor_from, pending_from, verdict_from

_T = TypeVar("_T")
_S = ConnectionState
_END_STATES = {"complete": _S.COMPLETE, "aborted": _S.ABORTED, "failed": _S.FAILED, "truncated": _S.FAILED}
_UNREACHABLE = (_S.CONNECTING, _S.FAILED)


class ReceiverConnection(Connection):
    """Base of connections whose work is done by a `NativeReceiver`.

    Acquisitions are handed out in the order in which they were armed, none is skipped; asking for the
    next one gives up those that were handed out before and never fed.  When the connection breaks, or
    the source sends what can't be understood, the acquisition ends with that error, and the
    connection is made anew by itself.

    A subclass names its `codec`, and how to make feeds and controllers.

    Parameters
    ----------
    receiver
        Connects and receives; belongs to the connection from now on.
    name
        Names the connection in messages, e.g. its URL.
    """

    codec = "raw"
    """Name of the codec that decodes the items."""

    reconnects_after = frozenset({"protocol", "disconnected"})
    """Causes of a failed acquisition after which the receiver connects anew."""

    def __init__(self, receiver: NativeReceiver, name: str) -> None:
        self._receiver = receiver
        self._name = name
        self._machine = ConnectionStateMachine(name)
        self._machine.to(_S.CONNECTING)
        self._changed = threading.Condition()
        self._acquisitions: dict[int, ReceivedAcquisition] = {}
        self._given_up_to = 0
        self._controller: Controller | None = None
        self._finalizer = weakref.finalize(self, receiver.close)
        arguments = (receiver, weakref.ref(self))
        self._pump = threading.Thread(target=_pump, args=arguments, name="receiver-events", daemon=True)
        self._pump.start()

    # What a subclass says

    @abstractmethod
    def _make_feed(self, acquisition: ReceivedAcquisition, on_close: Callable[[int], None]) -> Feed:
        """Return a feed over the receiver's buffer.

        Parameters
        ----------
        acquisition
            Its first item has arrived; its verdict will be set.
        on_close
            To be called once, with the number of the acquisition, when the feed is closed.
        """

    @abstractmethod
    def _make_controller(self, **settings: Any) -> Controller:
        """Return a new controller of the source, see `get_active_controller`."""

    def _make_pending(self, number: int, details: Mapping[str, Any]) -> PendingAcquisition:
        """Return what the event ``armed`` announces."""
        return pending_from(number, details)

    def _describe_unreachable(self, what: str, reason: str) -> str:
        """Say that there is no connection, and what to do about it."""
        return f"{self._name}: {what} ({reason})."

    def _describe_silence(self, pending: PendingAcquisition, timeout: float | None) -> str:
        """Say that an acquisition has no item, and what to do about it."""
        return (
            f"{self._name}: acquisition {pending.number} is armed, but no frame came within "
            f"{timeout:g} s. Is it triggered?"
        )

    # What everybody calls

    @property
    def name(self) -> str:
        """Names the connection in messages."""
        return self._name

    @property
    def state(self) -> ConnectionState:
        """Where the connection is in `TRANSITIONS`."""
        return self._machine.state

    @property
    def state_machine(self) -> ConnectionStateMachine:
        """To wait for states and to be told of transitions."""
        return self._machine

    def wait_until_connected(self, timeout: float) -> None:
        """Wait until the connection stands.

        Raises
        ------
        ConnectionFailed
            If it does not within `timeout` seconds.
        ConnectionClosed
            If it is closed meanwhile.
        """

        def connected() -> bool | None:
            return True if self.state not in _UNREACHABLE else None

        if self._wait(connected, timeout) is None:
            raise self._unreachable(f"no connection within {timeout:g} s")

    def wait_for_acquisition(self, timeout: float | None = None) -> PendingAcquisition | None:
        """Wait for the next acquisition: its header comes when the source is armed.

        Acquisitions handed out before and never fed are given up.

        Raises
        ------
        ConnectionFailed
            If there is no connection when time is over.
        ConnectionClosed
            If the connection is closed, now or while waiting.
        """
        self._give_up(lambda acquisition: acquisition.is_taken and not acquisition.has_feed)
        pending = self._wait(self._take_next, timeout)
        if pending is None and self.state in _UNREACHABLE:
            raise self._unreachable("lost")
        return pending

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
            If the connection broke.
        """
        acquisition = self._find(pending)

        def first_or_end() -> ReceivedAcquisition | None:
            return acquisition if acquisition.descriptor or acquisition.verdict else None

        if self._wait(first_or_end, timeout) is None:
            raise Stalled(self._describe_silence(pending, timeout))
        if acquisition.descriptor is not None:
            return acquisition.descriptor
        verdict = acquisition.verdict
        if verdict is not None and verdict.error is not None:
            raise verdict.error
        reason = verdict.reason if verdict is not None else ""
        raise AcquisitionAborted(f"{self._name}: acquisition {pending.number} had no frame: {reason}.")

    def feed(self, pending: PendingAcquisition) -> Feed:
        """Return the items of an acquisition whose first item has arrived.

        Raises
        ------
        StateError
            Before the first item, for an acquisition that is gone, or at a second call.
        """
        acquisition = self._find(pending)
        with self._changed:
            if acquisition.has_feed:
                raise StateError(f"{self._name}: acquisition {pending.number} has a feed already.")
            if acquisition.descriptor is None:
                raise StateError(
                    f"{self._name}: acquisition {pending.number} has no frame yet; "
                    "call wait_for_first_item before."
                )
            acquisition.has_feed = True
        return self._make_feed(acquisition, self._forget)

    def get_active_controller(self, **settings: Any) -> Controller:
        """Return a controller that arms the source with these settings.

        Arming gives up all acquisitions that nobody has got a feed of.

        Parameters
        ----------
        **settings
            As the source's own controller takes them.
        """
        this = weakref.ref(self)

        def before_arming() -> None:
            connection = this()
            if connection is not None:
                connection.give_up_waiting()

        self._controller = ArmingController(self._make_controller(**settings), before_arming)
        return self._controller

    def abort(self) -> None:
        """End the present acquisition here, and at the source if there is a controller.

        Without a controller the source goes on; what it sends is discarded until its next header.

        Raises
        ------
        StreamError
            If the source does not take the command.
        """
        self._receiver.abort()
        if self._controller is not None:
            with suppress(ConnectionClosed):  # the user is done with the controller
                self._controller.abort()

    def give_up_waiting(self) -> None:
        """Give up all acquisitions that nobody has got a feed of: a new one is about to be armed."""
        # Also those whose header has been received, though word of it is still on its way to here.
        self._given_up_to = self._receiver.counters()["n_acquisitions"]
        self._give_up(lambda acquisition: not acquisition.has_feed)

    def statistics(self) -> ConnectionStatistics:
        """Return a snapshot of the counters; allowed in every state."""
        return ConnectionStatistics(**self._receiver.counters())

    def close(self) -> None:
        """Close the connection; every wait ends with `ConnectionClosed`.  Idempotent, any thread."""
        self._machine.close()
        with self._changed:
            self._changed.notify_all()
        self._finalizer()
        if threading.current_thread() is not self._pump:
            self._pump.join()
        if self._controller is not None:
            self._controller.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name}, {self.state.name})"

    # How it works

    def _take_next(self) -> PendingAcquisition | None:
        for number, acquisition in sorted(self._acquisitions.items()):
            if acquisition.is_taken or acquisition.is_gone:
                continue
            verdict = acquisition.verdict
            if verdict and acquisition.descriptor is None and not isinstance(verdict.error, ProtocolError):
                # Armed and aborted before anybody asked; a mistake has to be heard of.
                del self._acquisitions[number]
                continue
            acquisition.is_taken = True
            return acquisition.pending
        return None

    def _find(self, pending: PendingAcquisition) -> ReceivedAcquisition:
        with self._changed:
            acquisition = self._acquisitions.get(pending.number)
        if acquisition is None or acquisition.is_gone:
            raise StateError(
                f"{self._name}: acquisition {pending.number} is gone: it was given up, or its feed closed."
            )
        return acquisition

    def _forget(self, number: int) -> None:
        with self._changed:
            acquisition = self._acquisitions.get(number)
            if acquisition is not None:
                acquisition.is_gone = True
                if acquisition.verdict is not None:
                    del self._acquisitions[number]

    def _give_up(self, condition: Callable[[ReceivedAcquisition], bool]) -> None:
        with self._changed:
            known = self._acquisitions.items()
            numbers = [n for n, acquisition in known if not acquisition.is_gone and condition(acquisition)]
            for number in numbers:
                self._forget(number)
        for number in numbers:
            self._receiver.abandon(number)

    def _wait(self, ask: Callable[[], _T | None], timeout: float | None) -> _T | None:
        """Wait until `ask` has an answer; ``None`` if there was none in time."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while True:
                if self._finalizer.alive is False or self.state is _S.CLOSED:
                    raise ConnectionClosed(f"{self._name} was closed; open a new connection.")
                answer = ask()
                if answer is not None:
                    return answer
                if self._receiver.is_over:
                    raise ConnectionFailed(f"{self._name}: receiver ended: {self._receiver.last_error}.")
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._changed.wait(left)

    def _unreachable(self, what: str) -> ConnectionFailed:
        return ConnectionFailed(self._describe_unreachable(what, self._receiver.last_error or "no answer"))

    def _handle(self, name: str, number: int, details: Mapping[str, Any]) -> None:
        """Take over one event; in the pump's thread.

        The state changes before anything else can be seen, so that who has seen it may rely on it.
        """
        with suppress(ConnectionClosed):
            self._change_state(name, details)
        with self._changed:
            if name == "armed":
                self._acquisitions[number] = ReceivedAcquisition(self._make_pending(number, details), details)
                if number <= self._given_up_to:
                    self._acquisitions[number].is_gone = True
                    self._receiver.abandon(number)
            acquisition = self._acquisitions.get(number)
            if name == "first_frame" and acquisition is not None:
                acquisition.descriptor = descriptor_from(acquisition.pending, self.codec, details)
            if name == "ended" and acquisition is not None:
                acquisition.verdict = verdict_from(self._name, details)
                if acquisition.is_gone:
                    del self._acquisitions[number]
            self._changed.notify_all()

    def _change_state(self, name: str, details: Mapping[str, Any]) -> None:
        machine = self._machine
        if name == "connected":
            self._recover()
        elif name == "armed":
            self._recover()
            machine.to(_S.ARMED)
        elif name == "first_frame":
            self._recover()
            if self.state is _S.IDLE:
                machine.to(_S.ARMED)
            machine.to(_S.RUNNING)
        elif name == "ended" and self.state in (_S.ARMED, _S.RUNNING):
            error = verdict_from(self._name, details).error
            machine.to(_END_STATES[details["status"]], reason=details["reason"], error=error)
            if details["cause"] not in self.reconnects_after:
                machine.to(_S.IDLE)
        elif name == "disconnected":
            if self.state is _S.CONNECTING:
                return
            if self.state is not _S.FAILED:
                kind = ProtocolError if details["is_protocol_error"] else ConnectionFailed
                machine.to(_S.FAILED, error=kind(f"{self._name}: {details['reason']}."))
            machine.to(_S.CONNECTING)

    def _recover(self) -> None:
        """Become idle if there was no connection; data and the word of it may come in any order."""
        if self.state in _UNREACHABLE:
            self._machine.to(_S.IDLE)


def _pump(receiver: NativeReceiver, connection: weakref.ref[ReceiverConnection]) -> None:
    """Pass events on until the receiver is over, or nobody has the connection any more."""
    while True:
        event = receiver.next_event(1.0)
        target = connection()
        if target is None:
            return
        if event is not None:
            target._handle(*event)
        elif receiver.is_over:
            with target._changed:
                target._changed.notify_all()
            return
        del target
