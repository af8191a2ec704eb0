"""Our detector corrections against LiberTEM's: the same data, dark frame, gain map and excluded pixels.

LiberTEM runs in its own interpreter, named by the environment variable LIVESTEM_LIBERTEM_PYTHON.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from udf_4dstem import ApplyMasksUDF, StdDevUDF, SumSigUDF, SumUDF
from udf_core import Context, CorrectionSet
from udf_core.compat._corrections import correct, correct_dot_masks

PEER = os.environ.get("LIVESTEM_LIBERTEM_PYTHON")
SCRIPT = Path(__file__).with_name("libertem_corrections.py")

# LiberTEM compiles its repair anew for each type and number of axes.
pytestmark = [
    pytest.mark.skipif(
        not PEER, reason="LIVESTEM_LIBERTEM_PYTHON does not name an interpreter with LiberTEM"
    ),
    pytest.mark.timeout(400),
]


@pytest.fixture(scope="module")
def shared() -> ModuleType:
    """Return the peer script, which imports LiberTEM only when it is run."""
    spec = importlib.util.spec_from_file_location("libertem_corrections", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    path = tmp_path_factory.mktemp("libertem") / "out.npz"
    command = [str(PEER), str(SCRIPT), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=360, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(path) as file:
        return dict(file)


def udfs(sig: tuple[int, ...]) -> list[Any]:
    weights = np.random.default_rng(7).random((2, *sig)).astype(np.float32)
    return [SumUDF(), SumSigUDF(), StdDevUDF(), ApplyMasksUDF(mask_factories=lambda: weights)]


def load(context: Context, data: np.ndarray, sig_dims: int) -> Any:
    return context.load("memory", data=data, sig_dims=sig_dims, chunk_items=7)


def test_corrected_arrays_and_masks_are_alike(shared: ModuleType, theirs: dict[str, np.ndarray]) -> None:
    ours = shared.correct_cases(correct, correct_dot_masks)
    assert set(ours) == {name for name in theirs if name.startswith(("correct", "masks", "sparse"))}
    for name, array in ours.items():
        if not name.startswith("sparse"):
            assert array.dtype == theirs[name].dtype, name
        np.testing.assert_allclose(array, theirs[name], rtol=2e-6, atol=2e-5, err_msg=name)


def test_udfs_see_the_same_corrected_frames(shared: ModuleType, theirs: dict[str, np.ndarray]) -> None:
    with Context.make_with("inline") as context:
        ours = shared.run_cases(context, CorrectionSet, udfs, load)
    assert set(ours) == {name for name in theirs if name.startswith("(")}
    for name, array in ours.items():
        assert array.shape == theirs[name].shape, name
        scale = np.nanmax(np.abs(theirs[name]), initial=1)
        np.testing.assert_allclose(array, theirs[name], rtol=1e-5, atol=1e-5 * scale, err_msg=name)


def test_tiles_of_the_documented_example_avoid_the_defects() -> None:
    corrections = CorrectionSet(excluded_pixels=[(31, 5), (63, 100)])
    assert corrections.adjust_tileshape((2, 64, 128), (128, 128), (4, 128)) == (2, 60, 128)
