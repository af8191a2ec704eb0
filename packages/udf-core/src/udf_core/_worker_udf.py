"""One UDF on one worker: what is kept for the run, and its copy at work in a partition.

Navigation buffers hold one entry per frame in the order in which frames were taken, so the view for the
current frames is always a plain slice.  All views that don't depend on the frames are made once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ._backends import NUMPY, device_zeros, to_numpy
from ._buffer import Array, AuxBuffer, BufferWrapper, zeros
from ._commit import Job, UDFSpec
from ._conversion import TileConversion
from ._grid import Positions
from ._meta import UDFMeta
from ._namespace import Params, Results, TaskData, WorkerData
from ._outcome import check_declarations
from ._shape import prod
from ._udf import UDF, UDFMethod

_NAV_BYTES = 4 << 20
_MOST_POSITIONS = 16384

Named = tuple[tuple[str, Array], ...]


class BufferSet:
    """Memory for the results of one partition, reused for later ones.

    Parameters
    ----------
    declared
        Declarations by name.
    capacity
        Positions that navigation buffers have room for.
    sig_shape
        Shape of a frame.
    bands
        Rows of each tile.
    backend
        Array type of the UDF: buffers with ``where="device"`` live where its arrays do.
    """

    def __init__(
        self,
        declared: Mapping[str, BufferWrapper],
        capacity: int,
        sig_shape: tuple[int, ...],
        bands: tuple[tuple[int, int], ...],
        backend: str = NUMPY,
    ) -> None:
        self.key = layout_key(declared)
        self.capacity = capacity
        self.on_device = False
        self.arrays: dict[str, Array] = {}
        for name, buffer in declared.items():
            if buffer.use == "result_only":
                continue
            shape = buffer.shape_for(capacity, sig_shape)
            if buffer.where == "device":
                self.arrays[name] = device_zeros(backend, shape, buffer.dtype)
                self.on_device |= type(self.arrays[name]) is not np.ndarray
            else:
                self.arrays[name] = zeros(shape, buffer.dtype)
        kinds = {name: declared[name].kind for name in self.arrays}
        self.nav: Named = tuple((n, a) for n, a in self.arrays.items() if kinds[n] == "nav")
        self.fixed: Named = tuple((n, a) for n, a in self.arrays.items() if kinds[n] != "nav")
        sig = tuple((n, a) for n, a in self.arrays.items() if kinds[n] == "sig")
        self.bands: tuple[dict[str, Array], ...] = ()
        if sig and len(bands) > 1:
            self.bands = tuple({n: a[start:stop] for n, a in sig} for start, stop in bands)

    def clear(self, used: int) -> None:
        """Zero what `used` positions have written."""
        for _, array in self.nav:
            array[:used] = np.zeros((), array.dtype)
        for _, array in self.fixed:
            array[...] = np.zeros((), array.dtype)

    def export(self, used: int) -> dict[str, Array]:
        """Return the results of `used` positions, without copying."""
        arrays = {**{name: array[:used] for name, array in self.nav}, **dict(self.fixed)}
        return {name: to_numpy(array) for name, array in arrays.items()} if self.on_device else arrays


def layout_key(declared: Mapping[str, BufferWrapper]) -> tuple[Any, ...]:
    """Return what two sets of declarations must have in common to share memory."""
    return tuple((n, b.kind, b.extra_shape, b.dtype, b.use) for n, b in declared.items())


class WorkerUDF:
    """A UDF for the time of a run on one worker.

    Parameters
    ----------
    spec
        How to make copies.
    job
        The run.
    backend
        Array type that the UDF gets.

    Attributes
    ----------
    phase
        Which of its methods is called now, for error texts.
    """

    def __init__(self, spec: UDFSpec, job: Job, backend: str = NUMPY) -> None:
        self.name = spec.cls.__name__
        self.backend = backend
        self.phase = "__init__"
        self._job = job
        self._cls = spec.cls
        self.bands = job.scheme.bands
        self._spare: deque[tuple[BufferSet, int]] = deque()
        self._nav_bytes = 0
        self.update(spec.kwargs)

    def update(self, kwargs: Mapping[str, Any]) -> None:
        """Use these arguments for copies from now on."""
        self.kwargs = dict(kwargs)
        self._worker_data: WorkerData | None = None
        self.aux = {
            name: (
                value.kind,
                value.extra_shape,
                value.fit(self._job.dataset_shape, self._job.scan_map.roi)[1],
            )
            for name, value in self.kwargs.items()
            if isinstance(value, AuxBuffer)
        }

    @property
    def where(self) -> str:
        """What is called now, for error texts."""
        return f"{self.name}.{self.phase}()"

    @property
    def has_nav_aux(self) -> bool:
        """Whether it has data for each position, which it sees as slices."""
        return any(kind == "nav" for kind, _, _ in self.aux.values())

    def open(self, meta: UDFMeta, capacity: int, conversion: TileConversion | None = None) -> UDFAtWork:
        """Make a copy for a partition with room for `capacity` positions.

        Parameters
        ----------
        meta
            Shared by all UDFs in the partition.
        capacity
            How many positions it may take.
        conversion
            Makes the UDF's tiles; ``None`` if it takes what is read.
        """
        self.phase = "__init__"
        meta.array_backend = self.backend
        udf = self._cls.new_with(self.kwargs)
        work = UDFAtWork(self, udf, meta, conversion)
        self.phase = "get_worker_data"
        if self._worker_data is None:
            self._worker_data = WorkerData(udf.get_worker_data())
        udf.worker_data = self._worker_data
        self.phase = "get_result_buffers"
        declared = check_declarations(self.name, udf.get_result_buffers())
        work.attach(declared, self._memory(declared, capacity))
        return work

    def give_back(self, buffers: BufferSet, used: int) -> None:
        """Take memory back; thread-safe."""
        if not buffers.on_device:  # a device has its own way to recycle memory
            self._spare.append((buffers, used))

    @property
    def capacity(self) -> int:
        """How many positions a partition may collect before navigation buffers get too large."""
        if self._nav_bytes == 0:
            return _MOST_POSITIONS
        return max(1, min(_MOST_POSITIONS, _NAV_BYTES // self._nav_bytes))

    def _memory(self, declared: Mapping[str, BufferWrapper], capacity: int) -> BufferSet:
        key = layout_key(declared)
        while self._spare:
            buffers, used = self._spare.popleft()
            if buffers.key == key and buffers.capacity >= capacity:
                buffers.clear(used)
                return buffers
        sig_shape = self._job.dataset_shape.sig.to_tuple()
        buffers = BufferSet(declared, capacity, sig_shape, self.bands, self.backend)
        sizes = (declared[name].dtype.itemsize * prod(declared[name].extra_shape) for name, _ in buffers.nav)
        self._nav_bytes = sum(sizes)
        return buffers


class UDFAtWork:
    """A copy of a UDF in one partition.

    Parameters
    ----------
    owner
        What is kept for the run.
    udf
        The copy.
    meta
        Shared by all UDFs in the partition.
    conversion
        Makes the UDF's tiles; ``None`` if it takes what is read.
    """

    def __init__(
        self, owner: WorkerUDF, udf: UDF, meta: UDFMeta, conversion: TileConversion | None = None
    ) -> None:
        self.owner = owner
        self.udf = udf
        self._meta = meta
        self._at = 0
        self._first = 0
        udf.set_meta(meta)
        method = UDFMethod(udf.get_method())
        self._frames = method is UDFMethod.FRAME
        self.see: Callable[[int, Array], None] = self._see_frames if self._frames else self._see_tile
        if conversion is not None:
            self.see = self._see_converted
            self._conversion = conversion
        self._process_name = f"process_{method.value}"
        self._process: Callable[[Array], None] = getattr(udf, self._process_name)
        self._params: dict[str, Any] = udf.params.__dict__
        self._show_partition_aux()

    def attach(self, declared: Mapping[str, BufferWrapper], buffers: BufferSet) -> None:
        """Give the UDF its memory."""
        self.buffers = buffers
        self._declared = declared
        self.udf.results = Results(declared, buffers.arrays)
        self._views: dict[str, Any] = self.udf.results.__dict__
        self._nav = buffers.nav
        # For frames: whether the view keeps its leading axis.
        self._nav_frames = tuple((n, a, a.ndim == 1) for n, a in buffers.nav)
        self._bands = buffers.bands

    def start(self, count: int) -> None:
        """Let the UDF prepare itself for a partition of up to `count` positions."""
        self._show_partition(count)
        self.owner.phase = "get_task_data"
        self.udf.task_data = TaskData(self.udf.get_task_data())
        preprocess = getattr(self.udf, "preprocess", None)
        if preprocess is not None:
            self.owner.phase = "preprocess"
            preprocess()

    def begin_processing(self) -> None:
        """Show aux data by attribute from now on, as `move_to` says."""
        self.owner.phase = self._process_name
        aux = self.owner.aux
        self.udf.params.resolve_with(frozenset(), None)
        self._aux_nav = tuple((n, a, not extra) for n, (kind, extra, a) in aux.items() if kind == "nav")
        aux_sig = tuple((n, a) for n, (kind, _, a) in aux.items() if kind == "sig")
        self._params.update(aux_sig)
        bands = self.owner.bands if aux_sig else ()
        self._aux_bands = tuple({n: a[b:e] for n, a in aux_sig} for b, e in bands)

    def move_to(self, at: int, n: int, first: int) -> None:
        """Show the results of `n` frames from entry `at` on, and aux data from position `first` on."""
        self._at = at
        self._first = first
        if self._frames:
            return
        views = self._views
        stop = at + n
        for name, array in self._nav:
            views[name] = array[at:stop]
        for name, array, _ in self._aux_nav:
            self._params[name] = array[first : first + n]

    @property
    def where(self) -> str:
        """What is called now, for error texts."""
        return self.owner.where

    def finish(self, count: int) -> None:
        """Let the UDF finish a partition of `count` positions."""
        self._meta.array_backend = self.owner.backend
        self._show_partition_aux()
        self._show_partition(count)
        postprocess = getattr(self.udf, "postprocess", None)
        if postprocess is not None:
            self.owner.phase = "postprocess"
            postprocess()
        self.owner.phase = "cleanup"
        self.udf.cleanup()

    # ---------------------------------------------------------------------------------------------

    def _see_tile(self, band: int, tile: Array) -> None:
        if self._bands:
            self._views.update(self._bands[band])
        if self._aux_bands:
            self._params.update(self._aux_bands[band])
        self._process(tile)

    def _see_converted(self, band: int, tile: Any) -> None:
        """Show the tile as the array type of the UDF, not as it was read."""
        if self._frames:
            self._see_frames(band, self._conversion.frames())
        else:
            self._see_tile(band, self._conversion.tile)

    def _see_frames(self, band: int, frames: Iterable[Array]) -> None:
        views, meta, process, at, first = self._views, self._meta, self._process, self._at, self._first
        whole = meta.first, meta.count, meta.positions
        meta.count, positions, meta.positions = 1, meta.positions, None
        for i, frame in enumerate(frames):
            k = at + i
            for name, array, keep in self._nav_frames:
                views[name] = array[k : k + 1] if keep else array[k]
            for name, array, keep in self._aux_nav:
                p = first + i
                self._params[name] = array[p : p + 1] if keep else array[p]
            meta.first = first + i if positions is None else int(positions[i])
            meta.slice_cache = None
            process(frame)
        meta.first, meta.count, meta.positions = whole
        meta.slice_cache = None

    def _show_partition(self, count: int) -> None:
        self._views.update(self.buffers.fixed)
        for name, array in self._nav:
            self._views[name] = array[:count]

    def _show_partition_aux(self) -> None:
        aux = self.owner.aux
        params: Params = self.udf.params
        for name, (kind, _, array) in aux.items():
            if kind != "nav":
                self._params[name] = array
        nav = frozenset(name for name, (kind, _, _) in aux.items() if kind == "nav")
        params.resolve_with(nav, self._partition_aux if nav else None)

    def _partition_aux(self, name: str) -> Array:
        """Navigation aux data for the whole partition: whoever asks needs one run of positions."""
        meta = self._meta
        meta.asked_for_partition = True
        array = self.owner.aux[name][2]
        where: slice | Positions = slice(meta.first, meta.first + meta.count)
        if meta.positions is not None:
            where = meta.positions
        return array[where]
