"""A simulated 4D STEM scan of a known specimen, made in seconds.

The specimen is a phase object (see `nanoparticle`), the probe is diffraction-limited, each frame is the
squared Fourier transform of the wave behind the specimen, and electrons are counted one by one.  Everything
is deterministic: frame i of a given scan is always the same, whichever way it is asked for.

Diffraction is computed on a coarse grid of 64 × 64 spatial frequencies, whatever the size of the detector;
a detector pattern is its bilinear interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from os import PathLike, cpu_count
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.constants
import scipy.fft

from ._kernels import GRID, active_blocks, count_electrons, dot_dense
from ._phase_objects import ANGSTROM, nanoparticle

__all__ = ["IdealMaps", "Optics", "SimulatedScan", "nanoparticle"]

_BATCH = 64


@dataclass(frozen=True)
class Optics:
    """The probe.

    Parameters
    ----------
    energy_ev
        Beam energy in eV.
    semiconvergence_rad
        Half the opening angle of the beam.
    defocus_m
        Positive for underfocus: C10 = -defocus.
    """

    energy_ev: float = 300e3
    semiconvergence_rad: float = 20e-3
    defocus_m: float = 0.0

    @property
    def wavelength_m(self) -> float:
        """Relativistic wavelength of the electrons.

        Examples
        --------
        >>> round(Optics(energy_ev=300e3).wavelength_m * 1e12, 4)
        1.9687
        """
        c = scipy.constants
        rest = c.m_e * c.c**2 / c.e
        return float(c.h * c.c / c.e / math.sqrt(self.energy_ev * (self.energy_ev + 2 * rest)))


@dataclass(frozen=True)
class IdealMaps:
    """What virtual detectors would see without noise, each in the shape of the scan.

    Parameters
    ----------
    bright_field, dark_field
        Part of all electrons within 1.1 semi-convergence angles of the axis, and beyond 1.3.
    com_y, com_x
        Centre of mass relative to the axis, in detector pixels, in scan coordinates.
    """

    bright_field: npt.NDArray[np.float64]
    dark_field: npt.NDArray[np.float64]
    com_y: npt.NDArray[np.float64]
    com_x: npt.NDArray[np.float64]


class SimulatedScan:
    """A raster scan with counted frames and a known answer.

    Parameters
    ----------
    scan_shape, sig_shape
        Positions and detector pixels, each (y, x).
    electrons
        Mean number of electrons per frame; the time for a frame grows with it.
    dtype
        Unsigned type of the frames.
    depth
        Bits of the detector's counters; counts saturate there.
    optics
        The probe.
    phase
        Phase object on a grid of `sampling_m`, at least ``(n - 1) · step + 64`` points along each axis; a
        `nanoparticle` by default.
    sampling_m, step
        Grid of the specimen, and scan step in points of it.
    scan_rotation, flip_y
        How the detector is mounted: the parameters that make `CoMUDF` right (degrees, see there).
    seed
        For specimen and noise.

    Examples
    --------
    >>> scan = SimulatedScan((8, 8), (32, 32), electrons=500)
    >>> frames = scan.frames(0, 10)
    >>> frames.shape, str(frames.dtype)
    ((10, 32, 32), 'uint16')
    """

    def __init__(
        self,
        scan_shape: tuple[int, int] = (128, 128),
        sig_shape: tuple[int, int] = (256, 256),
        *,
        electrons: float = 20_000,
        dtype: npt.DTypeLike = np.uint16,
        depth: int = 12,
        optics: Optics | None = None,
        phase: npt.ArrayLike | None = None,
        sampling_m: float = 0.125 * ANGSTROM,
        step: int = 2,
        scan_rotation: float = 0.0,
        flip_y: bool = False,
        seed: int = 1,
    ) -> None:
        self.scan_shape = (int(scan_shape[0]), int(scan_shape[1]))
        self.sig_shape = (int(sig_shape[0]), int(sig_shape[1]))
        self.electrons = float(electrons)
        self.dtype = np.dtype(dtype)
        if self.dtype.kind != "u":
            raise ValueError(f"counts need an unsigned dtype, not {self.dtype}")
        self.limit = min((1 << depth) - 1, int(np.iinfo(self.dtype).max))
        self.optics = optics or Optics()
        self.sampling_m = sampling_m
        self.step = step
        self.scan_rotation = scan_rotation
        self.flip_y = flip_y
        self.seed = seed
        needed = tuple((n - 1) * step + GRID for n in self.scan_shape)
        if phase is None:
            phase = nanoparticle((needed[0], needed[1]), sampling_m, seed)
        self._phase = np.asarray(phase, np.float64)
        if self._phase.ndim != 2 or any(n < m for n, m in zip(self._phase.shape, needed, strict=True)):
            raise ValueError(f"the phase object has shape {self._phase.shape}, the scan needs {needed}")
        if self.semiconvergence_grid > GRID / 4:
            raise ValueError(
                f"semi-convergence angle {self.optics.semiconvergence_rad} rad does not fit the sampling of "
                f"{sampling_m} m: use less than {self.optics.wavelength_m / sampling_m / 4:.3g} rad"
            )

    # -- geometry -----------------------------------------------------------------------------------

    @property
    def n_frames(self) -> int:
        """Number of scan positions."""
        return math.prod(self.scan_shape)

    @property
    def step_m(self) -> float:
        """Scan step."""
        return self.step * self.sampling_m

    @property
    def center(self) -> tuple[float, float]:
        """Where the axis meets the detector, (cy, cx) in pixels."""
        return self.sig_shape[0] / 2, self.sig_shape[1] / 2

    @property
    def pixels_per_grid(self) -> float:
        """Detector pixels per point of the grid of spatial frequencies."""
        return min(self.sig_shape) / GRID

    @property
    def pixel_per_m(self) -> float:
        """Spatial frequency between neighbouring detector pixels, in 1/m."""
        return 1 / (GRID * self.sampling_m * self.pixels_per_grid)

    @property
    def semiconvergence_grid(self) -> float:
        """Radius of the direct beam in points of the grid."""
        o = self.optics
        return math.sin(o.semiconvergence_rad) / o.wavelength_m * GRID * self.sampling_m

    @property
    def bright_field_radius(self) -> float:
        """Radius of the direct beam in detector pixels."""
        return self.semiconvergence_grid * self.pixels_per_grid

    # -- what is known --------------------------------------------------------------------------------

    @property
    def phase(self) -> npt.NDArray[np.float64]:
        """The specimen's phase in radians at the scan positions."""
        half = GRID // 2
        rows, columns = ((half, half + n * self.step) for n in self.scan_shape)
        return self._phase[slice(*rows, self.step), slice(*columns, self.step)]

    @cached_property
    def probe(self) -> npt.NDArray[np.complex64]:
        """The probe on the specimen's grid, centred at ``[32, 32]``; its intensity adds up to 1."""
        k = scipy.fft.fftfreq(GRID, 1 / GRID)
        rho = np.hypot(k[:, np.newaxis], k)
        aperture = np.clip(self.semiconvergence_grid + 0.5 - rho, 0, 1)
        alpha = rho / (GRID * self.sampling_m) * self.optics.wavelength_m
        chi = -math.pi / self.optics.wavelength_m * self.optics.defocus_m * alpha**2
        probe = scipy.fft.fftshift(scipy.fft.ifft2(aperture * np.exp(-1j * chi)))
        normalized: npt.NDArray[np.complex64] = (probe / np.linalg.norm(probe)).astype(np.complex64)
        return normalized

    @cached_property
    def ideal(self) -> IdealMaps:
        """Bright field, dark field and centre of mass without noise."""
        k = scipy.fft.fftfreq(GRID, 1 / GRID)
        ky, kx = np.broadcast_arrays(k[:, np.newaxis], k)
        rho = np.hypot(ky, kx) / self.semiconvergence_grid
        weights = np.stack([rho <= 1.1, rho > 1.3, ky * self.pixels_per_grid, kx * self.pixels_per_grid])
        weights = weights.reshape(4, -1).astype(np.float32)
        active = active_blocks(weights)
        maps = np.empty((self.n_frames, 4))

        def fill(first: int, n: int) -> None:
            maps[first : first + n] = dot_dense(self._patterns(first, n), weights, active)

        self._in_batches(fill, 0, self.n_frames)
        return IdealMaps(*(m.reshape(self.scan_shape) for m in maps.T))

    def expected_frames(self, first: int, n: int) -> npt.NDArray[np.float32]:
        """Return the mean of what the detector counts in `n` frames from `first` on, without noise.

        Only for a detector without `scan_rotation` and `flip_y`.
        """
        if self.scan_rotation or self.flip_y:
            raise ValueError("expected_frames() needs a detector without scan_rotation and flip_y")
        tents = [self._tents(size, center) for size, center in zip(self.sig_shape, self.center, strict=True)]
        frames: npt.NDArray[Any] = tents[0].T @ self._patterns(first, n) @ tents[1]
        frames *= self.electrons
        return frames

    # -- frames -----------------------------------------------------------------------------------------

    def frames(
        self, first: int, n: int, out: npt.NDArray[Any] | None = None, *, workers: int | None = None
    ) -> npt.NDArray[Any]:
        """Return counted frames.

        Parameters
        ----------
        first, n
            Which frames, in the order of the scan (line by line).
        out
            Where to write them, shape ``(n, *sig_shape)``.
        workers
            Threads; all cores by default.

        Returns
        -------
        numpy.ndarray
            Shape ``(n, *sig_shape)``.
        """
        if not 0 <= first <= first + n <= self.n_frames:
            raise IndexError(
                f"frames {first} to {first + n - 1} are not among the {self.n_frames} of the scan"
            )
        if out is None:
            out = np.empty((n, *self.sig_shape), self.dtype)
        target = out

        def fill(start: int, count: int) -> None:
            self._count(start, target[start - first : start - first + count])

        self._in_batches(fill, first, n, workers=workers)
        return out

    def write_npy(
        self,
        path: str | PathLike[str],
        *,
        progress: Callable[[int, int], None] | None = None,
        workers: int | None = None,
    ) -> None:
        """Write the whole scan as .npy file of shape ``(*scan_shape, *sig_shape)``.

        Parameters
        ----------
        path
            File to be written.
        progress
            Called with the number of frames done and the number of all frames.
        workers
            Threads; all cores by default.
        """
        shape = (*self.scan_shape, *self.sig_shape)
        file = np.lib.format.open_memmap(path, mode="w+", dtype=self.dtype, shape=shape)
        flat = file.reshape(self.n_frames, *self.sig_shape)
        at_once = 16 * _BATCH
        for first in range(0, self.n_frames, at_once):
            n = min(at_once, self.n_frames - first)
            self.frames(first, n, flat[first : first + n], workers=workers)
            if progress is not None:
                progress(first + n, self.n_frames)
        file.flush()

    # -----------------------------------------------------------------------------------------------------

    @cached_property
    def _transmission(self) -> npt.NDArray[np.complex64]:
        transmission: npt.NDArray[np.complex64] = np.exp(1j * self._phase).astype(np.complex64)
        return transmission

    def _patterns(self, first: int, n: int) -> npt.NDArray[np.float32]:
        """Diffraction patterns in FFT order, each adding up to 1; shape ``(n, 64, 64)``."""
        waves = np.empty((n, GRID, GRID), np.complex64)
        for i, (row, column) in enumerate(zip(*self._positions(first, n), strict=True)):
            np.multiply(self._transmission[row : row + GRID, column : column + GRID], self.probe, waves[i])
        waves = scipy.fft.fft2(waves, overwrite_x=True)
        patterns: npt.NDArray[np.float32] = waves.real**2
        patterns += waves.imag**2
        patterns /= GRID**2
        return patterns

    def _positions(self, first: int, n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        row, column = np.unravel_index(np.arange(first, first + n), self.scan_shape)
        return row * self.step, column * self.step

    def _count(self, first: int, out: npt.NDArray[Any]) -> None:
        n = len(out)
        n_electrons = np.empty(n, np.int64)
        seeds = np.empty(n, np.uint64)
        for i in range(n):
            rng = np.random.Generator(np.random.Philox(key=[self.seed, first + i]))
            n_electrons[i] = rng.poisson(self.electrons)
            seeds[i] = rng.integers(np.iinfo(np.uint64).max, dtype=np.uint64)
        count_electrons(self._patterns(first, n), n_electrons, seeds, self._transform, self.limit, out)

    @cached_property
    def _transform(self) -> npt.NDArray[np.float64]:
        """From the grid to the detector: the inverse of flip, then rotation (see `apply_correction`)."""
        angle = math.radians(self.scan_rotation)
        cos, sin = math.cos(angle), math.sin(angle)
        sign = -1 if self.flip_y else 1
        inverse = np.array([[sign * cos, -sign * sin], [sin, cos]])
        return np.column_stack([inverse * self.pixels_per_grid, self.center])

    def _tents(self, size: int, center: float) -> npt.NDArray[np.float32]:
        """How a grid point along one axis spreads over the pixels, shape ``(64, size)``."""
        k = scipy.fft.fftfreq(GRID, 1 / GRID)
        edges = (np.arange(size + 1) - 0.5 - center) / self.pixels_per_grid - k[:, np.newaxis]
        t = np.clip(edges, -1, 1)
        cumulative = 0.5 + t - 0.5 * t * np.abs(t)
        tents: npt.NDArray[np.float32] = np.diff(cumulative, axis=1).astype(np.float32)
        return tents

    def _in_batches(
        self, task: Callable[[int, int], None], first: int, n: int, *, workers: int | None = None
    ) -> None:
        starts = range(first, first + n, _BATCH)
        counts = [min(_BATCH, first + n - start) for start in starts]
        workers = workers or cpu_count() or 1
        _ = self.probe, self._transmission, self._transform  # made once, not in every thread
        if workers == 1 or len(counts) == 1:
            for start, count in zip(starts, counts, strict=True):
                task(start, count)
            return
        with ThreadPoolExecutor(workers) as pool:
            for _ in pool.map(task, starts, counts):
                pass
