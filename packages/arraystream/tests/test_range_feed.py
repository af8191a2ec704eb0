"""Who has which range, and what other processes see of it; the rest is in test_conformance."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from arraystream import (
    ConnectionClosed,
    ConnectionFailed,
    Feed,
    FeedChunk,
    FeedEnd,
    ItemDescriptor,
    Member,
    RangeFeed,
    StateError,
    StreamError,
    open_memory,
    redeem_ticket,
)
from arraystream._range_ledger import RangeLedger

DATA = np.arange(40 * 3 * 3, dtype="<u2").reshape(40, 3, 3)
DEADLINE_S = 30


@pytest.fixture
def feed():
    feed = open_memory(DATA).feed(chunk_items=4)
    yield feed
    feed.close()


class LedgerModel(RuleBasedStateMachine):
    """The ledger against the obvious: a list that says of each item where it is."""

    members = Bundle("members")

    def __init__(self):
        super().__init__()
        self.ledger = RangeLedger(23, 4)
        self.where = [None] * 23
        self.loans = {}

    @rule(target=members)
    def join(self):
        member = self.ledger.admit()
        self.loans[member] = {}
        return member

    @rule(member=members)
    def lend(self, member):
        if not self.ledger.is_member(member):
            return
        loan = self.ledger.lend(member)
        if loan is None:
            assert None not in self.where
            return
        items = range(loan.first, loan.first + loan.n)
        assert all(self.where[i] is None for i in items)
        assert loan.token not in self.loans[member]
        for i in items:
            self.where[i] = member
        self.loans[member][loan.token] = items

    @rule(member=members, data=st.data())
    def settle(self, member, data):
        held = sorted(self.loans.get(member, {}))
        tokens = data.draw(st.lists(st.sampled_from(held), unique=True)) if held else []
        alive = member in self.loans
        assert self.ledger.settle(member, tokens) is alive
        for token in tokens if alive else []:
            for i in self.loans[member].pop(token):
                self.where[i] = "settled"

    @rule(member=members)
    def settle_what_is_not_held(self, member):
        if member in self.loans:
            with pytest.raises(StateError):
                self.ledger.settle(member, [*self.loans[member], 999_999])

    @rule(member=members)
    def leave(self, member):
        self.ledger.leave(member)
        for items in self.loans.pop(member, {}).values():
            for i in items:
                self.where[i] = None

    @invariant()
    def has_work_if_anything_is_nowhere(self):
        assert self.ledger.has_work is (None in self.where)


TestLedger = LedgerModel.TestCase
TestLedger.settings = settings(max_examples=40, deadline=None)


def test_interfaces_are_met(feed):
    assert isinstance(feed, Feed)
    assert isinstance(feed.join(), Member)


def test_settling_twice_is_an_error_and_settles_nothing(feed):
    member = feed.join()
    first, second = member.recv(1), member.recv(1)
    with pytest.raises(StateError, match="settle each received chunk once"):
        feed.settle(member.number, [first.lease.token, first.lease.token])
    assert feed.settle(member.number, [first.lease.token])
    with pytest.raises(StateError):
        feed.settle(member.number, [second.lease.token, first.lease.token])
    assert feed.settle(member.number, [second.lease.token])


def test_payloads_in_this_process_are_the_array_itself(feed):
    chunk = feed.join().recv(1)
    assert np.shares_memory(chunk.payload, DATA)


def test_no_items_means_complete_at_once():
    feed = open_memory(np.zeros((0, 2, 2))).feed()
    assert feed.verdict().status == "complete"
    assert isinstance(feed.join().recv(1), FeedEnd)
    feed.close()


def test_a_closed_feed_admits_nobody(feed):
    feed.close()
    assert feed.verdict().status == "aborted"
    for admit in (feed.join, feed.ticket):
        with pytest.raises(ConnectionClosed):
            admit()


@pytest.mark.parametrize(("n_items", "chunk_items"), [(-1, 1), (1, 0)])
def test_impossible_sizes_are_refused(n_items, chunk_items):
    with pytest.raises(ValueError, match="n_items"):
        RangeFeed(ItemDescriptor(np.dtype("u1"), (1,)), None, n_items=n_items, chunk_items=chunk_items)


def redeem(ticket):
    """Redeem a ticket in this very process, as another one would after unpickling."""
    return redeem_ticket(pickle.loads(pickle.dumps(ticket)))


def test_a_ticket_works_in_the_same_process_too(feed):
    member = redeem(feed.ticket())
    chunks = list(iter(lambda: member.recv(DEADLINE_S), FeedEnd()))
    assert [chunk.first for chunk in chunks] == list(range(0, 40, 4))
    assert np.array_equal(np.concatenate([chunk.payload for chunk in chunks]), DATA.reshape(-1).view("u1"))
    member.close()


def test_members_in_other_processes_share_one_copy_of_the_memory(feed):
    first, second = redeem(feed.ticket()), redeem(feed.ticket())
    inodes = set()
    for member in (first, second):
        with open("/proc/self/maps") as maps:
            inodes |= {line.split()[4] for line in maps if "memfd:arraystream" in line}
        member.close()
    assert len(inodes) == 1


def test_a_remote_member_may_leave_and_its_ranges_come_back(feed):
    member = redeem(feed.ticket())
    got = member.recv(DEADLINE_S)
    member.close()
    with pytest.raises(ConnectionClosed):
        member.recv(0)
    other = feed.join()
    firsts = []
    while len(firsts) < 10:
        chunk = other.recv(DEADLINE_S)
        if isinstance(chunk, FeedChunk):
            firsts.append(chunk.first)
    assert sorted(firsts) == list(range(0, 40, 4))
    assert got.first in firsts


def test_a_waiting_remote_member_gets_what_a_dying_one_leaves(feed):
    waiting, dying = redeem(feed.ticket()), feed.join()
    held = [dying.recv(1)]
    while not isinstance(got := waiting.recv(DEADLINE_S), FeedEnd):
        assert got.first != held[0].first
    assert waiting.recv(0) is None
    dying.close()
    again = waiting.recv(DEADLINE_S)
    assert (again.first, again.attempt) == (held[0].first, 1)
    assert isinstance(waiting.recv(DEADLINE_S), FeedEnd)
    waiting.close()


def test_an_unredeemed_ticket_counts_as_dead_when_its_descriptors_are_closed(feed):
    ticket = feed.ticket()
    for fd in ticket.fds:
        os.close(fd)
    deadline = threading.Event()
    for _ in range(DEADLINE_S * 1000):
        if not feed.settle(ticket.member, []):
            return
        deadline.wait(0.001)
    raise AssertionError("the member still counts as alive")


def test_a_member_that_asks_for_too_much_is_dropped(feed):
    ticket = feed.ticket()
    for fd in ticket.fds[1:]:
        os.close(fd)
    with socket.socket(fileno=ticket.fds[0]) as greedy:
        greedy.sendall(b"\x01" * 1000)
        greedy.settimeout(DEADLINE_S)
        with contextlib.suppress(ConnectionResetError):
            while greedy.recv(4096):
                pass
    assert isinstance(feed.join().recv(DEADLINE_S), FeedChunk)


def drain(member):
    while member.recv(DEADLINE_S) is not None:
        pass


def test_when_the_owner_is_killed_its_members_are_told():
    program = (
        "import os, pickle, sys, socket, numpy as np, arraystream\n"
        "feed = arraystream.open_memory(np.zeros((8, 2, 2))).feed(1)\n"
        "t = feed.ticket(); s = socket.socket(fileno=int(sys.argv[1]))\n"
        "socket.send_fds(s, [pickle.dumps(t)], t.fds)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(theirs.fileno())], pass_fds=[theirs.fileno()]
        )
        data, fds, _, _ = socket.recv_fds(ours, 1 << 16, 8)
        assert process.wait() == -signal.SIGKILL
    ticket = pickle.loads(data)
    member = redeem_ticket(type(ticket)(ticket.transport, ticket.member, ticket.info, tuple(fds)))
    with pytest.raises(ConnectionFailed, match="gone"):
        drain(member)
    member.close()


WORKER = """
import pickle, sys, numpy as np, arraystream
member = arraystream.redeem_ticket(pickle.load(sys.stdin.buffer))
try:
    while True:
        got = member.recv(1.0)
        if isinstance(got, arraystream.FeedChunk):
            print(got.n, got.lease.token, int(got.payload.view('<u2').sum()), flush=True)
except arraystream.StreamError:
    pass
"""


class Commits:
    """Settle what workers report, and add up what was settled."""

    def __init__(self, feed):
        self.feed = feed
        self.total = 0
        self.n_items = 0
        self.lock = threading.Lock()

    def listen(self, process, member):
        for line in process.stdout:
            if not line.endswith(b"\n"):
                # Its last words were cut off.
                break
            n, token, total = map(int, line.split())
            with self.lock:
                if self.feed.settle(member, [token]):
                    self.total += total
                    self.n_items += n
        process.stdout.close()


def test_killing_workers_at_random_changes_neither_sum_nor_count():
    data = np.random.default_rng(1).integers(0, 50, (2400, 4, 4)).astype("<u2")
    feed = open_memory(data).feed(chunk_items=3)
    commits, dice = Commits(feed), random.Random(2)
    running, started, listeners = [], [], []

    def start():
        ticket = feed.ticket()
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=ticket.fds
        )
        for fd in ticket.fds:
            os.close(fd)
        process.stdin.write(pickle.dumps(ticket))
        process.stdin.close()
        listener = threading.Thread(target=commits.listen, args=(process, ticket.member))
        listener.start()
        running.append(process)
        started.append(process)
        listeners.append(listener)

    start()
    start()
    kills, settled_before = 0, 0
    pause = threading.Event()
    for _ in range(DEADLINE_S * 1000):
        if commits.n_items == len(data):
            break
        if kills < 3 and commits.n_items > settled_before + 300:
            victim = dice.choice(running)
            victim.send_signal(signal.SIGKILL)
            running.remove(victim)
            settled_before = commits.n_items
            kills += 1
            start()
        pause.wait(0.001)
    feed.close()
    for process in started:
        process.wait()
    for listener in listeners:
        listener.join()
    assert kills == 3
    assert commits.n_items == len(data)
    assert commits.total == int(data.sum())


def test_a_reader_that_fails_fails_its_member_only(tmp_path):
    class Reader:
        def __init__(self, bad):
            self.bad = bad

        def read(self, first, n):
            if first == 0 and self.bad:
                self.bad -= 1
                raise OSError("disk gone")
            return np.zeros(n, np.uint8), np.arange(n, dtype=np.uint64)

    feed = RangeFeed(ItemDescriptor(np.dtype("u1"), (1,)), Reader(1), n_items=4, chunk_items=2)
    member = feed.join()
    with pytest.raises(OSError, match="disk gone"):
        member.recv(1)
    member.close()
    other = feed.join()
    assert [other.recv(1).first, other.recv(1).first] == [0, 2]
    feed.close()
    with pytest.raises(StreamError):
        other.recv(1)
