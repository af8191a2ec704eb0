"""The command line as a child process that ends when its parent does, even if that is killed."""

from __future__ import annotations

import ctypes
import signal

from .cli import main

PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    end_with_parent()
    main(prog_name="livestem")
