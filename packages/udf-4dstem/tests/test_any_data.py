"""Whatever the data, scan, ROI, tiling, type and executor: every UDF says what one line of NumPy says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from udf_4dstem import (
    ApplyMasksUDF,
    CoMUDF,
    DiskUDF,
    LogsumUDF,
    PickUDF,
    PointUDF,
    RingUDF,
    StdDevUDF,
    SumSigUDF,
    SumUDF,
    masks,
)
from udf_core import UDF, Context, Run, Scan

Frames = np.ndarray
"""The frames of the selected positions, in scan order, ``(n, height, width)``, as float64."""


def weights(sig: tuple[int, ...]) -> np.ndarray:
    """Return three masks of small integers, so that sums are exact."""
    return np.random.default_rng(7).integers(-3, 4, (3, *sig)).astype(np.float64)


def masked_sum(frames: Frames, mask: np.ndarray) -> np.ndarray:
    return (frames * mask).sum(axis=(1, 2))


def centre_of_mass(frames: Frames) -> np.ndarray:
    total = frames.sum(axis=(1, 2))
    axes = [np.arange(n, dtype=float) for n in frames.shape[1:]]
    middle = [n // 2 for n in frames.shape[1:]]
    moments = [frames.sum(axis=2) @ axes[0], frames.sum(axis=1) @ axes[1]]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack(
            [np.where(total, m / total, c) for m, c in zip(moments, middle, strict=True)], axis=-1
        )


CASES: dict[str, tuple[Callable[[tuple[int, int]], UDF], str, Callable[[Frames], np.ndarray]]] = {
    "sum": (lambda sig: SumUDF(), "intensity", lambda f: f.sum(axis=0)),
    "sumsig": (lambda sig: SumSigUDF(), "intensity", lambda f: f.sum(axis=(1, 2))),
    "logsum": (
        lambda sig: LogsumUDF(),
        "logsum",
        lambda f: np.log(f - f.min(axis=(1, 2), keepdims=True, initial=np.inf) + 1).sum(axis=0),
    ),
    "masks": (
        lambda sig: ApplyMasksUDF(mask_factories=lambda: weights(sig)),
        "intensity",
        lambda f: np.tensordot(f, weights(f.shape[1:]), axes=((1, 2), (1, 2))),
    ),
    "disk": (
        lambda sig: DiskUDF(cy=2, cx=3, r=2.5),
        "intensity",
        lambda f: masked_sum(f, masks.circular(3, 2, f.shape[2], f.shape[1], 2.5)),
    ),
    "ring": (
        lambda sig: RingUDF(cy=2, cx=3, inner=1, outer=4),
        "intensity",
        lambda f: masked_sum(f, masks.ring(3, 2, f.shape[2], f.shape[1], 4, 1)),
    ),
    "point": (lambda sig: PointUDF(cy=1, cx=2), "intensity", lambda f: f[:, 1, 2]),
    "com": (lambda sig: CoMUDF(), "raw_com", centre_of_mass),
    "stddev": (lambda sig: StdDevUDF(), "var", lambda f: f.var(axis=0)),
    "stddev mean": (lambda sig: StdDevUDF(), "mean", lambda f: f.mean(axis=0)),
    "pick": (lambda sig: PickUDF(), "intensity", lambda f: f),
}


@st.composite
def drawn(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a data set, how it is scanned, what is selected, and how it is cut up."""
    nav = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    sig = (draw(st.integers(3, 9)), draw(st.integers(4, 9)))
    scan = Scan(
        nav,
        offset=draw(st.integers(-2, 2)) if int(np.prod(nav)) > 2 else 0,
        flyback=draw(st.integers(0, 2)),
        snake=draw(st.booleans()),
        flyback_lines=draw(st.integers(0, 1)),
        repeats=draw(st.integers(1, 2)),
    )
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    whole = scan.nav_shape
    dtype = draw(st.sampled_from(["u1", "u2", ">u2", "i4", "u4", "f4", "f8"]))
    return {
        "scan": scan,
        "data": rng.integers(0, 200, (scan.n_items, *sig)).astype(dtype),
        "roi": draw(st.sampled_from([None, rng.random(whole) > 0.4, np.zeros(whole, bool)])),
        "chunk_items": draw(st.integers(1, 12)),
        "tile_bytes": draw(st.sampled_from([1, 100, 1000, 1 << 20])),
        "names": draw(st.lists(st.sampled_from(sorted(CASES)), min_size=1, max_size=4)),
    }


def selected(case: dict[str, Any]) -> tuple[np.ndarray, Frames]:
    """Return which flat positions are selected and have a frame, and those frames in order of position."""
    positions = case["scan"].positions(0, len(case["data"]))
    chosen = positions >= 0
    if case["roi"] is not None:
        chosen &= case["roi"].reshape(-1)[positions]
    order = np.argsort(positions[chosen], kind="stable")
    return positions[chosen][order], case["data"][chosen][order].astype(np.float64)


def check(context: Context, case: dict[str, Any]) -> None:
    """Run the drawn UDFs in one pass and compare each with its one-liner."""
    data = case["data"]
    dataset = context.load("memory", data, sig_dims=2, scan=case["scan"], chunk_items=case["chunk_items"])
    udfs = [CASES[name][0](data.shape[1:]) for name in case["names"]]
    run = Run(dataset, udfs, context.executor, roi=case["roi"], tile_bytes=case["tile_bytes"])
    for _ in run.partial_results():
        pass
    positions, frames = selected(case)
    for name, results in zip(case["names"], run.results.buffers, strict=True):
        _, result_name, one_liner = CASES[name]
        result = results[result_name]
        if not len(frames):
            assert result.kind != "nav" or not result.valid_mask.any()
            continue
        found = result.data
        if result.kind == "nav":
            found = found.reshape(-1, *result.extra_shape)[positions]
        elif name == "pick":  # has a frame of zeros where the scan has none
            inside = np.ones(case["scan"].n_positions, bool)
            inside = inside if case["roi"] is None else case["roi"].reshape(-1)
            found = found[np.isin(np.flatnonzero(inside), positions)]
        wanted = one_liner(frames)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9, err_msg=name)


@pytest.fixture(scope="module", params=["threads", "processes"])
def parallel(request: pytest.FixtureRequest) -> Iterator[Context]:
    with Context.make_with(request.param, cpus=2) as context:
        yield context


relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(case=drawn())
@settings(relaxed, max_examples=100)
def test_every_udf_is_what_numpy_says(context: Context, case: dict[str, Any]) -> None:
    check(context, case)


@given(case=drawn())
@settings(relaxed, max_examples=25)
def test_every_udf_is_what_numpy_says_in_parallel(parallel: Context, case: dict[str, Any]) -> None:
    check(parallel, case)


def test_no_shipped_udf_is_left_out() -> None:
    from importlib.metadata import entry_points

    shipped = {entry.name for entry in entry_points(group="udf_core.udfs") if "udf_4dstem" in entry.value}
    # Recording is no computation; it has tests of its own.
    assert shipped - {"record"} <= set(CASES)
