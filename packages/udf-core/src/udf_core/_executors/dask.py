"""The worker loop in long-running tasks of a Dask cluster, on this machine or on many.

A task calls the main side back over a channel of its own and is a worker like any other from then on.  Files
are read where the worker is; everything else is sent from the feed, which stays on this host.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import secrets
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from arraystream import ConnectionFailed, Feed, FeedServer, Stalled, TruncatedStream, serve_feed
from udf_core._channel import Channel, ChannelClosed
from udf_core._channel_crew import ChannelCrew, ChannelWorker
from udf_core._commit import Failure, Gone, Job
from udf_core._errors import ExecutorSpecException, WorkerLostError
from udf_core._executor import Crew, Executor, Post, n_workers_default
from udf_core._feed_pass import FeedPass, reader_to_travel
from udf_core._remote_channel import ChannelListener
from udf_core._worker_process import Listener

if TYPE_CHECKING:
    from udf_core._dask_cluster import LocalDaskCluster

_log = logging.getLogger("udf_core")
_LOOK_S = 0.05
_LOOK_LATER_S = 1.0
_NOBODY_S = 120.0
"""How long a run waits for a worker when there is none at all."""

_LOCAL = ("127.0.0.1", "localhost", "::1")


class DaskExecutor(Executor):
    """Runs workers in a Dask cluster: a task per thread of each Dask worker, for as long as a run takes.

    Parameters
    ----------
    n_workers
        Start a cluster of so many processes on this machine; by default the cores this process may use but
        one.  Not together with the others.
    address
        Of a scheduler that is there, e.g. ``"tcp://10.0.0.1:8786"``.
    client
        A `distributed.Client`; it stays yours and is not closed.
    host
        Address of this machine as workers reach it; by default the one by which this machine reaches the
        scheduler.
    set_as_default
        Let other libraries use the cluster through Dask as well.

    Raises
    ------
    ExecutorSpecException
        If ``distributed`` is not installed, or the arguments contradict each other.
    """

    name = "dask"
    threads_per_worker = 1

    def __init__(
        self,
        n_workers: int | None = None,
        *,
        address: str | None = None,
        client: Any = None,
        host: str | None = None,
        set_as_default: bool = False,
    ) -> None:
        if sum(given is not None for given in (n_workers, address, client)) > 1:
            raise ExecutorSpecException("executor 'dask': give one of n_workers, address and client")
        if n_workers is not None and n_workers < 1:
            raise ExecutorSpecException(f"executor 'dask' needs at least 1 worker, not {n_workers}")
        distributed = _import_distributed()
        self._cluster: LocalDaskCluster | None = None
        self._closed = False
        if client is not None:
            self._client, self._close = client, _nothing
        elif address is not None:
            self._client = distributed.Client(address, set_as_default=set_as_default)
            self._close = self._client.close
        else:
            from udf_core._dask_cluster import LocalDaskCluster

            self._n_own = n_workers_default() if n_workers is None else n_workers
            self._cluster = LocalDaskCluster(self._n_own, set_as_default=set_as_default)
            self._client, self._close = self._cluster.client, self._cluster.close
        if self._client.asynchronous:
            raise ExecutorSpecException("executor 'dask' needs a client with asynchronous=False")
        scheme = urlsplit(self._client.scheduler.address).scheme
        if scheme != "tcp":
            self.close()
            raise ExecutorSpecException(
                f"executor 'dask' works with schedulers at tcp://…, not {scheme}://: data and results would "
                f"not be encrypted as your cluster is"
            )
        self._host = host or self._own_address()

    @property
    def n_workers(self) -> int:  # type: ignore[override]
        """Workers of the next run; one per thread of each Dask worker that is there now."""
        return self._n_own if self._cluster is not None else sum(self._client.nthreads().values())

    @property
    def client(self) -> Any:
        """The `distributed.Client`."""
        return self._client

    @property
    def pids(self) -> list[int]:
        """Process ids of the living workers of a cluster of our own."""
        return [] if self._cluster is None else self._cluster.pids

    @property
    def device_classes(self) -> frozenset[str]:
        """The CPU, also while the cluster has no workers yet: `hire` says so then."""
        return frozenset({"cpu"})

    def hire(self, job: Job, feed: Feed, post: Post) -> Crew:
        """Send a task to each thread of each Dask worker."""
        if self._closed:
            raise RuntimeError("this executor has been closed; make another one")
        if self._cluster is not None:
            self._cluster.fill_up()
        elif not self._client.nthreads():
            raise WorkerLostError(
                f"the Dask cluster at {self._client.scheduler.address} has no workers; start some with "
                f"'dask worker {self._client.scheduler.address}'"
            )
        return _DaskCrew(self._client, self._cluster, self._host, job, feed, post)

    def close(self) -> None:
        """End a cluster of our own; leave another one alone."""
        if not self._closed:
            self._closed = True
            self._close()

    def _own_address(self) -> str:
        from distributed.utils import get_ip, get_ipv6

        scheduler = urlsplit(self._client.scheduler.address).hostname or "127.0.0.1"
        if scheduler in _LOCAL:
            return scheduler
        return str((get_ipv6 if ":" in scheduler else get_ip)(scheduler, 80))


def make_default(n_workers: int | None = None) -> DaskExecutor:
    """Make an executor with a local cluster that Dask uses by default from then on."""
    return DaskExecutor(n_workers, set_as_default=True)


def integrate() -> DaskExecutor:
    """Make an executor for the cluster that Dask uses by default.

    Raises
    ------
    ExecutorSpecException
        If there is none.
    """
    distributed = _import_distributed()
    try:
        client = distributed.default_client()
    except ValueError as error:
        raise ExecutorSpecException(
            "executor 'dask-integration' uses the default client of Dask, and there is none; make a "
            "distributed.Client first, or use 'dask'"
        ) from error
    return DaskExecutor(client=client)


def _import_distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ExecutorSpecException(
            f"executor 'dask' needs dask.distributed ({error}): pip install udf-core[dask]"
        ) from error
    return distributed


def _nothing() -> None:
    """Leave alone what is not ours."""


@dataclass(slots=True)
class _Post:
    """A task that was sent to a Dask worker."""

    address: str
    future: Any
    met: bool = False


class _DaskWorker:
    """A worker that has called; a thread listens to it."""

    def __init__(self, number: int, channel: Channel, address: str, cluster: LocalDaskCluster | None) -> None:
        self.number = number
        self.channel = channel
        self.address = address
        self.member: int | None = None
        self.gone = threading.Event()
        self.listener: Listener | None = None
        self._cluster = cluster
        self._expected = False
        self._thread = threading.Thread(target=self._read, name=f"udf-core-dask-{number}", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def kill(self) -> None:
        """Hang up: the task ends when it notices.  A process of our own ends at once."""
        if self._cluster is not None:
            self._cluster.kill(self.address)
        self.channel.close()

    def ask_to_quit(self) -> None:
        """Ask the task to end."""
        self._expected = True
        with contextlib.suppress(ChannelClosed):
            self.channel.send("quit")

    def wait(self, deadline: float) -> None:
        """Wait until the line is dead."""
        self.gone.wait(max(0.0, deadline - time.monotonic()))

    def _read(self) -> None:
        try:
            while True:
                kind, value, _ = self.channel.recv()
                listener = self.listener
                if listener is not None:
                    listener(self, kind, value)
        except ChannelClosed:
            pass
        finally:
            self.channel.close()
            self.gone.set()
            listener = self.listener
            if listener is not None and not self._expected:
                listener(self, "gone", self._reason())

    def _reason(self) -> str:
        if self._cluster is not None:
            return self._cluster.reason_of(self.address)
        return f"the connection to Dask worker {self.address} broke"


class _DaskCrew(ChannelCrew):
    """The workers of one run.  A thread keeps a task on each thread of each Dask worker that is there."""

    def __init__(
        self,
        client: Any,
        cluster: LocalDaskCluster | None,
        host: str,
        job: Job,
        feed: Feed,
        post: Post,
    ) -> None:
        super().__init__(job, feed, post)
        self._client = client
        self._cluster = cluster
        self._numbers = itertools.count()
        self._posts: dict[int, _Post] = {}
        self._nannies: set[str] = set()
        self._nannied: set[int] = set()
        self._lost_at: dict[str, float] = {}
        self._run_name = f"udf-core-{secrets.token_hex(8)}"
        url = f"tcp://[{host}]:0" if ":" in host else f"tcp://{host}:0"
        self._reader, self._n_items, self._sample = reader_to_travel(feed, job.descriptor.n_items)
        self._server: FeedServer = serve_feed(feed, url)
        self._listener = ChannelListener(host, secrets.token_bytes(32), self._meet)
        self._staff = threading.Thread(target=self._keep_staffed, name="udf-core-dask-staff", daemon=True)
        self._staff.start()

    def replace(self, worker: int) -> bool:
        if self._cluster is not None:
            self._cluster.fill_up()
            return True
        return worker in self._nannied

    def dismiss(self) -> None:
        super().dismiss()
        self._listener.close()
        self._server.close()
        self._staff.join()
        with self._changed:
            futures = [post.future for post in self._posts.values()]
            self._posts = {}
        for future in futures:
            future.release()

    # -- calls of the workers ---------------------------------------------------------------------

    def _meet(self, number: int, channel: Channel) -> None:
        """Take the call of a worker, once; a task that Dask runs again is not wanted."""
        with self._changed:
            post = self._posts.get(number)
            wanted = post is not None and not post.met and not self._dismissed
            if post is None or not wanted:
                channel.close()
                return
            post.met = True
        worker = _DaskWorker(number, channel, post.address, self._cluster)
        worker.start()
        try:
            self._assign(worker)
        except Exception as error:
            worker.kill()
            self._post(Failure(number, error))
        if self._dismissed:
            worker.ask_to_quit()

    def _admission(self, worker: ChannelWorker) -> FeedPass:
        ticket = self._server.ticket()
        assert isinstance(worker, _DaskWorker)
        worker.member = ticket.member
        return FeedPass(ticket, self._reader, self._n_items, self._sample)

    def _has_left(self, worker: ChannelWorker) -> None:
        assert isinstance(worker, _DaskWorker)
        worker.ask_to_quit()

    def _is_lost(self, worker: ChannelWorker) -> None:
        # It may still be alive somewhere, with chunks in its hands.
        assert isinstance(worker, _DaskWorker)
        if worker.member is not None:
            self._server.expel(worker.member)
        with self._changed:
            self._lost_at[worker.address] = time.monotonic()
        self._forget(worker.number)

    def _fail(self, worker: ChannelWorker, failure: Failure) -> None:
        """Tell a broken connection, which costs one worker, from a broken feed."""
        broken = isinstance(failure.error, ConnectionFailed | Stalled | TruncatedStream)
        verdict = self._server.verdict()
        if failure.from_feed and broken and (verdict is None or verdict.error is None):
            self._bury(worker, f"lost its connection to the data: {failure.error}")
            worker.kill()
        else:
            self._post(failure)

    # -- tasks ------------------------------------------------------------------------------------

    def _keep_staffed(self) -> None:
        last_seen = time.monotonic()
        while not self._dismissed:
            try:
                n_short = self._look_at_staff()
            except WorkerLostError as error:
                self._post(Failure(-1, error))
                return
            except Exception as error:  # whatever Dask raises when the scheduler is gone
                if not self._dismissed:
                    self._post(Failure(-1, WorkerLostError(f"the Dask scheduler does not answer: {error!r}")))
                return
            with self._changed:
                if self._posts:
                    last_seen = time.monotonic()
                elif time.monotonic() - last_seen > _NOBODY_S:
                    error_text = f"no Dask worker has been there for {_NOBODY_S:.0f} s; start some"
                    self._post(Failure(-1, WorkerLostError(error_text)))
                    return
                pause = _LOOK_S if n_short else _LOOK_LATER_S
                n_before = len(self._posts)
                self._changed.wait_for(lambda n=n_before: self._dismissed or len(self._posts) < n, pause)  # type: ignore[misc]

    def _look_at_staff(self) -> bool:
        """Send tasks to threads that have none; notice workers that have gone.  Tell if any lack."""
        known = self._client.scheduler_info(n_workers=-1)["workers"]
        self._nannies = {address for address, worker in known.items() if worker.get("nanny")}
        with self._changed:
            posts = dict(self._posts)
        for number, post in posts.items():
            if post.address not in known:
                self._note_absence(number, post)
        # The scheduler may hear later than we do that a process is gone.
        recent = time.monotonic() - _LOOK_LATER_S
        places: dict[str, int] = {
            address: int(worker["nthreads"])
            for address, worker in known.items()
            if self._lost_at.get(address, recent) <= recent
        }
        for post in posts.values():
            if post.address in places:
                places[post.address] -= 1
        for address, n_free in places.items():
            for _ in range(n_free):
                self._submit(address)
        if self._cluster is None:
            return not self._posts
        if not self._posts and not self._cluster.pids:
            raise WorkerLostError(
                f"all worker processes ended before they began, {self._cluster.last_words()}"
            )
        return len(self._posts) < self._cluster.n_workers

    def _submit(self, address: str) -> None:
        from udf_core._dask_task import work

        with self._changed:
            if self._dismissed:
                return
            number = next(self._numbers)
            future = self._client.submit(
                work,
                self._listener.call(number),
                key=f"{self._run_name}-{number}",
                workers=[address],
                allow_other_workers=False,
                pure=False,
            )
            self._posts[number] = _Post(address, future)
            if address in self._nannies:
                self._nannied.add(number)
        future.add_done_callback(partial(self._see_end, number))

    def _see_end(self, number: int, future: Any) -> None:
        """Look at a task that is over; what happens after it has called is heard on its channel."""
        with self._changed:
            post = self._posts.get(number)
            if post is None or self._dismissed or post.met:
                return
        if future.status != "error":
            return
        error = future.exception()
        if isinstance(error, ImportError):
            error.add_note(
                f"Dask worker {post.address} has not the same packages installed as this process; "
                f"install udf-core there, and what your UDFs need"
            )
        else:
            error.add_note(f"in Dask worker {post.address}")
        self._post(Failure(number, error))

    def _note_absence(self, number: int, post: _Post) -> None:
        """Give up a worker that the scheduler has lost."""
        with self._changed:
            worker = self._at_work.get(number)
        if worker is not None:
            worker.kill()  # if it lives, it does not know yet; the thread that listens does the rest
            return
        if not post.met and post.address not in self._lost_at:  # else its loss has been told
            reason = "died" if self._cluster is None else self._cluster.reason_of(post.address)
            self._post(Gone(number, f"{reason} before it began, at {post.address}"))
        self._forget(number)

    def _forget(self, number: int) -> None:
        with self._changed:
            post = self._posts.pop(number, None)
            self._changed.notify_all()
        if post is not None:
            with contextlib.suppress(Exception):  # the scheduler may be gone as well
                post.future.cancel(force=True)
