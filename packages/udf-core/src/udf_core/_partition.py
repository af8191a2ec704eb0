"""A partition: the frames a worker processes between two merges.

It collects the frames of several chunks, unless a UDF asks for facts about its whole partition; then it is
one unbroken run of positions.  Each selected frame is shown to each UDF, every pixel exactly once, and that
is checked.
"""

from __future__ import annotations

import numpy as np

from arraystream import FeedChunk

from ._buffer import Array
from ._commit import Job, PartialResult
from ._conversion import TileConversion
from ._devices import CPU
from ._errors import CoverageError
from ._grid import SCATTERED, Positions
from ._meta import UDFMeta
from ._plan import ExecutionPlan, plain_plan
from ._scan import Stretch
from ._tile_reader import TileReader
from ._worker_udf import UDFAtWork, WorkerUDF


class Partition:
    """Frames on their way to one merge.

    Parameters
    ----------
    job
        The run.
    udfs
        The UDFs of the worker.
    reader
        Makes tiles.
    first
        The first stretch that the partition will take.
    capacity
        How many positions it may take in all; at least those of `first`.
    worker
        Number of the worker, for error texts.
    plan
        Array types of the UDFs; what is read for everybody by default.
    device_class
        What the worker computes on.
    """

    def __init__(
        self,
        job: Job,
        udfs: list[WorkerUDF],
        reader: TileReader,
        first: Stretch,
        capacity: int,
        worker: int,
        plan: ExecutionPlan | None = None,
        device_class: str = CPU,
    ) -> None:
        self.count = 0
        self.capacity = capacity
        self.scan_pass = first.scan_pass
        self._positions: list[Positions] = []
        self._reader = reader
        self._bands = job.scheme.bands
        self._depth = job.scheme.depth
        self._worker = worker
        self._meta = UDFMeta(
            None,
            job.dataset_shape,
            job.scan_map.roi,
            job.descriptor.dtype,
            job.input_dtype,
            tiling_scheme=job.scheme,
            corrections=job.corrections,
            device_class=device_class,
            threads_per_worker=job.threads_per_worker,
        )
        plan = plain_plan(len(udfs)) if plan is None else plan
        self._meta.enter_partition(first.first, first.n, first.where, shape_count=first.n)
        self._n_udfs = len(udfs)
        # UDFs in the order of the plan, with their number, and between them what makes their tiles.
        self._work: list[UDFAtWork | TileConversion] = []
        self._opened: list[tuple[int, UDFAtWork]] = []
        made: dict[str, TileConversion] = {}
        for step in plan.steps:
            conversion = None
            if not plan.is_plain:
                conversion = TileConversion(step, made.get(step.origin), job.scheme, self._meta)
                self._work.append(conversion)
                made[step.backend] = conversion
            for number in step.udfs:
                self._open(number, udfs[number], conversion)
        self._meta.leave_partition()

    @property
    def depends_on_positions(self) -> bool:
        """Whether a UDF asked for facts that only an unbroken partition has."""
        return self._meta.asked_for_partition

    @property
    def depends_on_neighbours(self) -> bool:
        """Whether a UDF asked where its frames are, in a way that tells of neighbours only."""
        return self._meta.asked_for_slice or any(work.owner.has_nav_aux for _, work in self._opened)

    def whereabouts(self) -> tuple[int, ...]:
        """Return numbers that change with each tile or frame; thread-safe."""
        return id(self), self.count, self._meta.first, self._meta.tiling_scheme_idx

    def describe(self) -> str:
        """Return which data are shown to the UDFs; thread-safe."""
        first = self._meta.first
        if first == SCATTERED:
            return "scan positions that are no neighbours"
        return f"scan positions {first} to {first + max(1, self._meta.count) - 1}"

    def has_room(self, stretch: Stretch) -> bool:
        """Whether these positions fit in, and are of the same pass."""
        return self.scan_pass == stretch.scan_pass and self.count + stretch.n <= self.capacity

    def take(self, chunk: FeedChunk, stretch: Stretch) -> None:
        """Show a stretch of a chunk to all UDFs.

        Raises
        ------
        CoverageError
            If not every pixel was shown exactly once.
        """
        whole_chunk = stretch.n == chunk.n and isinstance(stretch.items, slice)
        offsets = chunk.offsets if whole_chunk else chunk.offsets[stretch.items]
        payload = chunk.payload
        whole = self._reader.whole(payload, offsets)
        decode, buffer = self._reader.decode, self._reader.buffer
        meta, work, bands = self._meta, self._work, self._bands
        depth = self._depth or stretch.n
        where = stretch.where
        n_rows = 0
        sparse = self._reader.sparse
        current: UDFAtWork | TileConversion | None = None
        try:
            for start in range(0, stretch.n, depth):
                stop = min(start + depth, stretch.n)
                n, position = stop - start, stretch.first + start
                if where is not None:
                    position, meta.positions = SCATTERED, where[start:stop]
                meta.first, meta.count = position, n
                for udf in work:
                    udf.move_to(self.count, n, position)
                places = offsets[start:stop]
                for index, band in enumerate(bands):
                    if whole is not None:
                        tile = whole[start:stop]
                    elif sparse is not None:
                        current = None
                        tile = sparse(payload, places, band)
                    else:
                        current = None
                        tile = buffer(n, band[1] - band[0])
                        decode(payload, places, band, tile)
                    meta.tiling_scheme_idx = index
                    meta.slice_cache = None
                    for current in work:
                        current.see(index, tile)
                    n_rows += n * tile.shape[1]
                self.count += n
        except Exception as error:
            who = "the decoder" if current is None else current.where
            self._explain(error, who, meta.first, meta.count)
            raise
        meta.positions = None
        if where is None:
            where = np.arange(stretch.first, stretch.first + stretch.n)
        self._positions.append(where)
        if n_rows != stretch.n * self._reader.height:
            raise CoverageError(
                f"{n_rows} rows of {stretch.n} frames with {self._reader.height} rows each were processed; "
                f"please report this"
            )

    def finish(self) -> PartialResult:
        """Let the UDFs finish and return their results, which stay valid until `recycle`."""
        positions = np.concatenate(self._positions)
        unbroken = bool(np.all(np.diff(positions) == 1))
        self._meta.enter_partition(
            int(positions[0]) if unbroken else SCATTERED,
            self.count,
            None if unbroken else positions,
            shape_count=self.count,
        )
        results: list[dict[str, Array]] = [{}] * self._n_udfs
        for number, work in self._opened:
            try:
                work.finish(self.count)
                results[number] = work.buffers.export(self.count)
            except Exception as error:
                self._explain(error, work.where, int(positions[0]), self.count)
                raise
        return PartialResult(positions, tuple(results), self.scan_pass)

    def recycle(self) -> None:
        """Give the memory of the results back."""
        for _, work in self._opened:
            work.owner.give_back(work.buffers, self.count)

    def _open(self, number: int, udf: WorkerUDF, conversion: TileConversion | None) -> None:
        try:
            work = udf.open(self._meta, self.capacity, conversion)
            self._work.append(work)
            self._opened.append((number, work))
            work.start(self.capacity)
            work.begin_processing()
        except Exception as error:
            self._explain(error, udf.where, self._meta.first, self._meta.count)
            raise

    def _explain(self, error: Exception, who: str, first: int, count: int) -> None:
        if isinstance(error, AttributeError) and error.name in ("tile_slice", "scheme_idx"):
            error.add_note("tiles are plain arrays: use self.meta.slice and self.meta.tiling_scheme_idx")
        where = f"{first} to {first + count - 1}"
        if first == SCATTERED and self._meta.positions is not None:
            where = ", ".join(map(str, self._meta.positions[:4])) + (" …" if count > 4 else "")
        error.add_note(f"in {who}, scan positions {where}, worker {self._worker}")
