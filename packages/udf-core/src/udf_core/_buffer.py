"""Result buffers: what a UDF declares, where partial results add up, and what the user gets.

A `BufferWrapper` starts as a declaration (kind, extra shape, dtype, use).  As a result it carries data and
a *valid* map: which positions are in.  Navigation buffers are kept flat, and compressed if there is a ROI.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ._errors import InvalidMaskError
from ._provenance import Origin
from ._shape import Shape, prod

Kind = Literal["nav", "sig", "single"]
Use = Literal["private", "result_only"] | None
Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]

KINDS = ("nav", "sig", "single")
USES = (None, "private", "result_only")


def zeros(shape: Sequence[int], dtype: npt.DTypeLike) -> Array:
    """Return zeroed memory for any dtype; objects start as the integer 0."""
    return np.zeros(tuple(shape), dtype=dtype)


def fill_value(dtype: np.dtype[Any]) -> Any:
    """Return what stands for *no data here* in arrays of `dtype`: NaN, NaT, None or zero."""
    if dtype.kind == "f":
        return np.nan
    if dtype.kind == "c":
        return complex(np.nan, np.nan)
    if dtype.kind in "mM":
        return np.array("NaT", dtype=dtype)[()]
    if dtype.kind == "O":
        return None
    return np.zeros((), dtype=dtype)[()]


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


class BufferWrapper:
    """A result buffer of a UDF.

    As declaration it says what a UDF needs; made by `UDF.buffer`.  As result it is array-like
    (``np.asarray(buffer)``) and also tells which of its elements are valid.

    Parameters
    ----------
    kind
        ``"nav"``: one value per scan position; ``"sig"``: one per detector pixel; ``"single"``: neither.
    extra_shape
        Axes of each value, appended behind those of `kind`.
    dtype
        Any NumPy dtype, objects and structures included.
    where
        ``None`` or ``"device"`` (allocate with the array library of the UDF's backend).
    use
        ``None``: intermediate and result; ``"private"``: intermediate only; ``"result_only"``: not
        allocated, has to be returned by `UDF.get_results`.

    Attributes
    ----------
    origin
        Of a result: which UDF made it in which run.

    Examples
    --------
    >>> buffer = BufferWrapper("nav", extra_shape=(2,), dtype="float64")
    >>> buffer.kind, buffer.extra_shape, buffer.dtype
    ('nav', (2,), dtype('float64'))
    """

    def __init__(
        self,
        kind: Kind,
        extra_shape: Sequence[int] | Shape = (),
        dtype: npt.DTypeLike = "float32",
        where: str | None = None,
        use: Use = None,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r} of a buffer; choose one of {', '.join(KINDS)}")
        if use not in USES:
            raise ValueError(f"unknown use {use!r} of a buffer; choose None, 'private' or 'result_only'")
        self.kind: Kind = kind
        self.extra_shape: tuple[int, ...] = tuple(int(n) for n in extra_shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.where = where
        self.use: Use = use
        self.origin: Origin | None = None
        self._nav_shape: tuple[int, ...] | None = None
        self._sig_shape: tuple[int, ...] = ()
        self._roi: BoolArray | None = None
        self._n_nav = 0
        self._raw: Array | None = None
        self._valid: BoolArray | None = None

    # -- engine side ------------------------------------------------------------------------------

    def set_shape(self, dataset_shape: Shape, roi: BoolArray | None = None) -> BufferWrapper:
        """Tell the buffer the shape of the data set; `roi` is flat or in navigation shape."""
        self._nav_shape = dataset_shape.nav.to_tuple()
        self._sig_shape = dataset_shape.sig.to_tuple()
        self._roi = None if roi is None else np.asarray(roi, dtype=bool).reshape(-1)
        self._n_nav = prod(self._nav_shape) if self._roi is None else int(np.count_nonzero(self._roi))
        return self

    def shape_for(self, n_nav: int, sig_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of this buffer for `n_nav` positions, navigation flat."""
        if self.kind == "nav":
            return (n_nav, *self.extra_shape)
        if self.kind == "sig":
            return (*sig_shape, *self.extra_shape)
        return self.extra_shape or (1,)

    def allocate(self) -> BufferWrapper:
        """Make zeroed memory of full size; `set_shape` comes before."""
        self._raw = zeros(self.shape, self.dtype)
        return self

    def set_result(self, array: Any, valid: BoolArray | None, *, name: str = "") -> BufferWrapper:
        """Take over the final array, in flat and compressed or in full navigation shape.

        Parameters
        ----------
        array
            The data.
        valid
            Which elements are valid, broadcastable to `array`; ``None`` for all.
        name
            For the error text.

        Raises
        ------
        ValueError
            If the shape of `array` does not fit the declaration.
        """
        array = np.asarray(array)
        expected = [self.shape]
        if self.kind == "nav" and self._nav_shape is not None:
            expected.append((*self._nav_shape, *self.extra_shape))
        for shape in expected:
            flat = array.ndim == 1 and array.size == prod(shape)
            if flat or _without_ones(array.shape) == _without_ones(shape):
                break
        else:
            wanted = " or ".join(map(str, dict.fromkeys(expected)))
            raise ValueError(f"buffer {name!r} of kind {self.kind!r} was declared with shape {wanted}, "
                             f"but the result has shape {array.shape}")  # fmt: skip
        if valid is not None:
            try:
                valid = np.broadcast_to(valid, array.shape).reshape(shape)
            except ValueError as error:
                raise InvalidMaskError(
                    f"the mask of buffer {name!r} does not fit its data: {error}"
                ) from None
        self._raw = array.reshape(shape)
        self._valid = valid
        return self

    # -- what users see ---------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `raw_data`: navigation flat, and compressed if there is a ROI."""
        return self.shape_for(self._n_nav, self._sig_shape)

    @property
    def dataset_shape(self) -> Shape:
        """Shape of the data set that the buffer belongs to."""
        return Shape((*(self._nav_shape or ()), *self._sig_shape), sig_dims=len(self._sig_shape))

    @property
    def raw_data(self) -> Array:
        """The data with one (compressed) navigation axis."""
        raw = self._memory()
        if self._is_full(raw):
            flat = raw.reshape((-1, *self.extra_shape)) if self.kind == "nav" else raw
            return flat if self._roi is None else flat[self._roi]
        return raw

    @property
    def data(self) -> Array:
        """The data in full navigation shape, with NaN (or its like) outside the ROI."""
        return self._unfold(self._memory(), fill_value)

    @property
    def valid_mask(self) -> BoolArray:
        """Which elements of `data` are valid."""
        raw = self._memory()
        valid = np.ones((), bool) if self._valid is None else self._valid
        return self._unfold(np.broadcast_to(valid, raw.shape), lambda dtype: False)

    @property
    def masked_data(self) -> np.ma.MaskedArray[Any, np.dtype[Any]]:
        """`data` as masked array, masked where it is not valid."""
        return np.ma.masked_array(self.data, mask=~self.valid_mask)

    @property
    def raw_masked_data(self) -> np.ma.MaskedArray[Any, np.dtype[Any]]:
        """`raw_data` as masked array."""
        valid = self.valid_mask
        if self.kind == "nav":
            valid = valid.reshape((-1, *self.extra_shape))
            valid = valid if self._roi is None else valid[self._roi]
        return np.ma.masked_array(self.raw_data, mask=~valid)

    @property
    def valid_slice_bounding(self) -> tuple[slice, ...]:
        """The smallest box that holds all valid elements."""
        valid = self.valid_mask
        box = []
        for axis in range(valid.ndim):
            rest = tuple(a for a in range(valid.ndim) if a != axis)
            hits = np.flatnonzero(valid.any(axis=rest))
            box.append(slice(int(hits[0]), int(hits[-1]) + 1) if len(hits) else slice(0, 0))
        return tuple(box)

    def get_valid_slice_inner(self, axis: int = 0) -> tuple[slice, ...]:
        """Return the first unbroken run of fully valid rows along `axis`, as index of `data`."""
        valid = self.valid_mask
        rest = tuple(a for a in range(valid.ndim) if a != axis)
        full = np.concatenate(([False], valid.all(axis=rest), [False]))
        starts = np.flatnonzero(full[1:] & ~full[:-1])
        stops = np.flatnonzero(full[:-1] & ~full[1:])
        run = slice(int(starts[0]), int(stops[0])) if len(starts) else slice(0, 0)
        return tuple(run if a == axis else slice(0, n) for a, n in enumerate(valid.shape))

    @property
    def roi_is_zero(self) -> bool:
        """Whether there is a ROI without any position."""
        return self._roi is not None and self._n_nav == 0

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        data = self.data
        if dtype is not None and np.dtype(dtype) != data.dtype:
            if copy is False:
                raise ValueError(f"converting {data.dtype} to {np.dtype(dtype)} needs a copy")
            return data.astype(dtype)
        return data.copy() if copy else data

    def __repr__(self) -> str:
        use = f", use={self.use!r}" if self.use else ""
        return f"<BufferWrapper kind={self.kind!r} extra_shape={self.extra_shape} dtype={self.dtype}{use}>"

    # ---------------------------------------------------------------------------------------------

    def _memory(self) -> Array:
        if self._raw is None:
            raise RuntimeError(f"{self!r} is a declaration and holds no data")
        return self._raw

    def _is_full(self, raw: npt.NDArray[Any]) -> bool:
        if self.kind != "nav" or self._nav_shape is None:
            return False
        return raw.shape == (*self._nav_shape, *self.extra_shape) and raw.shape != self.shape

    def _unfold(self, raw: npt.NDArray[Any], fill: Any) -> Array:
        if self.kind != "nav" or self._nav_shape is None or self._is_full(raw):
            return raw
        full_shape = (*self._nav_shape, *self.extra_shape)
        if self._roi is None:
            return raw.reshape(full_shape)
        full = np.empty((len(self._roi), *self.extra_shape), dtype=raw.dtype)
        full[...] = fill(raw.dtype)
        full[self._roi] = raw
        return full.reshape(full_shape)


class MaskedResult:
    """An array together with its own validity mask; made by `UDF.with_mask`.

    Parameters
    ----------
    array
        The data.
    mask
        True where it is valid: a bool, or a boolean array that broadcasts to `array`.

    Raises
    ------
    InvalidMaskError
        If the mask is not boolean or does not broadcast.
    """

    __slots__ = ("array", "mask")

    def __init__(self, array: npt.ArrayLike, mask: npt.ArrayLike) -> None:
        self.array = np.asarray(array)
        self.mask = np.asarray(mask)
        if self.mask.dtype != np.dtype(bool):
            raise InvalidMaskError(f"a mask must be of dtype bool, not {self.mask.dtype}")
        try:
            np.broadcast_to(self.mask, self.array.shape)
        except ValueError:
            raise InvalidMaskError(
                f"a mask of shape {self.mask.shape} does not broadcast to data of shape {self.array.shape}"
            ) from None


class AuxBuffer:
    """Data beside the data set, cut to what a UDF sees at the moment; made by `UDF.aux_data`.

    Parameters
    ----------
    data
        One value per scan position (``"nav"``), per detector pixel (``"sig"``) or neither (``"single"``).
    kind, extra_shape, dtype
        As for `BufferWrapper`; `data` must have this dtype already.

    Raises
    ------
    TypeError
        If `data` has another dtype.
    ValueError
        If `data` can't be brought into the declared shape.
    """

    __slots__ = ("data", "dtype", "extra_shape", "kind")

    def __init__(
        self,
        data: npt.ArrayLike,
        kind: Kind,
        extra_shape: Sequence[int] = (),
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r} of aux data; choose one of {', '.join(KINDS)}")
        array = np.asarray(data)
        self.kind: Kind = kind
        self.extra_shape: tuple[int, ...] = () if tuple(extra_shape) == (1,) else tuple(extra_shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        if array.dtype != self.dtype:
            raise TypeError(
                f"aux data has dtype {array.dtype}, but {self.dtype} was declared; convert it first"
            )
        if kind == "nav":
            per_value = prod(self.extra_shape)
            if array.size % max(per_value, 1):
                raise ValueError(
                    f"aux data of shape {array.shape} does not fit extra_shape {self.extra_shape}"
                )
            array = array.reshape((array.size // max(per_value, 1), *self.extra_shape))
        self.data = array

    def fit(self, dataset_shape: Shape, roi: BoolArray | None) -> tuple[Array, Array]:
        """Check the size; return the data of all positions and those of the ROI only.

        Raises
        ------
        ValueError
            If the size does not fit the data set.
        """
        full = self.data
        if self.kind == "nav":
            n_nav = prod(dataset_shape.nav)
            if len(full) != n_nav:
                raise ValueError(
                    f"aux data of kind 'nav' has {len(full)} values, but the scan "
                    f"{dataset_shape.nav.to_tuple()} has {n_nav} positions"
                )
            return full, full if roi is None else full[np.asarray(roi, dtype=bool).reshape(-1)]
        if self.kind == "sig":
            shape = (*dataset_shape.sig, *self.extra_shape)
            if full.size != prod(shape):
                raise ValueError(f"aux data of kind 'sig' has shape {full.shape}, expected {shape}")
            full = full.reshape(shape)
        elif self.extra_shape and full.size == prod(self.extra_shape):
            full = full.reshape(self.extra_shape)
        return full, full
