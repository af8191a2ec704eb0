"""The last step of a UDF: its merged buffers become results, checked and with a map of what is valid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._buffer import Array, BoolArray, BufferWrapper, MaskedResult
from ._errors import UDFException
from ._shape import Shape

if TYPE_CHECKING:
    from ._udf import UDF


def check_declarations(who: str, declared: Any) -> dict[str, BufferWrapper]:
    """Return what `UDF.get_result_buffers` has returned, if it makes sense.

    Parameters
    ----------
    who
        Name of the UDF, for the error text.
    declared
        What it returned.

    Raises
    ------
    UDFException
        If that is no mapping from names to declarations.
    """
    if not isinstance(declared, Mapping):
        raise UDFException(
            f"{who}.get_result_buffers() returned {type(declared).__name__}; it has to return a dict of "
            f"buffers made with self.buffer()"
        )
    for name, buffer in declared.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise UDFException(
                f"{who}.get_result_buffers() returned a buffer with the name {name!r}; names have to be "
                f"usable as self.results.<name>"
            )
        if not isinstance(buffer, BufferWrapper):
            raise UDFException(
                f"{who}.get_result_buffers() returned {type(buffer).__name__} for {name!r}; make it with "
                f"self.buffer()"
            )
        if any(n < 0 for n in buffer.extra_shape):
            raise UDFException(
                f"{who}.get_result_buffers() declared {name!r} with extra_shape {buffer.extra_shape}; "
                f"lengths can't be negative"
            )
    return dict(declared)


def results_of(
    udf: UDF, shape: Shape, roi: BoolArray | None, mask: BoolArray, *, copy: bool
) -> dict[str, BufferWrapper]:
    """Return the results of a UDF by name: first those of `get_results`, then those passed through.

    Parameters
    ----------
    udf
        The user's object with its merged buffers.
    shape
        Of the data set.
    roi
        Selected positions, or ``None``.
    mask
        Which (compressed) positions have been merged.
    copy
        Whether results must not share memory with the buffers.

    Raises
    ------
    UDFException
        If a private buffer is returned, a result-only one is not, or a dtype is of another kind.
    KeyError
        If a result is not declared.
    ValueError
        If a result has the wrong shape.
    """
    declared = udf.results._buffers
    finished = _Finish(udf, shape, roi, mask, copy)
    returned = udf.get_results()
    if not isinstance(returned, Mapping):
        raise UDFException(
            f"{finished.who} returned {type(returned).__name__}; it has to return a dict of arrays"
        )
    results = {name: finished.result(name, value) for name, value in returned.items()}
    for name, buffer in declared.items():
        if buffer.use is None and name not in results:
            results[name] = finished.result(name, udf.results.__dict__[name])
    missing = [n for n, b in declared.items() if b.use == "result_only" and n not in results]
    if missing:
        raise UDFException(
            f"don't know how to set use='result_only' buffer {missing[0]!r}; please implement "
            f"`get_results` of {type(udf).__name__} so that it returns it"
        )
    return results


class _Finish:
    """Makes results of one UDF."""

    def __init__(self, udf: UDF, shape: Shape, roi: BoolArray | None, mask: BoolArray, copy: bool) -> None:
        self.who = f"{type(udf).__name__}.get_results()"
        self._declared = udf.results._buffers
        self._memory = [array for array in udf.results.__dict__.values() if array is not None]
        self._shape = shape
        self._roi = roi
        self._mask = mask
        self._copy = copy

    def result(self, name: str, value: Any) -> BufferWrapper:
        if name not in self._declared:
            raise KeyError(f"{self.who} returned {name!r}, which get_result_buffers() does not declare")
        buffer = self._declared[name]
        if buffer.use == "private":
            raise UDFException(f"{self.who} returned {name!r}, which is declared as private")
        valid: BoolArray | None = None
        if isinstance(value, MaskedResult):
            value, valid = value.array, value.mask
        array = np.asarray(value)
        if array.dtype.kind != buffer.dtype.kind:
            raise UDFException(
                f"{self.who} returned {name!r} with dtype {array.dtype}, which is not of the declared kind "
                f"({buffer.dtype})"
            )
        if self._copy and any(np.may_share_memory(array, memory) for memory in self._memory):
            array = array.copy()
        result = BufferWrapper(buffer.kind, buffer.extra_shape, buffer.dtype, buffer.where)
        result.set_shape(self._shape, self._roi)
        if valid is None and buffer.kind == "nav":
            valid = self._nav_valid(array, buffer)
        return result.set_result(array, valid, name=name)

    def _nav_valid(self, array: Array, buffer: BufferWrapper) -> BoolArray | None:
        """Spread what has been merged over the shape of a navigation result, flat or full."""
        mask = self._mask
        nav_shape = self._shape.nav.to_tuple()
        if array.shape[: len(nav_shape)] == nav_shape and array.shape != buffer.shape:
            full = mask
            if self._roi is not None:
                full = np.zeros(self._roi.size, dtype=bool)
                full[self._roi.reshape(-1)] = mask
            mask = full.reshape(nav_shape)
        if array.shape[: mask.ndim] != mask.shape:
            return None
        spread: npt.NDArray[np.bool_] = mask.reshape(mask.shape + (1,) * (array.ndim - mask.ndim))
        return spread
