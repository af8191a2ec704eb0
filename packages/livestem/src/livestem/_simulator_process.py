"""A simulated detector as a server process of its own, found by the ports it prints.

Runs ``livestem simulate NAME …`` just as a user would in a second terminal, so that what talks to it
goes through real sockets and the vendor's own protocol.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from arraystream import ConnectionFailed

_PORT = re.compile(r"(\w+) on port (\d+)")
PATIENCE_S = 5.0


class SimulatorProcess:
    """Starts a simulator and waits until it listens.

    Parameters
    ----------
    name
        Which one, e.g. ``"merlin"``.
    arguments
        Of its command line; ports may be 0 for any free ones.
    timeout
        Seconds until it has to listen.

    Raises
    ------
    ConnectionFailed
        If it ends or does not listen in time; the text says what it printed.

    Examples
    --------
    >>> with SimulatorProcess("merlin", ["--data", "scan.npy"]) as simulator:  # doctest: +SKIP
    ...     simulator.ports["data"]
    6342
    """

    def __init__(self, name: str, arguments: Sequence[str], timeout: float = 60.0) -> None:
        self.name = name
        self.ports: dict[str, int] = {}
        self._lines: deque[str] = deque(maxlen=200)
        self._news = threading.Condition()
        self._ended = False
        # A session of its own: Ctrl-C in the terminal is for us, and we end the simulator.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "livestem._child_main", "simulate", name, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"simulator-{name}", daemon=True)
        self._reader.start()
        try:
            self._await_ports(timeout)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def output(self) -> list[str]:
        """The last lines that it printed."""
        with self._news:
            return list(self._lines)

    def close(self) -> None:
        """End it, kindly first.  Idempotent."""
        for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                break
            self._process.send_signal(kind)
            try:
                self._process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                continue
        self._reader.join(PATIENCE_S)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # All in one line, so that who sees one of them has them all.
            found = {noun: int(port) for noun, port in _PORT.findall(line)}
            with self._news:
                self._lines.append(line.rstrip())
                self.ports.update(found)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _await_ports(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        with self._news:
            while not self.ports and not self._ended:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._news.wait(left)
            if not self.ports:
                said = self._lines[-1] if self._lines else "nothing"
                raise ConnectionFailed(
                    f"the {self.name} simulator does not listen after {timeout:g} s; it said: {said}"
                )
