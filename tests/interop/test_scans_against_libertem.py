"""Sync offsets and regions against LiberTEM's: which frame is where, and what the results look like.

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
import scipy.sparse
import sparse

from udf_core import UDF, Context

PEER = os.environ.get("LIVESTEM_LIBERTEM_PYTHON")
SCRIPT = Path(__file__).with_name("libertem_scans.py")

pytestmark = [
    pytest.mark.timeout(500),
    pytest.mark.skipif(
        not PEER, reason="LIVESTEM_LIBERTEM_PYTHON does not name an interpreter with LiberTEM"
    ),
]

SHAPE = (8, 8)


def shared_code() -> SimpleNamespace:
    """Return the peer script's definitions without its imports of LiberTEM."""
    wanted = [
        node for node in ast.parse(SCRIPT.read_text()).body if isinstance(node, (ast.Assign, ast.FunctionDef))
    ]
    names: dict[str, Any] = {"np": np, "scipy": scipy, "sparse": sparse}
    exec(compile(ast.Module(wanted, []), str(SCRIPT), "exec"), names)
    return SimpleNamespace(**names)


@pytest.fixture(scope="module")
def data() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 1000, (*SHAPE, 6, 7)).astype("u2")


@pytest.fixture(scope="module")
def roi() -> np.ndarray:
    return np.random.default_rng(1).random(SHAPE) < 0.5


@pytest.fixture(scope="module")
def theirs(data, roi, tmp_path_factory) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("libertem")
    np.savez(folder / "in.npz", data=data, roi=roi)
    command = [str(PEER), str(SCRIPT), str(folder / "in.npz"), str(folder / "out.npz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "out.npz") as file:
        return dict(file)


@pytest.mark.filterwarnings("ignore:ROI dtype is int64")
@pytest.mark.parametrize("offset", shared_code().OFFSETS)
def test_results_of_shifted_scans_and_regions_are_libertems(theirs, data, roi, offset: int) -> None:
    code = shared_code()
    with Context.make_with("inline") as context:
        dataset = context.load("memory", data, sig_dims=2, sync_offset=offset, chunk_items=13)
        for name, region in code.regions(roi, offset).items():
            result = context.run_udf(dataset, code.where_and_what(UDF), roi=region)
            for key, array in code.collect(result).items():
                what = f"{offset} {name} {key}"
                assert array.shape == theirs[what].shape, what
                np.testing.assert_array_equal(array, theirs[what], err_msg=what)
            # LiberTEM calls positions valid that have no frame; ours are not.
            there = (np.arange(64) + offset >= 0) & (np.arange(64) + offset < 64)
            if region is None:
                assert np.array_equal(result["sum"].valid_mask.ravel(), there)
                assert np.array_equal(theirs[f"{offset} {name} sum"].ravel() != 0, there)
            assert np.count_nonzero(result["sum"].valid_mask) == result["n"].data[0]


def test_coordinates_of_the_last_two_frames_follow_the_target(theirs) -> None:
    coordinates = theirs["-62 all positions coordinates"].reshape(64, 2)
    assert coordinates[62:].tolist() == [[7, 6], [7, 7]]
    assert not coordinates[:62].any()
