"""The connection's state machine against its table."""

from __future__ import annotations

import itertools
import threading

import pytest

from arraystream import (
    TRANSITIONS,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionState,
    ConnectionStateMachine,
    Stalled,
    StateError,
)

ALL = list(itertools.product(ConnectionState, ConnectionState))
LEGAL = [(old, new) for old in TRANSITIONS for new in TRANSITIONS[old]]


def machine_in(state: ConnectionState) -> ConnectionStateMachine:
    """Walk a new machine to a state by a shortest path of the table."""
    paths = {ConnectionState.CLOSED: ()}
    queue = [ConnectionState.CLOSED]
    while state not in paths:
        here = queue.pop(0)
        for there in TRANSITIONS[here]:
            if there not in paths:
                paths[there] = (*paths[here], there)
                queue.append(there)
    machine = ConnectionStateMachine("probe")
    for step in paths[state]:
        machine.to(step)
    assert machine.state is state
    return machine


@pytest.mark.parametrize(("old", "new"), LEGAL)
def test_every_entry_of_the_table_can_be_taken(old, new):
    machine = machine_in(old)
    change = machine.to(new)
    assert (change.old, change.new, machine.state) == (old, new, new)
    assert change.reason == TRANSITIONS[old][new]


@pytest.mark.parametrize(("old", "new"), [pair for pair in ALL if pair not in LEGAL])
def test_anything_else_is_refused_and_both_states_are_named(old, new):
    machine = machine_in(old)
    with pytest.raises(StateError, match=f"{old.name} can't be followed by {new.name}"):
        machine.to(new)
    assert machine.state is old


@pytest.mark.parametrize("state", ConnectionState)
def test_close_works_in_every_state_and_twice(state):
    machine = machine_in(state)
    machine.close()
    machine.close()
    assert machine.state is ConnectionState.CLOSED
    with pytest.raises(ConnectionClosed):
        machine.to(ConnectionState.CONNECTING)
    with pytest.raises(ConnectionClosed):
        machine.wait_for({ConnectionState.IDLE}, timeout=0)


def wait_in_thread(machine, states, **kwargs):
    outcome = []

    def wait():
        try:
            outcome.append(machine.wait_for(states, timeout=30, **kwargs))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread, outcome


def test_close_interrupts_a_wait():
    machine = machine_in(ConnectionState.IDLE)
    thread, outcome = wait_in_thread(machine, {ConnectionState.ARMED})
    machine.close()
    thread.join(30)
    assert isinstance(outcome[0], ConnectionClosed)


def test_close_interrupts_a_wait_before_opening():
    machine = ConnectionStateMachine()
    thread, outcome = wait_in_thread(machine, {ConnectionState.ARMED})
    machine.close()
    thread.join(30)
    assert isinstance(outcome[0], ConnectionClosed)


def test_waiting_returns_the_state_that_was_reached():
    machine = machine_in(ConnectionState.RUNNING)
    thread, outcome = wait_in_thread(machine, {ConnectionState.COMPLETE, ConnectionState.ABORTED})
    machine.to(ConnectionState.ABORTED)
    thread.join(30)
    assert outcome == [ConnectionState.ABORTED]


def test_waiting_in_vain_returns_none():
    assert machine_in(ConnectionState.IDLE).wait_for({ConnectionState.ARMED}, timeout=0) is None


def test_failure_ends_a_wait_with_its_own_error():
    machine = machine_in(ConnectionState.RUNNING)
    thread, outcome = wait_in_thread(machine, {ConnectionState.COMPLETE})
    machine.to(ConnectionState.FAILED, error=Stalled("no item for 3 s"))
    thread.join(30)
    assert isinstance(outcome[0], Stalled)
    assert machine.last.reason == "no item for 3 s"


def test_failure_without_an_error_still_is_typed():
    machine = machine_in(ConnectionState.IDLE)
    machine.to(ConnectionState.FAILED, reason="cable pulled")
    with pytest.raises(ConnectionFailed, match="probe: cable pulled"):
        machine.wait_for({ConnectionState.ARMED}, timeout=0)


def test_failure_can_be_waited_for():
    machine = machine_in(ConnectionState.FAILED)
    assert machine.wait_for({ConnectionState.FAILED}) is ConnectionState.FAILED


def test_a_state_that_was_left_again_is_not_missed():
    machine = machine_in(ConnectionState.IDLE)
    since = machine.last.serial
    for state in (
        ConnectionState.ARMED,
        ConnectionState.RUNNING,
        ConnectionState.COMPLETE,
        ConnectionState.IDLE,
    ):
        machine.to(state)
    assert machine.wait_for({ConnectionState.RUNNING}, timeout=0) is None
    assert machine.wait_for({ConnectionState.RUNNING}, timeout=0, since=since) is ConnectionState.RUNNING
    assert machine.wait_for({ConnectionState.RUNNING}, timeout=0, since=machine.last.serial) is None


def test_listeners_see_each_transition_until_they_unsubscribe():
    machine = ConnectionStateMachine()
    seen = []
    unsubscribe = machine.subscribe(lambda change: seen.append((change.serial, change.new)))
    machine.to(ConnectionState.CONNECTING)
    machine.to(ConnectionState.IDLE)
    unsubscribe()
    unsubscribe()
    machine.close()
    assert seen == [(1, ConnectionState.CONNECTING), (2, ConnectionState.IDLE)]
