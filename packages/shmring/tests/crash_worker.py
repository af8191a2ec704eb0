"""A worker that may be killed at any moment: checks every byte, commits now and then.

Run as ``crash_worker.py RING_FD COMMIT_FD HOLD``; it commits when it holds HOLD stacks or the stacks end.
"""

import socket
import struct
import sys
import zlib

import numpy as np

import shmring


def expected(item: int, n_bytes: int) -> np.ndarray:
    """The payload of an item."""
    return np.random.Generator(np.random.PCG64(item)).integers(0, 256, n_bytes, np.uint8)


def check(stack: shmring.Stack) -> None:
    array, (checksum, item) = stack.array, stack.meta
    assert item == stack.item_first
    assert checksum == zlib.crc32(array)
    np.testing.assert_array_equal(array, expected(stack.item_first, len(array)))


def work(consumer: shmring.Consumer, commits: socket.socket, hold: int) -> None:
    held: list[shmring.Stack] = []
    while True:
        received = consumer.recv(60)
        assert received is not None
        if isinstance(received, shmring.Stack):
            check(received)
            held.append(received)
        ended = isinstance(received, shmring.End)
        # A name is a reference, too: it would keep the slot while we wait for the next stack.
        del received
        if held and (ended or len(held) == hold):
            rows = [(stack.token, stack.item_first) for stack in held]
            commits.send(b"".join(struct.pack("<QQ", *row) for row in rows))
            assert commits.recv(1) == b"\1", "taken for dead though alive"
            # Looked at up to here: nobody wrote into them meanwhile.
            while held:
                check(held.pop())


def main() -> None:
    ring_fd, commit_fd, hold = map(int, sys.argv[1:])
    with socket.socket(fileno=commit_fd) as commits, shmring.Consumer(ring_fd) as consumer:
        try:
            work(consumer, commits, hold)
        except shmring.RingClosed as closed:
            if closed.reason != "closed":
                raise


if __name__ == "__main__":
    main()
