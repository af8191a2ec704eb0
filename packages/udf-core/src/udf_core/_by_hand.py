"""The steps of a UDF's life as methods, for code that moves a UDF by hand: tests, notebooks, other engines.

The engine itself takes a faster way (`_worker_udf`) and uses none of these.  The order is: `set_meta`,
`init_result_buffers`, `allocate_for_part` or `allocate_for_full`, `init_task_data`, then views and
processing, `flush` and `clear_views`, `export_results`.  What is called *partition* here is a
`Slice` with one navigation axis, or any object that has one as ``slice``; a *tile* likewise, also as
``tile_slice``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ._buffer import Array, AuxBuffer, BoolArray, BufferWrapper
from ._merge_all import merge_all
from ._namespace import MergeView, Params, Results, TaskData
from ._outcome import check_declarations, results_of
from ._shape import Shape, Slice

if TYPE_CHECKING:
    from ._meta import UDFMeta

_SigKey = tuple[str, Slice]


class ByHand:
    """What `UDF` offers for direct use."""

    _kwargs: Mapping[str, Any]
    params: Params
    results: Results
    task_data: TaskData
    meta: UDFMeta

    def _init_by_hand(self) -> None:
        self._backend: str | None = None
        self._main_process_gpu: int | None = None
        self._first = 0
        self._roi: BoolArray | None = None
        self._copies: dict[_SigKey, Array] = {}

    # -- facts ------------------------------------------------------------------------------------

    def set_backend(self, backend: str) -> None:
        """Say which array type the UDF will get."""
        self._backend = backend

    def set_main_process_gpu(self, main_process_gpu: int | None) -> None:
        """Say which GPU the main side may use."""
        self._main_process_gpu = main_process_gpu

    def set_meta(self, meta: UDFMeta) -> None:
        """Let the UDF see these facts."""
        self.meta = meta

    def set_slice(self, slice_: Slice) -> None:
        """Let ``meta.slice`` be this one."""
        self.meta.first, self.meta.count = slice_.origin[0], slice_.shape[0]
        self.meta.slice_cache = slice_

    def set_tile_idx(self, idx: int) -> None:
        """Let ``meta.tiling_scheme_idx`` be this one."""
        self.meta.tiling_scheme_idx = idx

    @property
    def requires_custom_merge(self) -> bool:
        """Whether the default `UDF.merge` can't do."""
        buffers = self.results._buffers
        return any(b.kind != "nav" and b.use != "result_only" for b in buffers.values())

    @property
    def requires_custom_merge_all(self) -> bool:
        """Whether joining navigation buffers end to end can't do."""
        return self.requires_custom_merge

    # -- memory -----------------------------------------------------------------------------------

    def init_result_buffers(self, executor: Any = None) -> None:
        """Ask for the declarations of the result buffers; they have no memory yet."""
        declared = self.get_result_buffers()  # type: ignore[attr-defined]
        self.results = Results(check_declarations(type(self).__name__, declared))

    def init_task_data(self) -> None:
        """Ask for the task data."""
        self.task_data = TaskData(self.get_task_data())  # type: ignore[attr-defined]

    def allocate_for_part(self, partition: Any, roi: BoolArray | None) -> None:
        """Make zeroed buffers for one partition."""
        part = _flat(partition, roi)
        shape = Shape((part.shape[0], *part.shape.sig), part.shape.sig_dims)
        self._allocate(shape, None, first=part.origin[0], roi=roi)

    def allocate_for_full(self, dataset: Any, roi: BoolArray | None) -> None:
        """Make zeroed buffers for a data set, or for what a ROI leaves of it."""
        self._allocate(dataset.shape, roi, first=0, roi=roi)

    def export_results(self) -> None:
        """Bring buffers that live on a device to the host."""
        for buffer in self.results._buffers.values():
            if buffer._raw is not None and hasattr(buffer._raw, "get"):
                buffer._raw = buffer._raw.get()
        self.clear_views()

    # -- views ------------------------------------------------------------------------------------

    def set_views_for_dataset(self, dataset: Any) -> None:
        """Show whole buffers, and aux data of all selected positions."""
        self._show(slice(None))
        self._show_aux(slice(None))

    def set_views_for_partition(self, partition: Any) -> None:
        """Show the part of navigation buffers that belongs to a partition."""
        part = _flat(partition, self._roi)
        self._show(self._nav(part))
        self._show_aux(_extent(part))

    def set_views_for_tile(self, partition: Any, tile: Any) -> None:
        """Show what belongs to a tile, given in compressed positions; signal views may have gaps."""
        part = _slice_of(tile)
        self._show(self._nav(part), sig=part.sig)
        self._show_aux(_extent(part), sig=part.sig)

    def set_contiguous_views_for_tile(self, partition: Any, tile: Any) -> None:
        """Show what belongs to a tile; signal views are C-contiguous, if need be copies until `flush`."""
        self.set_views_for_tile(partition, tile)
        sig = _slice_of(tile).sig
        views = self.results.__dict__
        for name, buffer in self.results._buffers.items():
            if buffer.kind == "sig" and views[name] is not None and not views[name].flags.c_contiguous:
                views[name] = self._copies.setdefault((name, sig), np.ascontiguousarray(views[name]))

    def set_views_for_frame(self, partition: Any, tile: Any, frame_idx: int) -> None:
        """Show what belongs to one frame of a tile."""
        part = _slice_of(tile)
        first = part.origin[0] - self._first + frame_idx
        self._show(slice(first, first + 1))
        views = self.results.__dict__
        for name, buffer in self.results._buffers.items():
            if buffer.kind == "nav" and buffer.extra_shape and views[name] is not None:
                views[name] = views[name][0]
        position = part.origin[0] + frame_idx
        self._show_aux(slice(position, position + 1), one=True)

    def flush(self, debug: bool = False) -> None:
        """Write the copies made by `set_contiguous_views_for_tile` back."""
        for (name, sig), copy in self._copies.items():
            self.results._buffers[name].raw_data[sig.get()] = copy
        self._copies.clear()

    def clear_views(self) -> None:
        """Show whole buffers.

        Raises
        ------
        RuntimeError
            If copies have not been written back.
        """
        if self._copies:
            names = ", ".join(sorted({name for name, _ in self._copies}))
            raise RuntimeError(f"the views of {names} hold results that are not written back; call flush()")
        self._show(slice(None))

    # -- results and copies -----------------------------------------------------------------------

    def _do_get_results(self) -> dict[str, BufferWrapper]:
        """Return the checked results, from whole buffers."""
        self.clear_views()
        valid = self.meta.get_valid_nav_mask()
        roi = self.meta.roi
        if valid is None:
            n_nav = self.meta.dataset_shape.flatten_nav()[0] if roi is None else int(np.count_nonzero(roi))
            valid = np.ones(n_nav, bool)
        return results_of(self, self.meta.dataset_shape, roi, valid, copy=False)  # type: ignore[arg-type]

    def _do_merge_all(self, ordered_results: Mapping[Slice, MergeView]) -> dict[str, Array]:
        """Return all partial results merged at once; see `merge_all`."""
        return merge_all(self, ordered_results)  # type: ignore[arg-type]

    def _update_parameters_patch(self, kwargs_patch: Mapping[str, Any]) -> None:
        """Change parameters."""
        self._kwargs = {**self._kwargs, **kwargs_patch}
        self.params = Params(self._kwargs)

    def copy_for_partition(self, partition: Any, roi: BoolArray | None) -> Self:
        """Return a fresh object with the same parameters, aux data cut to a partition."""
        return self.new_for_partition(self._kwargs, partition, roi)

    @classmethod
    def new_for_partition(cls, kwargs: Mapping[str, Any], partition: Any, roi: BoolArray | None) -> Self:
        """Return a fresh object with these parameters, aux data cut to a partition."""
        new: Self = cls.new_with(kwargs)  # type: ignore[attr-defined]
        part = _flat(partition, None)
        first, n = part.origin[0], part.shape[0]
        for name, aux in kwargs.items():
            if not isinstance(aux, AuxBuffer):
                continue
            array = aux.data
            if aux.kind == "nav":
                array = array[first : first + n]
                if roi is not None:
                    array = array[np.asarray(roi, dtype=bool).reshape(-1)[first : first + n]]
            elif aux.kind == "sig":
                array = array.reshape((*part.shape.sig, *aux.extra_shape))
            new.params.__dict__[name] = array
        return new

    # ---------------------------------------------------------------------------------------------

    def _allocate(
        self, shape: Shape, buffer_roi: BoolArray | None, *, first: int, roi: BoolArray | None
    ) -> None:
        self._first, self._roi = first, roi
        self._copies.clear()
        for buffer in self.results._buffers.values():
            buffer.set_shape(shape, buffer_roi)
            if buffer.use != "result_only":
                buffer.allocate()
        self._show(slice(None))

    def _nav(self, part: Slice) -> slice:
        first = part.origin[0] - self._first
        return slice(first, first + part.shape[0])

    def _show(self, nav: slice, sig: Slice | None = None) -> None:
        views = self.results.__dict__
        for name, buffer in self.results._buffers.items():
            if buffer.use == "result_only":
                continue
            view = buffer.raw_data
            if buffer.kind == "nav":
                view = view[nav]
            elif buffer.kind == "sig" and sig is not None:
                view = view[sig.get()]
            views[name] = view

    def _show_aux(self, nav: slice, sig: Slice | None = None, *, one: bool = False) -> None:
        for name, aux in self._kwargs.items():
            if not isinstance(aux, AuxBuffer):
                continue
            array = aux.fit(self.meta.dataset_shape, self.meta.roi)[1]
            if aux.kind == "nav":
                array = array[nav]
                array = array[0] if one and aux.extra_shape else array
            elif aux.kind == "sig" and sig is not None:
                array = array[sig.get()]
            self.params.__dict__[name] = array


def _slice_of(thing: Any) -> Slice:
    """Return the slice of a partition or a tile."""
    for name in ("tile_slice", "slice"):
        thing = getattr(thing, name, thing)
    if not isinstance(thing, Slice):
        raise TypeError(f"expected a Slice, or an object that has one as .slice, not {type(thing).__name__}")
    return thing


def _flat(partition: Any, roi: BoolArray | None) -> Slice:
    """Return the slice of a partition in compressed positions."""
    return _slice_of(partition).adjust_for_roi(roi)


def _extent(part: Slice) -> slice:
    return slice(part.origin[0], part.origin[0] + part.shape[0])
