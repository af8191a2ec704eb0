"""Phase objects: the projected potential of a specimen, as the phase it gives to an electron wave."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy.ndimage

Phase = npt.NDArray[np.float64]

ANGSTROM = 1e-10

#: Lattice constant of the particle, and how far its two grains are turned: a symmetric tilt boundary.
_LATTICE_M = 2.7 * ANGSTROM
_GRAINS_RAD = (math.radians(18.4), math.radians(-18.4))
_BOUNDARY_RAD = math.radians(12)

#: Phases in radians: column of heavy atoms in the particle's middle, light column, adatom, support (rms).
_HEAVY, _LIGHT, _ADATOM, _SUPPORT = 1.1, 0.5, 0.5, 0.05

#: An atom is a sharp core in a wide tail: widths, and their parts of the peak.
_WIDTHS_M = (0.2 * ANGSTROM, 0.45 * ANGSTROM)
_PARTS = (0.75, 0.25)


def nanoparticle(shape: tuple[int, int], sampling_m: float, seed: int = 1) -> Phase:
    """Return the phase of a crystalline particle with a grain boundary on a thin amorphous film.

    The particle fills the middle; its edge is faceted and it thins out towards it.  Columns of heavy atoms
    form a square lattice with light columns in between, turned differently on both sides of the boundary.
    Some single heavy atoms lie on the film, and one corner of the picture is vacuum.

    Parameters
    ----------
    shape
        Grid, (y, x).
    sampling_m
        Size of a grid point in metres.
    seed
        For the film, the adatoms and small displacements of the atoms.

    Returns
    -------
    numpy.ndarray
        Phase in radians, positive (atoms attract electrons).
    """
    rng = np.random.default_rng(seed)
    height, width = (n * sampling_m for n in shape)
    middle = np.array([height / 2, width / 2])
    phase = _film(shape, sampling_m, rng)
    for position, strength in _particle(middle, 0.38 * min(height, width), rng):
        _add_atom(phase, position / sampling_m, strength, sampling_m)
    n_adatoms = max(3, round(height * width / (80 * ANGSTROM**2)))
    for position in rng.uniform((0, 0), (height, width), (n_adatoms, 2)):
        if _film_thickness(position[0] / height, position[1] / width) > 0.5:
            _add_atom(phase, position / sampling_m, _ADATOM, sampling_m)
    return phase


def _film_thickness(v: npt.ArrayLike, u: npt.ArrayLike) -> Phase:
    """Thickness 0…1 at relative position (v, u): the corner at the upper right is free."""
    edge = np.asarray(v) - np.asarray(u) + 0.62 + 0.04 * np.sin(9 * np.asarray(u) + 14 * np.asarray(v))
    thickness: Phase = np.clip(edge / 0.03, 0, 1)
    return thickness


def _film(shape: tuple[int, int], sampling_m: float, rng: np.random.Generator) -> Phase:
    noise = scipy.ndimage.gaussian_filter(
        rng.standard_normal(shape), 0.5 * ANGSTROM / sampling_m, mode="wrap"
    )
    noise *= _SUPPORT / noise.std()
    v, u = np.ogrid[: shape[0], : shape[1]]
    film: Phase = (noise + 3 * _SUPPORT) * _film_thickness(v / shape[0], u / shape[1])
    return film


def _particle(
    middle: npt.NDArray[np.float64], radius: float, rng: np.random.Generator
) -> list[tuple[npt.NDArray[np.float64], float]]:
    """Positions (metres) and phases of the particle's columns."""
    normal = np.array([math.cos(_BOUNDARY_RAD), math.sin(_BOUNDARY_RAD)])
    reach = math.ceil(1.5 * radius / _LATTICE_M)
    columns: list[tuple[npt.NDArray[np.float64], float]] = []
    for side, angle in zip((1, -1), _GRAINS_RAD, strict=True):
        other_grain = np.array([at for at, _ in columns]).reshape(-1, 2)
        a = _LATTICE_M * np.array([math.cos(angle), math.sin(angle)])
        b = _LATTICE_M * np.array([-math.sin(angle), math.cos(angle)])
        for i, j in np.ndindex(2 * reach + 1, 2 * reach + 1):
            for shift, strength in ((0.0, _HEAVY), (0.5, _LIGHT)):
                at = (i - reach + shift) * a + (j - reach + shift) * b
                facets = max(abs(at @ a), abs(at @ b), abs(at @ (a + b)) / 1.3, abs(at @ (a - b)) / 1.3)
                rho = float(facets) / (_LATTICE_M * radius)
                if side * float(at @ normal) < 0 or rho > 1:
                    continue
                position = middle + at
                if (np.hypot(*(other_grain - position).T) < 0.5 * _LATTICE_M).any():
                    continue
                thickness = 0.35 + 0.65 * math.sqrt(1 - rho**2)
                displaced = position + 0.04 * ANGSTROM * rng.standard_normal(2)
                columns.append((displaced, strength * thickness))
    return columns


def _add_atom(phase: Phase, at: npt.NDArray[np.float64], strength: float, sampling_m: float) -> None:
    """Add an atom at a position in grid points."""
    reach = math.ceil(4 * max(_WIDTHS_M) / sampling_m)
    first = np.maximum(np.floor(at).astype(int) - reach, 0)
    last = np.minimum(np.floor(at).astype(int) + reach + 1, phase.shape)
    if (last <= first).any():
        return
    y = np.arange(first[0], last[0]) - at[0]
    x = np.arange(first[1], last[1]) - at[1]
    squared = (y[:, np.newaxis] ** 2 + x**2) * sampling_m**2
    for width, part in zip(_WIDTHS_M, _PARTS, strict=True):
        phase[first[0] : last[0], first[1] : last[1]] += strength * part * np.exp(-squared / (2 * width**2))
