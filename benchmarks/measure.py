"""What a process tree has used, and how busy the machine was meanwhile.

CPU time is read from each process's own CPU clock (nanoseconds, all threads, exited ones included) and
summed over the tree; it survives a noisy machine, wall-clock figures don't.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

CPUCLOCK_SCHED = 2
"""Kind of clock in the kernel's clock id of a process (linux/posix-timers.h)."""


def process_tree(pid: int) -> list[int]:
    """Return `pid` and all its living descendants."""
    found, todo = [], [pid]
    while todo:
        parent = todo.pop()
        found.append(parent)
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                todo += map(int, task.read_text().split())
            except OSError:  # the thread has just ended
                continue
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time, user and system, that the tree below `pid` has used so far."""
    total = 0.0
    for member in process_tree(pid):
        try:
            total += time.clock_gettime((~member << 3) | CPUCLOCK_SCHED)
        except OSError:  # it has just ended
            continue
    return total


def memory_bytes(pid: int) -> int:
    """Proportional memory of the tree: shared pages are counted once."""
    total = 0
    for member in process_tree(pid):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def private_bytes(pid: int) -> int:
    """Memory of the tree that belongs to no file: heap and anonymous maps."""
    total = 0
    for member in process_tree(pid):
        try:
            lines = Path(f"/proc/{member}/status").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))
    return total


@dataclass(frozen=True)
class MachineTime:
    """Jiffies of all cores since boot, by what they went into."""

    busy: int
    idle: int
    stolen: int

    @classmethod
    def now(cls) -> MachineTime:
        """Read the counters of the whole machine."""
        fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        user, nice, system, idle, iowait, irq, softirq, steal = fields[:8]
        return cls(busy=user + nice + system + irq + softirq, idle=idle + iowait, stolen=steal)

    def since(self, earlier: MachineTime) -> dict[str, float]:
        """Shares of the cores' time since `earlier`: busy, and stolen by other guests."""
        busy, idle = self.busy - earlier.busy, self.idle - earlier.idle
        stolen = self.stolen - earlier.stolen
        total = max(1, busy + idle + stolen)
        return {"busy": busy / total, "stolen": stolen / total}
