"""Shapes and slices that know which axes are navigation and which are signal.

Navigation axes come first and signal axes last, both in C order.  A `Slice` is a rectangular region: an
origin and a shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, SupportsIndex, overload

import numpy as np
import numpy.typing as npt

from ._errors import SliceUsageError


def prod(numbers: Iterable[SupportsIndex]) -> int:
    """Multiply integers exactly.

    Raises
    ------
    ValueError
        If one of them is not an integer.

    Examples
    --------
    >>> prod((4, 5))
    20
    """
    result = 1
    for number in numbers:
        try:
            result *= number.__index__()
        except AttributeError:
            raise ValueError(f"prod() multiplies integers only, got {number!r}") from None
    return result


class Shape:
    """A shape whose last `sig_dims` axes are signal axes.

    Examples
    --------
    >>> shape = Shape((16, 16, 128, 64), sig_dims=2)
    >>> shape.nav, shape.sig
    (Shape((16, 16), sig_dims=0), Shape((128, 64), sig_dims=2))
    >>> shape.flatten_nav().to_tuple()
    (256, 128, 64)
    """

    __slots__ = ("_sig_dims", "_tuple")

    def __init__(self, shape: Iterable[SupportsIndex], sig_dims: int) -> None:
        self._tuple = tuple(int(n.__index__()) for n in shape)
        self._sig_dims = int(sig_dims)
        if not 0 <= self._sig_dims <= len(self._tuple):
            raise SliceUsageError(f"shape {self._tuple} can't have {sig_dims} signal axes")

    @property
    def nav(self) -> Shape:
        """The navigation part."""
        return Shape(self._tuple[: len(self._tuple) - self._sig_dims], 0)

    @property
    def sig(self) -> Shape:
        """The signal part."""
        return Shape(self._tuple[len(self._tuple) - self._sig_dims :], self._sig_dims)

    @property
    def dims(self) -> int:
        """Number of axes."""
        return len(self._tuple)

    @property
    def sig_dims(self) -> int:
        """Number of signal axes."""
        return self._sig_dims

    @property
    def size(self) -> int:
        """Number of elements; 0 for a shape without axes."""
        return prod(self._tuple) if self._tuple else 0

    def to_tuple(self) -> tuple[int, ...]:
        """Return the plain tuple."""
        return self._tuple

    def flatten_nav(self) -> Shape:
        """Return this shape with one navigation axis."""
        return Shape((prod(self._tuple[: self.dims - self._sig_dims]), *self.sig), self._sig_dims)

    def flatten_sig(self) -> Shape:
        """Return this shape with one signal axis."""
        return Shape((*self.nav, prod(self._tuple[self.dims - self._sig_dims :])), 1)

    def __iter__(self) -> Iterator[int]:
        return iter(self._tuple)

    def __len__(self) -> int:
        return len(self._tuple)

    @overload
    def __getitem__(self, key: int) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[int, ...]: ...
    def __getitem__(self, key: int | slice) -> int | tuple[int, ...]:
        return self._tuple[key]

    def __add__(self, other: Iterable[SupportsIndex]) -> Shape:
        extra = tuple(other)
        return Shape((*self._tuple, *extra), self._sig_dims + len(extra))

    def __radd__(self, other: Iterable[SupportsIndex]) -> Shape:
        return Shape((*other, *self._tuple), self._sig_dims)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Shape):
            return self._tuple == other._tuple and self._sig_dims == other._sig_dims
        if isinstance(other, tuple):
            return self._tuple == other
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._tuple)

    def __repr__(self) -> str:
        return f"Shape({self._tuple}, sig_dims={self._sig_dims})"


class Slice:
    """A rectangular region of a data set.

    Parameters
    ----------
    origin
        First index along each axis.
    shape
        Extent along each axis.

    Examples
    --------
    >>> part = Slice(origin=(0, 2), shape=Shape((4, 3), sig_dims=1))
    >>> part.get()
    (slice(0, 4, None), slice(2, 5, None))
    """

    __slots__ = ("origin", "shape")

    def __init__(self, origin: Iterable[SupportsIndex], shape: Shape) -> None:
        self.origin = tuple(int(n.__index__()) for n in origin)
        self.shape = shape
        if len(self.origin) != shape.dims:
            raise SliceUsageError(f"origin {self.origin} and {shape} have different numbers of axes")

    @classmethod
    def from_shape(cls, shape: Sequence[int], sig_dims: int) -> Slice:
        """Return the slice that covers all of `shape`."""
        return cls((0,) * len(shape), Shape(shape, sig_dims))

    @property
    def nav(self) -> Slice:
        """The navigation part."""
        return Slice(self.origin[: self.shape.nav.dims], self.shape.nav)

    @property
    def sig(self) -> Slice:
        """The signal part."""
        return Slice(self.origin[self.shape.nav.dims :], self.shape.sig)

    def get(self, arr: Any = None, sig_only: bool = False, nav_only: bool = False) -> Any:
        """Return the index of this region, or the region of `arr`.

        Parameters
        ----------
        arr
            Array to take the region of; without it the tuple of slices is returned.
        sig_only, nav_only
            Use only the signal or navigation axes, which are the last or first of `arr`.
        """
        if sig_only and nav_only:
            raise SliceUsageError("choose one of sig_only and nav_only")
        part = self.sig if sig_only else self.nav if nav_only else self
        index: tuple[Any, ...] = tuple(
            slice(o, o + n) for o, n in zip(part.origin, part.shape.to_tuple(), strict=True)
        )
        if arr is None:
            return index
        return arr[(..., *index)] if sig_only else arr[index]

    def intersection_with(self, other: Slice) -> Slice:
        """Return the common region; its shape has a 0 where there is none."""
        if self.shape.dims != other.shape.dims or self.shape.sig_dims != other.shape.sig_dims:
            raise SliceUsageError(f"{self} and {other} don't have the same axes")
        origin = tuple(max(a, b) for a, b in zip(self.origin, other.origin, strict=True))
        stops = zip(self._stop(), other._stop(), strict=True)
        extent = [max(0, min(a, b) - o) for (a, b), o in zip(stops, origin, strict=True)]
        return Slice(origin, Shape(extent, self.shape.sig_dims))

    def clip_to(self, shape: Shape) -> Slice:
        """Return the part that lies inside an array of this shape."""
        return self.intersection_with(Slice.from_shape(shape.to_tuple(), shape.sig_dims))

    def is_null(self) -> bool:
        """Tell whether the region is empty."""
        return 0 in self.shape.to_tuple()

    def shift(self, other: Slice) -> Slice:
        """Return this region in coordinates relative to the origin of `other`."""
        if self.shape.dims != other.shape.dims:
            raise SliceUsageError(f"{self} and {other} don't have the same axes")
        return Slice((a - b for a, b in zip(self.origin, other.origin, strict=True)), self.shape)

    def shift_by(self, offset: Sequence[int]) -> Slice:
        """Return this region moved by `offset`."""
        if len(offset) != self.shape.dims:
            raise SliceUsageError(f"offset {tuple(offset)} does not fit {self}")
        return Slice((a + b for a, b in zip(self.origin, offset, strict=True)), self.shape)

    def subslices(self, shape: Sequence[int]) -> Iterator[Slice]:
        """Yield pieces of this region of at most `shape`, in C order, smaller at the far borders."""
        step = tuple(shape)
        if len(step) != self.shape.dims or min(step, default=1) < 1:
            raise SliceUsageError(f"{self} can't be cut into pieces of {step}")
        counts = [-(-n // s) for n, s in zip(self.shape.to_tuple(), step, strict=True)]
        for index in np.ndindex(*counts):
            start = [i * s for i, s in zip(index, step, strict=True)]
            extent = [min(s, n - o) for s, n, o in zip(step, self.shape.to_tuple(), start, strict=True)]
            yield Slice(
                (o + b for o, b in zip(self.origin, start, strict=True)),
                Shape(extent, self.shape.sig_dims),
            )

    def discard_nav(self) -> Slice:
        """Return this region with its navigation origin at zero."""
        return Slice((*(0,) * self.shape.nav.dims, *self.sig.origin), self.shape)

    def flatten_nav(self, containing_shape: Sequence[int]) -> Slice:
        """Return this region with one navigation axis.

        Parameters
        ----------
        containing_shape
            Shape of the data set: navigation axes first, signal axes may follow.
        """
        nav_shape = tuple(containing_shape)[: self.shape.nav.dims]
        origin = int(np.ravel_multi_index(self.origin[: self.shape.nav.dims], nav_shape))
        return Slice((origin, *self.sig.origin), self.shape.flatten_nav())

    def adjust_for_roi(self, roi: npt.ArrayLike | None) -> Slice:
        """Return this flat-navigation region in the compressed navigation axis of a ROI."""
        if roi is None:
            return self
        if self.shape.nav.dims != 1:
            raise SliceUsageError(f"{self} needs one navigation axis; call flatten_nav() first")
        flat = np.asarray(roi).reshape(-1)
        start, n = self.origin[0], self.shape[0]
        first = int(np.count_nonzero(flat[:start]))
        inside = int(np.count_nonzero(flat[start : start + n]))
        return Slice((first, *self.origin[1:]), Shape((inside, *self.shape[1:]), self.shape.sig_dims))

    def _stop(self) -> tuple[int, ...]:
        return tuple(o + n for o, n in zip(self.origin, self.shape.to_tuple(), strict=True))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Slice):
            return NotImplemented
        return self.origin == other.origin and self.shape == other.shape

    def __hash__(self) -> int:
        return hash((self.origin, self.shape))

    def __repr__(self) -> str:
        return f"Slice(origin={self.origin}, shape={self.shape})"
