"""What the axes of a scan and of a detector are called, and where their points lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ._shape import Shape

_NAV_NAMES = {1: ("scan",), 2: ("y", "x"), 3: ("z", "y", "x")}
_SIG_NAMES = {1: ("k",), 2: ("ky", "kx"), 3: ("kz", "ky", "kx")}


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis with equal distances.

    Parameters
    ----------
    name
        What it is called; empty for the usual name.
    scale
        Distance of neighbouring points.
    units
        Of `scale` and `offset`; empty for points.
    offset
        Where the first point is.
    """

    name: str = ""
    scale: float = 1.0
    units: str = ""
    offset: float = 0.0

    def points(self, extent: int) -> npt.NDArray[Any]:
        """Return where the points of the axis lie; plain numbers of points if nothing else is known."""
        numbers = np.arange(extent)
        if not self.units and self.scale == 1.0 and self.offset == 0.0:
            return numbers
        return self.offset + self.scale * numbers


@dataclass(frozen=True, slots=True)
class Axes:
    """Axes of a data set, for exports.

    Parameters
    ----------
    nav, sig
        Axes of the scan and of a frame, slowest first: `Axis` or just names.  Those that are not given are
        called (z,) y, x and (kz,) ky, kx.

    Examples
    --------
    >>> Axes(nav=[Axis("y", 0.5, "nm"), Axis("x", 0.5, "nm")], sig=["qy", "qx"]).nav[0].points(3).tolist()
    [0.0, 0.5, 1.0]
    """

    nav: Sequence[Axis | str] = ()
    sig: Sequence[Axis | str] = ()

    def named(self, n_nav: int, n_sig: int) -> tuple[tuple[Axis, ...], tuple[Axis, ...]]:
        """Return all axes with names, no two of them alike.

        Raises
        ------
        ValueError
            If there are more or fewer axes than the data have, or two of the same name.
        """
        nav = _complete("nav", self.nav, n_nav, _NAV_NAMES)
        sig = _complete("sig", self.sig, n_sig, _SIG_NAMES)
        names = [axis.name for axis in (*nav, *sig)]
        if len(set(names)) != len(names):
            raise ValueError(f"the axes are called {', '.join(names)}; give each a name of its own")
        return nav, sig


def axes_of(given: Axes | Mapping[str, Any] | None, found: Iterable[Mapping[str, Any]], shape: Shape) -> Axes:
    """Return the axes that somebody gave, else those that the file had.

    Parameters
    ----------
    given
        As the user said: `Axes`, or a mapping with ``nav`` and ``sig``.
    found
        Plain values as in ``ItemDescriptor.meta["axes"]``.
    shape
        Of the data set; axes found are used only where their number fits.
    """
    if isinstance(given, Axes):
        return given
    if given is not None:
        return Axes(**given)
    axes = [Axis(**known) for known in found]
    n_sig = len(shape.sig)
    sig = axes[len(axes) - n_sig :] if len(axes) >= n_sig else []
    nav = axes[: len(axes) - n_sig] if len(axes) == len(shape) else []
    found_axes = Axes(nav, sig)
    try:
        found_axes.named(len(shape.nav), n_sig)
    except ValueError:  # files may call all of their axes alike
        return Axes()
    return found_axes


def _complete(
    kind: str, axes: Sequence[Axis | str], n_axes: int, names: Mapping[int, Sequence[str]]
) -> tuple[Axis, ...]:
    if axes and len(axes) != n_axes:
        raise ValueError(f"axes: {len(axes)} {kind} axes were given, the data have {n_axes}")
    usual = names.get(n_axes, [f"{kind}_{number}" for number in range(n_axes)])
    known = [Axis(axis) if isinstance(axis, str) else axis for axis in axes] or [Axis()] * n_axes
    return tuple(
        axis if axis.name else Axis(name, axis.scale, axis.units, axis.offset)
        for axis, name in zip(known, usual, strict=True)
    )
