"""Feeds that the test paces, data sets on top of them, and executors of every kind."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from arraystream import (
    ConnectionClosed,
    FeedChunk,
    FeedEnd,
    FeedGap,
    FeedVerdict,
    ItemDescriptor,
    Lease,
    StateError,
)
from udf_core import Context, Scan, Shape
from udf_core._executors.inline import InlineExecutor
from udf_core._executors.processes import ProcessesExecutor
from udf_core._executors.threads import ThreadsExecutor


class PacedFeed:
    """A feed that gives out only what the test has pushed; members live in this process."""

    def __init__(self, data: np.ndarray, *, announced: int | None = None) -> None:
        self.data = np.ascontiguousarray(data)
        self.descriptor = ItemDescriptor(self.data.dtype, self.data.shape[1:], n_items=announced)
        self.settled: list[int] = []
        self.n_released = 0
        self.closed = False
        self.refuse: Callable[[int], bool] = lambda member: False
        self._changed = threading.Condition()
        self._queue: list[tuple[int, int, int]] = []
        self._verdict: FeedVerdict | None = None
        self._held: dict[int, dict[int, tuple[int, int, int]]] = {}
        self._ended: set[int] = set()
        self._token = 0

    # -- for the test -----------------------------------------------------------------------------

    def push(self, first: int, n: int) -> None:
        with self._changed:
            self._queue.append((first, n, 0))
            self._changed.notify_all()

    def end(self, status: str = "complete", n_items: int | None = None, gaps: Sequence[FeedGap] = (),
            error: Exception | None = None) -> None:  # fmt: skip
        with self._changed:
            n = len(self.data) if n_items is None else n_items
            self._verdict = FeedVerdict(status, n, tuple(gaps), reason=f"test says {status}", error=error)
            self._changed.notify_all()

    def wait_until(self, condition: Callable[[], bool], deadline_s: float = 20.0) -> None:
        deadline = time.monotonic() + deadline_s
        with self._changed:
            while not condition():  # it may be about the run, which does not notify the feed
                assert time.monotonic() < deadline, "nothing happened before the deadline"
                self._changed.wait(0.01)

    # -- Feed -------------------------------------------------------------------------------------

    def join(self) -> PacedMember:
        with self._changed:
            number = len(self._held)
            self._held[number] = {}
            return PacedMember(self, number)

    def ticket(self) -> Any:
        raise NotImplementedError

    def settle(self, member: int, tokens: Sequence[int]) -> bool:
        with self._changed:
            if self.refuse(member):
                for chunk in self._held[member].values():
                    self._queue.insert(0, (chunk[0], chunk[1], chunk[2] + 1))
                self._held[member] = {}
                self._changed.notify_all()
                return False
            if not set(tokens) <= set(self._held[member]):
                raise StateError(f"{tokens} are not held by {member}")
            for token in tokens:
                del self._held[member][token]
            self.settled += tokens
            self._changed.notify_all()
            return True

    def verdict(self) -> FeedVerdict | None:
        return self._verdict

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def _next(self, member: int, timeout: float) -> FeedChunk | FeedEnd | None:
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                if self.closed:
                    raise ConnectionClosed("closed by the test")
                if self._queue:
                    first, n, attempt = self._queue.pop(0)
                    token, self._token = self._token, self._token + 1
                    self._held[member][token] = (first, n, attempt)
                    return self._chunk(token, first, n, attempt)
                if self._verdict is not None and member not in self._ended:
                    self._ended.add(member)
                    return FeedEnd()
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return None

    def _chunk(self, token: int, first: int, n: int, attempt: int) -> FeedChunk:
        payload = self.data[first : first + n].reshape(-1).view(np.uint8)
        payload.flags.writeable = False
        step = self.data[0].nbytes
        offsets = np.arange(n, dtype=np.uint64) * np.uint64(step)

        def release() -> None:
            self.n_released += 1

        return FeedChunk(first, n, payload, offsets, Lease(token, release), attempt)


class PacedMember:
    def __init__(self, feed: PacedFeed, number: int) -> None:
        self._feed = feed
        self.number = number

    def recv(self, timeout: float) -> FeedChunk | FeedEnd | None:
        return self._feed._next(self.number, timeout)

    def close(self) -> None:
        pass


class FeedDataset:
    """A data set over a feed that the test made."""

    def __init__(self, feed: PacedFeed, scan: Scan) -> None:
        self.feed = feed
        self.scan = scan
        self.finished: list[BaseException | None] = []

    @property
    def shape(self) -> Shape:
        return Shape((*self.scan.nav_shape, *self.feed.descriptor.item_shape), 2)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.feed.descriptor.dtype

    def start(self) -> PacedFeed:
        return self.feed

    def finish(self, error: BaseException | None) -> None:
        self.finished.append(error)


@pytest.fixture
def paced() -> Callable[..., tuple[PacedFeed, FeedDataset]]:
    def make(data: np.ndarray, **scan: Any) -> tuple[PacedFeed, FeedDataset]:
        n_nav = data.ndim - 2
        feed = PacedFeed(data.reshape((-1, *data.shape[n_nav:])))
        return feed, FeedDataset(feed, Scan(data.shape[:n_nav], **scan))

    return make


@pytest.fixture(scope="session")
def scanned() -> Callable[[np.ndarray, Scan], tuple[PacedFeed, FeedDataset]]:
    """Return what makes a feed of frames, and a data set with any scan."""

    def make(data: np.ndarray, scan: Scan) -> tuple[PacedFeed, FeedDataset]:
        feed = PacedFeed(data)
        return feed, FeedDataset(feed, scan)

    return make


@pytest.fixture(scope="session")
def processes() -> Iterator[Context]:
    with Context(ProcessesExecutor(n_workers=2)) as context:
        yield context


@pytest.fixture(scope="session")
def threads() -> Iterator[Context]:
    with Context(ThreadsExecutor(n_workers=2)) as context:
        yield context


@pytest.fixture(scope="session")
def inline() -> Iterator[Context]:
    with Context(InlineExecutor()) as context:
        yield context


@pytest.fixture(params=["inline", "threads", "processes"])
def context(request: pytest.FixtureRequest) -> Context:
    return request.getfixturevalue(request.param)


@pytest.fixture
def data() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 1000, (5, 7, 8, 9)).astype("u2")


def _repaired(frames: np.ndarray, excluded: np.ndarray) -> np.ndarray:
    """Slow but obvious: every excluded pixel is the mean of the pixels around it."""
    result = frames.copy()
    lead = frames.ndim - excluded.ndim
    for pixel in itertools.product(*map(range, excluded.shape)):
        if not excluded[pixel]:
            continue
        total, n = np.zeros(frames.shape[:lead], np.result_type(frames, "f8")), 0
        for step in itertools.product((-1, 0, 1), repeat=excluded.ndim):
            other = tuple(p + s for p, s in zip(pixel, step, strict=True))
            inside = all(0 <= o < extent for o, extent in zip(other, excluded.shape, strict=True))
            if inside and not excluded[other]:
                total, n = total + frames[(..., *other)], n + 1
        if n:
            result[(..., *pixel)] = total / n
    return result


def _modelled(data, dtype, dark, gain, excluded) -> np.ndarray:
    frames = data.astype(dtype)
    frames = frames if dark is None else frames - dark.astype(dtype)
    frames = frames if gain is None else frames * gain.astype(dtype)
    return frames if excluded is None else _repaired(frames, excluded)


@pytest.fixture(scope="session")
def repaired() -> Callable[..., np.ndarray]:
    """Return the model of the repair of excluded pixels."""
    return _repaired


@pytest.fixture(scope="session")
def modelled() -> Callable[..., np.ndarray]:
    """Return the model of all corrections."""
    return _modelled
