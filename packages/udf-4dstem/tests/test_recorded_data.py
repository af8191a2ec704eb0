"""Against an independent simulation: graphene by abTEM, counted, with its ideal maps."""

from __future__ import annotations

import numpy as np
import pytest

from udf_4dstem import CoMUDF, SumSigUDF, SumUDF


@pytest.fixture(scope="module")
def graphene(test_data):
    path = test_data / "sim_abtem" / "graphene_counts_small.npz"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    with np.load(path) as file:
        return dict(file)


def test_counts_of_graphene(run, graphene):
    sums, frame_sums, com = run(graphene["counts"], [SumUDF(), SumSigUDF(), CoMUDF.with_params(cy=24, cx=24)])
    counts = graphene["counts"].astype(np.int64)
    np.testing.assert_array_equal(sums["intensity"].data, counts.sum(axis=(0, 1)))
    np.testing.assert_array_equal(frame_sums["intensity"].data, counts.sum(axis=(2, 3)))
    # Poisson noise: 2000 electrons, patterns 7 pixels wide.
    total = frame_sums["intensity"].data
    assert total.mean() == pytest.approx(2000, rel=0.005)
    for axis, name in ((0, "comx_ideal_px"), (1, "comy_ideal_px")):
        error = com["raw_shifts"].data[..., axis] - graphene[name]
        assert abs(error.mean()) < 0.02
        assert error.std() < 0.15
        smooth = np.fft.fft2(com["raw_shifts"].data[..., axis])
        truth = np.fft.fft2(graphene[name])
        strongest = np.argsort(np.abs(truth).ravel())[-2:]
        np.testing.assert_allclose(smooth.ravel()[strongest], truth.ravel()[strongest], rtol=0.2)
