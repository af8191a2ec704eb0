"""The whole ring through Python, owner and consumers in one process."""

import pickle
import socket
import threading

import numpy as np
import pytest

import shmring

LONG = 60.0


def put(ring, payload, **keywords):
    with ring.reserve(LONG) as writer:
        writer.array[: len(payload)] = payload
        writer.commit(len(payload), **keywords)


def get(consumer):
    received = consumer.recv(LONG)
    assert isinstance(received, shmring.Stack), received
    return received


def test_stack_arrives_as_committed(ring, attach):
    _, consumer = attach(ring, 5)
    put(ring, [1, 2, 3], item_first=10, n_items=3, tag=5, meta=[7, 8, 9])
    with get(consumer) as stack:
        assert (stack.tag, stack.item_first, stack.n_items, stack.seq) == (5, 10, 3, 0)
        assert (stack.attempt, stack.skipped, stack.flags, stack.released) == (0, 0, 0, False)
        assert stack.array.dtype == np.uint8
        assert stack.array.tolist() == [1, 2, 3]
        assert stack.meta.dtype == np.uint64
        assert stack.meta.tolist() == [7, 8, 9]
    assert stack.released


def test_empty_stack_is_a_stack(ring, attach):
    _, consumer = attach(ring)
    put(ring, [])
    stack = get(consumer)
    assert stack.array.shape == stack.meta.shape == (0,)


def test_nothing_within_the_timeout_is_none(ring, attach):
    _, consumer = attach(ring)
    assert consumer.recv(0) is None
    assert consumer.recv(0.001) is None


def test_end_follows_the_stacks(ring, attach):
    _, consumer = attach(ring, 3)
    put(ring, [1], tag=3)
    ring.end(3)
    assert get(consumer).array.tolist() == [1]
    assert consumer.recv(LONG).tag == 3


def test_arrays_are_read_only_for_good(ring, attach):
    _, consumer = attach(ring)
    put(ring, [1, 2], meta=[1])
    stack = get(consumer)
    for array in (stack.array, stack.meta):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 9
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.setflags(write=True)
        with pytest.raises(ValueError, match="WRITEABLE"):
            array[:].setflags(write=True)


def test_slot_stays_until_the_last_view_is_gone(ring, attach, wait_until):
    _, consumer = attach(ring)
    put(ring, [1, 2, 3])
    stack = get(consumer)
    view = stack.array[1:].reshape(1, 2)
    stack.release(wait=False)
    del stack
    for _ in range(10):
        put(ring, [9, 9, 9])
        get(consumer).release()
    assert view.tolist() == [[2, 3]]
    assert ring.stats().n_free == ring.n_slots - 1
    del view
    wait_until(lambda: ring.stats().n_free == ring.n_slots)


def test_release_insists_that_no_array_is_left(ring, attach):
    _, consumer = attach(ring)
    put(ring, [1, 2, 3])
    stack = get(consumer)
    array = stack.array
    with pytest.raises(BufferError, match="arrays still look"):
        stack.release()
    assert stack.array.tolist() == [1, 2, 3]
    del array
    stack.release()
    stack.release()
    with pytest.raises(shmring.StackReleased):
        _ = stack.array


def test_with_block_insists_but_never_hides_an_error(ring, attach):
    _, consumer = attach(ring)
    put(ring, [1])
    put(ring, [2])
    with pytest.raises(shmring.StackInUse), get(consumer) as stack:
        leaked = stack.array
    del leaked
    with pytest.raises(ZeroDivisionError), get(consumer) as stack:  # noqa: PT012
        leaked = stack.array
        raise ZeroDivisionError
    assert leaked.tolist() == [2]


def test_stack_is_no_buffer(ring, attach):
    _, consumer = attach(ring)
    put(ring, [1])
    stack = get(consumer)
    with pytest.raises(TypeError):
        memoryview(stack)
    with pytest.raises(TypeError):
        np.ndarray(1, np.uint8, buffer=stack)
    kept = np.ndarray(1, np.uint8, buffer=stack.array)
    stack.release(wait=False)
    assert kept.tolist() == [1]


def test_array_outlives_consumer_and_ring(attach):
    ring = shmring.Ring(4096, 2)
    _, consumer = attach(ring)
    put(ring, [1, 2, 3])
    array = get(consumer).array
    consumer.close()
    ring.close()
    del consumer, ring
    assert array.tolist() == [1, 2, 3]


def test_nothing_can_be_pickled(ring, attach):
    _, consumer = attach(ring)
    put(ring, [1])
    for thing, hint in [(get(consumer), "copy"), (consumer, "Ring.attach"), (ring, "Ring.attach")]:
        with pytest.raises(TypeError, match=hint):
            pickle.dumps(thing)


def test_writer_without_commit_discards(ring):
    with ring.reserve() as writer:
        writer.array[:] = 1
    with pytest.raises(shmring.StackReleased):
        writer.commit(1)
    with pytest.raises(shmring.StackReleased):
        _ = writer.array
    writer.discard()
    stats = ring.stats()
    assert (stats.n_discarded, stats.n_committed, stats.n_free) == (1, 0, ring.n_slots)


def test_writer_array_is_read_only_after_commit(ring):
    with ring.reserve() as writer:
        array = writer.array
        assert array.shape == (ring.slot_bytes,)
        writer.commit(0)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_stack_that_does_not_fit_is_refused(ring):
    with ring.reserve() as writer, pytest.raises(shmring.StackTooLarge, match="4096"):
        writer.commit(4096, meta=[1])
    assert ring.stats().n_free == ring.n_slots


def test_full_ring_blocks_until_the_timeout(attach):
    with shmring.Ring(4096, 1) as ring:
        _, consumer = attach(ring)
        put(ring, [1])
        with pytest.raises(TimeoutError, match="all slots"):
            ring.reserve(0.001)
        writer = threading.Thread(target=put, args=(ring, [2]))
        writer.start()
        get(consumer).release()
        assert get(consumer).array.tolist() == [2]
        writer.join()
        assert ring.stats().n_waits >= 1


def test_full_ring_drops_the_newest():
    with shmring.Ring(4096, 1, full="drop_newest") as ring:
        put(ring, [1])
        with pytest.raises(shmring.RingFull):
            ring.reserve(LONG)
        assert ring.stats().n_dropped == 1


def test_impossible_rings_are_refused():
    for arguments in [(0, 1), (1, 0), (1 << 62, 4)]:
        with pytest.raises(shmring.RingConfigError):
            shmring.Ring(*arguments)
    with pytest.raises(ValueError, match="drop_newest"):
        shmring.Ring(1, 1, full="explode")


def test_memory_that_is_not_there_is_refused_with_a_hint():
    with pytest.raises(MemoryError, match="fewer or smaller slots"):
        shmring.Ring(1 << 40, 16)


def test_settled_stack_stays_with_nobody(ring, attach, wait_until):
    number, consumer = attach(ring)
    put(ring, [1])
    put(ring, [2])
    done, undone = get(consumer), get(consumer)
    assert ring.settle(number, [done.token])
    consumer.close()
    wait_until(lambda: not ring.settle(number, []))
    _, other = attach(ring)
    again = get(other)
    assert (again.array.tolist(), again.attempt, undone.array.tolist()) == ([2], 1, [2])
    assert other.recv(0) is None
    [left] = ring.take_events()
    assert left == shmring.ConsumerLeft(id=number, n_relent=1)


def test_settle_is_all_or_nothing(ring, attach):
    number, consumer = attach(ring)
    put(ring, [1])
    stack = get(consumer)
    assert not ring.settle(number, [stack.token, 1 << 40])
    assert not ring.settle(number + 1, [stack.token])
    assert ring.stats().n_settled == 0
    assert ring.settle(number, [stack.token])


def test_dropped_tag_detaches_and_discards(ring, attach):
    _, consumer = attach(ring, 1)
    put(ring, [1], tag=1)
    ring.drop_tag(1)
    put(ring, [2], tag=1)
    with pytest.raises(shmring.RingClosed, match="detached") as caught:
        consumer.recv(LONG)
    assert (caught.value.reason, caught.value.owner_lost) == ("detached", False)
    stats = ring.stats()
    assert (stats.n_free, stats.n_undelivered) == (ring.n_slots, 0)


def test_broadcast_reaches_recorder_and_worker(ring, attach):
    _, fd = ring.attach_broadcast()
    recorder = shmring.Consumer(fd)
    _, worker = attach(ring, 2)
    for value in range(20):
        put(ring, [value], tag=2)
        assert get(worker).array.tolist() == get(recorder).array.tolist() == [value]


def test_latest_broadcast_tells_what_it_skipped(ring, wait_until):
    _, fd = ring.attach_broadcast(latest=1)
    preview = shmring.Consumer(fd)
    wait_until(lambda: ring.stats().consumers[0].pid is not None)
    for value in range(30):
        put(ring, [value], broadcast_only=True)
    stack = get(preview)
    assert (stack.array.tolist(), stack.skipped) == ([29], 29)
    assert ring.stats().n_skipped == 29


def test_close_from_another_thread_ends_recv(ring, attach):
    _, consumer = attach(ring)
    errors = []

    def wait():
        try:
            consumer.recv()
        except shmring.RingClosed as error:
            errors.append(error.reason)

    thread = threading.Thread(target=wait)
    thread.start()
    consumer.close()
    thread.join()
    assert errors == ["closed"]
    assert consumer.closed


def test_closed_ring_is_drained_first(attach, wait_until):
    ring = shmring.Ring(4096, 2)
    _, consumer = attach(ring)
    put(ring, [1])
    ring.close()
    assert get(consumer).array.tolist() == [1]
    with pytest.raises(shmring.RingClosed) as caught:
        consumer.recv(LONG)
    assert caught.value.reason == "closed"
    with pytest.raises(shmring.RingClosed):
        ring.reserve(0)
    with pytest.raises(shmring.RingClosed):
        ring.attach()


def test_wrong_descriptor_is_refused_and_left_alone(tmp_path):
    with pytest.raises(ValueError, match="negative"):
        shmring.Consumer(-1)
    with (tmp_path / "file").open("w") as file:
        with pytest.raises(OSError, match="non-socket"):
            shmring.Consumer(file.fileno())
        file.write("still open")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with pytest.raises(ValueError, match=r"Ring\.attach"):
            shmring.Consumer(ours.fileno())
        ours.send(b"still open")


@pytest.mark.parametrize("timeout", [float("nan"), "soon"])
def test_timeout_that_is_none_is_refused(ring, timeout):
    with pytest.raises((ValueError, TypeError)):
        ring.reserve(timeout)
