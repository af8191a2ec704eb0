"""Bring the compiled extension modules up to date with their Rust sources.

The environment installs every package editable; for the Rust ones that leaves the extension module as
it was built then.  This rebuilds them in place, which takes a second when nothing has changed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUST_PACKAGES = ("shmring", "detector-merlin", "detector-dectris")


def main() -> int:
    """Build all extension modules; return the exit code."""
    for package in RUST_PACKAGES:
        command = ["maturin", "develop", "--release", "--skip-install", "--quiet", "--locked"]
        finished = subprocess.run(command, cwd=ROOT / "packages" / package, check=False)
        if finished.returncode:
            print(f"building the extension module of {package} failed", file=sys.stderr)
            return finished.returncode
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
