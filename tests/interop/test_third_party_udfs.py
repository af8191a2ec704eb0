"""UDFs of LiberTEM-blobfinder, LiberTEM-holo and LiberTEM's documentation give LiberTEM's numbers here.

They run in LiberTEM's interpreter, named by the environment variable LIVESTEM_LIBERTEM_PYTHON: with LiberTEM;
with LiberTEM hidden and our names in its place; and as LiberTEM's objects on our engine, through the bridge.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PEER = os.environ.get("LIVESTEM_LIBERTEM_PYTHON")
PATIENCE_S = 500

pytestmark = [
    pytest.mark.skipif(
        not PEER, reason="LIVESTEM_LIBERTEM_PYTHON does not name an interpreter with LiberTEM"
    ),
    pytest.mark.timeout(900),
]


def run(target: Path, *arguments: str) -> dict[str, np.ndarray]:
    """Run a program in LiberTEM's interpreter, with this checkout of ours; return what it has written."""
    sources = [str(ROOT / "packages" / name / "src") for name in ("arraystream", "udf-core", "udf-4dstem")]
    done = subprocess.run(
        [str(PEER), *arguments, str(target)],
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sources)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(target) as file:
        return dict(file)


def assert_alike(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    assert set(ours) == set(theirs)
    for name, array in theirs.items():
        assert ours[name].shape == array.shape, name
        assert ours[name].dtype.kind == array.dtype.kind, name
        scale = np.nanmax(np.abs(array), initial=1)
        np.testing.assert_allclose(ours[name], array, rtol=1e-5, atol=1e-5 * scale, err_msg=name)


def test_a_program_runs_unmodified_where_libertem_is_hidden(tmp_path: Path) -> None:
    theirs = run(tmp_path / "theirs.npz", "third_party_udfs.py", "inline")
    program = ("-m", "udf_core.compat", "--force", "third_party_udfs.py", "processes")

    assert_alike(run(tmp_path / "ours.npz", *program), theirs)


@pytest.fixture(scope="module")
def bridged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return run(tmp_path_factory.mktemp("libertem") / "out.npz", "bridged_udfs.py")


@pytest.mark.parametrize("executor", ["inline", "threads", "processes"])
def test_libertems_own_objects_run_on_our_engine(executor: str, bridged: dict[str, np.ndarray]) -> None:
    def of(engine: str) -> dict[str, np.ndarray]:
        return {n.partition(": ")[2]: a for n, a in bridged.items() if n.startswith(f"{engine}: ")}

    assert len(of("libertem")) > 90
    assert_alike(of(executor), of("libertem"))
