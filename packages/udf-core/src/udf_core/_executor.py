"""What an executor is: somebody who hires workers for a run and lets them go afterwards."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

from arraystream import Feed, PluginError, list_plugins, load_plugin

from ._commit import Event, Job
from ._devices import Device, devices_from
from ._errors import ExecutorSpecException

GROUP = "udf_core.executors"
"""Entry-point group of executors."""

DISMISS_S = 5.0
"""How long workers may take to stop before they are left behind or killed."""

Post = Callable[[Event], None]


def takes_part(job: Job, device: Device) -> bool:
    """Tell whether workers on this device have a part in a run."""
    return not job.plans or device.device_class in job.plans


def n_workers_default(feed: Feed | None = None) -> int:
    """Return how many workers suit a feed: the cores this process may use less those the feed keeps busy.

    A live feed's receiver needs one (which is also assumed without a feed), data at rest need none.
    """
    busy = 1 if feed is None else getattr(feed, "busy_threads", 1)
    return max(1, len(os.sched_getaffinity(0)) - busy)


class Crew(ABC):
    """The workers of one run."""

    concurrent: bool = True
    """Whether the workers run by themselves.  If not, somebody has to call `step`."""

    def step(self, longest_wait_s: float) -> None:
        """Let the worker do one step in the calling thread."""
        raise NotImplementedError

    @abstractmethod
    def acknowledge(self, worker: int, commit: int, settled: bool) -> None:
        """Tell a worker that one of its commits was dealt with.

        Parameters
        ----------
        worker, commit
            Number of the worker, and of its commit.
        settled
            False if the feed took the worker for dead: it must not go on as it is.
        """

    @abstractmethod
    def replace(self, worker: int) -> bool:
        """Hire somebody for a worker that is gone; tell whether that was possible."""

    @abstractmethod
    def update(self, kwargs: Sequence[dict[str, Any]]) -> None:
        """Hand new arguments of the UDFs to all workers."""

    @abstractmethod
    def dismiss(self) -> None:
        """Stop all workers.  Waits for them, but never longer than `DISMISS_S`.  Idempotent."""


class Executor(ABC):
    """Hires workers.

    Usable for any number of runs, one after the other, until `close`.

    Attributes
    ----------
    n_workers
        How many work on a live feed; unless the user said how many, data at rest may get more.
    """

    name: str
    n_workers: int
    threads_per_worker: int | None = None
    devices: tuple[Device, ...] = ()
    """Devices that have a worker of their own, beside `n_workers` on the CPU."""

    @property
    def device_classes(self) -> frozenset[str]:
        """What the workers compute on."""
        return frozenset({*(["cpu"] if self.n_workers else []), *(d.device_class for d in self.devices)})

    @abstractmethod
    def hire(self, job: Job, feed: Feed, post: Post) -> Crew:
        """Set workers to work on a feed; they report through `post`."""

    def close(self) -> None:  # noqa: B027  (there may be nothing to let go)
        """Let go of everything.  Idempotent; never hangs."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def make_executor(
    spec: str,
    *,
    cpus: int | Sequence[int] | None = None,
    gpus: int | Sequence[int] | str | Sequence[Device] | None = None,
) -> Executor:
    """Make an executor by name.

    Parameters
    ----------
    spec
        ``"inline"`` (also ``"synchronous"``), ``"threads"``, ``"processes"`` (also ``"pipelined"``), or
        another name in the entry-point group ``udf_core.executors``.
    cpus
        Number of workers on the CPU.
    gpus
        Devices that get a worker of their own beside them, see `devices_from`; none by default.

    Raises
    ------
    ExecutorSpecException
        If there is no such executor, or it does not take `cpus` or `gpus`, or there are no such devices.
    """
    name = {"synchronous": "inline", "pipelined": "processes"}.get(spec, spec)
    try:
        cls = load_plugin(GROUP, name)
    except PluginError as error:
        there = ", ".join(list_plugins(GROUP, check=False))
        raise ExecutorSpecException(f"there is no executor {spec!r}; there are: {there}") from error
    settings: dict[str, Any] = {}
    if cpus is not None:
        settings["n_workers"] = cpus if isinstance(cpus, int) else len(cpus)
    devices = devices_from(gpus)
    if devices:
        settings["devices"] = devices
    try:
        made = cls(**settings)
    except TypeError as error:
        if not settings:
            raise
        raise ExecutorSpecException(
            f"executor {spec!r} does not take {' and '.join(settings)} (cpus={cpus}, gpus={gpus})"
        ) from error
    if not isinstance(made, Executor):
        raise ExecutorSpecException(f"plug-in {spec!r} of {GROUP} is no Executor but {type(made).__name__}")
    return made
