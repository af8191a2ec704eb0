"""The simulated scan: deterministic, counted, and physically right."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from udf_4dstem import CoMUDF, DiskUDF, RingUDF, guess_corrections
from udf_4dstem.specimen import Optics, SimulatedScan, nanoparticle

FOURTH_ORDER_SLOPE = np.array([1, -8, 0, 8, -1]) / 12


@pytest.fixture(scope="module")
def scan() -> SimulatedScan:
    return SimulatedScan((24, 30), (64, 64), electrons=5000)


def gradient_of_blurred_phase(scan: SimulatedScan) -> tuple[np.ndarray, np.ndarray]:
    """(1/2π) |P|² ⋆ ∇φ in detector pixels, from the specimen's grid and by Fourier transform."""
    phase = np.pad(scan._phase, 32, mode="edge")
    intensity = np.zeros_like(phase)
    intensity[:64, :64] = np.abs(scan.probe) ** 2
    intensity = np.roll(intensity, (-32, -32), axis=(0, 1))
    kernel = np.conj(np.fft.fft2(intensity))
    maps = []
    for axis in (0, 1):
        slope = scipy.ndimage.correlate1d(phase, FOURTH_ORDER_SLOPE, axis=axis, mode="nearest")
        blurred = np.fft.ifft2(np.fft.fft2(slope) * kernel).real[32:-32, 32:-32]
        per_m = blurred / scan.sampling_m / (2 * np.pi)
        picked = per_m[32 :: scan.step, 32 :: scan.step][: scan.scan_shape[0], : scan.scan_shape[1]]
        maps.append(picked / scan.pixel_per_m)
    return maps[0], maps[1]


def test_center_of_mass_is_the_gradient_of_the_phase_seen_through_the_probe(scan):
    expected_y, expected_x = gradient_of_blurred_phase(scan)
    for measured, expected in ((scan.ideal.com_y, expected_y), (scan.ideal.com_x, expected_x)):
        assert np.abs(expected).max() > 0.5
        np.testing.assert_allclose(measured, expected, atol=0.02 * np.abs(expected).max())
        slope = (measured * expected).sum() / (expected**2).sum()
        assert slope == pytest.approx(1, abs=0.005)


def test_frames_are_the_same_however_they_are_asked_for(scan):
    together = scan.frames(100, 200)
    np.testing.assert_array_equal(scan.frames(100, 200, workers=1), together)
    np.testing.assert_array_equal(scan.frames(150, 3), together[50:53])
    again = SimulatedScan((24, 30), (64, 64), electrons=5000)
    np.testing.assert_array_equal(again.frames(299, 1), together[199:])
    other = SimulatedScan((24, 30), (64, 64), electrons=5000, seed=2)
    assert (other.frames(100, 1) != together[:1]).any()


def test_counts_scatter_around_the_expected_frame():
    flat = SimulatedScan((20, 100), (32, 32), electrons=2000, phase=np.zeros((102, 262)))
    frames = flat.frames(0, 2000).astype(np.float64)
    expected = flat.expected_frames(0, 1)[0]
    assert expected.sum() == pytest.approx(2000, rel=1e-5)
    error = frames.mean(axis=0) - expected
    assert (np.abs(error) < 5.5 * np.sqrt((expected + 1e-3) / 2000)).all()
    bright = expected > 1
    assert (frames.var(axis=0)[bright] / expected[bright]).mean() == pytest.approx(1, abs=0.02)
    totals = frames.sum(axis=(1, 2))
    assert totals.var() == pytest.approx(2000, rel=0.15)


def test_algorithms_find_the_ideal_maps(scan, run):
    data = scan.frames(0, scan.n_frames).reshape(24, 30, 64, 64)
    r = scan.bright_field_radius
    disk, ring, com = run(
        data,
        [DiskUDF(r=1.15 * r), RingUDF(inner=1.3 * r, outer=60), CoMUDF()],
        chunk_items=64,
    )
    ideal = scan.ideal
    for measured, wanted in ((disk, ideal.bright_field), (ring, ideal.dark_field)):
        error = measured["intensity"].data / scan.electrons - wanted
        assert np.abs(error.mean()) < 0.003
        assert error.std() < 0.02
    # The noise of a mean position is the width of the pattern over the root of the number of electrons.
    assert np.abs(com["field_y"].data - ideal.com_y).std() < 1.5 * r / np.sqrt(5000)
    assert np.abs(com["field_x"].data - ideal.com_x).std() < 1.5 * r / np.sqrt(5000)


def test_atoms_are_bright_in_the_dark_field_and_dark_in_the_bright_field(scan):
    strong = scan.phase > np.quantile(scan.phase, 0.97)
    assert scan.ideal.dark_field[strong].mean() > 2 * scan.ideal.dark_field.mean()
    assert scan.ideal.bright_field[strong].mean() < scan.ideal.bright_field.mean()


@pytest.mark.parametrize(("angle", "flip_y"), [(30, False), (-75, True)])
def test_a_turned_detector_is_found_out(run, angle, flip_y):
    turned = SimulatedScan((24, 30), (64, 64), electrons=50_000, scan_rotation=angle, flip_y=flip_y)
    data = turned.frames(0, turned.n_frames).reshape(24, 30, 64, 64)
    shifts = run(data, CoMUDF(), chunk_items=64)["raw_shifts"].data
    guess = guess_corrections(shifts[..., 0], shifts[..., 1])
    assert guess.flip_y == flip_y
    assert guess.scan_rotation == pytest.approx(angle, abs=3)
    field = run(data, CoMUDF(scan_rotation=angle, flip_y=flip_y), chunk_items=64)
    assert np.abs(field["field_y"].data - turned.ideal.com_y).std() < 0.1
    assert np.abs(field["field_x"].data - turned.ideal.com_x).std() < 0.1
    with pytest.raises(ValueError, match="scan_rotation"):
        turned.expected_frames(0, 1)


@pytest.mark.parametrize(("dtype", "depth", "limit"), [("u1", 12, 255), ("u2", 12, 4095), ("u2", 6, 63)])
def test_counters_saturate(dtype, depth, limit):
    scan = SimulatedScan((1, 1), (8, 8), electrons=200_000, dtype=dtype, depth=depth)
    assert scan.frames(0, 1).max() == limit


def test_the_detector_may_have_any_shape():
    scan = SimulatedScan((2, 2), (96, 130), electrons=3000)
    assert scan.center == (48, 65)
    assert scan.bright_field_radius == pytest.approx(scan.semiconvergence_grid * 1.5)
    y, x = scipy.ndimage.center_of_mass(scan.frames(0, 4).sum(axis=0))
    assert (y, x) == (pytest.approx(48, abs=1), pytest.approx(65, abs=1))


def test_a_file_is_written_with_progress(tmp_path, scan):
    seen = []
    scan.write_npy(tmp_path / "scan.npy", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (720, 720)
    data = np.load(tmp_path / "scan.npy", mmap_mode="r")
    assert data.shape == (24, 30, 64, 64)
    np.testing.assert_array_equal(data[10, 7], scan.frames(307, 1)[0])


def test_the_wavelength_is_relativistic():
    assert Optics(energy_ev=300e3).wavelength_m == pytest.approx(1.96875e-12, rel=1e-5)
    assert Optics(energy_ev=80e3).wavelength_m == pytest.approx(4.17572e-12, rel=1e-5)


def test_defocus_widens_the_probe():
    focus = SimulatedScan((1, 1), (8, 8)).probe
    defocus = SimulatedScan((1, 1), (8, 8), optics=Optics(defocus_m=10e-9)).probe
    assert np.abs(defocus).max() < 0.7 * np.abs(focus).max()
    assert np.linalg.norm(defocus) == pytest.approx(1, rel=1e-5)


def test_the_particle_is_reproducible_and_attracts():
    phase = nanoparticle((100, 120), 0.25e-10, seed=5)
    np.testing.assert_array_equal(phase, nanoparticle((100, 120), 0.25e-10, seed=5))
    assert phase.shape == (100, 120)
    assert phase.min() > -0.2
    assert 0.5 < phase.max() < 3
    assert phase[0, -1] == 0  # vacuum


def test_impossible_scans_are_errors(scan):
    with pytest.raises(IndexError, match="719 to 720"):
        scan.frames(719, 2)
    with pytest.raises(ValueError, match="the scan needs"):
        SimulatedScan((4, 4), (8, 8), phase=np.zeros((64, 70)))
    with pytest.raises(ValueError, match="unsigned"):
        SimulatedScan((4, 4), (8, 8), dtype=np.int16)
    with pytest.raises(ValueError, match="does not fit the sampling"):
        SimulatedScan((4, 4), (8, 8), optics=Optics(semiconvergence_rad=60e-3))
