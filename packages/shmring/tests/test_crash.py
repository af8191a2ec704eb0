"""Processes that die at the worst moment."""

import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import zlib
from collections import Counter

import numpy as np
import pytest

import shmring

LONG = 60.0
N_BYTES = 64 * 1024


class Crew:
    """Workers in processes of their own, and the exactly-once accounting of what they commit."""

    def __init__(self, ring, program, hold):
        self.ring, self.program, self.hold = ring, program, hold
        self.workers, self.threads = {}, []
        self.done = Counter()
        self.lock = threading.Lock()

    def hire(self):
        number, fd = self.ring.attach(1)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-W", "error", self.program, str(fd), str(theirs.fileno()), str(self.hold)]
        self.workers[number] = subprocess.Popen(command, pass_fds=(fd, theirs.fileno()))
        os.close(fd)
        theirs.close()
        thread = threading.Thread(target=self.account, args=(number, ours))
        thread.start()
        self.threads.append(thread)

    def account(self, number, commits):
        with commits:
            while message := self.receive(commits):
                rows = list(struct.iter_unpack("<QQ", message))
                settled = self.ring.settle(number, [token for token, _ in rows])
                with self.lock:
                    self.done.update(item for _, item in rows if settled)
                try:
                    commits.send(b"\1" if settled else b"\0")
                except BrokenPipeError:
                    return

    @staticmethod
    def receive(commits):
        try:
            return commits.recv(1 << 16)
        except ConnectionResetError:
            return b""

    def kill(self, number):
        process = self.workers.pop(number)
        process.kill()
        return process.wait(LONG)

    def dismiss(self):
        codes = [process.wait(LONG) for process in self.workers.values()]
        for thread in self.threads:
            thread.join(LONG)
        return codes


def put(ring, item):
    payload = np.random.Generator(np.random.PCG64(item)).integers(0, 256, N_BYTES, np.uint8)
    with ring.reserve(LONG) as writer:
        writer.array[:N_BYTES] = payload
        writer.commit(N_BYTES, item_first=item, tag=1, meta=[zlib.crc32(payload), item])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_workers_lose_nothing_and_count_nothing_twice(seed, crash_worker, wait_until):
    chance = random.Random(seed)
    n_items = 250
    kills = set(chance.sample(range(10, n_items), 6))
    with shmring.Ring(N_BYTES + 64, 12) as ring:
        crew = Crew(ring, crash_worker, hold=chance.choice([1, 2, 3]))
        for _ in range(3):
            crew.hire()
        for item in range(n_items):
            put(ring, item)
            if item in kills:
                # The others are somewhere between taking, looking, committing and returning.
                assert crew.kill(chance.choice(list(crew.workers))) == -signal.SIGKILL
                crew.hire()
        ring.end(1)
        wait_until(lambda: sum(crew.done.values()) >= n_items)
        wait_until(lambda: ring.stats().n_free == ring.n_slots)
        ring.close()
        assert set(crew.dismiss()) == {0}
        assert crew.done == Counter(range(n_items))


def test_dead_consumers_stacks_go_to_another(ring, start, attach):
    number, fd = ring.attach()
    for value in range(3):
        with ring.reserve(LONG) as writer:
            writer.array[0] = value
            writer.commit(1, item_first=value)
    holder = start(
        """
        import sys, shmring
        consumer = shmring.Consumer(int(sys.argv[1]))
        held = [consumer.recv(60) for _ in range(3)]
        print(*[stack.token for stack in held], flush=True)
        input()
        """,
        fd,
    )
    os.close(fd)
    tokens = [int(token) for token in holder.line().split()]
    assert ring.settle(number, tokens[:1])
    holder.kill()
    _, heir = attach(ring)
    stacks = [heir.recv(LONG) for _ in range(2)]
    assert [(stack.item_first, stack.attempt) for stack in stacks] == [(1, 1), (2, 1)]
    assert not ring.settle(number, tokens)
    [lost] = ring.take_events()
    assert lost == shmring.ConsumerLost(id=number, pid=holder.process.pid, n_relent=2)
    stats = ring.stats()
    assert (stats.n_redelivered, stats.n_lost_consumers) == (2, 1)


def test_dead_consumer_whose_child_lives_is_dead(ring, start, attach):
    """The child inherits all file descriptors: no hang-up, but the process is gone."""
    _, fd = ring.attach()
    with ring.reserve(LONG) as writer:
        writer.commit(1, item_first=4)
    parent = start(
        """
        import os, sys, shmring
        consumer = shmring.Consumer(int(sys.argv[1]))
        stack = consumer.recv(60)
        if os.fork() == 0:
            print(os.getpid(), flush=True)
            input()
            os._exit(0)
        os.wait()
        """,
        fd,
    )
    os.close(fd)
    child = int(parent.line())
    try:
        parent.process.kill()
        parent.process.wait(LONG)
        _, heir = attach(ring)
        assert heir.recv(LONG).item_first == 4
    finally:
        os.kill(child, signal.SIGKILL)


def test_dead_recorder_holds_nothing_back(ring, start, wait_until):
    _, fd = ring.attach_broadcast()
    recorder = start(
        """
        import sys, shmring
        consumer = shmring.Consumer(int(sys.argv[1]))
        held = consumer.recv(60)
        print("holds", flush=True)
        input()
        """,
        fd,
    )
    os.close(fd)
    for _ in range(ring.n_slots):
        with ring.reserve(LONG) as writer:
            writer.commit(1, broadcast_only=True)
    assert recorder.line() == "holds"
    recorder.kill()
    wait_until(lambda: ring.stats().n_free == ring.n_slots)
    assert ring.stats().n_redelivered == 0


OWNER = """
import os, socket, sys, shmring
ring = shmring.Ring(4096, 4)
_, fd = ring.attach()
for value in (1, 2):
    with ring.reserve() as writer:
        writer.array[0] = value
        writer.commit(1)
with socket.socket(fileno=int(sys.argv[1])) as channel:
    socket.send_fds(channel, [b"x"], [fd])
os.close(fd)
"""


SENT = """
while not any(consumer.n_held == 2 for consumer in ring.stats().consumers):
    pass
print("sent", flush=True)
"""


def owned_elsewhere(start, tail):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        owner = start(OWNER + tail, theirs.fileno())
        _, [fd], _, _ = socket.recv_fds(ours, 1, 1)
    return owner, shmring.Consumer(fd)


def test_killed_owner_is_noticed_after_draining(start):
    owner, consumer = owned_elsewhere(start, SENT + "input()")
    assert owner.line() == "sent"
    held = consumer.recv(LONG)
    owner.kill()
    assert consumer.recv(LONG).array.tolist() == [2]
    with pytest.raises(shmring.RingClosed, match="gone") as caught:
        consumer.recv(LONG)
    assert caught.value.owner_lost
    assert held.array.tolist() == [1]
    consumer.close()
    held.release()


def test_killed_owner_whose_child_lives_is_noticed(start):
    owner, consumer = owned_elsewhere(
        start,
        """
if os.fork() == 0:
    print(os.getpid(), flush=True)
    input()
    os._exit(0)
os.wait()
""",
    )
    child = int(owner.line())
    try:
        stacks = [consumer.recv(LONG) for _ in range(2)]
        owner.process.kill()
        owner.process.wait(LONG)
        with pytest.raises(shmring.RingClosed) as caught:
            consumer.recv(LONG)
        assert caught.value.owner_lost
        assert [stack.array.tolist() for stack in stacks] == [[1], [2]]
    finally:
        os.kill(child, signal.SIGKILL)


def test_owner_that_exits_without_closing_has_closed(start):
    owner, consumer = owned_elsewhere(start, SENT)
    assert owner.line() == "sent"
    stacks = [consumer.recv(LONG) for _ in range(2)]
    with pytest.raises(shmring.RingClosed):
        consumer.recv(LONG)
    assert len(stacks) == 2
    owner.end()


def test_consumer_of_a_dead_owner_says_so(start):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        owner = start(OWNER + "input()", theirs.fileno())
        _, [fd], _, _ = socket.recv_fds(ours, 1, 1)
    owner.kill()
    consumer = shmring.Consumer(fd)
    with pytest.raises(shmring.RingClosed) as caught:
        consumer.recv(LONG)
    assert caught.value.owner_lost


@pytest.mark.parametrize(
    "ending", ["raise KeyboardInterrupt", "with consumer: sys.exit(3)", "consumer.close()"]
)
def test_worker_that_ends_early_has_done_nothing(ring, start, attach, ending):
    """Its stacks are dropped with everything else, which is not the same as being done."""
    number, fd = ring.attach()
    for value in range(2):
        with ring.reserve(LONG) as writer:
            writer.commit(1, item_first=value)
    worker = start(
        f"""
        import sys, shmring
        sys.excepthook = lambda *error: None
        consumer = shmring.Consumer(int(sys.argv[1]))
        def work():
            held = [consumer.recv(60) for _ in range(2)]
            {ending}
        work()
        """,
        fd,
    )
    os.close(fd)
    worker.process.communicate(timeout=LONG)
    _, heir = attach(ring)
    assert [heir.recv(LONG).item_first for _ in range(2)] == [0, 1]
    assert ring.take_events() == [shmring.ConsumerLeft(id=number, n_relent=2)]
