"""What goes from workers to the main side: partial results with the leases they were computed from.

A `Commit` counts as a whole or not at all: the main side settles its tokens with the feed and merges only if
the feed says that the worker still owned those chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cloudpickle

from arraystream import ItemDescriptor

from . import compat
from ._buffer import Array
from ._corrections import CorrectionSet
from ._errors import WorkerHung
from ._grid import Positions
from ._plan import ExecutionPlan, plain_plan
from ._scan import ScanMap
from ._shape import Shape
from ._tiling import TilingScheme
from ._udf import UDF


@dataclass(frozen=True, slots=True)
class UDFSpec:
    """What a worker needs to make copies of a UDF.

    Parameters
    ----------
    cls
        Its class.
    kwargs
        Arguments for the class.
    """

    cls: type[UDF]
    kwargs: Mapping[str, Any]

    def __reduce__(self) -> tuple[Any, ...]:
        # A class from a package that imports LiberTEM needs our aliases where it is unpickled.
        if compat.active():
            return _unpack_with_aliases, (cloudpickle.dumps((self.cls, self.kwargs)),)
        return UDFSpec, (self.cls, self.kwargs)


def _unpack_with_aliases(packed: bytes) -> UDFSpec:
    compat.install(force=True)
    return UDFSpec(*cloudpickle.loads(packed))


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker needs to know about a run.

    Parameters
    ----------
    number
        Of the run.
    descriptor
        What the feed's items look like.
    specs
        The UDFs.
    scan_map
        From items to (compressed) positions.
    dataset_shape
        Navigation and signal shape.
    input_dtype
        Type the UDFs get.
    scheme
        How frames are cut.
    threads_per_worker
        How many threads numerical libraries may use; ``None`` for no limit.
    commit_s
        Longest time that results stay uncommitted while work goes on; more if committing takes long itself.
        The first results are committed at once.  0 to commit after each chunk.
    idle_s
        How long to wait for more before results are committed, if the last commit is `commit_s` ago.
    held_bytes
        Most bytes of chunks to hold uncommitted.
    corrections
        What is done to the frames before UDFs see them.
    plans
        Array types of the UDFs, by class of the worker's device.  Workers of other classes can't take part.
    hang_s
        Report a worker that makes no progress for so long.
    hang_limit_s
        End the run if a worker makes no progress for so long; ``None`` for never.
    """

    number: int
    descriptor: ItemDescriptor
    specs: tuple[UDFSpec, ...]
    scan_map: ScanMap
    dataset_shape: Shape
    input_dtype: Any
    scheme: TilingScheme
    threads_per_worker: int | None = None
    commit_s: float = 0.05
    idle_s: float = 0.005
    held_bytes: int = 16 << 20
    corrections: CorrectionSet = field(default_factory=CorrectionSet)
    plans: Mapping[str, ExecutionPlan] = field(default_factory=dict)
    hang_s: float = 30.0
    hang_limit_s: float | None = None

    def plan_for(self, device_class: str) -> ExecutionPlan:
        """Return the plan for a worker; NumPy for everybody if the run has no plans."""
        return self.plans[device_class] if self.plans else plain_plan(len(self.specs))

    def with_kwargs(self, kwargs: Sequence[Mapping[str, Any]]) -> Job:
        """Return this job with other arguments of the UDFs."""
        specs = zip(self.specs, kwargs, strict=True)
        return replace(self, specs=tuple(replace(spec, kwargs=new) for spec, new in specs))


@dataclass(slots=True)
class PartialResult:
    """What the UDFs made of one partition.

    Parameters
    ----------
    positions
        (Compressed) positions in the order of the navigation buffers.
    buffers
        Of each UDF, by name; navigation buffers have one entry per position.
    scan_pass
        Which pass of an endless scan this is of.
    """

    positions: Positions
    buffers: tuple[dict[str, Array], ...]
    scan_pass: int = 0

    @property
    def n_bytes(self) -> int:
        """Size of the buffers."""
        return sum(array.nbytes for arrays in self.buffers for array in arrays.values())


@dataclass(slots=True)
class Commit:
    """Chunks that a worker has finished, and what came out.

    Parameters
    ----------
    worker, member
        Who: number of the worker, and of its membership in the feed.
    number
        Counts the commits of a worker.
    tokens
        Leases of the chunks.
    n_items
        Items in the chunks, unselected ones included.
    partials
        Results.
    recycle
        Gives the memory of the results back to the worker; does not travel.
    n_surplus
        How many of the items come after the last pass of the scan.
    """

    worker: int
    member: int
    number: int
    tokens: tuple[int, ...]
    n_items: int
    partials: list[PartialResult]
    recycle: Callable[[], None] | None = None
    n_surplus: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """A worker stopped because of an error.

    Parameters
    ----------
    worker
        Its number.
    error
        The error.
    text
        Its traceback, if it happened in another process.
    from_feed
        Whether the feed raised it, rather than a UDF or the engine.
    """

    worker: int
    error: BaseException
    text: str = ""
    from_feed: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker was told that no more chunks will come, and has committed all it had."""

    worker: int


@dataclass(frozen=True, slots=True)
class Gone:
    """A worker died.

    Parameters
    ----------
    worker
        Its number.
    reason
        How it ended.
    """

    worker: int
    reason: str


Event = Commit | Failure | Ended | Gone | WorkerHung
