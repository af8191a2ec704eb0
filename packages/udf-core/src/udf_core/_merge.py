"""Where partial results add up: the main side's UDF objects, their full-size buffers, and the damage map.

One lock guards merging and looking: results and damage that are read together belong together.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ._buffer import Array, AuxBuffer, BoolArray, BufferWrapper
from ._commit import PartialResult
from ._corrections import CorrectionSet
from ._errors import CoverageError
from ._grid import Positions
from ._merge_all import Collection, merges_all_at_once
from ._meta import UDFMeta
from ._namespace import MergeView, Results
from ._outcome import check_declarations, results_of
from ._provenance import Origin, RunRecord
from ._shape import Shape
from ._udf import UDF

Buffers = tuple[dict[str, BufferWrapper], ...]


class UDFResults:
    """Results of a run, finished or not.

    Lazy: `UDF.get_results` is called when somebody looks at `buffers` for the first time; they show the state
    of that moment and never change again.  What `damage` returns never changes either; it shows the moment of
    the first look at it, or at `buffers` as soon as these have been looked at, so that both belong together.
    Looking at `damage` alone is cheap.

    Parameters
    ----------
    buffers
        For each UDF, its results by name.
    damage
        Which scan positions are in the results; kind ``"nav"``, dtype bool.
    """

    def __init__(self, buffers: Sequence[dict[str, BufferWrapper]], damage: BufferWrapper) -> None:
        self._make: Callable[[], tuple[Buffers, BufferWrapper]] | None = None
        self._make_damage: Callable[[], BufferWrapper] | None = None
        self._buffers: Buffers | None = tuple(buffers)
        self._damage: BufferWrapper | None = damage

    @classmethod
    def when_looked_at(
        cls,
        make: Callable[[], tuple[Buffers, BufferWrapper]],
        make_damage: Callable[[], BufferWrapper] | None = None,
    ) -> Self:
        """Return results that these functions make when somebody looks."""
        results = cls.__new__(cls)
        results._make = make
        results._make_damage = make_damage
        results._buffers = None
        results._damage = None
        return results

    @property
    def buffers(self) -> Buffers:
        """For each UDF, its results by name."""
        return self._look()[0]

    @property
    def damage(self) -> BufferWrapper:
        """Which scan positions are in the results."""
        if self._damage is None:
            self._damage = self._look()[1] if self._make_damage is None else self._make_damage()
        return self._damage

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
        if self._buffers is None and self._make is not None:
            self._buffers, self._damage = self._make()
        assert self._buffers is not None
        assert self._damage is not None
        return self._buffers, self._damage


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
    thread
        Identifier of the thread that is merging; ``None`` if there is none.
    """

    number: int | None = None

    def __init__(
        self,
        udfs: Sequence[UDF],
        dataset_shape: Shape,
        roi: BoolArray | None,
        dataset_dtype: npt.DTypeLike,
        input_dtype: npt.DTypeLike,
        corrections: CorrectionSet | None = None,
    ) -> None:
        self.lock = threading.RLock()
        self.thread: int | None = None
        self._n_merged = self._first = self._count = 0
        self.record: RunRecord | None = None
        self._udfs = tuple(udfs)
        self._shape = dataset_shape
        self._roi = roi
        self._final = False
        n_selected = dataset_shape.flatten_nav()[0] if roi is None else int(np.count_nonzero(roi))
        self.damage: BoolArray = np.zeros(n_selected, dtype=bool)
        self._aux: list[dict[str, tuple[Array, Array]]] = [{} for _ in udfs]
        self._collections: dict[int, Collection] = {}
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
        with self.lock, self._merging(positions):
            if self.damage[where].any():
                raise CoverageError(
                    "frames of the same scan position were processed twice; please report this"
                )
            for index, (udf, arrays) in enumerate(zip(self._udfs, partial.buffers, strict=True)):
                udf.meta.set_valid_nav_mask(self.damage)
                self._show_aux(index, udf, 1, where)
                try:
                    self._merge_one(index, udf, arrays, where)
                except Exception as error:
                    _explain(error, udf, "merge", positions)
                    raise
            self.damage[where] = True

    def at_work(self) -> list[Merger]:
        """Return itself; thread-safe."""
        return [self]

    def whereabouts(self) -> tuple[int, ...]:
        """Return a number that changes with each partition; thread-safe."""
        return (id(self), self._n_merged)

    def describe(self) -> str:
        """Return what is being merged, in words; thread-safe."""
        return f"scan positions {self._first} to {self._first + self._count - 1}"

    @contextlib.contextmanager
    def _merging(self, positions: Positions) -> Iterator[None]:
        self._n_merged += 1
        self._first, self._count = (int(positions[0]) if len(positions) else 0), len(positions)
        self.thread = threading.get_ident()
        try:
            yield
        finally:
            self.thread = None

    def finish(self) -> None:
        """Nothing will be merged any more: results need no copies."""
        with self.lock:
            self._final = True

    def results(self) -> UDFResults:
        """Return the results, to be made when looked at."""
        return UDFResults.when_looked_at(self._make_results, self._make_damage)

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
        method = "get_result_buffers"
        try:
            declared = check_declarations(type(udf).__name__, udf.get_result_buffers())
            for buffer in declared.values():
                buffer.set_shape(self._shape, self._roi)
                if buffer.use != "result_only":
                    buffer.allocate()
            views = {name: b.raw_data for name, b in declared.items() if b.use != "result_only"}
            udf.results = Results(declared, views)
            if merges_all_at_once(type(udf), declared):
                self._collections[index] = Collection()
            elif type(udf).merge is UDF.merge:
                udf.check_default_merge()
            preprocess = getattr(udf, "preprocess", None)
            if preprocess is not None:
                method = "preprocess"
                self._show_aux(index, udf, 1, slice(None))
                preprocess()
                self._show_aux(index, udf, 0, slice(None))
        except Exception as error:
            _explain(error, udf, method, None)
            raise

    def _merge_one(self, index: int, udf: UDF, src: dict[str, Array], where: slice | Positions) -> None:
        if index in self._collections:
            self._collections[index].add(where, src)
            return
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

    def _make_damage(self) -> BufferWrapper:
        with self.lock:
            return self.map_of(self.damage.copy())

    def _make_results(self) -> tuple[Buffers, BufferWrapper]:
        with self.lock:
            mask = self.damage.copy()
            buffers = tuple(self._results_of(i, udf, mask) for i, udf in enumerate(self._udfs))
            return buffers, self._make_damage()

    def _results_of(self, index: int, udf: UDF, mask: BoolArray) -> dict[str, BufferWrapper]:
        udf.meta.set_valid_nav_mask(mask)
        self._show_aux(index, udf, 0, slice(None))
        method = "merge_all"
        try:
            if index in self._collections:
                self._collections[index].merge_into(udf)
            method = "get_results"
            results = results_of(udf, self._shape, self._roi, mask, copy=not self._final)
        except Exception as error:
            _explain(error, udf, method, np.flatnonzero(mask))
            raise
        for result in results.values():
            result.origin = Origin(
                f"{type(udf).__module__}.{type(udf).__qualname__}", udf._kwargs, self.record
            )
        return results


def _explain(error: Exception, udf: UDF, method: str, positions: Positions | None) -> None:
    """Note where it happened; `positions` are those that were merged or looked at."""
    where = "on the main side"
    if positions is not None and len(positions):
        where = f"scan positions {int(positions.min())} to {int(positions.max())}, {where}"
    error.add_note(f"in {type(udf).__name__}.{method}(), {where}")
