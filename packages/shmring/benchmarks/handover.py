"""How long a stack takes from one process to another, and how many bytes per second go through.

Run ``python benchmarks/handover.py``; about ten seconds.  Prints figures of this machine, the copy rate
of memory among them, for only the ratios travel.
"""

import mmap
import os
import subprocess
import sys
import time

import numpy as np

import shmring

SMALL, LARGE = 4096, 8 << 20
N_SMALL, N_LARGE = 5000, 300


def worker(fd: int, mode: str) -> None:
    """Take stacks until the end; read each large one, note when each small one came.

    `mode` says what to do when there is none: ``sleep`` or ``poll``.  ``hold`` keeps the first for ever.
    """
    sink = np.empty(LARGE, np.uint8)
    delays = []
    with shmring.Consumer(fd) as consumer:
        while not isinstance(received := consumer.recv(0 if mode == "poll" else None), shmring.End):
            came = time.perf_counter_ns()
            if received is None:
                continue
            if mode == "hold":
                print("holds", flush=True)
                sys.stdin.read()
            array = received.array
            if len(array) == LARGE:
                np.copyto(sink, array)
            else:
                delays.append(came - int(array.view(np.int64)[0]))
            del array, received
    if delays:
        low, mid, high = np.percentile(delays, [5, 50, 95]) / 1e3
        print(f"    5 % {low:.1f} µs, median {mid:.1f} µs, 95 % {high:.1f} µs", flush=True)


def start(ring: shmring.Ring, mode: str) -> subprocess.Popen[str]:
    """Start a worker and wait until it has joined."""
    _, fd = ring.attach()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True} if mode == "hold" else {}
    process = subprocess.Popen([sys.executable, __file__, str(fd), mode], pass_fds=(fd,), **pipes)
    os.close(fd)
    while not any(consumer.pid for consumer in ring.stats().consumers):
        time.sleep(0.01)
    return process


def put_small(ring: shmring.Ring) -> None:
    """Commit a stack that says when it was written."""
    with ring.reserve() as writer:
        writer.array[:8].view(np.int64)[0] = time.perf_counter_ns()
        writer.commit(8)


def spin(seconds: float) -> None:
    """Pass the time without sleeping."""
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        pass


def latency(mode: str, title: str) -> None:
    """One stack at a time, so that nothing queues."""
    with shmring.Ring(SMALL, 64) as ring:
        process = start(ring, mode)
        print(title)
        for _ in range(N_SMALL):
            put_small(ring)
            spin(200e-6)
        ring.end()
        process.wait()


def bare_wake() -> None:
    """What the machine itself takes to wake a sleeping process: an eventfd and nothing else."""
    bell, stamp = os.eventfd(0, os.EFD_SEMAPHORE), mmap.mmap(-1, 8)
    child = os.fork()
    if child == 0:
        delays = []
        for _ in range(N_SMALL // 5):
            os.eventfd_read(bell)
            delays.append(time.perf_counter_ns() - int.from_bytes(stamp[:8], "little"))
        print(f"the machine wakes a sleeping process in: median {np.median(delays) / 1e3:.1f} µs", flush=True)
        os._exit(0)
    for _ in range(N_SMALL // 5):
        spin(200e-6)
        stamp[:8] = time.perf_counter_ns().to_bytes(8, "little")
        os.eventfd_write(bell, 1)
    os.waitpid(child, 0)
    os.close(bell)


def turnaround() -> None:
    """One process alone: what the calls cost, without any sleeping and waking."""
    with shmring.Ring(SMALL, 4) as ring, shmring.Consumer(ring.attach()[1]) as consumer:
        times = []
        for _ in range(N_SMALL):
            begin = time.perf_counter_ns()
            put_small(ring)
            consumer.recv().release()
            times.append(time.perf_counter_ns() - begin)
        print(
            f"reserve + write + commit + recv + release, one thread: median {np.median(times) / 1e3:.1f} µs"
        )


def copy_rate() -> float:
    """Bytes per second of one thread that copies between buffers of the ring's total size."""
    source, target = np.ones((8, LARGE), np.uint8), np.ones((8, LARGE), np.uint8)
    begin = time.perf_counter()
    for turn in range(N_LARGE):
        np.copyto(target[turn % 8], source[(turn + 3) % 8])
    return N_LARGE * LARGE / (time.perf_counter() - begin)


def throughput() -> float:
    """Bytes per second from a writer that copies into slots to a worker that copies out of them."""
    source = np.ones((8, LARGE), np.uint8)
    with shmring.Ring(LARGE, 8) as ring:
        process = start(ring, "sleep")
        begin = time.perf_counter()
        for turn in range(N_LARGE):
            with ring.reserve() as writer:
                np.copyto(writer.array[:LARGE], source[turn % 8])
                writer.commit(LARGE)
        ring.end()
        process.wait()
        stats = ring.stats()
        rate = N_LARGE * LARGE / (time.perf_counter() - begin)
        print(f"    high water {stats.high_water} of {stats.n_slots} slots, waited {stats.wait_time_s:.2f} s")
    return rate


def takeover() -> None:
    """From kill -9 of a worker to the arrival of its stack at another one."""
    times = []
    for _ in range(10):
        with shmring.Ring(SMALL, 4) as ring:
            process = start(ring, "hold")
            put_small(ring)
            assert process.stdout is not None
            process.stdout.readline()
            heir = shmring.Consumer(ring.attach()[1])
            begin = time.perf_counter()
            process.kill()
            assert isinstance(heir.recv(), shmring.Stack)
            times.append(time.perf_counter() - begin)
            process.communicate()
            heir.close()
    print(f"kill -9 to redelivery: median {np.median(times) * 1e3:.1f} ms, longest {max(times) * 1e3:.1f} ms")


def main() -> None:
    """Measure and print."""
    turnaround()
    bare_wake()
    latency("sleep", "from the writer to a sleeping worker's array, one stack at a time:")
    latency("poll", "the same to a worker that polls:")
    takeover()
    memory = max(copy_rate() for _ in range(3))
    print(f"one thread copies {memory / 1e9:.2f} GB/s; through the ring, written and read in full:")
    rate = max(throughput() for _ in range(3))
    print(f"    {rate / 1e9:.2f} GB/s, {rate / memory:.2f} of one thread's copying")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        worker(int(sys.argv[1]), sys.argv[2])
    else:
        main()
