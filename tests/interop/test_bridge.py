"""Our data sets and acquisitions, handed to LiberTEM's own engine, give the results of LiberTEM's data sets.

LiberTEM runs in its own interpreter, named by the environment variable LIVESTEM_LIBERTEM_PYTHON.
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

pytestmark = [
    pytest.mark.skipif(
        not PEER, reason="LIVESTEM_LIBERTEM_PYTHON does not name an interpreter with LiberTEM"
    ),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    target = tmp_path_factory.mktemp("libertem") / "out.npz"
    sources = [str(ROOT / "packages" / name / "src") for name in ("arraystream", "udf-core", "udf-4dstem")]
    done = subprocess.run(
        [str(PEER), str(HERE / "bridged_datasets.py"), str(target)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sources)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(target) as file:
        return dict(file)


@pytest.mark.parametrize("executor", ["inline", "threads"])
@pytest.mark.parametrize("kind", ["all", "roi", "corrected", "snake", "live"])
def test_libertem_finds_the_same_in_our_data_sets(
    kind: str, executor: str, results: dict[str, np.ndarray]
) -> None:
    label = f"theirs {executor} {kind} "
    names = [name.removeprefix(label) for name in results if name.startswith(label)]
    assert len(names) > 15
    for name in names:
        ours, theirs = results[f"ours {executor} {kind} {name}"], results[label + name]
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_positions_without_a_frame_stay_zero(executor: str, results: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(results[f"late {executor}"], results["expected late"])


def test_a_running_acquisition_shows_after_each_partition(results: dict[str, np.ndarray]) -> None:
    assert results["n_partial"] == 6
