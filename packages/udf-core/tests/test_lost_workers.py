"""Worker processes that die or hang: the result is exact, and main never waits for ever."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

from udf_core import UDF, Context, UDFResults, WorkerLost, WorkerLostWarning
from udf_core._executors import processes as processes_module
from udf_core._executors.processes import ProcessesExecutor

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class CountUDF(UDF):
    """Integer sums, where a frame that counts twice or not at all shows."""

    def get_preferred_input_dtype(self):
        return self.USE_NATIVE_DTYPE

    def get_result_buffers(self):
        return {
            "sum": self.buffer("sig", dtype="u8"),
            "nav": self.buffer("nav", dtype="u8"),
            "n": self.buffer("single", dtype="i8"),
        }

    def process_tile(self, tile):
        self.before()
        self.results.sum += tile.sum(axis=0, dtype="u8")
        self.results.nav += tile.sum(axis=(1, 2), dtype="u8")
        if self.meta.tiling_scheme_idx == 0:
            self.results.n += len(tile)

    def before(self):
        pass

    def merge(self, dest, src):
        dest.sum += src.sum
        dest.nav += src.nav
        dest.n += src.n


class DyingUDF(CountUDF):
    """Kills its own process once at each of some positions."""

    def before(self):
        for position in self.params.positions:
            if self.meta.slice.nav.origin[0] <= position < sum(a[0] for a in self._nav()):
                mark = os.path.join(self.params.directory, str(position))
                with contextlib.suppress(FileExistsError):
                    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
                    os.kill(os.getpid(), signal.SIGKILL)

    def _nav(self):
        return self.meta.slice.nav.origin, self.meta.slice.nav.shape


def assert_exact(result, data) -> None:
    assert np.array_equal(result["sum"].data, data.sum(axis=(0, 1), dtype="u8"))
    assert np.array_equal(result["nav"].data, data.sum(axis=(2, 3), dtype="u8"))
    assert result["n"].data[0] == data.shape[0] * data.shape[1]
    assert result["nav"].valid_mask.all()


@pytest.fixture
def large() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 60000, (24, 25, 16, 16)).astype("u2")


@pytest.mark.parametrize("n_workers", [1, 2])
def test_workers_killed_in_the_middle_change_nothing(tmp_path: Path, large, n_workers: int) -> None:
    with Context(ProcessesExecutor(n_workers)) as context:
        dataset = context.load("memory", large, chunk_items=9)
        udf = DyingUDF(positions=(0, 31, 200, 599), directory=str(tmp_path))
        with pytest.warns(WorkerLostWarning, match="killed by SIGKILL"):
            result = context.run_udf(dataset, udf)
        assert_exact(result, large)
        assert len(context.last_run.events) == 4
        assert all(isinstance(event, WorkerLost) and event.replaced for event in context.last_run.events)
        assert len(context.executor.pids) == n_workers


def test_kill_between_partial_results(large) -> None:
    with Context(ProcessesExecutor(2)) as context:
        dataset = context.load("memory", large, chunk_items=2)
        results = context.run_udf_iter(dataset, SlowUDF())
        next(results)
        os.kill(context.executor.pids[0], signal.SIGKILL)
        with pytest.warns(WorkerLostWarning):
            seen = list(map(consistent, results))
        assert_exact(seen[-1].buffers[0], large)


def consistent(partial: UDFResults) -> UDFResults:
    assert partial.buffers[0]["n"].data[0] == partial.damage.data.sum()
    return partial


class SlowUDF(CountUDF):
    def before(self):
        np.linalg.svd(np.random.default_rng(0).random((150, 150)))


class HangingUDF(CountUDF):
    """Takes long enough for a commit, then hangs."""

    def before(self):
        if self.meta.slice.nav.origin[0] >= 100:
            Path(self.params.mark).touch()
            signal.pause()
        until = time.monotonic() + 0.06
        while time.monotonic() < until:
            pass


def test_hung_worker_is_killed_when_the_loop_is_left(
    tmp_path: Path, large, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes_module, "DISMISS_S", 0.2)
    mark = tmp_path / "hangs"
    with Context(ProcessesExecutor(1)) as context:
        dataset = context.load("memory", large, chunk_items=10)
        (hung,) = context.executor.pids
        results = context.run_udf_iter(dataset, HangingUDF(mark=str(mark)))
        assert 0 < next(results).damage.raw_data.sum() <= 100
        wait_for(mark.exists)
        results.close()
        assert_gone(hung)
        assert_exact(context.run_udf(dataset, CountUDF()), large)


def test_stopped_worker_does_not_hold_up_closing(large, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes_module, "DISMISS_S", 0.2)
    context = Context(ProcessesExecutor(1))
    assert_exact(context.run_udf(context.load("memory", large), CountUDF()), large)
    (pid,) = context.executor.pids
    os.kill(pid, signal.SIGSTOP)
    context.close()
    assert_gone(pid)
    context.close()
    with pytest.raises(RuntimeError, match="closed"):
        context.run_udf(context.load("memory", large), CountUDF())


SCRIPT = """
    import os, signal, sys, numpy as np
    from udf_core import UDF, Context

    class ForeverUDF(UDF):
        def get_result_buffers(self):
            return {"n": self.buffer("single", dtype="i8")}
        def process_tile(self, tile):
            print("busy", os.getpid(), flush=True)
            while True:
                pass
        def merge(self, dest, src):
            dest.n += src.n

    context = Context.make_with(sys.argv[1], cpus=None if sys.argv[1] == "inline" else 1)
    print("main", os.getpid(), flush=True)
    context.run_udf(context.load("memory", np.zeros((4, 4, 8, 8))), ForeverUDF())
"""


@pytest.fixture
def script(tmp_path: Path):
    def start(executor: str) -> subprocess.Popen[str]:
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(SCRIPT))
        return subprocess.Popen(
            [sys.executable, str(path), executor],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    return start


def test_workers_end_when_the_main_process_is_killed(script) -> None:
    with script("processes") as main:
        worker = int([next(main.stdout) for _ in range(2)][1].split()[1])
        assert worker != main.pid
        main.kill()
        assert_gone(worker)


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_ctrl_c_is_a_keyboard_interrupt(script, executor: str) -> None:
    with script(executor) as main:
        worker = int([next(main.stdout) for _ in range(2)][1].split()[1])
        os.killpg(main.pid, signal.SIGINT)
        _, errors = main.communicate(timeout=60)
        assert main.returncode in (1, -signal.SIGINT)
        assert "KeyboardInterrupt" in errors
        assert_gone(worker)


def assert_gone(pid: int) -> None:
    def is_gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_for(is_gone)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "nothing happened before the deadline"
        time.sleep(0.005)
