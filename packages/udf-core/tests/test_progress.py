"""Progress bars: where somebody sees them, and what they say."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from udf_core import NoOpUDF, ProgressState
from udf_core._progress import NoReporter, TQDMReporter, is_watched, reporter_for


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def state(done: int) -> ProgressState:
    return ProgressState(done, 100, 0, 0, 0, "test", 1_000_000)


class Recorder:
    def __init__(self) -> None:
        self.calls: list[tuple[str, ProgressState]] = []

    def start(self, state: ProgressState) -> None:
        self.calls.append(("start", state))

    def update(self, state: ProgressState) -> None:
        self.calls.append(("update", state))

    def end(self, state: ProgressState) -> None:
        self.calls.append(("end", state))


@contextlib.contextmanager
def in_terminal() -> Iterator[Terminal]:
    with contextlib.redirect_stderr(Terminal()) as terminal:
        yield terminal


def test_by_default_there_is_a_bar_only_where_it_is_seen(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert isinstance(reporter_for(None), TQDMReporter)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(reporter_for(None), NoReporter)
    monkeypatch.setattr(sys, "stderr", None)
    assert not is_watched()
    notebook = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    assert is_watched()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert not is_watched()


def test_a_short_run_shows_nothing_in_a_terminal(inline, data):
    with in_terminal() as terminal:
        inline.run_udf(inline.load("memory", data), NoOpUDF())
    assert terminal.getvalue() == ""


def test_who_asks_for_a_bar_gets_one_with_frames_and_rates(inline, data):
    with in_terminal() as terminal:
        inline.run_udf(inline.load("memory", data), NoOpUDF(), progress=True)
    last = terminal.getvalue().split("\r")[-1]
    assert "35.0/35.0" in last
    assert "frames/s" in last
    assert "GB/s" in last


def test_a_bar_says_how_fast_it_goes_in_bytes():
    with in_terminal() as terminal:
        reporter = TQDMReporter()
        reporter.start(state(0))
        reporter.update(state(10))
        reporter.end(state(100))
    assert "100/100" in terminal.getvalue()
    assert "GB/s" in terminal.getvalue()


def test_a_bar_of_a_failing_run_is_closed_where_it_stands(inline, data):
    with in_terminal() as terminal:

        class Failing(NoOpUDF):
            def process_tile(self, tile):
                if self.meta.coordinates[0, 0] >= 2:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            inline.run_udf(inline.load("memory", data, chunk_items=7), Failing(), progress=True)
    assert terminal.getvalue().endswith("\n")


def test_a_reporter_of_the_user_hears_start_updates_and_end(context, data):
    recorder = Recorder()
    context.run_udf(context.load("memory", data, chunk_items=5), NoOpUDF(), progress=recorder)
    names = [name for name, _ in recorder.calls]
    assert names[0] == "start"
    assert names[-1] == "end"
    assert set(names[1:-1]) <= {"update"}
    first, last = recorder.calls[0][1], recorder.calls[-1][1]
    assert (first.num_frames_complete, first.num_frames_total) == (0, 35)
    assert (last.num_frames_complete, last.frame_bytes) == (35, 8 * 9 * 2)
    done = [state.num_frames_complete for _, state in recorder.calls]
    assert np.all(np.diff(done) >= 0)


def test_a_reporter_that_is_ended_before_it_began_says_nothing():
    with in_terminal() as terminal:
        TQDMReporter().end(state(5))
    assert terminal.getvalue() == ""
