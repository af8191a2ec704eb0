"""Messages between processes."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from udf_core._channel import Channel, ChannelClosed


@pytest.fixture
def channels() -> Iterator[tuple[Channel, Channel]]:
    a, b = socket.socketpair()
    left, right = Channel(a, send_timeout_s=5.0), Channel(b, send_timeout_s=5.0)
    yield left, right
    left.close()
    right.close()


def test_arrays_arrive_writable(channels) -> None:
    left, right = channels
    sent = {"large": np.random.default_rng(0).random((1000, 1000)), "empty": np.zeros((0, 3)), "text": "x"}
    sender = threading.Thread(target=left.send, args=("commit", sent))
    sender.start()
    kind, got, fds = right.recv()
    sender.join()
    assert (kind, fds, got["text"]) == ("commit", [], "x")
    assert np.array_equal(got["large"], sent["large"])
    got["large"][0] = 1
    assert got["empty"].shape == (0, 3)


def test_file_descriptors_travel_along(channels) -> None:
    left, right = channels
    reading, writing = os.pipe()
    left.send("job", list(range(1000)), fds=(writing,))
    os.close(writing)
    kind, value, (fd,) = right.recv()
    assert (kind, value[-1]) == ("job", 999)
    os.write(fd, b"hello")
    os.close(fd)
    assert os.read(reading, 10) == b"hello"
    os.close(reading)


def test_end_of_the_other_side(channels) -> None:
    left, right = channels
    left.send("last")
    left.close()
    left.close()
    assert right.recv()[0] == "last"
    with pytest.raises(ChannelClosed):
        right.recv()
    with pytest.raises(ChannelClosed):
        right.send("anybody?")


def test_nonsense_ends_the_connection() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    theirs.sendall(b"GET / HTTP/1.1\r\n" * 4)
    with pytest.raises(ChannelClosed, match="no message"):
        channel.recv()
    channel.close()
    theirs.close()
