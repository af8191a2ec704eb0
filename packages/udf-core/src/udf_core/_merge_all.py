"""Merging all partial results at once: ``merge_all(ordered_results)`` of a UDF.

For UDFs whose results can't be added up one partition after the other.  The engine collects the partial
results of a UDF that has `merge_all` and no `merge` of its own but needs one; each time somebody looks at the
results, all that is there is merged anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ._buffer import Array, BufferWrapper
from ._errors import UDFException
from ._namespace import MergeView
from ._shape import Shape, Slice

if TYPE_CHECKING:
    from ._udf import UDF

Positions = np.ndarray[Any, np.dtype[np.int64]]


def merges_all_at_once(cls: type[UDF], declared: Mapping[str, BufferWrapper] | None = None) -> bool:
    """Tell whether the engine has to collect the partial results of such a UDF.

    Parameters
    ----------
    cls
        The class.
    declared
        Its buffers, if known; a UDF with navigation buffers only needs no `merge`.
    """
    from ._udf import UDF

    if cls.merge is not UDF.merge or not hasattr(cls, "merge_all"):
        return False
    return declared is None or any(b.kind != "nav" and b.use != "result_only" for b in declared.values())


def merge_all(udf: UDF, ordered_results: Mapping[Slice, MergeView]) -> dict[str, Array]:
    """Return all partial results as one, by the UDF's `merge_all` if it has one.

    Parameters
    ----------
    udf
        With declared buffers.
    ordered_results
        Partial results by their slice, in order of navigation.

    Raises
    ------
    ValueError
        If names, a shape or a dtype differ from what is declared.
    NotImplementedError
        If there is no `merge_all` and buffers can't be joined end to end.
    """
    who = f"{type(udf).__name__}.merge_all()"
    declared = {n: b for n, b in udf.results._buffers.items() if b.use != "result_only"}
    custom = getattr(udf, "merge_all", None)
    if custom is None:
        if udf.requires_custom_merge_all:
            raise NotImplementedError(
                f"Default merging only works for kind='nav' buffers; {type(udf).__name__} has to implement "
                f"merge_all(ordered_results)"
            )
        return {n: np.concatenate([getattr(r, n) for r in ordered_results.values()]) for n in declared}
    merged = custom(ordered_results)
    if not isinstance(merged, Mapping) or set(merged) != set(declared):
        names = ", ".join(merged) if isinstance(merged, Mapping) else type(merged).__name__
        raise ValueError(f"{who} has to return a dict of {', '.join(declared)}, but returned {names}")
    n_nav = sum(part.shape[0] for part in ordered_results)
    for name, buffer in declared.items():
        array = np.asarray(merged[name])
        shape = buffer.shape_for(n_nav, buffer._sig_shape)
        if array.shape != shape or array.dtype != buffer.dtype:
            raise ValueError(
                f"{who} returned {name!r} with shape {array.shape} and dtype {array.dtype}, declared are "
                f"{shape} and {buffer.dtype}"
            )
    return {name: np.asarray(array) for name, array in merged.items()}


class Collection:
    """Partial results of one UDF on their way to `merge_all`."""

    def __init__(self) -> None:
        self._parts: dict[int, dict[str, Array]] = {}
        self._lengths: dict[int, int] = {}

    def add(self, where: slice | Positions, arrays: Mapping[str, Array]) -> None:
        """Keep a copy of the results of a partition.

        Raises
        ------
        UDFException
            If its positions are not one run; the engine makes such partitions for UDFs with `merge_all`.
        """
        if not isinstance(where, slice):
            raise UDFException("merge_all needs partitions that are one run of positions; please report this")
        self._parts[where.start] = {name: array.copy() for name, array in arrays.items()}
        self._lengths[where.start] = where.stop - where.start

    def merge_into(self, udf: UDF) -> None:
        """Write what `merge_all` makes of everything that is here into the buffers of `udf`."""
        if not self._parts:
            return
        sig = udf.meta.dataset_shape.sig
        starts = sorted(self._parts)
        slices = [Slice((s, *(0,) * sig.dims), Shape((self._lengths[s], *sig), sig.dims)) for s in starts]
        parts = {part: MergeView(self._parts[s]) for part, s in zip(slices, starts, strict=True)}
        merged = merge_all(udf, parts)
        for name, array in merged.items():
            target = udf.results.__dict__[name]
            if udf.results._buffers[name].kind != "nav":
                target[...] = array
                continue
            at = 0
            for start in starts:
                n = self._lengths[start]
                target[start : start + n] = array[at : at + n]
                at += n
