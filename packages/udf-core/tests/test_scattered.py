"""Scans of any positions: frames that are no neighbours come together in tiles, unless a UDF minds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from arraystream import open_memory
from udf_core import UDF, Context, Run, Scan, SourceDataSet

SHAPE = (20, 30)
N = 600


class SumUDF(UDF):
    """Sums of frames, their coordinates, and how often it was called."""

    def get_result_buffers(self):
        return {
            "sum": self.buffer("nav", dtype="f8"),
            "where": self.buffer("nav", extra_shape=(2,), dtype="i8"),
            "calls": self.buffer("single", dtype="i8"),
        }

    def add(self, frames):
        self.results.sum += frames.sum(axis=(-2, -1))
        self.results.where += self.meta.coordinates
        self.results.calls += 1

    def merge(self, dest, src):
        dest.sum[:] = src.sum
        dest.where[:] = src.where
        dest.calls += src.calls


class TileUDF(SumUDF):
    def process_tile(self, tile):
        self.add(tile)


class FrameUDF(SumUDF):
    def process_frame(self, frame):
        assert self.meta.slice.shape.to_tuple() == (1, 4, 5)
        assert self.meta.coordinates.shape == (1, 2)
        self.results.sum += frame.sum()
        self.results.where += self.meta.coordinates[0]
        self.results.calls += 1


class SliceUDF(SumUDF):
    """Asks where its tiles are."""

    def process_tile(self, tile):
        origin, n = self.meta.slice.origin[0], self.meta.slice.shape[0]
        selected = np.ones(SHAPE, bool) if self.meta.roi is None else self.meta.roi
        assert np.array_equal(np.argwhere(selected)[origin : origin + n], self.meta.coordinates)
        self.add(tile)


class AuxUDF(SumUDF):
    """Gets a number for each position."""

    def process_tile(self, tile):
        self.add(tile)
        self.results.sum += self.params.extra


class LateUDF(SumUDF):
    """Asks where its tiles are, but not at first."""

    def process_tile(self, tile):
        if len(tile) > 10:
            _ = self.meta.slice


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 1000, (N, 4, 5)).astype("f4")


@pytest.fixture
def order() -> np.ndarray:
    return np.where(np.random.default_rng(2).random(N) < 0.9, np.random.default_rng(1).permutation(N), -1)


def run(context: Context, frames: np.ndarray, order: np.ndarray, udf: UDF, roi: Any = None) -> Any:
    dataset = SourceDataSet(open_memory(frames), scan=Scan.from_positions(order, SHAPE), chunk_items=100)
    this = Run(dataset, [udf], context.executor, roi=roi)
    for _ in this.partial_results():
        pass
    return this.results.buffers[0]


@pytest.mark.parametrize("with_roi", [False, True])
@pytest.mark.parametrize(
    ("make", "most_calls"),
    [(TileUDF, 110), (FrameUDF, N), (SliceUDF, N), (AuxUDF, N)],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_every_frame_gets_to_its_position(
    inline: Context, frames, order, make: Any, most_calls: int, with_roi: bool
) -> None:
    extra = np.random.default_rng(3).random(N)
    udf = make(extra=UDF.aux_data(extra, kind="nav", dtype="f8")) if make is AuxUDF else make()
    roi = np.random.default_rng(4).random(SHAPE) < 0.7 if with_roi else None
    result = run(inline, frames, order, udf, roi)
    valid = np.zeros(N, bool)
    valid[order[order >= 0]] = True
    if roi is not None:
        valid &= roi.ravel()
    expected = np.zeros(N)
    expected[order[order >= 0]] = frames[order >= 0].sum(axis=(1, 2))
    if make is AuxUDF:
        expected += extra
    assert np.array_equal(result["sum"].valid_mask.ravel(), valid)
    np.testing.assert_allclose(result["sum"].data.ravel()[valid], expected[valid])
    coordinates = np.stack(np.unravel_index(np.arange(N), SHAPE), axis=1)
    assert np.array_equal(result["where"].data.reshape(N, 2)[valid], coordinates[valid])
    assert result["calls"].data[0] <= most_calls


def test_tile_that_is_nowhere_is_an_error_that_says_what_to_do(inline: Context, frames, order) -> None:
    with pytest.raises(Exception, match=r"use meta.sig_slice and meta.coordinates, or set CONTIG") as caught:
        run(inline, frames, order, LateUDF())
    assert any("scan positions" in note and " …" in note for note in caught.value.__notes__)
