"""What a run is measured by."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from arraystream import ConnectionStatistics, FeedGap, FeedVerdict
from livestem._figures import Figures, Meter, tree_cpu_s
from livestem.cli._summary import summary_rows


def figures(meter: Meter, **wishes: float | None) -> Figures:
    return meter.figures(
        n_frames=10, n_frames_expected=10, executor="threads", n_workers=2, ended_s=wishes.get("ended_s")
    )


def test_counters_of_earlier_runs_do_not_count() -> None:
    counters = ConnectionStatistics(n_items=100, n_bytes=1000, n_lost=3)
    meter = Meter(lambda: counters)

    counters = ConnectionStatistics(
        n_items=111, n_bytes=1100, n_lost=4, first_item_time_s=5, last_item_time_s=7
    )
    measured = figures(meter, ended_s=7.012)

    assert (measured.n_received, measured.n_bytes, measured.n_lost) == (11, 100, 1)
    assert measured.duration_s == 2
    assert measured.frames_per_s == 5
    assert measured.latency_s == pytest.approx(0.012)


def test_nothing_received_has_no_rate() -> None:
    meter = Meter(lambda: ConnectionStatistics(first_item_time_s=1.0, last_item_time_s=2.0))

    measured = figures(meter, ended_s=9.0)

    assert measured.frames_per_s is None
    assert measured.latency_s is None
    assert dict(summary_rows("merlin", "3×4", measured))["speed"] == "too few frames to tell"


def test_status_tells_received_rate_lost_and_fill() -> None:
    counters = ConnectionStatistics()
    meter = Meter(lambda: counters)

    counters = ConnectionStatistics(n_items=1234, n_lost=5, buffer_fill=0.25)
    status = meter.status()

    assert "1234 frames received" in status
    assert "5 lost" in status
    assert "buffer 25%" in status


def test_summary_names_every_kind_of_loss_that_occurred() -> None:
    measured = Figures(10, 12, 10, 10 * 2**20, n_lost=2, n_stale=1, duration_s=0.9)

    rows = dict(summary_rows("merlin", "3×4", measured))

    assert rows["frames"] == "10 of 12 in the result"
    assert rows["losses"] == "2 lost, 1 stale"
    assert rows["speed"] == "10 frames/s, 11 MiB/s"


def test_summary_says_why_frames_are_missing() -> None:
    gaps = (FeedGap(3, 5, "lost by the detector"), FeedGap(7, 8, "corrupt"), FeedGap(9, 10, "corrupt"))
    verdict = FeedVerdict("complete", 12, gaps, "another client takes every second frame")

    rows = summary_rows("dectris", "3×4", Figures(8, 12, 10, 2**20, n_lost=2, n_corrupt=2), verdict)

    texts = [text for name, text in rows if not name]
    assert texts == ["2 lost by the detector", "2 corrupt", "another client takes every second frame"]


def test_a_machine_that_can_not_keep_up_is_told_so() -> None:
    counters = ConnectionStatistics(buffer_high_water=0.99)
    meter = Meter(lambda: counters)
    assert dict(summary_rows("dectris", "3×4", figures(meter))).get("backlog") is None

    counters = ConnectionStatistics(
        n_items=9, buffer_fill=0.9, buffer_high_water=0.99, first_item_time_s=5, last_item_time_s=7
    )
    assert "can't keep up" in meter.status()
    counters = replace(counters, buffer_fill=0.0)
    rows = dict(summary_rows("dectris", "3×4", figures(meter, ended_s=9.5)))

    assert "2.5 s late" in rows["backlog"]
    assert rows["buffer fill"] == "90% at most"


@pytest.fixture
def busy_child() -> Iterator[int]:
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    yield child.pid
    child.kill()
    child.wait()


def test_cpu_time_counts_children_but_not_strangers(busy_child: int) -> None:
    without = tree_cpu_s(os.getpid(), (busy_child,))
    deadline = time.monotonic() + 30

    while tree_cpu_s(os.getpid()) < tree_cpu_s(os.getpid(), (busy_child,)) + 0.1:
        assert time.monotonic() < deadline, "the child's CPU time was never seen"

    assert without >= 0
