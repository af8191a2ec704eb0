"""What the tests share: waiting for a condition, and running code in a process of its own."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import shmring

LONG = 60.0
"""Deadline in seconds; never expected to be reached."""


@pytest.fixture
def ring() -> Iterator[shmring.Ring]:
    with shmring.Ring(slot_bytes=4096, n_slots=4) as ring:
        yield ring


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Wait for a condition; fail if it does not come about."""

    def wait(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LONG
        while not holds():
            assert time.monotonic() < deadline, "the condition did not come about"
            os.sched_yield()

    return wait


class Script:
    """Python code in a process of its own, its last line of output being its answer."""

    def __init__(self, code: str, *fds: int) -> None:
        command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, fds)]
        self.process = subprocess.Popen(
            command, pass_fds=fds, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def line(self) -> str:
        """Next line that it printed."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        """Let its ``input()`` return."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> list[str]:
        """Wait for its success; the remaining lines."""
        out, _ = self.process.communicate(timeout=LONG)
        assert self.process.returncode == 0, f"exit code {self.process.returncode}"
        return out.splitlines()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=LONG)


@pytest.fixture
def start() -> Iterator[Callable[..., Script]]:
    """Start a `Script`; whatever still runs at the end of the test is killed."""
    scripts: list[Script] = []

    def start_script(code: str, *fds: int) -> Script:
        scripts.append(Script(code, *fds))
        return scripts[-1]

    yield start_script
    for script in scripts:
        if script.process.poll() is None:
            script.kill()
        for pipe in (script.process.stdin, script.process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def attach() -> Callable[..., tuple[int, shmring.Consumer]]:
    """Admit a consumer in this process and wait until the owner has noticed."""

    def join(ring: shmring.Ring, tag: int = 0) -> tuple[int, shmring.Consumer]:
        number, fd = ring.attach(tag)
        consumer = shmring.Consumer(fd)
        deadline = time.monotonic() + LONG
        while not any(c.id == number and c.pid for c in ring.stats().consumers):
            assert time.monotonic() < deadline
        return number, consumer

    return join


@pytest.fixture
def crash_worker() -> Path:
    """The program of a worker that may be killed."""
    return Path(__file__).parent / "crash_worker.py"
