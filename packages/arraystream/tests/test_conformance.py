"""The conformance kit, run on what this package brings along."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from arraystream import ItemDescriptor, open_memory, open_npy, open_raw
from arraystream.testing import (
    ConnectionConformance,
    FeedConformance,
    SimulatedConnection,
    SimulatedFeed,
    SimulatedSource,
    SourceHandle,
)

DATA = np.arange(37 * 6 * 5, dtype="u2").reshape(37, 6, 5)


def feed_fixture(open_source):
    @pytest.fixture
    def open_feed(self, tmp_path):
        feeds = []

        def new():
            feeds.append(open_source(tmp_path).feed(chunk_items=5))
            return feeds[-1]

        yield new
        for feed in feeds:
            feed.close()

    return open_feed


class ArrayFeedConformance(FeedConformance):
    n_items = len(DATA)

    def expected_item(self, index):
        return DATA[index]


class TestMemoryFeed(ArrayFeedConformance):
    open_feed = feed_fixture(lambda _: open_memory(DATA))


def write_npy(folder):
    np.save(folder / "data.npy", DATA)
    return open_npy(folder / "data.npy")


class TestNpyFeed(ArrayFeedConformance):
    open_feed = feed_fixture(write_npy)


def write_raw(folder):
    with (folder / "data.raw").open("wb") as file:
        file.write(b"preamble")
        for frame in DATA:
            file.write(frame.astype(">u2").tobytes() + b"gap")
    return open_raw(folder / "data.raw", ">u2", (6, 5), offset=8, gap_bytes=3)


class TestRawFeedWithGapsInBigEndian(ArrayFeedConformance):
    open_feed = feed_fixture(write_raw)


class TestSimulatedFeed(ArrayFeedConformance):
    has_tickets = False

    @pytest.fixture
    def open_feed(self):
        def new():
            feed = SimulatedFeed(ItemDescriptor(DATA.dtype, (6, 5)))
            for at in range(0, len(DATA), 5):
                feed.push(DATA[at : at + 5])
            feed.end("complete")
            return feed

        return new


class TestSimulatedConnection(ConnectionConformance):
    @pytest.fixture
    def connection(self):
        with SimulatedConnection() as connection:
            yield connection

    @pytest.fixture
    def source(self, connection):
        source = SimulatedSource(connection)
        assert isinstance(source, SimulatedSource)
        handle: SourceHandle = source
        yield handle
        source.abort()


def test_the_kit_imports_without_pytest():
    program = (
        "import sys; sys.modules['pytest'] = None; import arraystream.testing as t; print(*sorted(t.__all__))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "FeedConformance" in done.stdout
