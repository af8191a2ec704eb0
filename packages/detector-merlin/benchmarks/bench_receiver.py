"""CPU time per frame of the receiver's thread, beside that of a bare reader of the same socket.

    python packages/detector-merlin/benchmarks/bench_receiver.py [frames per second]

A process sends acquisitions over the loopback, as fast as they are taken or at a given rate.  Once
they are received into the ring (one member releases them unread), once by a thread that only calls
``recv_into`` with the same slot size: what no receiver can be better than.  CPU time is that of the
thread alone, as the kernel counts it.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from arraystream import FeedEnd
from detector_merlin import MerlinConnectionBuilder

FORMATS = {  # name: header fields, payload bytes, frames, acquisitions
    "raw-1 quad": ("00768,04,1024,0256,R64,   2x2,0F", 1, 768, 32768, 4000, 4),
    "raw-6 single": ("00384,01,0256,0256,R64,   1x1,01", 6, 384, 65536, 2000, 4),
    "raw-12 quad": ("00768,04,1024,0256,R64,   2x2,0F", 12, 768, 524288, 300, 4),
}
SLOT_BYTES = 2 << 20


def amounts(name: str, rate: float) -> tuple[int, int]:
    """Frames per acquisition, and acquisitions: at a given rate, one of two seconds."""
    *_, n, repeats = FORMATS[name]
    return (n, repeats) if rate == 0 else (max(1, min(n, int(2 * rate))), 1)


def acquisition(fields: str, depth: int, data_offset: int, payload: int, n: int) -> bytes:
    """The bytes of one acquisition."""
    text = f"HDR,\t\r\nFrames in Acquisition (Number):\t{n}\r\nEnd\t".encode().ljust(2048)
    parts = [b"MPX,%010d," % (len(text) + 1), text]
    pixels = bytes(payload)
    for number in range(1, n + 1):
        header = f"MQ1,{number:06d},{fields},t,0.001,0,0,0,,MQ1A,t,1000000ns,{depth},".encode()
        parts += [b"MPX,%010d," % (data_offset + payload + 1), header.ljust(data_offset, b"\0"), pixels]
    return b"".join(parts)


def send(name: str, rate: float) -> None:
    """Send to one client, then end; the port goes to standard output."""
    fields = FORMATS[name][:4]
    n, repeats = amounts(name, rate)
    data = memoryview(acquisition(*fields, n))
    frame_bytes = (len(data) - 2063) // n
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        peer = listener.accept()[0]
        sys.stdin.readline()
        begin = time.perf_counter()
        for repeat in range(repeats):
            if rate == 0:
                peer.sendall(data)
                continue
            peer.sendall(data[:2063])
            for i in range(n):
                due = begin + (repeat * n + i) / rate
                time.sleep(max(0.0, due - time.perf_counter()))
                peer.sendall(data[2063 + i * frame_bytes : 2063 + (i + 1) * frame_bytes])
        sys.stdin.readline()
        peer.close()


class Sender:
    """The sending process."""

    def __init__(self, name: str, rate: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--send", name, str(rate)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._process.stdout.readline())

    def go(self) -> None:
        """Begin, or end."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Let the process close the connection and end."""
        self.go()
        self._process.wait()


def thread_cpu_s(name: str) -> float:
    """CPU time of a thread of this process, by its name."""
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text().strip() == name:
            return int((task / "schedstat").read_text().split()[0]) / 1e9
    raise LookupError(name)


def measure_receiver(name: str, rate: float) -> tuple[float, float]:
    """CPU seconds of the receiver's thread, and seconds in all."""
    n, repeats = amounts(name, rate)
    sender = Sender(name, rate)
    with MerlinConnectionBuilder().open(data_port=sender.port) as connection:
        before = thread_cpu_s("merlin-receiver")
        begin = time.perf_counter()
        sender.go()
        for _ in range(repeats):
            pending = connection.wait_for_acquisition(10)
            connection.wait_for_first_item(pending, 10)
            feed = connection.feed(pending)
            member = feed.join()
            count = 0
            while not isinstance(chunk := member.recv(1.0), FeedEnd):
                count += chunk.n
                feed.settle(member.number, [chunk.lease.token])
                chunk.lease.release()
                del chunk
            assert count == n, (count, n)
            member.close()
            feed.close()
        wall = time.perf_counter() - begin
        cpu = thread_cpu_s("merlin-receiver") - before
    sender.end()
    return cpu, wall


def measure_bare(name: str, rate: float) -> tuple[float, float]:
    """CPU seconds of a thread that only reads, and seconds in all."""
    n, repeats = amounts(name, rate)
    total = repeats * len(acquisition(*FORMATS[name][:4], n))
    sender = Sender(name, rate)
    result = []

    def read() -> None:
        buffer = bytearray(SLOT_BYTES)
        with socket.create_connection(("127.0.0.1", sender.port)) as peer:
            sender.go()
            begin, before, left = time.perf_counter(), time.thread_time(), total
            while left:
                left -= peer.recv_into(buffer, min(left, SLOT_BYTES))
            result.append((time.thread_time() - before, time.perf_counter() - begin))

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    sender.end()
    return result[0]


def main(rate: float) -> None:
    """Measure and print."""
    print(f"{'':14s}{'receiver':>26s}{'bare reader':>26s}{'ratio':>8s}")
    print(f"{'':14s}" + 2 * f"{'us/frame':>10s}{'GB/s':>8s}{'CPU %':>8s}")
    for name, (_, _, data_offset, payload, *_) in FORMATS.items():
        n, repeats = amounts(name, rate)
        frames = n * repeats
        n_bytes = frames * (15 + data_offset + payload)
        line, costs = f"{name:14s}", []
        for measure in (measure_receiver, measure_bare):
            cpu, wall = measure(name, rate)
            costs.append(cpu / frames * 1e6)
            line += f"{costs[-1]:10.2f}{n_bytes / wall / 1e9:8.2f}{100 * cpu / wall:8.1f}"
        print(line + f"{costs[0] / costs[1]:8.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--send"]:
        send(sys.argv[2], float(sys.argv[3]))
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0)
