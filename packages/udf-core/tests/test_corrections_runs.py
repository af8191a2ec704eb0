"""Corrections in runs: every executor, method, tiling and ROI gives the bits of the NumPy model."""

from __future__ import annotations

import sys

import cloudpickle
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arraystream import open_memory
from udf_core import (
    UDF,
    Context,
    CorrectionError,
    CorrectionSet,
    Run,
    Scan,
    SourceDataSet,
)

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class FramesUDF(UDF):
    """Keeps all frames as it sees them."""

    def get_preferred_input_dtype(self):
        return self.params.dtype or self.USE_NATIVE_DTYPE

    def get_tiling_preferences(self):
        return {"depth": self.params.depth, "total_size": self.params.size}

    def get_result_buffers(self):
        sig = tuple(self.meta.dataset_shape.sig)
        return {"frames": self.buffer("nav", sig, dtype=self.meta.input_dtype)}

    def postprocess(self):
        assert self.meta.corrections.have_corrections() == self.params.corrected


class ByTile(FramesUDF):
    def process_tile(self, tile):
        self.results.frames[(slice(None), *self.meta.sig_slice.get())] = tile


class ByFrame(FramesUDF):
    def process_frame(self, frame):
        self.results.frames[:] = frame


class ByPartition(FramesUDF):
    def process_partition(self, partition):
        self.results.frames[:] = partition


def frames_udf(cls=ByTile, *, depth=4, size=400, dtype=None, corrected=True):
    return cls(depth=depth, size=size, dtype=dtype, corrected=corrected)


def case(sig=(16, 9), dtype="u2", seed=0, share=0.05):
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 250, (5, 6, *sig)).astype(dtype)
    return data, rng.random(sig), rng.random(sig) + 0.5, rng.random(sig) < share


@pytest.mark.parametrize("cls", [ByTile, ByFrame, ByPartition])
@pytest.mark.parametrize("selected", ["all", "some"])
def test_runs_give_what_the_one_liner_gives(modelled, context: Context, cls, selected) -> None:
    data, dark, gain, excluded = case()
    roi = None if selected == "all" else np.random.default_rng(1).random((5, 6)) < 0.5
    dataset = context.load("memory", data, chunk_items=7)
    result = context.run_udf(
        dataset, frames_udf(cls), roi=roi, corrections=CorrectionSet(dark, gain, excluded)
    )
    expected = modelled(data, "f4", dark, gain, excluded)
    found = result["frames"].raw_data
    assert found.dtype == np.float32
    np.testing.assert_array_equal(
        found.reshape(-1, 16, 9), expected.reshape(-1, 16, 9) if roi is None else expected[roi]
    )


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_tiling_changes_a_bit(modelled, inline: Context, draw) -> None:
    sig = tuple(draw.draw(st.lists(st.integers(1, 20), min_size=1, max_size=3)))
    stored = draw.draw(st.sampled_from(["?", "u1", "u2", ">u2", "i4", "u8", "f4", ">f4", "f8", "c8"]))
    data, dark, gain, excluded = case(
        sig, stored, draw.draw(st.integers(0, 99)), draw.draw(st.sampled_from([0.0, 0.02, 0.2, 1.0]))
    )
    dark = dark if draw.draw(st.booleans()) else None
    gain = gain if draw.draw(st.booleans()) else None
    udfs = [
        frames_udf(
            draw.draw(st.sampled_from([ByTile, ByTile, ByFrame, ByPartition])),
            depth=draw.draw(st.integers(1, 40)),
            size=draw.draw(st.integers(4, 4000)),
            dtype=draw.draw(st.sampled_from([None, "f4", "f8", "u1"])),
        )
        for _ in range(draw.draw(st.integers(1, 2)))
    ]
    corrections = CorrectionSet(dark, gain, excluded, allow_empty=True)
    roi = None if draw.draw(st.booleans()) else np.random.default_rng(2).random((5, 6)) < 0.6
    dataset = SourceDataSet(
        open_memory(data, len(sig)), scan=Scan((5, 6)), chunk_items=draw.draw(st.integers(1, 31))
    )
    run = Run(
        dataset, udfs, inline.executor, roi=roi, corrections=corrections,
        tile_bytes=draw.draw(st.integers(1, 5000)),
    )  # fmt: skip
    for _ in run.partial_results():
        pass
    for result in run.results.buffers:
        found = result["frames"].raw_data.reshape(-1, *sig)
        expected = modelled(data, found.dtype, dark, gain, excluded)
        expected = expected.reshape(-1, *sig) if roi is None else expected[roi]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("stored", "wanted", "corrections", "expected"),
    [
        ("u2", None, CorrectionSet(), "u2"),
        ("u2", None, CorrectionSet(dark=np.zeros((16, 9))), "f4"),
        ("u2", None, CorrectionSet(excluded_pixels=[]), "f4"),
        ("u4", None, CorrectionSet(gain=np.ones((16, 9))), "f8"),
        ("u2", "f8", CorrectionSet(gain=np.ones((16, 9))), "f8"),
        ("u1", "u2", CorrectionSet(gain=np.ones((16, 9))), "f4"),
        ("c8", None, CorrectionSet(gain=np.ones((16, 9))), "c8"),
        ("?", None, CorrectionSet(gain=np.ones((16, 9))), "f4"),
    ],
)
def test_corrected_data_are_floats(inline: Context, stored, wanted, corrections, expected) -> None:
    dataset = inline.load("memory", case(dtype=stored)[0])
    udf = frames_udf(dtype=wanted, corrected=corrections.have_corrections())
    result = inline.run_udf(dataset, udf, corrections=corrections)
    assert result["frames"].data.dtype == np.dtype(expected)


def test_a_data_set_supplies_corrections_and_an_argument_replaces_them(modelled, inline: Context) -> None:
    data, dark, gain, _ = case(dtype="f4")
    dataset = inline.load("memory", data, corrections=CorrectionSet(dark=dark))

    def frames(corrections, *, corrected=True):
        udf = frames_udf(corrected=corrected)
        return inline.run_udf(dataset, udf, corrections=corrections)["frames"].data

    np.testing.assert_array_equal(frames(None), modelled(data, "f4", dark, None, None))
    np.testing.assert_array_equal(frames(CorrectionSet(gain=gain)), modelled(data, "f4", None, gain, None))
    np.testing.assert_array_equal(frames(CorrectionSet(), corrected=False), data)


def test_partial_results_are_corrected_too(modelled, threads: Context) -> None:
    data, dark, _, _ = case()
    parts = threads.run_udf_iter(threads.load("memory", data), frames_udf(), corrections=CorrectionSet(dark))
    *_, last = parts
    np.testing.assert_array_equal(last.buffers[0]["frames"].data, modelled(data, "f4", dark, None, None))


def test_what_does_not_fit_is_refused_before_the_source_is_started(inline: Context, paced) -> None:
    data = case()[0]
    started = []

    class Watched(SourceDataSet):
        def start(self):
            started.append(1)
            return super().start()

    dataset = Watched(open_memory(data))
    with pytest.raises(CorrectionError, match=r"\(9, 16\).*\(16, 9\)"):
        inline.run_udf(dataset, frames_udf(), corrections=CorrectionSet(np.ones((9, 16))))
    assert not started
    with pytest.raises(CorrectionError, match=r"\(9, 16\)"):
        inline.load("memory", data, corrections=CorrectionSet(np.ones((9, 16))))
    # Where the shape is known from the first item only: before a UDF sees anything.
    feed, unknown = paced(data)
    with pytest.raises(CorrectionError, match=r"\(9, 16\).*\(16, 9\)"):
        inline.run_udf(unknown, frames_udf(), corrections=CorrectionSet(np.ones((9, 16))))
    assert feed.closed
    assert len(unknown.finished) == 1
    result = inline.run_udf(dataset, frames_udf(corrected=False))
    np.testing.assert_array_equal(result["frames"].data, data)


def test_a_data_set_that_supplies_nonsense_is_named(inline: Context) -> None:
    class Odd(SourceDataSet):
        def get_correction_data(self):
            return {"dark": np.ones((16, 9))}

    with pytest.raises(TypeError, match=r"Odd\.get_correction_data\(\) returned a dict"):
        inline.run_udf(Odd(open_memory(case()[0])), frames_udf())


def test_stored_frames_are_not_handed_out_as_they_are(inline: Context) -> None:
    data = case(dtype="f4")[0]
    before = data.copy()
    result = inline.run_udf(
        inline.load("memory", data), frames_udf(), corrections=CorrectionSet(np.ones((16, 9)))
    )
    np.testing.assert_array_equal(result["frames"].data, before - 1)
    np.testing.assert_array_equal(data, before)
