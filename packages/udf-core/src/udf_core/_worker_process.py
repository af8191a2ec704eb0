"""The main side's handle of one worker process: start it, talk to it, notice its death."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import cloudpickle

from ._channel import Channel, ChannelClosed
from ._devices import Device, environment_of
from ._stuck_process import StackPad

Listener = Callable[[Any, str, Any], None]
"""Called with the worker, with messages of it, and with kind ``"gone"`` and the reason when it has died."""


class WorkerProcess:
    """A worker process.

    Parameters
    ----------
    number
        Of the worker.
    device
        What it computes on; the CPU by default.
    """

    def __init__(self, number: int, device: Device | None = None) -> None:
        self.number = number
        self.device = device or Device()
        self.listener: Listener | None = None
        self.gone = threading.Event()
        self._expected_to_end = False
        self._killed = False
        self.stack_pad = StackPad()
        ours, theirs = socket.socketpair()
        with theirs:
            fds = [theirs.fileno(), self.stack_pad.fd]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "udf_core._worker_main", str(fds[0]), str(number), str(fds[1])],
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                env={**worker_environment(), **environment_of(self.device)},
                process_group=0,
            )
        self.channel = Channel(ours)
        if self.device.kind is not None:
            with contextlib.suppress(ChannelClosed):  # its death is noticed elsewhere
                self.channel.send("device", cloudpickle.dumps(self.device))
        self._reader = threading.Thread(target=self._read, name=f"udf-core-process-{number}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_usable(self) -> bool:
        """Whether it can be given work: not dead, nor killed and about to be."""
        return not (self._killed or self.gone.is_set())

    def kill(self) -> None:
        """End the process at once; the listener is told."""
        self._killed = True
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def ask_to_quit(self) -> None:
        """Ask the process to end itself."""
        self._expected_to_end = True
        with contextlib.suppress(ChannelClosed):
            self.channel.send("quit")

    def wait(self, deadline: float) -> None:
        """Wait until it has ended; kill it when `deadline` (`time.monotonic`) has passed."""
        if not self.gone.wait(max(0.0, deadline - time.monotonic())):
            self.kill()
            self.gone.wait(5.0)

    def _read(self) -> None:
        try:
            while True:
                kind, value, _ = self.channel.recv()
                listener = self.listener
                if listener is not None:
                    listener(self, kind, value)
        except ChannelClosed:
            pass
        finally:
            self._bury()

    def _bury(self) -> None:
        """Make sure that the process has ended, and tell why."""
        try:
            code = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self.channel.close()
        self.gone.set()
        listener = self.listener
        if listener is not None and not self._expected_to_end:
            listener(self, "gone", exit_reason(code))


def exit_reason(code: int) -> str:
    if code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"exited with code {code}"


def worker_environment() -> dict[str, str]:
    """Let the process import what this one can, and compute with one thread."""
    one_thread = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
    )
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    return {**os.environ, **one_thread, "PYTHONPATH": path}
