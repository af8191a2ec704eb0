"""Scans in memory, and one way to run UDFs over them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from udf_core import Context


@pytest.fixture(scope="session")
def context():
    with Context.make_with("inline") as context:
        yield context


@pytest.fixture
def run(context) -> Callable[..., Any]:
    """Run one UDF or several over an array ``(*nav, *sig)``."""

    def run_udf(data: np.ndarray, udf: Any, *, sig_dims: int = 2, chunk_items: int = 7, **kwargs: Any) -> Any:
        dataset = context.load("memory", data, sig_dims=sig_dims, chunk_items=chunk_items)
        return context.run_udf(dataset, udf, **kwargs)

    return run_udf


@pytest.fixture
def counts() -> np.ndarray:
    """A scan of 5 × 6 frames of 11 × 13 pixels; one frame is empty."""
    data = np.random.default_rng(3).poisson(40, (5, 6, 11, 13)).astype(np.uint16)
    data[..., 4:7, 5:9] *= 60
    data[2, 3] = 0
    return data


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Return the directory of recorded data, which is kept apart from the repository."""
    beside = Path(__file__).parents[4] / "shared" / "data"
    directory = Path(os.environ.get("LIVESTEM_TEST_DATA", beside))
    if not directory.is_dir():
        pytest.skip(f"no recorded data: LIVESTEM_TEST_DATA is not set and {directory} does not exist")
    return directory
