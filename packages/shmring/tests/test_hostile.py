"""Consumers that write nonsense into what they share with the owner."""

import contextlib
import mmap
import os
import random
import socket
import struct
import threading

import pytest

import shmring

LONG = 60.0
TX_HEAD, RET_TAIL, TX_ENTRIES = 256, 384, 1024


def put(ring, item):
    with ring.reserve(LONG) as writer:
        writer.array[0] = item
        writer.commit(1, item_first=item)


class Impostor:
    """Speaks the protocol of LAYOUT.md by hand."""

    def __init__(self, ring):
        self.number, fd = ring.attach()
        self.socket = socket.socket(fileno=fd)
        hello, fds, _, _ = socket.recv_fds(self.socket, 64, 8)
        self.hello = bytearray(hello)
        self.data_fd, control_fd, *self.fds = fds
        self.control = mmap.mmap(control_fd, os.fstat(control_fd).st_size)
        self.fds += [self.data_fd, control_fd]

    def say(self, kind):
        self.hello[12:16] = struct.pack("<I", kind)
        self.socket.send(self.hello)

    def write(self, offset, value):
        self.control[offset : offset + 8] = struct.pack("<Q", value % (1 << 64))

    def read(self, offset):
        return struct.unpack_from("<Q", self.control, offset)[0]

    def token(self):
        return self.read(TX_ENTRIES + 8)

    def give_back(self, *tokens):
        first = TX_ENTRIES + 4 * 64
        for index, token in enumerate(tokens):
            self.write(first + 8 * index, token)
        self.write(RET_TAIL, len(tokens))

    def vanish(self):
        self.control.close()
        self.socket.close()
        for fd in self.fds:
            os.close(fd)


@pytest.fixture
def impostor(ring, wait_until):
    impostor = Impostor(ring)
    impostor.say(2)
    wait_until(lambda: ring.stats().consumers[0].pid is not None)
    put(ring, 7)
    yield impostor
    impostor.vanish()


def expect_banished(ring, attach, wait_until, impostor):
    wait_until(lambda: ring.stats().n_misbehaving == 1)
    *_, event = ring.take_events()
    assert isinstance(event, shmring.ConsumerMisbehaving)
    assert event.id == impostor.number
    _, heir = attach(ring)
    stack = heir.recv(LONG)
    assert (stack.item_first, stack.array.tolist()) == (7, [7])
    stack.release()
    # What the impostor may still look at is not written while it lives.
    wait_until(lambda: ring.stats().n_quarantined == 1)
    for item in range(20):
        put(ring, item)
        heir.recv(LONG).release()
    assert ring.stats().n_quarantined == 1
    impostor.socket.shutdown(socket.SHUT_RDWR)
    impostor.socket.close()
    wait_until(lambda: ring.stats().n_free == ring.n_slots)


def test_honest_impostor_is_served(ring, impostor, wait_until):
    assert impostor.token() == 1 << 32
    impostor.write(TX_HEAD, 1)
    impostor.give_back(impostor.token())
    wait_until(lambda: ring.stats().n_free == ring.n_slots)
    assert ring.stats().n_misbehaving == 0


def test_slot_returned_twice(ring, impostor, attach, wait_until):
    impostor.write(TX_HEAD, 1)
    impostor.give_back(impostor.token(), impostor.token())
    wait_until(lambda: ring.stats().n_misbehaving == 1)
    assert ring.stats().n_free == ring.n_slots


@pytest.mark.parametrize("token", [99, (1 << 32) + 99, 2 << 32, (1 << 64) - 1])
def test_slot_returned_that_was_never_lent(ring, impostor, attach, wait_until, token):
    impostor.write(TX_HEAD, 1)
    impostor.give_back(token)
    expect_banished(ring, attach, wait_until, impostor)


@pytest.mark.parametrize("head", [2, -1, 1 << 63])
def test_head_moved_to_nowhere(ring, impostor, attach, wait_until, head):
    impostor.write(TX_HEAD, head)
    # Noticed when the next stack is to be sent.
    put(ring, 8)
    wait_until(lambda: ring.stats().n_misbehaving == 1)


@pytest.mark.parametrize("tail", [5, -1, 1 << 63])
def test_tail_moved_to_nowhere(ring, impostor, attach, wait_until, tail):
    impostor.write(RET_TAIL, tail)
    expect_banished(ring, attach, wait_until, impostor)


@pytest.mark.parametrize("message", [b"x", b"y" * 64, b"z" * 4096])
def test_nonsense_on_the_socket(ring, impostor, attach, wait_until, message):
    impostor.socket.send(message)
    expect_banished(ring, attach, wait_until, impostor)


@pytest.mark.parametrize("kind", [1, 2, 4, 5, 6])
def test_message_that_is_not_a_consumers(ring, impostor, attach, wait_until, kind):
    impostor.say(kind)
    expect_banished(ring, attach, wait_until, impostor)


def test_stolen_rings_are_ones_own(ring, impostor, attach, wait_until):
    """The owner's bell that an impostor can silence is not the one that others ring."""
    _, honest = attach(ring)
    owner_bell = impostor.fds[0]
    got = []
    reader = threading.Thread(target=lambda: got.extend(honest.recv(LONG).item_first for _ in range(50)))
    reader.start()
    for item in range(50 + 2):
        put(ring, item)
        with contextlib.suppress(BlockingIOError):
            os.read(owner_bell, 8)
    reader.join()
    assert len(got) == 50


def test_data_can_be_neither_written_nor_resized(impostor):
    for prot in (mmap.PROT_WRITE, mmap.PROT_READ | mmap.PROT_WRITE):
        with pytest.raises(PermissionError):
            mmap.mmap(impostor.data_fd, 4096, prot=prot)
    with pytest.raises(PermissionError):
        os.write(impostor.data_fd, b"x")
    for size in (0, 1 << 20):
        with pytest.raises(PermissionError):
            os.ftruncate(impostor.data_fd, size)
    with pytest.raises(PermissionError):
        os.ftruncate(impostor.fds[-1], 0)


@pytest.mark.parametrize("seed", range(4))
def test_scribbler_harms_nobody_else(ring, attach, wait_until, seed):
    chance = random.Random(seed)
    _, honest = attach(ring)
    scribbler = Impostor(ring)
    scribbler.say(2)
    got, item = [], 0
    while ring.stats().n_misbehaving == 0 or item < 100:
        offset = chance.randrange(0, len(scribbler.control) // 8) * 8
        scribbler.write(offset, chance.choice([0, 1, 2, chance.getrandbits(64)]))
        put(ring, item % 256)
        item += 1
        while (stack := honest.recv(0)) is not None:
            got.append(int(stack.array[0]))
            assert stack.array[0] == stack.item_first
            stack.release()
        if ring.stats().n_free == 0:
            break
    scribbler.vanish()
    wait_until(lambda: all(consumer.id != scribbler.number for consumer in ring.stats().consumers))
    while (stack := honest.recv(0.001)) is not None or ring.stats().n_free < ring.n_slots:
        stack is None or stack.release()
    honest.close()


def test_greeting_of_another_version_is_refused():
    for at in (0, 8, 16):
        with shmring.Ring(4096, 1) as ring:
            impostor = Impostor(ring)
            impostor.hello[at] ^= 1
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            socket.send_fds(ours, [impostor.hello], [impostor.data_fd])
            with pytest.raises(shmring.IncompatibleRing):
                shmring.Consumer(theirs.detach())
            ours.close()
            impostor.vanish()


@pytest.mark.parametrize("seed", range(8))
def test_damaged_greeting_never_maps_too_little(seed):
    chance = random.Random(seed)
    with shmring.Ring(4096, 2) as ring:
        for _ in range(40):
            impostor = Impostor(ring)
            greeting = bytearray(impostor.hello)
            for _ in range(chance.randrange(1, 4)):
                greeting[chance.randrange(40, 64)] = chance.randrange(256)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            fds = [impostor.data_fd, impostor.fds[-1], *impostor.fds[:2]]
            socket.send_fds(ours, [greeting], fds[: chance.randrange(5)])
            try:
                with shmring.Consumer(theirs.detach()) as consumer:
                    assert consumer.recv(0) is None
            except shmring.RingError:
                pass
            ours.close()
            impostor.vanish()
