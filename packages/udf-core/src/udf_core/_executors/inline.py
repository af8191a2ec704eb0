"""The worker loop in the calling thread: the simplest executor, and the one to debug a UDF with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arraystream import Feed
from udf_core._commit import Job
from udf_core._devices import Device, device_from_environment
from udf_core._executor import Crew, Executor, Post
from udf_core._hang import HangWatch
from udf_core._worker import Worker


class InlineExecutor(Executor):
    """Runs everything in the calling thread.

    Numerical libraries may use all cores.  While nobody asks for the next partial result, nothing happens.
    """

    name = "inline"
    n_workers = 1

    def __init__(self) -> None:
        self._device = device_from_environment()

    @property
    def device_classes(self) -> frozenset[str]:
        """What the one worker computes on; the environment may choose a CUDA device."""
        return frozenset({self._device.device_class})

    def hire(self, job: Job, feed: Feed, post: Post) -> Crew:
        """Make the one worker."""
        return _InlineCrew(job, feed, post, self._device)


class _InlineCrew(Crew):
    concurrent = False

    def __init__(self, job: Job, feed: Feed, post: Post, device: Device) -> None:
        member = feed.join()
        try:
            self._worker = Worker(job, member, 0, post, hold_leases=False, device=device)
        except BaseException:
            member.close()
            raise
        self._watch = HangWatch(lambda: [self._worker], post, job.hang_s, job.hang_limit_s)

    def step(self, longest_wait_s: float) -> None:
        self._worker.step(longest_wait_s)

    def acknowledge(self, worker: int, commit: int, settled: bool) -> None:
        if not settled:
            raise RuntimeError("the feed took the only worker for dead; its results can't be used")

    def replace(self, worker: int) -> bool:
        return False

    def update(self, kwargs: Sequence[dict[str, Any]]) -> None:
        self._worker.update(kwargs)

    def dismiss(self) -> None:
        self._watch.close()
        self._worker.close()
