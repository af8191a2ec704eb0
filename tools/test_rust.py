"""Run all Rust tests: unit and property tests, then the loom model of the ring's queues.

Uses cargo-nextest where it is installed and plain ``cargo test`` where it isn't.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORES = ("shmring-core", "receiver-core", "merlin-core", "dectris-core")


def run(command: list[str], **env: str) -> None:
    """Run a command in the workspace; end the script if it fails."""
    print("$", *(f"{name}={value}" for name, value in env.items()), *command, flush=True)
    finished = subprocess.run(command, cwd=ROOT, env=os.environ | env, check=False)
    if finished.returncode:
        raise SystemExit(finished.returncode)


def main() -> None:
    """Run the tests of the cores, then the loom models."""
    packages = [word for core in CORES for word in ("-p", core)]
    if shutil.which("cargo-nextest"):
        run(["cargo", "nextest", "run", "--cargo-profile", "checks", "--locked", *packages])
    else:
        run(["cargo", "test", "--profile", "checks", "--locked", *packages])
    # Loom replaces the atomics, so its build lives in a target directory of its own.
    run(
        ["cargo", "test", "--profile", "checks", "--locked", "-p", "shmring-core", "--lib", "loom"],
        RUSTFLAGS="--cfg loom",
        CARGO_TARGET_DIR=str(ROOT / "target" / "loom"),
    )


if __name__ == "__main__":
    main()
