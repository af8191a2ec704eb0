"""The guides' programs and the examples do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from livestem import LiveContext

detector_merlin = pytest.importorskip("detector_merlin")
detector_dectris = pytest.importorskip("detector_dectris")
pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).resolve().parents[3]
GUIDES = [ROOT / "README.md", ROOT / "packages/livestem/README.md", *sorted(ROOT.glob("docs/*.md"))]
PATIENCE_S = 120

if not (ROOT / "docs").is_dir():
    pytest.skip("the guides are not part of the installed package", allow_module_level=True)


def programs() -> list[Any]:
    """Find the whole programs among the guides' Python blocks: those with imports and a live connection."""
    found = []
    for guide in GUIDES:
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", guide.read_text(), re.DOTALL)):
            if "import" in block and "make_connection" in block:
                found.append(pytest.param(block, id=f"{guide.relative_to(ROOT)}-{number}"))
    return found


@contextmanager
def simulated_detector(program: str, frames: npt.NDArray[Any]) -> Iterator[str]:
    """Run the detector that a program connects to; give the program with this one's ports."""
    active = "get_active_controller" in program
    if '"dectris"' in program:
        with detector_dectris.DectrisSimulator(
            frames, autostart=not active, autostart_delay_s=0.0, stream_mode="enabled"
        ) as detector:
            here = f'api_host="127.0.0.1", api_port={detector.api_port}, data_port={detector.legacy_port}'
            yield program.replace('api_host="127.0.0.1"', here)
        return
    with detector_merlin.MerlinSimulator(frames, autostart=not active) as detector:
        here = f'data_host="127.0.0.1", data_port={detector.data_port}, api_port={detector.control_port}'
        yield program.replace('data_host="127.0.0.1"', here)


@pytest.mark.parametrize("program", programs())
def test_program_of_a_guide_runs(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, columns = map(int, re.findall(r"nav_shape=\((\d+), (\d+)\)", program)[0])
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    with simulated_detector(program, np.ones((rows, columns, 16, 16), "u2")) as text:
        assert text != program
        exec(compile(text, "guide", "exec"), names)

    assert isinstance(names["ctx"], LiveContext)
    assert names["result"]


def run_example(name: str, *arguments: str, folder: Path) -> str:
    finished = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        cwd=folder,
        text=True,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_example_with_an_own_algorithm_agrees_live_and_offline(tmp_path: Path) -> None:
    assert "live and offline agree" in run_example("own_algorithm.py", folder=tmp_path)


def test_example_with_live_pictures_draws_them(tmp_path: Path) -> None:
    frames = np.random.default_rng(1).poisson(3.0, (8, 8, 32, 32)).astype("u2")
    with detector_merlin.MerlinSimulator(frames, autostart=True) as detector:
        output = run_example(
            "live_com.py", "8x8", "--url", f"merlin://127.0.0.1:{detector.data_port}", folder=tmp_path
        )

    assert "lost frames: 0" in output
    assert {path.name for path in tmp_path.iterdir()} == {"field.png", "divergence.png"}
