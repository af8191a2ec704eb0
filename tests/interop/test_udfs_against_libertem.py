"""Our UDFs and masks against LiberTEM's, on the same data: names, shapes and values of all results.

LiberTEM runs in its own interpreter, named by the environment variable LIVESTEM_LIBERTEM_PYTHON.
"""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import udf_4dstem
from udf_4dstem import guess_corrections, masks
from udf_4dstem.specimen import SimulatedScan
from udf_core import Context

PEER = os.environ.get("LIVESTEM_LIBERTEM_PYTHON")
SCRIPT = Path(__file__).with_name("libertem_udfs.py")

pytestmark = pytest.mark.skipif(
    not PEER, reason="LIVESTEM_LIBERTEM_PYTHON does not name an interpreter with LiberTEM"
)


def shared_code() -> SimpleNamespace:
    """Return the peer script's definitions without its imports of LiberTEM."""
    tree = ast.parse(SCRIPT.read_text())
    wanted = [
        node
        for node in tree.body
        if isinstance(node, ast.Assign)
        or (isinstance(node, ast.FunctionDef) and node.name in ("weights", "udfs", "generate"))
    ]
    names: dict[str, Any] = {"np": np}
    exec(compile(ast.Module(wanted, []), str(SCRIPT), "exec"), names)
    return SimpleNamespace(**names)


@pytest.fixture(scope="module")
def scan() -> np.ndarray:
    simulated = SimulatedScan((14, 16), (20, 19), electrons=20_000, scan_rotation=40, flip_y=True)
    return simulated.frames(0, simulated.n_frames).reshape(14, 16, 20, 19)


@pytest.fixture(scope="module")
def roi() -> np.ndarray:
    selected = np.random.default_rng(0).random((14, 16)) < 0.8
    selected[5] = True
    return selected


@pytest.fixture(scope="module")
def theirs(scan, roi, tmp_path_factory) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("libertem")
    np.savez(folder / "in.npz", data=scan, roi=roi)
    command = [str(PEER), str(SCRIPT), str(folder / "in.npz"), str(folder / "out.npz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "out.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def ours(scan, roi) -> dict[str, np.ndarray]:
    results = {}
    with Context.make_with("inline") as context:
        dataset = context.load("memory", scan, sig_dims=2, chunk_items=23)
        for label, selection in (("all", None), ("roi", roi)):
            udfs = shared_code().udfs(udf_4dstem, scan.shape[2:])
            for i, result in enumerate(context.run_udf(dataset, udfs, roi=selection)):
                for name, buffer in result.items():
                    results[f"{label} {i} {name}"] = buffer.data
    return results


def test_all_results_have_libertems_names(ours, theirs):
    assert set(ours) == {name for name in theirs if name.startswith(("all", "roi"))}


def test_all_results_have_libertems_shapes_and_values(ours, theirs):
    for name, array in ours.items():
        assert array.shape == theirs[name].shape, name
        # LiberTEM keeps centres of mass, about 10, in single precision, and so all that follows from them.
        scale = np.nanmax(np.abs(theirs[name]), initial=10)
        np.testing.assert_allclose(array, theirs[name], rtol=1e-6, atol=1e-6 * scale, err_msg=name)


def test_rotation_and_flip_are_guessed_alike(ours, theirs, roi):
    shifts = ours["all 6 raw_shifts"]
    for label, selection in (("all", None), ("mask", roi), ("slices", np.s_[2:10, 3:])):
        guess = guess_corrections(shifts[..., 0], shifts[..., 1], roi=selection)
        np.testing.assert_allclose(np.array(guess, float), theirs[f"guess {label}"], atol=1e-4)


def test_masks_are_alike(theirs):
    for name, mask in shared_code().generate(masks).items():
        np.testing.assert_allclose(mask, theirs[f"mask {name}"], atol=1e-12, err_msg=name)
