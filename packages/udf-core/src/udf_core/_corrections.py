"""Detector corrections: dark frame, gain map and dead pixels, applied while frames are decoded.

``x <- (x - dark) * gain``, then each excluded pixel becomes the mean of its neighbours.  The same
`CorrectionSet` gives the same bits live and offline, however frames are cut into tiles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from . import _corrections_kernels as kernels
from ._corrections_pixels import Indices, Neighbourhoods, check_inside, fit_extent, read_pixels
from ._errors import CorrectionError, CorrectionTypeError
from ._shape import Slice, prod

Array = npt.NDArray[Any]


@runtime_checkable
class SuppliesCorrections(Protocol):
    """A data set that knows what is wrong with its detector."""

    def get_correction_data(self) -> CorrectionSet | None:
        """Return the corrections that hold unless a run is given others; called after `start`."""
        ...


class CorrectionSet:
    """What is wrong with a detector's pixels, and how to put it right.

    Parameters
    ----------
    dark
        Subtracted from each frame; in the frame's shape.
    gain
        Multiplied with each frame after that.
    excluded_pixels
        Pixels to be replaced by the mean of their neighbours: a sparse array or an image in the frame's
        shape, non-zero where excluded, or a list of coordinates ``[(y, x), …]``.  An integer array of shape
        ``(n, sig_dims)`` is a list of coordinates, unless frames have this shape.
    allow_empty
        Leave excluded pixels that have no usable neighbour as they are, instead of raising.

    Raises
    ------
    CorrectionError
        If shapes differ, or a pixel is outside of the frame.
    RepairValueError
        If a pixel has no usable neighbour.  If only coordinates are given, the shape of a frame is not known
        before the run, and this is checked then.
    CorrectionTypeError
        If `dark` or `gain` are no numbers.

    Notes
    -----
    A neighbour is a pixel that touches this one, also by a corner, lies in the frame, and is not excluded
    itself.  Dark and gain are used in the precision of the data that UDFs get, at least float32.

    Examples
    --------
    >>> corrections = CorrectionSet(dark=np.full((3, 3), 1.0), excluded_pixels=[(0, 0)])
    >>> frames = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
    >>> corrections.apply(frames, Slice.from_shape((1, 3, 3), sig_dims=2))
    >>> frames[0, 0].tolist()
    [1.6666666269302368, 0.0, 1.0]
    """

    def __init__(
        self,
        dark: npt.ArrayLike | None = None,
        gain: npt.ArrayLike | None = None,
        excluded_pixels: Any = None,
        allow_empty: bool = False,
    ) -> None:
        self._dark = None if dark is None else _as_map("dark", dark)
        self._gain = None if gain is None else _as_map("gain", gain)
        self._allow_empty = bool(allow_empty)
        shapes = [m.shape for m in (self._dark, self._gain) if m is not None]
        if len(set(shapes)) > 1:
            raise CorrectionError(
                f"dark has shape {shapes[0]}, but gain has {shapes[1]}; both must fit a frame"
            )
        self._sig_shape = shapes[0] if shapes else None
        self._pixels: Indices | None = None
        self._neighbourhoods: Neighbourhoods | None = None
        if excluded_pixels is not None:
            self._pixels, self._sig_shape = read_pixels(excluded_pixels, self._sig_shape)
        self._tiles: dict[Any, TileCorrection] = {}
        self._find_neighbours()

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Self | None:
        """Make a set from what a source says about itself; ``None`` if it says nothing.

        Parameters
        ----------
        data
            Arguments by name.
        """
        return cls(**data) if any(value is not None for value in data.values()) else None

    def get_dark_frame(self) -> Array | None:
        """Return what is subtracted, as it was given."""
        return self._dark

    def get_gain_map(self) -> Array | None:
        """Return what is multiplied, as it was given."""
        return self._gain

    def get_excluded_pixels(self) -> Any:
        """Return the excluded pixels as a boolean `sparse.COO` in the frame's shape, ``None`` if not set.

        Raises
        ------
        CorrectionError
            If only coordinates were given, and the shape of a frame is not known yet.
        """
        if self._pixels is None:
            return None
        import sparse

        shape = self._known_shape()
        coordinates = self._pixels.reshape(-1, len(shape))
        return sparse.COO(coordinates.T, np.ones(len(coordinates), bool), shape=shape)

    def have_corrections(self) -> bool:
        """Tell whether anything was given; the type of the data follows from that."""
        return not (self._dark is None and self._gain is None and self._pixels is None)

    @property
    def sig_shape(self) -> tuple[int, ...] | None:
        """Shape of the frames that this is for, ``None`` while it is not known."""
        return self._sig_shape

    def for_frames(self, sig_shape: Sequence[int]) -> CorrectionSet:
        """Return this set for frames of a shape.

        Raises
        ------
        CorrectionError
            If it was made for frames of another shape.
        RepairValueError
            If an excluded pixel has no usable neighbour.
        """
        sig_shape = tuple(int(extent) for extent in sig_shape)
        if self._sig_shape == sig_shape or not self.have_corrections():
            return self
        if self._sig_shape is not None:
            named = {"dark": self._dark, "gain": self._gain, "excluded_pixels": self._pixels}
            names = ", ".join(name for name, value in named.items() if value is not None)
            raise CorrectionError(
                f"the corrections ({names}) are for frames of shape {self._sig_shape}, but the frames have "
                f"shape {sig_shape}; take those of this detector, and of the same region and binning"
            )
        assert self._pixels is not None
        check_inside(self._pixels, sig_shape)
        bound = CorrectionSet(allow_empty=self._allow_empty)
        bound._pixels, bound._sig_shape = self._pixels, sig_shape
        bound._find_neighbours()
        return bound

    def apply(self, data: Array, tile_slice: Slice) -> None:
        """Correct a tile in place.

        Parameters
        ----------
        data
            Stack of frames, or of tiles of them, floats or complex numbers.
        tile_slice
            Which part of the frames this is; navigation axes are ignored.

        Raises
        ------
        CorrectionTypeError
            If the data are integers or booleans, which can't be corrected in place.
        CorrectionError
            If data and slice have different shapes.
        RepairValueError
            If the tile cuts through the neighbourhood of an excluded pixel.
        """
        if not self.have_corrections():
            return
        if data.dtype.kind not in "fc":
            raise CorrectionTypeError(
                f"data of type {data.dtype} can't be corrected in place; convert to float32 or float64 first"
            )
        dims = tile_slice.shape.sig_dims
        origin, shape = tile_slice.origin[-dims:], tile_slice.shape.sig.to_tuple()
        if data.shape[-dims:] != shape:
            raise CorrectionError(f"data of shape {data.shape} are not the tile {shape} of {tile_slice}")
        if any(
            o < 0 or o + n > extent for o, n, extent in zip(origin, shape, self._known_shape(), strict=True)
        ):
            raise CorrectionError(f"the tile {tile_slice} is not inside of a frame of {self._sig_shape}")
        tile = self.tile(data.dtype, origin, shape)
        frames = np.ascontiguousarray(data)
        tile.apply(frames)
        if frames is not data:
            data[...] = frames

    def adjust_tileshape(
        self, tile_shape: Sequence[int], sig_shape: Sequence[int], base_shape: Sequence[int]
    ) -> tuple[int, ...]:
        """Return the tile shape nearest to a wanted one that cuts through no repair.

        Parameters
        ----------
        tile_shape
            Wanted shape, depth first.
        sig_shape
            Shape of a frame.
        base_shape
            The signal part of the result is a multiple of this, or the whole frame; a leading depth is
            ignored.

        Examples
        --------
        >>> corrections = CorrectionSet(excluded_pixels=[(31, 5), (63, 100)])
        >>> corrections.adjust_tileshape((2, 64, 128), (128, 128), (4, 128))
        (2, 60, 128)
        """
        dims = len(sig_shape)
        if self._pixels is None or not len(self._pixels):
            return tuple(tile_shape)
        bound = self.for_frames(sig_shape)
        adjusted = [
            extent if wanted >= extent else fit_extent(wanted, extent, base, bound.forbidden_cuts(axis))
            for axis, (wanted, extent, base) in enumerate(
                zip(tuple(tile_shape)[-dims:], sig_shape, tuple(base_shape)[-dims:], strict=True)
            )
        ]
        return (*tuple(tile_shape)[:-dims], *adjusted)

    # -- engine side ------------------------------------------------------------------------------

    def forbidden_cuts(self, axis: int = 0) -> npt.NDArray[np.bool_]:
        """Return where tiles must not begin along a signal axis, shape ``(extent + 1,)``."""
        shape = self._known_shape()
        if self._neighbourhoods is None:
            return np.zeros(shape[axis] + 1, bool)
        return self._neighbourhoods.forbidden_cuts(axis)

    def tile(self, dtype: npt.DTypeLike, origin: Sequence[int], shape: Sequence[int]) -> TileCorrection:
        """Return what corrects this part of the frames in this type; made once."""
        dtype = np.dtype(dtype)
        key = dtype, tuple(origin), tuple(shape)
        if key not in self._tiles:
            where = tuple(slice(o, o + n) for o, n in zip(origin, shape, strict=True))
            maps = self._maps(dtype, where)
            repairs = None if self._neighbourhoods is None else self._neighbourhoods.in_tile(origin, shape)
            self._tiles[key] = TileCorrection(prod(shape), maps, repairs)
        return self._tiles[key]

    @property
    def sig_dims(self) -> int | None:
        """Axes of a frame, known from coordinates also where its shape is not."""
        if self._sig_shape is not None:
            return len(self._sig_shape)
        return self._pixels.shape[1] if self._pixels is not None and len(self._pixels) else None

    def as_operators(self, dtype: npt.DTypeLike) -> tuple[Any, Array]:
        """Return repair and gain as linear maps of flat frames.

        Returns
        -------
        repair : scipy.sparse.csr_array
            Shape ``(n_pixels, n_pixels)``; corrected frames are ``repair @ (gain * (frame - dark))``.
        gain : numpy.ndarray
            Shape ``(n_pixels,)``.
        """
        import scipy.sparse

        shape = self._known_shape()
        n_pixels = prod(shape)
        gain = np.ones(n_pixels, dtype) if self._gain is None else self._gain.reshape(-1).astype(dtype)
        repair = scipy.sparse.eye_array(n_pixels, dtype=dtype, format="lil")
        if self._neighbourhoods is not None:
            targets, bounds, neighbours = self._neighbourhoods.in_tile((0,) * len(shape), shape)
            repair[targets, targets] = 0
            counts = np.diff(bounds)
            repair[np.repeat(targets, counts), neighbours] = np.repeat(1 / counts, counts)
        return repair.tocsr(), gain

    def _maps(self, dtype: np.dtype[Any], where: tuple[slice, ...]) -> tuple[Array, Array] | None:
        given = self._dark if self._dark is not None else self._gain
        if given is None:
            return None
        for name, one in (("dark", self._dark), ("gain", self._gain)):
            if one is not None and one.dtype.kind == "c" and dtype.kind != "c":
                raise CorrectionTypeError(f"{name} is complex, but the data are {dtype}; give real numbers")
        shape = given[where].shape
        dark = np.zeros(shape, dtype) if self._dark is None else self._dark[where].astype(dtype)
        gain = np.ones(shape, dtype) if self._gain is None else self._gain[where].astype(dtype)
        return dark.reshape(-1), gain.reshape(-1)

    def _known_shape(self) -> tuple[int, ...]:
        if self._sig_shape is None:
            raise CorrectionError(
                "excluded_pixels were given as coordinates only: the shape of a frame is not known yet; "
                "use for_frames(sig_shape)"
            )
        return self._sig_shape

    def _find_neighbours(self) -> None:
        if self._pixels is not None and self._sig_shape is not None:
            self._neighbourhoods = Neighbourhoods(
                self._pixels, self._sig_shape, allow_empty=self._allow_empty
            )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_tiles": {}}

    def __repr__(self) -> str:
        parts = [name for name, one in (("dark", self._dark), ("gain", self._gain)) if one is not None]
        if self._pixels is not None:
            parts.append(f"{len(self._pixels)} excluded pixels")
        return f"<CorrectionSet for frames of {self._sig_shape}: {', '.join(parts) or 'nothing'}>"


class TileCorrection:
    """The part of a `CorrectionSet` that belongs to one band of the frames, in one type.

    Parameters
    ----------
    n_pixels
        Of the tile.
    maps
        Dark and gain of these pixels, both or none.
    repairs
        What `Neighbourhoods.in_tile` returns.
    """

    __slots__ = ("maps", "n_pixels", "repairs")

    def __init__(
        self,
        n_pixels: int,
        maps: tuple[Array, Array] | None,
        repairs: tuple[Indices, Indices, Indices] | None,
    ) -> None:
        self.n_pixels = n_pixels
        self.maps = maps
        self.repairs = repairs if repairs is not None and len(repairs[0]) else None

    def apply(self, frames: Array) -> None:
        """Correct C-contiguous tiles, shape ``(…, *tile)``, in place."""
        if self.maps is not None:
            kernels.subtract_and_scale(frames.reshape(-1, self.n_pixels), *self.maps)
        self.repair(frames)

    def repair(self, frames: Array) -> None:
        """Do only the second half: replace the excluded pixels of C-contiguous tiles."""
        if self.repairs is not None:
            kernels.repair(frames.reshape(-1, self.n_pixels), *self.repairs)


def _as_map(name: str, values: npt.ArrayLike) -> Array:
    array = np.array(values)
    if array.dtype.kind not in "biufc":
        raise CorrectionTypeError(f"{name} is of type {array.dtype}; give an array of numbers")
    if array.ndim == 0:
        raise CorrectionError(f"{name} is a single number; give an array in the shape of a frame")
    array.flags.writeable = False
    return array
