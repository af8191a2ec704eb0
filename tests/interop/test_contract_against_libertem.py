"""The same UDF classes give the same results in LiberTEM and here, over the whole contract.

LiberTEM runs all cases once, in its own interpreter, named by the environment variable
LIVESTEM_LIBERTEM_PYTHON.  What is different on purpose is in `DIFFERENT`, with what we do instead.
"""

from __future__ import annotations

import os
import re
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
from contract_udfs import contract_cases, rois  # noqa: E402

PEER = os.environ.get("LIVESTEM_LIBERTEM_PYTHON")
NAMES = SimpleNamespace(UDF=UDF, MaskContainer=MaskContainer)
CASES = contract_cases(NAMES)

pytestmark = [
    pytest.mark.skipif(
        not PEER, reason="LIVESTEM_LIBERTEM_PYTHON does not name an interpreter with LiberTEM"
    ),
    pytest.mark.timeout(600),  # the first test waits until LiberTEM has run all cases
]

# Where we differ on purpose: which facts of which cases.  What we do is tested below.
_BLANKS = r"/(inner|bounding|masked|raw_masked|valid_mask)$"
DIFFERENT = {
    # Text that nobody wrote is empty, not "0".
    "untouched_text": r"/(data|raw_data|array)$",
    # The type that get_results() returned stays, with a ROI as without.
    "other_type_of_the_same_kind": r"^some/.*/(data|array)$",
    # raw_data has one navigation axis, however the result was returned.
    "results_in_full_navigation_shape": r"/(raw_data|raw_masked)$",
    # With a ROI, merge() sees the aux data of the positions that are merged.
    "aux_data_elsewhere": r"^some/0/merged/(data|raw_data|array)$",
    # Positions without a frame are not valid.  With a ROI and a positive offset LiberTEM fails.
    "sync_offset_4": rf"^None/.*{_BLANKS}|^some/",
    "sync_offset_30": rf"^None/.*{_BLANKS}|^some/",
    # With a ROI and a negative offset it looks at other frames than without the ROI.
    "sync_offset_minus_4": rf"{_BLANKS}|^some/0/total/(data|raw_data|array)$",
    "sync_offset_minus_30": rf"{_BLANKS}|^some/0/total/(data|raw_data|array)$",
}


@pytest.fixture(scope="session")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    target = tmp_path_factory.mktemp("libertem") / "out.npz"
    command = [str(PEER), str(HERE / "libertem_contract.py"), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
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


@pytest.mark.parametrize("name", [name for name in CASES if name not in DIFFERENT])
def test_results_are_libertems(name: str, context: Context, theirs: dict[str, Any]) -> None:
    ours = run_case(CASES[name], context, load_in(context))

    assert differences(ours, theirs[name]) == []


@pytest.mark.parametrize("name", DIFFERENT)
def test_results_differ_where_they_shall_and_nowhere_else(
    name: str, context: Context, theirs: dict[str, Any]
) -> None:
    ours = run_case(CASES[name], context, load_in(context))

    found = differences(ours, theirs[name])

    assert found, f"{name} does not differ any more"
    assert [d for d in found if not re.search(DIFFERENT[name], d.split(":")[0].split(" is missing")[0])] == []


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_executors_agree(executor: str, context: Context) -> None:
    with Context.make_with(executor, cpus=2) as other:
        for name, case in CASES.items():
            here = run_case(case, context, load_in(context))
            there = run_case(case, other, load_in(other))
            assert differences(here, there) == [], name


def test_text_that_nobody_wrote_is_empty(context: Context) -> None:
    facts = run_case(CASES["untouched_text"], context, load_in(context))

    assert set(facts["None/0/text/data"].flat) == {""}
    assert set(facts["None/0/bytes/data"].flat) == {b""}


def test_results_keep_the_type_they_were_returned_with(context: Context) -> None:
    facts = run_case(CASES["other_type_of_the_same_kind"], context, load_in(context))

    for selection in ("None", "some"):
        assert facts[f"{selection}/0/n/data"].dtype == np.dtype("i8")
        assert facts[f"{selection}/0/total/data"].dtype == np.dtype("f8")


def test_raw_data_is_flat_even_if_the_result_was_not(context: Context) -> None:
    facts = run_case(CASES["results_in_full_navigation_shape"], context, load_in(context))

    assert facts["None/0/total/raw_data"].shape == (35,)
    assert facts["some/0/total/raw_data"].shape == (rois()["some"].sum(),)


def test_merge_sees_the_aux_data_of_the_positions_it_merges(context: Context) -> None:
    facts = run_case(CASES["aux_data_elsewhere"], context, load_in(context))

    np.testing.assert_array_equal(facts["some/0/merged/raw_data"], 2 * np.flatnonzero(rois()["some"]))


@pytest.mark.parametrize("offset", [4, 30, -4, -30])
def test_positions_without_a_frame_are_not_valid(offset: int, context: Context) -> None:
    facts = run_case(CASES[f"sync_offset_{offset}".replace("-", "minus_")], context, load_in(context))

    frame = np.arange(35) + offset
    has_frame = ((frame >= 0) & (frame < 35)).reshape(5, 7)
    np.testing.assert_array_equal(facts["None/0/total/valid_mask"], has_frame)
    np.testing.assert_array_equal(facts["some/0/total/valid_mask"], has_frame & rois()["some"])
    assert not facts["None/0/total/data"][~has_frame].any()
    np.testing.assert_array_equal(
        facts["some/0/total/data"][rois()["some"]], facts["None/0/total/data"][rois()["some"]]
    )
