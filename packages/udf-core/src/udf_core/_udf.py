"""The base class of user-defined functions.

A UDF says which results it makes (`get_result_buffers`), what it does with a frame, a tile or a partition
(`process_*`), and how partial results come together (`merge`).  The engine makes a fresh copy with
``cls(**kwargs)`` for each partition on a worker; the user's own object lives on the main side and merges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from types import ModuleType
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from ._backends import fit_to, namespace
from ._buffer import Array, AuxBuffer, BufferWrapper, Kind, MaskedResult, Use
from ._by_hand import ByHand
from ._meta import UDFMeta
from ._namespace import MergeView, Params, Results, TaskData, WorkerData
from ._shape import Shape


class UDFMethod(Enum):
    """What a UDF sees at once."""

    TILE = "tile"
    FRAME = "frame"
    PARTITION = "partition"


class TilingHint(Enum):
    """Stands for *the engine knows best* in `UDF.get_tiling_preferences`."""

    SIZE_BEST_FIT = "best fit"
    DEPTH_DEFAULT = "default"


_SCIPY = ("scipy.sparse.coo", "scipy.sparse.csr", "scipy.sparse.csc")
_CUPYX = ("cupyx.scipy.sparse.coo_matrix", "cupyx.scipy.sparse.csr_matrix", "cupyx.scipy.sparse.csc_matrix")


class UDF(ByHand):
    """A user-defined function.

    A subclass implements `get_result_buffers`, one of ``process_tile(tile)``, ``process_frame(frame)`` and
    ``process_partition(partition)``, and `merge` unless all its buffers are of kind ``"nav"``.

    Parameters
    ----------
    **kwargs
        Available as ``self.params.<name>``.  A subclass with its own ``__init__`` passes all its arguments on
        under the same names, since workers make their copies from them.

    Attributes
    ----------
    params
        The keyword arguments; aux data shows the part that belongs to the current data.
    results
        The current part of the result buffers.  ``self.results.x += y`` adds to the result.
    task_data
        What `get_task_data` returned for this partition.
    worker_data
        What `get_worker_data` returned for this worker and run.
    meta
        Facts about the run and the current data.

    Examples
    --------
    >>> class SumUDF(UDF):
    ...     def get_result_buffers(self):
    ...         return {"intensity": self.buffer(kind="sig", dtype="float64")}
    ...     def process_tile(self, tile):
    ...         self.results.intensity += tile.sum(axis=0)
    ...     def merge(self, dest, src):
    ...         dest.intensity += src.intensity
    """

    UDF_METHOD = UDFMethod

    USE_NATIVE_DTYPE = bool
    TILE_SIZE_BEST_FIT = TilingHint.SIZE_BEST_FIT
    TILE_SIZE_MAX = np.inf
    TILE_DEPTH_DEFAULT = TilingHint.DEPTH_DEFAULT
    TILE_DEPTH_MAX = np.inf

    BACKEND_NUMPY = "numpy"
    BACKEND_NUMPY_MATRIX = "numpy.matrix"
    BACKEND_CUDA = "cuda"
    BACKEND_CUPY = "cupy"
    BACKEND_SPARSE_COO = "sparse.COO"
    BACKEND_SPARSE_GCXS = "sparse.GCXS"
    BACKEND_SPARSE_DOK = "sparse.DOK"
    BACKEND_SCIPY_COO = "scipy.sparse.coo_matrix"
    BACKEND_SCIPY_CSR = "scipy.sparse.csr_matrix"
    BACKEND_SCIPY_CSC = "scipy.sparse.csc_matrix"
    BACKEND_SCIPY_COO_ARRAY = "scipy.sparse.coo_array"
    BACKEND_SCIPY_CSR_ARRAY = "scipy.sparse.csr_array"
    BACKEND_SCIPY_CSC_ARRAY = "scipy.sparse.csc_array"
    BACKEND_CUPY_SCIPY_COO = "cupyx.scipy.sparse.coo_matrix"
    BACKEND_CUPY_SCIPY_CSR = "cupyx.scipy.sparse.csr_matrix"
    BACKEND_CUPY_SCIPY_CSC = "cupyx.scipy.sparse.csc_matrix"
    BACKEND_ALL = (
        *("cupyx.scipy.sparse.csr_matrix", "cupyx.scipy.sparse.csc_matrix", "cupyx.scipy.sparse.coo_matrix"),
        *("scipy.sparse.coo_array", "scipy.sparse.csc_array", "scipy.sparse.csr_array"),
        *("scipy.sparse.csr_matrix", "scipy.sparse.csc_matrix", "scipy.sparse.coo_matrix"),
        *("cupy", "numpy", "sparse.COO", "sparse.GCXS"),
    )
    CUPY_BACKENDS = frozenset(("cupy", *_CUPYX))
    CUDA_BACKENDS = frozenset(("cuda", "cupy", *_CUPYX))
    D2_BACKENDS = frozenset(
        ("numpy.matrix", *(f"{n}_matrix" for n in _SCIPY), *(f"{n}_array" for n in _SCIPY), *_CUPYX)
    )
    ND_BACKENDS = frozenset(("numpy", "cuda", "cupy", "sparse.COO", "sparse.GCXS", "sparse.DOK"))
    DENSE_BACKENDS = frozenset(("numpy", "cuda", "cupy", "numpy.matrix"))
    SPARSE_BACKENDS = (D2_BACKENDS | ND_BACKENDS) - DENSE_BACKENDS
    CPU_BACKENDS = (D2_BACKENDS | ND_BACKENDS) - CUDA_BACKENDS

    CONTIGUOUS_PARTITIONS: ClassVar[bool] = False
    """Set to True if every partition must be one unbroken run of scan positions.  The engine finds out by
    itself for UDFs that always ask for facts about their partition, so this is seldom needed."""

    def __init__(self, **kwargs: Any) -> None:
        self._kwargs = kwargs
        self.params = Params(kwargs)
        self.results = Results()
        self.task_data = TaskData()
        self.worker_data = WorkerData()
        self.meta: UDFMeta = None  # type: ignore[assignment]
        self._init_by_hand()

    # -- to be overridden -------------------------------------------------------------------------

    def get_result_buffers(self) -> Mapping[str, BufferWrapper]:
        """Return the result buffers by name, made with `buffer`."""
        raise NotImplementedError(f"{type(self).__name__} has to implement get_result_buffers()")

    def get_task_data(self) -> Mapping[str, Any]:
        """Return values for ``self.task_data``; called once per partition."""
        return {}

    def get_worker_data(self) -> Mapping[str, Any]:
        """Return values for ``self.worker_data``; called once per worker and run.

        For what is expensive to make and stays the same for all data: masks, plans, lookup tables.  Depends
        on `params` and on what `meta` says about the run only, not on the current data, and is not modified
        afterwards.
        """
        return {}

    def cleanup(self) -> None:
        """Release what the task data holds; called after the partition."""

    def merge(self, dest: MergeView, src: MergeView) -> None:
        """Add the partial results `src` of a partition to the results `dest`.

        Called with keywords.  Navigation buffers of both show the partition's positions, other buffers are
        whole.  The default copies navigation buffers.

        Raises
        ------
        NotImplementedError
            If there are buffers of another kind.
        TypeError
            If the type of a partial result does not fit.
        """
        self.check_default_merge()
        for name, array in src.items():
            target = getattr(dest, name)
            if not np.can_cast(array.dtype, target.dtype, casting="safe"):
                raise TypeError(
                    f"Unsafe automatic casting of buffer {name!r} from {array.dtype} to {target.dtype}; "
                    f"implement merge()"
                )
            target[...] = array

    def get_results(self) -> Mapping[str, Any]:
        """Return the final results by name, from the merged ``self.results``.

        Buffers that are left out pass through unchanged.  Has no side effects; is called only when somebody
        looks at the results.
        """
        return {n: self.results.__dict__[n] for n, b in self.results._buffers.items() if b.use is None}

    def get_preferred_input_dtype(self) -> npt.DTypeLike:
        """Return the type the UDF wants its data in, or ``USE_NATIVE_DTYPE`` to take any."""
        return np.float32

    def get_tiling_preferences(self) -> Mapping[str, Any]:
        """Return the wanted ``"depth"`` (frames) and ``"total_size"`` (bytes) of a tile."""
        return {"depth": UDF.TILE_DEPTH_DEFAULT, "total_size": UDF.TILE_SIZE_MAX}

    def get_backends(self) -> str | Iterable[str]:
        """Return the array types the UDF can work with, the preferred one first."""
        return (UDF.BACKEND_NUMPY,)

    def get_method(self) -> UDFMethod:
        """Return whether the UDF takes tiles, frames or partitions.

        Raises
        ------
        TypeError
            If it implements none of the methods.
        """
        for method in (UDFMethod.TILE, UDFMethod.FRAME, UDFMethod.PARTITION):
            if hasattr(self, f"process_{method.value}"):
                return method
        raise TypeError(
            f"{type(self).__name__} has to implement one of process_tile(), process_frame() and "
            f"process_partition()"
        )

    # -- for use in subclasses --------------------------------------------------------------------

    def buffer(
        self,
        kind: Kind,
        extra_shape: Sequence[int] | Shape = (),
        dtype: npt.DTypeLike = "float32",
        where: str | None = None,
        use: Use = None,
    ) -> BufferWrapper:
        """Declare a result buffer; see `BufferWrapper`."""
        return BufferWrapper(kind, extra_shape, dtype, where, use)

    @classmethod
    def aux_data(
        cls,
        data: npt.ArrayLike,
        kind: Kind,
        extra_shape: Sequence[int] = (),
        dtype: npt.DTypeLike = "float32",
    ) -> AuxBuffer:
        """Wrap data beside the data set as a parameter; the UDF sees the part for its current data."""
        return AuxBuffer(data, kind, extra_shape, dtype)

    @staticmethod
    def with_mask(data: npt.ArrayLike, mask: npt.ArrayLike) -> MaskedResult:
        """Return a result for `get_results` that says itself which of its elements are valid."""
        return MaskedResult(data, mask)

    @property
    def xp(self) -> ModuleType:
        """The array library of the current data: see `meta.array_backend`; NumPy on the main side."""
        return namespace((None if self.meta is None else self.meta.array_backend) or self._backend)

    def forbuf(self, arr: Any, target: Array) -> Any:
        """Bring an intermediate result into type and shape of a result buffer.

        Sparse arrays become dense, arrays of a device are copied to the host or the other way round, and two
        axes become as many as `target` has.  What is no array passes through.
        """
        return fit_to(arr, target)

    def copy(self) -> Self:
        """Return a fresh object with the same parameters."""
        return self.new_with(self._kwargs)

    # -- engine side ------------------------------------------------------------------------------

    @classmethod
    def new_with(cls, kwargs: Mapping[str, Any]) -> Self:
        """Return a fresh object with these parameters."""
        try:
            return cls(**kwargs)
        except TypeError as error:
            error.add_note(
                f"{cls.__name__}.__init__() must take the same keyword arguments that it passes to "
                f"super().__init__(): {', '.join(kwargs) or 'none'}"
            )
            raise

    def check_default_merge(self) -> None:
        """Raise unless the default `merge` can do."""
        if self.requires_custom_merge:
            raise NotImplementedError(
                f"Default merging only works for kind='nav' buffers; {type(self).__name__} has to implement "
                f"merge(dest, src)"
            )


class NoOpUDF(UDF):
    """A UDF that does nothing: measures the engine alone.

    Parameters
    ----------
    preferred_input_dtype
        Type to decode into.
    """

    def __init__(self, preferred_input_dtype: npt.DTypeLike = bool) -> None:
        super().__init__(preferred_input_dtype=preferred_input_dtype)

    def get_result_buffers(self) -> Mapping[str, BufferWrapper]:
        """Return no buffers."""
        return {}

    def get_preferred_input_dtype(self) -> npt.DTypeLike:
        """Return the wanted type."""
        dtype: npt.DTypeLike = self.params.preferred_input_dtype
        return dtype

    def process_tile(self, tile: Array) -> None:
        """Do nothing."""
