"""The programs in docs/moving-from-libertem.md run; those that need LiberTEM run where it is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PEER = os.environ.get("LIVESTEM_LIBERTEM_PYTHON")
PROGRAMS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/moving-from-libertem.md").read_text(), re.DOTALL)
WITH_LIBERTEM = [p for p in PROGRAMS if "libertem" in p and "udf_core.compat" not in p]
WITHOUT = [p for p in PROGRAMS if p not in WITH_LIBERTEM]


def run(interpreter: str, program: str, folder: Path, **environment: str) -> None:
    (folder / "program.py").write_text(program)
    done = subprocess.run(
        [interpreter, "program.py"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("program", WITHOUT, ids=range(len(WITHOUT)))
def test_program_runs_without_libertem(program: str, tmp_path: Path) -> None:
    run(sys.executable, program, tmp_path)


@pytest.mark.skipif(not PEER, reason="LIVESTEM_LIBERTEM_PYTHON does not name an interpreter with LiberTEM")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("program", WITH_LIBERTEM, ids=range(len(WITH_LIBERTEM)))
def test_program_runs_beside_libertem(program: str, tmp_path: Path) -> None:
    sources = [str(ROOT / "packages" / name / "src") for name in ("arraystream", "udf-core", "udf-4dstem")]

    run(str(PEER), program, tmp_path, PYTHONPATH=os.pathsep.join(sources))
