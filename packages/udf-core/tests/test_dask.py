"""The executor on dask.distributed: same results, same errors, and no process is left behind."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

from arraystream import ArraySource, ItemDescriptor
from udf_core import (
    UDF,
    Context,
    ExecutorSpecException,
    RemoteTraceback,
    SourceDataSet,
    WorkerLostError,
    WorkerLostWarning,
    make_executor,
)
from udf_core._channel import ChannelClosed
from udf_core._remote_channel import Call, ChannelListener, open_channel

distributed = pytest.importorskip("distributed")

from udf_core._executors import dask as dask_module  # noqa: E402
from udf_core._executors.dask import DaskExecutor  # noqa: E402

cloudpickle.register_pickle_by_value(sys.modules[__name__])

PATIENCE_S = 60.0
# distributed looks for a free port with a socket that it forgets to close.
pytestmark = [
    pytest.mark.filterwarnings(r"ignore:unclosed <socket.*laddr=\('127.0.0.1', 0\):ResourceWarning"),
    pytest.mark.filterwarnings(r"ignore:unclosed <socket.*laddr=\('0.0.0.0', 0\):ResourceWarning"),
]


class CountUDF(UDF):
    """Integer sums, where a frame that counts twice or not at all shows."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)

    def get_result_buffers(self):
        return {
            "sum": self.buffer("sig", dtype="u8"),
            "nav": self.buffer("nav", dtype="u8"),
            "pid": self.buffer("nav", dtype="i8"),
        }

    def process_tile(self, tile):
        self.results.sum += tile.sum(axis=0, dtype="u8")
        self.results.nav += tile.sum(axis=(1, 2), dtype="u8")
        self.results.pid[:] = os.getpid()

    def merge(self, dest, src):
        dest.sum += src.sum
        dest.nav[:] = src.nav
        dest.pid[:] = src.pid


def assert_exact(result, data: np.ndarray) -> None:
    assert np.array_equal(result["sum"].data, data.sum(axis=(0, 1), dtype="u8"))
    assert np.array_equal(result["nav"].data, data.sum(axis=(2, 3), dtype="u8"))
    assert result["nav"].valid_mask.all()
    assert os.getpid() not in result["pid"].data


def until(condition: Callable[[], bool]) -> None:
    tick = threading.Event()
    for _ in range(int(PATIENCE_S / 0.01)):
        if condition():
            return
        tick.wait(0.01)
    raise AssertionError("nothing happened before the deadline")


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture(scope="module")
def cluster() -> Iterator[Context]:
    with Context.make_with("dask", cpus=2) as context:
        yield context


@pytest.fixture(scope="module")
def large() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 60000, (12, 25, 16, 16)).astype("u2")


def test_memory_is_sent_to_the_workers(cluster: Context, large) -> None:
    result = cluster.run_udf(cluster.load("memory", large, chunk_items=7), CountUDF())
    assert_exact(result, large)
    assert set(result["pid"].data.ravel()) <= set(cluster.executor.pids)
    assert cluster.executor.n_workers == 2
    assert cluster.last_run.events == []


def test_files_are_read_where_the_worker_is(cluster: Context, large, tmp_path: Path, monkeypatch) -> None:
    # Whoever reads in this process fails; the workers are others.
    monkeypatch.setattr("arraystream._feed_server.chunk_of", None)
    np.save(tmp_path / "a.npy", large)
    result = cluster.run_udf(cluster.load("npy", tmp_path / "a.npy", chunk_items=7), CountUDF())
    assert_exact(result, large)


def test_part_of_the_scan(cluster: Context, large) -> None:
    roi = np.zeros(large.shape[:2], bool)
    roi[3:7, ::2] = True
    result = cluster.run_udf(cluster.load("memory", large), CountUDF(), roi=roi)
    assert np.array_equal(result["nav"].raw_data, large[roi].sum(axis=(1, 2), dtype="u8"))


def test_leaving_early_does_not_disturb_the_next_run(cluster: Context, large) -> None:
    results = cluster.run_udf_iter(cluster.load("memory", large, chunk_items=2), CountUDF())
    next(results)
    results.close()
    assert_exact(cluster.run_udf(cluster.load("memory", large), CountUDF()), large)


class HereOnly:
    """A reader that works in one process only, as a path works on one host only."""

    def __init__(self, data: np.ndarray, moved: bool = False) -> None:
        self.pid = os.getpid()
        self.data = data.reshape(-1)
        self.step = data[0, 0].size

    def read(self, first: int, n: int):
        if os.getpid() != self.pid:
            raise FileNotFoundError("/only/here.npy")
        payload = self.data[first * self.step : (first + n) * self.step].view("u1")
        payload.flags.writeable = False
        return payload, np.arange(n, dtype="u8") * self.step * self.data.itemsize


class OtherThere(HereOnly):
    """Finds other data of the same size elsewhere."""

    def read(self, first: int, n: int):
        payload, offsets = HereOnly.read(self, first, n) if os.getpid() == self.pid else self.other(first, n)
        return payload, offsets

    def other(self, first: int, n: int):
        self.pid, data = os.getpid(), self.data
        self.data = np.zeros_like(data)
        return self.read(first, n)


@pytest.mark.parametrize(("reader", "problem"), [(HereOnly, "only/here.npy"), (OtherThere, "other data")])
def test_file_that_is_not_there_is_sent(
    cluster: Context, large, caplog, monkeypatch, reader: type, problem: str
) -> None:
    # By value: the workers can't import this test.
    monkeypatch.setattr(dask_module, "reader_to_travel", _by_value)
    descriptor = ItemDescriptor(large.dtype, large.shape[2:], "raw", {"dtype": large.dtype.str}, (), 300)
    source = ArraySource(descriptor, reader(large), n_items=300)
    with caplog.at_level(logging.WARNING, "udf_core"):
        result = cluster.run_udf(SourceDataSet(source, nav_shape=large.shape[:2]), CountUDF())
    assert_exact(result, large)
    assert problem in caplog.text
    assert socket.gethostname() in caplog.text


def _by_value(feed, n_items):
    from udf_core._feed_pass import sample_of

    return cloudpickle.dumps(feed.reader), n_items, sample_of(feed.reader, n_items)


class OwnError(Exception):
    pass


class FailingUDF(CountUDF):
    def process_tile(self, tile):
        raise OwnError("from a worker")


def test_error_of_a_udf_arrives_as_it_was_raised(cluster: Context, large) -> None:
    dataset = cluster.load("memory", large, chunk_items=10)
    with pytest.raises(OwnError, match="from a worker") as caught:
        cluster.run_udf(dataset, FailingUDF())
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "process_tile" in str(caught.value.__cause__)
    assert any("FailingUDF" in note and "process_tile" in note for note in caught.value.__notes__)
    assert_exact(cluster.run_udf(dataset, CountUDF()), large)


class SlowUDF(CountUDF):
    def process_tile(self, tile):
        threading.Event().wait(0.002)
        super().process_tile(tile)


def test_parameters_change_on_the_way(cluster: Context, large) -> None:
    class FactorUDF(UDF):
        def get_result_buffers(self):
            return {"factor": self.buffer("nav", dtype="i8")}

        def process_tile(self, tile):
            threading.Event().wait(0.02)
            self.results.factor[:] = self.params.factor

    results = cluster.run_udf_iter(cluster.load("memory", large, chunk_items=2), FactorUDF(factor=1))
    next(results)
    results.update_parameters_experimental([{"factor": 2}])
    *_, last = results
    assert set(np.unique(last.buffers[0]["factor"].data)) == {1, 2}


class HangingUDF(CountUDF):
    def process_tile(self, tile):
        Path(self.params.mark).touch()
        while True:
            pass


def test_hung_worker_is_ended_when_the_loop_is_left(large, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("udf_core._channel_crew.DISMISS_S", 0.2)
    with Context(DaskExecutor(1)) as context:
        mark = tmp_path / "hangs"
        dataset = context.load("memory", large)
        (pid,) = context.executor.pids
        run = context.run_udf_iter(dataset, HangingUDF(mark=str(mark)))
        looking = threading.Thread(target=lambda: list_quietly(run))
        looking.start()
        until(mark.exists)
        context.last_run._end(KeyboardInterrupt())
        looking.join()
        until(lambda: is_gone(pid))
        assert_exact(context.run_udf(dataset, CountUDF()), large)
        pids = context.executor.pids
    assert all(is_gone(pid) for pid in pids)
    context.close()
    with pytest.raises(RuntimeError, match="closed"):
        context.run_udf(dataset, CountUDF())


def list_quietly(run) -> None:
    with pytest.raises(KeyboardInterrupt):
        list(run)


def test_cluster_with_nannies_replaces_its_workers(large) -> None:
    """A cluster of somebody else: one that has lost a worker goes on, and the nanny brings another."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        Context(DaskExecutor(client=client)) as context,
    ):
        dataset = context.load("memory", large, chunk_items=1)
        pids = client.run(os.getpid)
        results = context.run_udf_iter(dataset, SlowUDF())
        partial = next(part for part in results if part.damage.data.any())
        victim = int(partial.buffers[0]["pid"].data.max())
        assert victim in pids.values()
        os.kill(victim, signal.SIGKILL)
        with pytest.warns(WorkerLostWarning, match="Dask worker tcp://.*broke"):
            *_, last = results
        assert_exact(last.buffers[0], large)
        assert [event.replaced for event in context.last_run.events] == [True]
        until(lambda: len(client.nthreads()) == 2)
        assert_exact(context.run_udf(dataset, CountUDF()), large)
        context.executor.close()
        assert client.submit(int, 3).result() == 3, "the client is not ours to close"


def test_cluster_without_workers_says_so() -> None:
    with distributed.LocalCluster(
        n_workers=0, processes=True, dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL
    ) as cluster:
        executor = DaskExecutor(address=cluster.scheduler_address)
        with Context(executor) as context, pytest.raises(WorkerLostError, match="no workers; start some"):
            context.run_udf(context.load("memory", np.zeros((2, 2, 4, 4))), CountUDF())


def test_settings_that_contradict_each_other() -> None:
    with pytest.raises(ExecutorSpecException, match="give one of"):
        DaskExecutor(2, address="tcp://127.0.0.1:1")
    with pytest.raises(ExecutorSpecException, match="at least 1"):
        make_executor("dask", cpus=0)
    with pytest.raises(ExecutorSpecException, match="default client"):
        make_executor("dask-integration")
    with pytest.raises(ExecutorSpecException, match="does not take"):
        make_executor("dask-integration", cpus=2)


def test_missing_package_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ExecutorSpecException, match=r"pip install udf-core\[dask\]"):
        make_executor("dask")


def test_caller_has_to_know_the_secret() -> None:
    met = []
    listener = ChannelListener("127.0.0.1", b"s" * 32, lambda number, channel: met.append((number, channel)))
    call = listener.call(7)
    for wrong in (Call(call.host, call.port, 7, b"x" * 32),):
        with pytest.raises(ChannelClosed):
            open_channel(wrong)
    with socket.create_connection((call.host, call.port)) as stranger:
        stranger.sendall(b"\x80\x05cos\nsystem\n" * 20)
        with pytest.raises(ConnectionResetError):  # noqa: PT012
            while stranger.recv(100):
                pass
            raise ConnectionResetError
    assert met == []
    channel = open_channel(call)
    until(lambda: bool(met))
    channel.send("hello", np.arange(3))
    kind, value, _ = met[0][1].recv()
    assert (met[0][0], kind, value.tolist()) == (7, "hello", [0, 1, 2])
    assert "secret" not in repr(call)
    for end in (channel, met[0][1], listener):
        end.close()


SCRIPT = """
    import os, numpy as np
    from udf_core import UDF, Context

    class ForeverUDF(UDF):
        def get_result_buffers(self):
            return {"n": self.buffer("single", dtype="i8")}
        def process_tile(self, tile):
            with open(self.params.mark, "w") as mark:
                mark.write(str(os.getpid()))
            while True:
                pass
        def merge(self, dest, src):
            dest.n += src.n

    context = Context.make_with("dask", cpus=1)
    context.run_udf(context.load("memory", np.zeros((4, 4, 8, 8))), ForeverUDF(mark=MARK))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_a_script_without_main_guard(tmp_path: Path, how: int) -> None:
    mark = tmp_path / "busy"
    path = tmp_path / "script.py"
    path.write_text(f"MARK = {str(mark)!r}\n" + textwrap.dedent(SCRIPT))
    with subprocess.Popen(
        [sys.executable, str(path)], stderr=subprocess.PIPE, text=True, process_group=0
    ) as main:
        try:
            until(lambda: mark.exists() and mark.read_text() != "")
            worker = int(mark.read_text())
            assert worker != main.pid
            os.killpg(main.pid, how)
            _, errors = main.communicate(timeout=PATIENCE_S)
        finally:
            main.kill()
    if how == signal.SIGINT:
        assert "KeyboardInterrupt" in errors
        assert main.returncode in (1, -signal.SIGINT)
    until(lambda: is_gone(worker))
