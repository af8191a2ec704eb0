"""Arrays, leases and processes that end in every order; each in a process of its own."""

import os
import signal

PRELUDE = """
import gc, os, sys, threading
import numpy as np
import shmring

def put(ring, *values):
    with ring.reserve(60) as writer:
        writer.array[:len(values)] = values
        writer.commit(len(values))

def pair(n_slots=4):
    ring = shmring.Ring(4096, n_slots)
    number, fd = ring.attach()
    return ring, shmring.Consumer(fd)
"""


def run(start, code):
    import textwrap

    return start(PRELUDE + textwrap.dedent(code)).end()


def test_array_outlives_lease_consumer_ring_and_collection(start):
    out = run(
        start,
        """
        ring, consumer = pair()
        put(ring, 1, 2, 3)
        stack = consumer.recv(60)
        array = np.frombuffer(memoryview(stack.array)[1:], np.uint8)
        stack.release(wait=False)
        consumer.close()
        ring.close()
        del stack, consumer, ring
        gc.collect()
        print(array.tolist())
        """,
    )
    assert out == ["[2, 3]"]


def test_interpreter_exits_with_live_arrays_in_cycles_and_threads(start):
    run(
        start,
        """
        ring, consumer = pair()
        put(ring, 1)
        put(ring, 2)
        cycle = [consumer.recv(60).array]
        cycle.append(cycle)
        held = consumer.recv(60)
        writer = ring.reserve()
        sys.modules["keep"] = (ring, consumer, held, writer, writer.array, cycle)
        threading.Thread(target=lambda: consumer.recv(None), daemon=True).start()
        """,
    )


def test_writer_array_outlives_the_ring(start):
    run(
        start,
        """
        ring = shmring.Ring(4096, 1)
        array = ring.reserve().array
        ring.close()
        del ring
        gc.collect()
        array[:] = 7
        assert array.sum() == 7 * 4096
        """,
    )


def test_slots_are_returned_from_any_thread(start):
    run(
        start,
        """
        ring, consumer = pair(2)
        for value in range(200):
            put(ring, value % 256)
            array = consumer.recv(60).array
            thread = threading.Thread(target=lambda array: array.sum(), args=(array,))
            del array
            thread.start()
            thread.join()
            thread._args = ()
        del thread
        assert ring.stats().n_free == 2, ring.stats()
        """,
    )


def test_forked_child_is_inert(start):
    out = run(
        start,
        """
        ring, consumer = pair()
        put(ring, 1)
        put(ring, 2)
        stack = consumer.recv(60)
        writer = ring.reserve()
        child = os.fork()
        if child == 0:
            failures = []
            for act in (lambda: ring.reserve(0), ring.attach, lambda: consumer.recv(0)):
                try:
                    act()
                except shmring.RingForked:
                    failures.append("forked")
            assert stack.array.tolist() == [1]
            stack.release()
            writer.discard()
            consumer.close()
            ring.close()
            assert not ring.settle(0, [])
            del stack, writer, consumer, ring
            gc.collect()
            print(failures, flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        stats = ring.stats()
        print((stats.n_writing, stats.n_lent, stats.n_free), flush=True)
        assert stack.array.tolist() == [1]
        with writer:
            writer.array[0] = 3
            writer.commit(1)
        stack.release()
        print([consumer.recv(60).array.tolist() for _ in range(2)])
        """,
    )
    assert out == ["['forked', 'forked', 'forked']", "(1, 2, 1)", "[[2], [3]]"]


def test_forked_child_can_own_a_ring_of_its_own(start):
    run(
        start,
        """
        ring, consumer = pair()
        child = os.fork()
        if child == 0:
            ring, consumer = pair()
            put(ring, 5)
            os._exit(0 if consumer.recv(60).array.tolist() == [5] else 1)
        assert os.waitpid(child, 0)[1] == 0
        """,
    )


def test_exec_returns_the_slots(start, ring, wait_until):
    _, fd = ring.attach()
    with ring.reserve(60) as writer:
        writer.commit(1)
    script = start(
        PRELUDE
        + """
consumer = shmring.Consumer(int(sys.argv[1]))
stack = consumer.recv(60)
print("holds", flush=True)
input()
os.execv("/bin/sh", ["sh", "-c", "echo replaced; read line"])
""",
        fd,
    )
    os.close(fd)
    assert script.line() == "holds"
    script.go_on()
    assert script.line() == "replaced"
    wait_until(lambda: not ring.stats().consumers)
    assert script.process.poll() is None
    script.go_on()
    script.end()


def test_ctrl_c_interrupts_both_waits(start):
    for wait in ("consumer.recv(None)", "ring.reserve(None)"):
        script = start(
            PRELUDE
            + f"""
ring, consumer = pair(1)
if "reserve" in {wait!r}:
    put(ring, 1)
try:
    print("waiting", flush=True)
    {wait}
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
        )
        assert script.line() == "waiting"
        script.process.send_signal(signal.SIGINT)
        assert script.line() == "interrupted"
        script.end()


def test_nothing_stays_behind(start):
    out = run(
        start,
        """
        def audit():
            gc.collect()
            with open("/proc/self/maps") as maps:
                mapped = sum("memfd:shmring" in line for line in maps)
            return len(os.listdir("/proc/self/fd")), mapped, threading.active_count()

        def life():
            ring, consumer = pair()
            others = [shmring.Consumer(ring.attach()[1]) for _ in range(5)]
            os.close(ring.attach()[1])
            put(ring, 1)
            put(ring, 2)
            ring.detach(others[0].id)
            ring.close()

        life()
        before = audit()
        for _ in range(20):
            life()
        after = audit()
        print(before == after and before[1] == 0, before, after)
        """,
    )
    assert out[0].startswith("True"), out
