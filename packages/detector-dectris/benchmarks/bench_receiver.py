"""CPU time of the receiver per image: its own thread, and that of libzmq beside it.

    python packages/detector-dectris/benchmarks/bench_receiver.py [images per second]

A process sends one series of 192 x 192 images of 16 bit, bslz4, over the loopback: as fast as they are
taken, or at a given rate.  They are received into the ring; one member releases them unread.  CPU time
is that of the threads, as the kernel counts it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from arraystream import FeedEnd
from detector_dectris._dectris import Receiver, Sender, encode
from shmring.member import RingMember

SHAPE = (192, 192)
N = 40_000
# Electrons per pixel, and what that makes of a compressed image.
DOSES = (0.1, 1.0)
OWN = "dectris-receive"
DEADLINE = 60.0


def send(version: int, dose: float, rate: float) -> None:
    """Send to one client, then end; the endpoint goes to standard output."""
    images = np.random.default_rng(0).poisson(dose, (64, *SHAPE)).astype(np.uint16)
    blobs = encode(images, "bslz4")
    lengths = np.array([len(blob) for blob in blobs], np.uint64)
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.uint64)
    data = np.frombuffer(b"".join(blobs), np.uint8)
    sender = Sender("tcp://127.0.0.1:0", linger=5.0)
    print(sender.endpoint, int(lengths.mean()), flush=True)
    sys.stdin.readline()
    if version == 1:
        config = b'{"nimages":%d,"ntrigger":1,"trigger_mode":"ints"}' % N
        sender.send([b'{"header_detail":"basic","htype":"dheader-1.0","series":1}', config], DEADLINE)
    else:
        head = b"\xa3\x64type\x65start\x69series_id\x01\x70number_of_images\x1a" + N.to_bytes(4, "big")
        sender.send([head], DEADLINE)
    arguments = (1, 0, N, data, offsets, lengths, SHAPE, "uint16", "bslz4")
    sender.send_images(1 if version == 1 else 2, *arguments, rate=rate or None)
    sys.stdin.readline()
    sender.close()


@contextmanager
def sending(version: int, dose: float, rate: float) -> Iterator[tuple[str, int, subprocess.Popen[str]]]:
    """Have the sending process: endpoint, bytes per image."""
    command = [sys.executable, __file__, "--send", str(version), str(dose), str(rate)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        endpoint, n_bytes = process.stdout.readline().split()
        yield endpoint, int(n_bytes), process
        process.stdin.write("\n")


def threads() -> dict[int, str]:
    """Names of the threads of this process."""
    return {int(task.name): (task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()}


def cpu_s(tids: list[int]) -> float:
    """CPU seconds of some threads of this process."""
    times = (Path(f"/proc/self/task/{tid}/schedstat").read_text().split()[0] for tid in tids)
    return sum(int(time) for time in times) / 1e9


def measure(version: int, dose: float, rate: float) -> tuple[int, list[float], float]:
    """Bytes per image, CPU seconds of the receiver's thread and of libzmq, seconds in all."""
    with sending(version, dose, rate) as (endpoint, n_bytes, process):
        others = threads()
        receiver = Receiver([endpoint], slot_bytes=2 << 20, n_slots=64)
        assert receiver.next_event(DEADLINE) == ("connected", 0, {})
        new = {tid: name for tid, name in threads().items() if tid not in others}
        groups = [[tid for tid, name in new.items() if (name == OWN) == is_own] for is_own in (True, False)]
        before = [cpu_s(tids) for tids in groups]
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        event = receiver.next_event(DEADLINE)
        assert event is not None, "nothing came"
        consumer, fd = receiver.attach(1)
        member = RingMember(fd, consumer)
        count, begin = 0, time.perf_counter()
        while not isinstance(chunk := member.recv(DEADLINE), FeedEnd):
            assert chunk is not None, "nothing came"
            count += chunk.n
            receiver.settle(member.number, [chunk.lease.token])
            chunk.lease.release()
            del chunk
        wall = time.perf_counter() - begin
        cpu = [cpu_s(tids) - start for tids, start in zip(groups, before, strict=True)]
        assert count == N, (count, receiver.counters(), receiver.last_error)
        member.close()
        receiver.close()
    return n_bytes, cpu, wall


def main(rate: float) -> None:
    """Measure and print."""
    print(f"{'stream':8s}{'dose':>6s}{'kB':>8s}{'images/s':>10s}{'us/image':>10s}{'+ libzmq':>10s}")
    for version in (1, 2):
        for dose in DOSES:
            n_bytes, (own, zmq), wall = measure(version, dose, rate)
            figures = f"{n_bytes / 1e3:8.1f}{N / wall:10.0f}{own / N * 1e6:10.2f}{zmq / N * 1e6:10.2f}"
            print(f"V{version:<7d}{dose:6.1f}{figures}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--send"]:
        send(int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0)
