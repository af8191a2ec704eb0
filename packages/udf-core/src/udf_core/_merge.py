"""Where partial results add up: the main side's UDF objects, their full-size buffers, and the damage map.

One lock guards merging and looking: results and damage that are read together belong together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._buffer import Array, AuxBuffer, BufferWrapper, MaskedResult
from ._commit import PartialResult
from ._corrections import CorrectionSet
from ._errors import CoverageError, UDFException
from ._grid import Positions
from ._meta import UDFMeta
from ._namespace import MergeView, Results
from ._provenance import Origin, RunRecord
from ._shape import Shape
from ._udf import UDF

Buffers = tuple[dict[str, BufferWrapper], ...]


class UDFResults:
    """Results of a run, finished or not.

    Lazy: `UDF.get_results` is called when somebody looks at `buffers` or `damage` for the first time, and
    both then show the state of that moment and never change again.

    Parameters
    ----------
    buffers
        For each UDF, its results by name.
    damage
        Which scan positions are in the results; kind ``"nav"``, dtype bool.
    """

    def __init__(self, buffers: Sequence[dict[str, BufferWrapper]], damage: BufferWrapper) -> None:
        self._make: Callable[[], tuple[Buffers, BufferWrapper]] | None = None
        self._made: tuple[Buffers, BufferWrapper] | None = (tuple(buffers), damage)

    @classmethod
    def when_looked_at(cls, make: Callable[[], tuple[Buffers, BufferWrapper]]) -> UDFResults:
        """Return results that `make` makes when somebody looks."""
        results = cls.__new__(cls)
        results._make = make
        results._made = None
        return results

    @property
    def buffers(self) -> Buffers:
        """For each UDF, its results by name."""
        return self._look()[0]

    @property
    def damage(self) -> BufferWrapper:
        """Which scan positions are in the results."""
        return self._look()[1]

    @property
    def covered(self) -> BufferWrapper:
        """Which scan positions have a value; of an endless scan, from any pass."""
        return self.damage

    @property
    def scan_pass(self) -> int:
        """Which pass of an endless scan `damage` is about; 0 of others."""
        return 0

    @property
    def shown_pass(self) -> int:
        """Which pass of an endless scan results without positions are of; 0 of others."""
        return 0

    def _look(self) -> tuple[Buffers, BufferWrapper]:
        if self._made is None and self._make is not None:
            self._made = self._make()
        assert self._made is not None
        return self._made


class Merger:
    """Adds up partial results.

    Parameters
    ----------
    udfs
        The user's objects; they get full-size buffers.
    dataset_shape
        Navigation and signal shape.
    roi
        Selected positions in navigation shape, or ``None``.
    dataset_dtype, input_dtype
        Type of the data, and as UDFs see it.
    corrections
        What is done to the frames.

    Attributes
    ----------
    lock
        Held while merging and while results are made.
    record
        What results remember of their run.
    """

    def __init__(
        self,
        udfs: Sequence[UDF],
        dataset_shape: Shape,
        roi: npt.NDArray[np.bool_] | None,
        dataset_dtype: npt.DTypeLike,
        input_dtype: npt.DTypeLike,
        corrections: CorrectionSet | None = None,
    ) -> None:
        self.lock = threading.RLock()
        self.record: RunRecord | None = None
        self._udfs = tuple(udfs)
        self._shape = dataset_shape
        self._roi = roi
        self._final = False
        n_selected = dataset_shape.flatten_nav()[0] if roi is None else int(np.count_nonzero(roi))
        self.damage: npt.NDArray[np.bool_] = np.zeros(n_selected, dtype=bool)
        self._aux: list[dict[str, tuple[Array, Array]]] = [{} for _ in udfs]
        for index, udf in enumerate(self._udfs):
            meta = UDFMeta(None, dataset_shape, roi, dataset_dtype, input_dtype, corrections=corrections)
            udf.set_meta(meta)
            self._fit_aux(index, udf)
            self._allocate(index, udf)

    @property
    def udfs(self) -> tuple[UDF, ...]:
        """The objects that hold the results."""
        return self._udfs

    def map_of(self, mask: npt.NDArray[np.bool_]) -> BufferWrapper:
        """Return a (compressed) map of positions as a result."""
        return BufferWrapper("nav", dtype=bool).set_shape(self._shape, self._roi).set_result(mask, None)

    def merge(self, partial: PartialResult) -> None:
        """Merge the results of one partition into all UDFs.

        Raises
        ------
        Exception
            What a UDF's `merge` raises.
        """
        positions = partial.positions
        where: slice | Positions = positions
        if len(positions) and np.array_equal(
            positions, np.arange(positions[0], positions[0] + len(positions))
        ):
            where = slice(int(positions[0]), int(positions[0]) + len(positions))
        with self.lock:
            if self.damage[where].any():
                raise CoverageError(
                    "frames of the same scan position were processed twice; please report this"
                )
            for index, (udf, arrays) in enumerate(zip(self._udfs, partial.buffers, strict=True)):
                udf.meta.set_valid_nav_mask(self.damage)
                self._show_aux(index, udf, 1, where)
                try:
                    self._merge_one(udf, arrays, where)
                except Exception as error:
                    error.add_note(f"in {type(udf).__name__}.merge()")
                    raise
            self.damage[where] = True

    def finish(self) -> None:
        """Nothing will be merged any more: results need no copies."""
        with self.lock:
            self._final = True

    def results(self) -> UDFResults:
        """Return the results, to be made when looked at."""
        return UDFResults.when_looked_at(self._make_results)

    def update_params(self, patches: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Change parameters of the UDFs; return their new arguments."""
        with self.lock:
            for index, (udf, patch) in enumerate(zip(self._udfs, patches, strict=True)):
                udf._kwargs = {**udf._kwargs, **patch}
                udf.params = type(udf.params)(udf._kwargs)
                self._fit_aux(index, udf)
            return [dict(udf._kwargs) for udf in self._udfs]

    # ---------------------------------------------------------------------------------------------

    def _fit_aux(self, index: int, udf: UDF) -> None:
        self._aux[index] = {
            name: value.fit(self._shape, self._roi)
            for name, value in udf._kwargs.items()
            if isinstance(value, AuxBuffer)
        }
        self._show_aux(index, udf, 0, slice(None))

    def _show_aux(self, index: int, udf: UDF, which: int, where: slice | Positions) -> None:
        """Let aux data show all positions (`which` 0) or those of the ROI (1), cut to `where`."""
        for name, arrays in self._aux[index].items():
            kind = udf._kwargs[name].kind
            udf.params.__dict__[name] = arrays[which][where] if kind == "nav" else arrays[0]

    def _allocate(self, index: int, udf: UDF) -> None:
        declared = dict(udf.get_result_buffers())
        for buffer in declared.values():
            buffer.set_shape(self._shape, self._roi)
            if buffer.use != "result_only":
                buffer.allocate()
        views = {name: b.raw_data for name, b in declared.items() if b.use != "result_only"}
        udf.results = Results(declared, views)
        if type(udf).merge is UDF.merge:
            udf.check_default_merge()
        preprocess = getattr(udf, "preprocess", None)
        if preprocess is not None:
            self._show_aux(index, udf, 1, slice(None))
            preprocess()
            self._show_aux(index, udf, 0, slice(None))

    def _merge_one(self, udf: UDF, src: dict[str, Array], where: slice | Positions) -> None:
        buffers = udf.results._buffers
        full = udf.results.__dict__
        nav = {name for name in src if buffers[name].kind == "nav"}
        if not src and type(udf).merge is UDF.merge:
            return
        dest = {name: full[name][where] if name in nav else full[name] for name in src}
        udf.merge(dest=MergeView(dest), src=MergeView(src))
        if not isinstance(where, slice):
            for name in nav:
                full[name][where] = dest[name]

    def _make_results(self) -> tuple[Buffers, BufferWrapper]:
        with self.lock:
            mask = self.damage.copy()
            damage = self.map_of(mask)
            buffers = tuple(self._results_of(i, udf, mask) for i, udf in enumerate(self._udfs))
            return buffers, damage

    def _results_of(self, index: int, udf: UDF, mask: npt.NDArray[np.bool_]) -> dict[str, BufferWrapper]:
        udf.meta.set_valid_nav_mask(mask)
        self._show_aux(index, udf, 0, slice(None))
        declared = udf.results._buffers
        results = {}
        for name, value in udf.get_results().items():
            results[name] = self._result(udf, name, value, mask)
        for name, buffer in declared.items():
            if buffer.use is None and name not in results:
                results[name] = self._result(udf, name, udf.results.__dict__[name], mask)
        missing = [n for n, b in declared.items() if b.use == "result_only" and n not in results]
        if missing:
            raise UDFException(
                f"don't know how to set use='result_only' buffer {missing[0]!r}; please implement "
                f"`get_results` of {type(udf).__name__} so that it returns it"
            )
        return results

    def _result(self, udf: UDF, name: str, value: Any, mask: npt.NDArray[np.bool_]) -> BufferWrapper:
        declared = udf.results._buffers
        who = f"{type(udf).__name__}.get_results()"
        if name not in declared:
            raise KeyError(f"{who} returned {name!r}, which get_result_buffers() does not declare")
        buffer = declared[name]
        if buffer.use == "private":
            raise UDFException(f"{who} returned {name!r}, which is declared as private")
        valid: npt.NDArray[np.bool_] | None = None
        if isinstance(value, MaskedResult):
            value, valid = value.array, value.mask
        array = np.asarray(value)
        if array.dtype.kind != buffer.dtype.kind:
            raise UDFException(
                f"{who} returned {name!r} with dtype {array.dtype}, which is not of the declared kind "
                f"({buffer.dtype})"
            )
        if not self._final and any(np.may_share_memory(array, memory) for memory in self._memory(udf)):
            array = array.copy()
        result = BufferWrapper(buffer.kind, buffer.extra_shape, buffer.dtype, buffer.where, buffer.use)
        result.set_shape(self._shape, self._roi)
        result.origin = Origin(f"{type(udf).__module__}.{type(udf).__qualname__}", udf._kwargs, self.record)
        if valid is None and buffer.kind == "nav":
            valid = self._nav_valid(mask, array, buffer)
        return result.set_result(array, valid, name=name)

    def _nav_valid(
        self, mask: npt.NDArray[np.bool_], array: npt.NDArray[Any], buffer: BufferWrapper
    ) -> npt.NDArray[np.bool_] | None:
        """Spread the damage over the shape of a navigation result, flat or full."""
        nav_shape = self._shape.nav.to_tuple()
        if array.shape[: len(nav_shape)] == nav_shape and array.shape != buffer.shape:
            full = mask
            if self._roi is not None:
                full = np.zeros(self._roi.size, dtype=bool)
                full[self._roi.reshape(-1)] = mask
            mask = full.reshape(nav_shape)
        if array.shape[: mask.ndim] != mask.shape:
            return None
        return mask.reshape(mask.shape + (1,) * (array.ndim - mask.ndim))

    def _memory(self, udf: UDF) -> list[Array]:
        return [array for array in udf.results.__dict__.values() if array is not None]
