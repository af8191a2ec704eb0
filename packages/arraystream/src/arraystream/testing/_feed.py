"""What every `Feed` must do."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from arraystream import (
    ConnectionClosed,
    Feed,
    FeedChunk,
    FeedEnd,
    Member,
    StreamError,
    open_decoder,
)

from ._expect import eventually, raises


class FeedConformance:
    """Subclass as ``class TestMyFeed(FeedConformance)`` and supply a fixture and two attributes.

    The fixture ``open_feed`` is a callable; each call returns a new feed over an acquisition of
    `n_items` items in at least four chunks, which ends as complete without further ado, and is closed
    by the fixture after the test.

    Attributes
    ----------
    n_items
        Items of the acquisition.
    has_tickets
        Whether members in other processes are possible.
    timeout_s
        How long anything may take at most.
    """

    n_items: int = 0
    has_tickets: bool = True
    timeout_s: float = 30.0

    def expected_item(self, index: int) -> npt.NDArray[Any] | None:
        """Return the pixels of an item, to compare; ``None`` does without."""
        return None

    def test_each_item_comes_exactly_once(self, open_feed: Callable[[], Feed]) -> None:
        """Two members share the chunks; together they see each item once."""
        feed = open_feed()
        members = [feed.join(), feed.join()]
        seen = np.zeros(self.n_items, int)
        waiting = {member.number for member in members}
        while waiting:
            # A member is told of the end once; the other may still have chunks then.
            for member in [member for member in members if member.number in waiting]:
                got = self._recv(member)
                if isinstance(got, FeedEnd):
                    waiting.discard(member.number)
                elif got is not None:
                    seen[got.first : got.first + got.n] += 1
                    self._settle(feed, member, got)
        assert np.array_equal(seen, np.ones(self.n_items, int))

    def test_chunk_is_well_formed(self, open_feed: Callable[[], Feed]) -> None:
        """A chunk has one offset per item within its read-only payload, and a token of its own."""
        feed = open_feed()
        tokens = set()
        for chunk in self._drain(feed, feed.join()):
            assert chunk.n >= 1
            assert chunk.attempt == 0
            assert chunk.payload.dtype == np.uint8
            assert chunk.payload.ndim == 1
            assert not chunk.payload.flags.writeable
            assert chunk.offsets.dtype == np.uint64
            assert chunk.offsets.shape == (chunk.n,)
            assert int(chunk.offsets.max()) <= chunk.payload.nbytes
            assert chunk.lease.token not in tokens
            tokens.add(chunk.lease.token)

    def test_items_decode_to_what_was_sent(self, open_feed: Callable[[], Feed]) -> None:
        """The descriptor's codec turns every chunk into the right pixels."""
        feed = open_feed()
        decoder, shape = open_decoder(feed.descriptor), feed.descriptor.item_shape
        for chunk in self._drain(feed, feed.join()):
            out = np.empty((chunk.n, *shape), feed.descriptor.dtype)
            decoder.decode(chunk.payload, chunk.offsets, (0, shape[0]), out)
            for index, item in enumerate(out, chunk.first):
                expected = self.expected_item(index)
                assert expected is None or np.array_equal(item, expected)

    def test_verdict_is_complete(self, open_feed: Callable[[], Feed]) -> None:
        """When all has been handed out, the verdict is there."""
        feed = open_feed()
        for _ in self._drain(feed, feed.join()):
            pass
        verdict = eventually(feed.verdict, self.timeout_s, "a verdict")
        assert (verdict.status, verdict.n_items, verdict.gaps) == ("complete", self.n_items, ())
        assert verdict.error is None

    def test_late_member_gets_the_end(self, open_feed: Callable[[], Feed]) -> None:
        """Whoever joins after the last chunk is told that there is nothing left."""
        feed = open_feed()
        for _ in self._drain(feed, feed.join()):
            pass
        assert isinstance(self._recv(feed.join()), FeedEnd)

    def test_after_the_end_recv_comes_back(self, open_feed: Callable[[], Feed]) -> None:
        """After `FeedEnd`, a member may go on asking."""
        feed = open_feed()
        member = feed.join()
        for _ in self._drain(feed, member):
            pass
        assert not isinstance(member.recv(0.01), FeedChunk)

    def test_unsettled_chunks_of_a_leaving_member_come_again(self, open_feed: Callable[[], Feed]) -> None:
        """What was settled stays settled, the rest goes to somebody else, marked as a new attempt."""
        feed = open_feed()
        leaving = feed.join()
        kept, lost = self._chunk(leaving), self._chunk(leaving)
        assert feed.settle(leaving.number, [kept.lease.token])
        lost_first = lost.first
        kept.lease.release()
        lost.lease.release()
        leaving.close()
        attempts = {c.first: c.attempt for c in self._drain(feed, feed.join())}
        assert kept.first not in attempts
        assert attempts[lost_first] >= 1
        assert self._n_items(attempts, kept) == self.n_items

    def test_settling_after_leaving_is_refused(self, open_feed: Callable[[], Feed]) -> None:
        """Results of a member that was taken for dead must be forgotten."""
        feed = open_feed()
        member = feed.join()
        chunk = self._chunk(member)
        member.close()
        member.close()
        eventually(lambda: not feed.settle(member.number, [chunk.lease.token]), self.timeout_s, "refusal")
        chunk.lease.release()

    def test_settling_nothing_says_whether_the_member_lives(self, open_feed: Callable[[], Feed]) -> None:
        """Settling no chunk is allowed."""
        feed = open_feed()
        member = feed.join()
        assert feed.settle(member.number, [])
        member.close()

    def test_leaving_interrupts_recv(self, open_feed: Callable[[], Feed]) -> None:
        """After close, recv raises instead of waiting."""
        member = open_feed().join()
        member.close()
        with raises(ConnectionClosed):
            self._exhaust(member)

    def test_closing_early_ends_everything(self, open_feed: Callable[[], Feed]) -> None:
        """Closing before the end wakes the members and leaves a verdict."""
        feed = open_feed()
        member = feed.join()
        chunk = self._chunk(member)
        waiting = feed.join()
        outcome: list[BaseException] = []
        thread = threading.Thread(target=self._exhaust_quietly, args=(waiting, outcome))
        thread.start()
        feed.close()
        feed.close()
        thread.join(self.timeout_s)
        assert not thread.is_alive()
        assert isinstance(outcome[0], StreamError)
        with raises(StreamError):
            self._exhaust(member)
        verdict = eventually(feed.verdict, self.timeout_s, "a verdict")
        assert verdict.n_items <= self.n_items
        chunk.lease.release()

    def test_payload_outlives_its_feed(self, open_feed: Callable[[], Feed]) -> None:
        """An array that is still looked at stays readable, whatever has been closed."""
        feed = open_feed()
        member = feed.join()
        chunk = self._chunk(member)
        before = chunk.payload.copy()
        member.close()
        feed.close()
        assert np.array_equal(chunk.payload, before)

    def test_ticket_admits_a_member_in_another_process(self, open_feed: Callable[[], Feed]) -> None:
        """A process that redeems a ticket gets all the items, read-only."""
        if not self.has_tickets:
            return
        feed = open_feed()
        seen = np.zeros(self.n_items, int)
        with _Worker(feed) as worker:
            for facts in worker:
                if "end" in facts:
                    break
                seen[facts["first"] : facts["first"] + facts["n"]] += 1
                assert not facts["writable"]
                assert feed.settle(worker.member, [facts["token"]])
        assert np.array_equal(seen, np.ones(self.n_items, int))

    def test_killed_process_loses_and_repeats_nothing(self, open_feed: Callable[[], Feed]) -> None:
        """After kill -9 what was settled stays, and everything else goes to another member, once."""
        if not self.has_tickets:
            return
        feed = open_feed()
        seen = np.zeros(self.n_items, int)
        with _Worker(feed) as worker:
            facts = next(iter(worker))
            assert feed.settle(worker.member, [facts["token"]])
            seen[facts["first"] : facts["first"] + facts["n"]] += 1
            unsettled = next(iter(worker))
            worker.kill()
            eventually(
                lambda: not feed.settle(worker.member, []),
                self.timeout_s,
                "noticing that a member was killed",
            )
            assert not feed.settle(worker.member, [unsettled["token"]])
        attempts = {}
        for chunk in self._drain(feed, feed.join()):
            seen[chunk.first : chunk.first + chunk.n] += 1
            attempts[chunk.first] = chunk.attempt
        assert attempts[unsettled["first"]] >= 1
        assert np.array_equal(seen, np.ones(self.n_items, int))

    def test_closing_reaches_other_processes(self, open_feed: Callable[[], Feed]) -> None:
        """A member in another process gets a `StreamError` when the feed is closed."""
        if not self.has_tickets:
            return
        feed = open_feed()
        with _Worker(feed) as worker:
            next(iter(worker))
            feed.close()
            facts = [facts for facts in worker if "error" in facts]
        assert len(facts) == 1

    def _recv(self, member: Member) -> FeedChunk | FeedEnd:
        got = eventually(lambda: member.recv(0.1), self.timeout_s, "a chunk or the end")
        assert isinstance(got, FeedChunk | FeedEnd)
        return got

    def _chunk(self, member: Member) -> FeedChunk:
        got = self._recv(member)
        assert isinstance(got, FeedChunk), "the feed ended before its fourth chunk"
        return got

    def _settle(self, feed: Feed, member: Member, chunk: FeedChunk) -> None:
        assert feed.settle(member.number, [chunk.lease.token])
        chunk.lease.release()

    def _drain(self, feed: Feed, member: Member) -> Iterator[FeedChunk]:
        """Iterate over all chunks until the end; each is settled afterwards."""
        while isinstance(got := self._recv(member), FeedChunk):
            yield got
            self._settle(feed, member, got)

    def _n_items(self, firsts: dict[int, int], kept: FeedChunk) -> int:
        """Items that chunks starting at these places cover, if they don't overlap."""
        starts = sorted([*firsts, kept.first, self.n_items])
        return sum(b - a for a, b in itertools.pairwise(starts))

    def _exhaust(self, member: Member) -> None:
        while True:
            got = member.recv(self.timeout_s)
            assert got is not None, "recv waited instead of raising"

    def _exhaust_quietly(self, member: Member, outcome: list[BaseException]) -> None:
        try:
            self._exhaust(member)
        except BaseException as error:
            outcome.append(error)


class _Worker:
    """A member in another process, one line per chunk."""

    def __init__(self, feed: Feed) -> None:
        ticket = feed.ticket()
        self.member = ticket.member
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "arraystream.testing._ticket_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=ticket.fds,
            )
        finally:
            for fd in ticket.fds:
                os.close(fd)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        self._to.write(pickle.dumps(ticket))
        self._answer = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while True:
            if self._answer:
                self._to.write(b"\n")
            with contextlib.suppress(BrokenPipeError):
                self._to.flush()
            line = self._from.readline()
            if not line:
                return
            self._answer = True
            yield json.loads(line)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._to.close()
        self._process.wait()
        self._from.close()
