"""The same UDF classes give the same results in LiberTEM and here, over the whole contract.

LiberTEM runs all cases once, in its own interpreter, named by the environment variable
LIVESTEM_LIBERTEM_PYTHON.  What is different on purpose is in `DIFFERENT`, with what we do instead.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from udf_core import UDF, Context, MaskContainer

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from contract_run import LookError, run_case  # noqa: E402
from contract_udfs import contract_cases  # noqa: E402

PEER = os.environ.get("LIVESTEM_LIBERTEM_PYTHON")
NAMES = SimpleNamespace(UDF=UDF, MaskContainer=MaskContainer)
CASES = contract_cases(NAMES)

pytestmark = pytest.mark.skipif(
    not PEER, reason="LIVESTEM_LIBERTEM_PYTHON does not name an interpreter with LiberTEM"
)


@pytest.fixture(scope="session")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    target = tmp_path_factory.mktemp("libertem") / "out.npz"
    command = [str(PEER), str(HERE / "libertem_contract.py"), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(target, allow_pickle=True) as file:
        return {name: file[name][0] for name in file.files}


@pytest.fixture(scope="module")
def context():
    with Context.make_with("inline") as context:
        yield context


def load_in(context: Context) -> Any:
    def load(data: np.ndarray, sig_dims: int = 2, sync_offset: int = 0) -> Any:
        return context.load("memory", data, sig_dims=sig_dims, sync_offset=sync_offset, chunk_items=12)

    return load


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Return which facts differ, except error texts and what LiberTEM itself fails to show."""
    found = []
    for fact in sorted({*ours, *theirs}):
        if fact.endswith("/text") or isinstance(theirs.get(fact), LookError):
            continue
        if fact not in ours or fact not in theirs:
            found.append(f"{fact} is missing {'here' if fact in theirs else 'there'}: {ours.get(fact)}")
        elif not alike(fact, ours[fact], theirs[fact]):
            found.append(f"{fact}: {ours[fact]!r} here, {theirs[fact]!r} there")
    return found


def alike(fact: str, ours: Any, theirs: Any) -> bool:
    if fact.endswith("/error"):
        # The builtin or contract class that both know.
        return theirs[0] in ours
    if not isinstance(theirs, np.ndarray):
        return type(ours) is type(theirs) and ours == theirs
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return False
    if ours.dtype.kind in "fc":
        return np.allclose(ours, theirs, rtol=1e-6, atol=1e-6, equal_nan=True)
    if ours.dtype.kind == "V":
        return all(np.array_equal(ours[name], theirs[name]) for name in ours.dtype.names)
    if ours.dtype.kind in "mM":
        return np.array_equal(ours, theirs, equal_nan=True)
    return bool(np.array_equal(ours, theirs))


@pytest.mark.parametrize("name", CASES)
def test_results_are_libertems(name: str, context: Context, theirs: dict[str, Any]) -> None:
    ours = run_case(CASES[name], context, load_in(context))

    assert differences(ours, theirs[name]) == []
