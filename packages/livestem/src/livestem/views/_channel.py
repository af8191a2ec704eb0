"""One result of an algorithm with what a picture of it needs: which values are valid, units, scale.

Algorithms return numbers; a `Channel` is those numbers on their way to a view.  Positions that no
frame has reached yet, or whose frame was lost, are *not valid*, and every view shows them as such.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["nav", "sig", "single"]
BoolMap = npt.NDArray[np.bool_]

_METRIC = ((1.0, "m"), (1e-3, "mm"), (1e-6, "µm"), (1e-9, "nm"))
_ONE_ANGSTROM_M = 1e-10


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far neighbouring pixels of a picture are apart.

    Parameters
    ----------
    step
        Distance of neighbouring pixels along (y, x), in `unit`.
    unit
        Name of the unit, as it is to appear in the picture.

    Examples
    --------
    >>> Calibration.from_metres(0.2e-9)
    Calibration(step=(0.2, 0.2), unit='nm')
    """

    step: tuple[float, float] = (1.0, 1.0)
    unit: str = "px"

    def __post_init__(self) -> None:
        if not all(math.isfinite(step) and step > 0 for step in self.step):
            raise ValueError(f"the distance of neighbouring pixels is {self.step}; it has to be above 0")

    @classmethod
    def from_metres(cls, step_m: float | tuple[float, float]) -> Calibration:
        """Choose the unit in which a distance in metres reads well.

        Parameters
        ----------
        step_m
            Distance of neighbouring pixels in metres, one number or (y, x).
        """
        step_y, step_x = step_m if isinstance(step_m, tuple) else (step_m, step_m)
        field_of_view = 64 * max(step_y, step_x)
        size, unit = next((entry for entry in _METRIC if field_of_view >= 2 * entry[0]), _METRIC[-1])
        if field_of_view < 2e-9:
            size, unit = _ONE_ANGSTROM_M, "Å"
        return cls((_tidy(step_y / size), _tidy(step_x / size)), unit)


def _tidy(number: float) -> float:
    return float(f"{number:.9g}")


@dataclass(frozen=True)
class Channel:
    """Numbers to be drawn.

    Parameters
    ----------
    name
        What it is, e.g. ``"divergence"``; views know the usual names.
    data
        Shape ``(*nav_shape, *extra_shape)``, ``(*sig_shape, *extra_shape)`` or ``extra_shape``.
    kind
        Which axes come first.
    valid
        Shape of the leading axes; where `data` can be believed.  ``None``: everywhere.
    extra_shape
        Trailing axes of `data` that are no position.
    source
        Label of the algorithm that made it, e.g. ``"com"``.
    unit
        Unit of the values; ``""`` if there is none or it isn't known.
    calibration
        Distance of neighbouring pixels.
    span
        Values that the colours span, (low, high); ``None``: all but a few wild ones.
    """

    name: str
    data: npt.NDArray[Any]
    kind: Kind = "nav"
    valid: BoolMap | None = None
    extra_shape: tuple[int, ...] = ()
    source: str = ""
    unit: str = ""
    calibration: Calibration = field(default_factory=Calibration)
    span: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        n_extra = len(self.extra_shape)
        if n_extra > self.data.ndim or self.data.shape[self.data.ndim - n_extra :] != self.extra_shape:
            raise ValueError(
                f"channel {self.name!r} has shape {self.data.shape}, "
                f"which does not end with its extra shape {self.extra_shape}"
            )
        if self.valid is not None and self.valid.shape != self.shape:
            raise ValueError(
                f"channel {self.name!r} has positions of shape {self.shape}, "
                f"but its map of valid ones has shape {self.valid.shape}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the positions, without the extra axes."""
        return self.data.shape[: self.data.ndim - len(self.extra_shape)]

    @property
    def caption(self) -> str:
        """Title of a picture of this channel."""
        name, source = self.name.replace("_", " "), self.source.replace("_", " ")
        if not source:
            return name
        return source if name == "intensity" else f"{source}: {name}"

    def as_plane(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Fold the position axes of an array to two: (all but the last, last).

        Parameters
        ----------
        values
            Array whose leading axes are the channel's positions.
        """
        shape = self.shape
        if len(shape) == 2:
            return values
        rows = int(np.prod(shape[:-1], dtype=np.int64)) if shape else 1
        columns = shape[-1] if shape else 1
        return values.reshape((rows, columns, *values.shape[len(shape) :]))

    def seen(self) -> BoolMap:
        """Return where the data can be believed and are finite, folded to two axes."""
        extra = tuple(range(len(self.shape), self.data.ndim))
        finite = np.isfinite(self.data).all(axis=extra) if extra else np.isfinite(self.data)
        seen = finite if self.valid is None else finite & self.valid
        return self.as_plane(np.asarray(seen))
