"""One of our data sets, or a running acquisition, as a data set of the real LiberTEM.

LiberTEM asks for partitions, unbroken runs of scan positions, and takes them one after the other; our feeds
hand out chunks as they come.  In between stands the `FrameSupply`: it receives, decodes and keeps frames
until their partition is asked for.  All of that happens in this process, so LiberTEM's executors that send
partitions to other processes can't be used.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from arraystream import Feed, FeedChunk, FeedEnd, StateError, open_decoder

from ._buffer import Array
from ._dataset import StreamDataset
from ._grid import NOWHERE

_WAIT_S = 0.1
_PARTITIONS = 32


def as_libertem_dataset(dataset: StreamDataset, *, num_partitions: int | None = None) -> Any:
    """Return a data set for LiberTEM's ``Context.run_udf``; needs LiberTEM.

    Parameters
    ----------
    dataset
        A data set of ours: a file, an array, or an acquisition.  An acquisition is started here, and can be
        run over once.
    num_partitions
        How many partitions; results of a running acquisition show after each of them.  By default 32, or
        one per frame if there are less.

    Returns
    -------
    libertem.io.dataset.base.DataSet
        For LiberTEM's executors ``"inline"`` and ``"threads"``.

    Raises
    ------
    ImportError
        If LiberTEM is not installed.
    """
    made = _classes()[0](dataset, num_partitions)
    return made.initialize(None)


class FrameSupply:
    """Frames by position, pass after pass over a data set; thread-safe.

    A pass begins when frames are asked for that the one before has handed out already.

    Parameters
    ----------
    dataset
        Where they come from.
    feed
        What `dataset` returned from ``start``, if it is started already.
    """

    def __init__(self, dataset: StreamDataset, feed: Feed | None) -> None:
        self._dataset = dataset
        self._started = feed
        self._pass: _Pass | None = None
        self._lock = threading.Lock()

    def take(self, start: int, stop: int, selected: npt.NDArray[np.bool_]) -> dict[int, Array]:
        """Return the frames of positions ``[start, stop)``; positions that have none are left out.

        Blocks until they are there or the acquisition has ended.

        Parameters
        ----------
        start, stop
            Positions in the whole scan.
        selected
            Which positions are asked for in this pass, all in all; after the last one the pass is finished.

        Raises
        ------
        StreamError
            If the acquisition failed.
        """
        with self._lock:
            if self._pass is None or self._pass.handed_out[start:stop].any():
                if self._pass is not None:
                    self._pass.finish(None)
                feed, self._started = self._started, None
                self._pass = _Pass(self._dataset, self._dataset.start() if feed is None else feed)
            try:
                return self._pass.take(start, stop, selected)
            except BaseException as error:
                self._pass.finish(error)
                raise

    def close(self) -> None:
        """Leave the acquisition."""
        with self._lock:
            if self._pass is not None:
                self._pass.finish(None)

    def __reduce__(self) -> Any:
        raise TypeError(
            "a data set from udf_core.bridge lives in this process; use LiberTEM's executor 'inline' or "
            "'threads'"
        )


class _Pass:
    """One pass over a data set; see `FrameSupply`."""

    def __init__(self, dataset: StreamDataset, feed: Feed) -> None:
        self._dataset = dataset
        self._feed = feed
        self._scan = dataset.scan.resolve(feed.descriptor.n_items)
        self._decoder = open_decoder(feed.descriptor)
        self._member = feed.join()
        self._frames: dict[int, Array] = {}
        self._ended = False
        self.handed_out = np.zeros(self._scan.n_positions, bool)

    def take(self, start: int, stop: int, selected: npt.NDArray[np.bool_]) -> dict[int, Array]:
        wanted = range(start, stop)
        while not self._ended and not all(position in self._frames for position in wanted):
            self._receive()
        self.handed_out[start:stop] = True
        found = {p: self._frames.pop(p) for p in wanted if p in self._frames}
        if self.handed_out[selected].all():
            while not self._ended:
                self._receive()
            self._frames.clear()
        return found

    def finish(self, error: BaseException | None) -> None:
        if not self._ended:
            self._ended = True
            self._member.close()
            self._feed.close()
            self._dataset.finish(error)

    def _receive(self) -> None:
        received = self._member.recv(_WAIT_S)
        if isinstance(received, FeedChunk):
            self._place(received)
        elif isinstance(received, FeedEnd):
            verdict = self._feed.verdict()
            error = None if verdict is None else verdict.error
            self.finish(error)
            if error is not None:
                raise error

    def _place(self, chunk: FeedChunk) -> None:
        descriptor = self._feed.descriptor
        stack = np.empty((chunk.n, *descriptor.item_shape), np.dtype(descriptor.dtype))
        self._decoder.decode(chunk.payload, chunk.offsets, (0, descriptor.item_shape[0]), stack)
        token = chunk.lease.token
        chunk.lease.release()
        if self._feed.settle(self._member.number, (token,)):
            positions = self._scan.positions(chunk.first, chunk.n)
            self._frames.update(
                (int(position), frame)
                for position, frame in zip(positions, stack, strict=True)
                if position != NOWHERE
            )


@cache
def _classes() -> tuple[type[Any], type[Any]]:
    """Return the data set class and the partition class; made here because their bases are LiberTEM's."""
    try:
        from libertem.common import Shape as TheirShape
        from libertem.common import Slice as TheirSlice
        from libertem.io.dataset.base import DataSet, DataSetMeta, DataTile
        from libertem.io.dataset.base import Partition as TheirPartition
    except ImportError as error:
        raise ImportError("as_libertem_dataset() needs LiberTEM: pip install libertem") from error

    class BridgedPartition(TheirPartition):  # type: ignore[misc, unused-ignore]
        """A run of scan positions."""

        def __init__(self, meta: Any, partition_slice: Any, supply: FrameSupply, io_backend: Any) -> None:
            super().__init__(meta, partition_slice, io_backend, None)
            self._supply = supply
            self._corrections: Any = None

        def get_locations(self) -> None:
            """Return no preference."""

        def set_corrections(self, corrections: Any) -> None:
            """Apply these to each tile."""
            self._corrections = corrections

        def get_tiles(
            self,
            tiling_scheme: Any,
            dest_dtype: npt.DTypeLike = "float32",
            roi: Any = None,
            array_backend: Any = None,
        ) -> Iterator[Any]:
            """Yield the tiles of the frames that are there, in order of position."""
            first, n = int(self.slice.origin[0]), int(self.slice.shape[0])
            selected = np.ones(self.meta.shape.nav.size, bool) if roi is None else _as_mask(roi)
            frames = self._supply.take(first, first + n, selected)
            before = int(np.count_nonzero(selected[:first]))
            places = before + np.cumsum(selected[first : first + n]) - 1
            chosen = [
                (int(places[k]), frames[first + k])
                for k in range(n)
                if selected[first + k] and first + k in frames
            ]
            depth = max(1, n if tiling_scheme.intent == "partition" else int(tiling_scheme.depth))
            for place, stack in _stacks(chosen, depth):
                for index in range(len(tiling_scheme)):
                    part = tiling_scheme[index]
                    data = stack[(slice(None), *part.get())].astype(dest_dtype, order="C")
                    shape = TheirShape(data.shape, part.shape.sig.dims)
                    tile_slice = TheirSlice((place, *part.origin), shape)
                    if self._corrections is not None and self._corrections.have_corrections():
                        self._corrections.apply(data, tile_slice)
                    yield DataTile(data, tile_slice=tile_slice, scheme_idx=index)

    class BridgedDataSet(DataSet):  # type: ignore[misc, unused-ignore]
        """A data set of ours."""

        def __init__(self, dataset: StreamDataset, num_partitions: int | None) -> None:
            super().__init__()
            self._dataset = dataset
            self._wanted = num_partitions

        def initialize(self, executor: Any) -> Any:
            """Find out shape and type."""
            feed: Feed | None = None
            try:
                shape, dtype = self._dataset.shape, self._dataset.dtype
            except StateError:  # an acquisition tells them when it has begun
                feed = self._dataset.start()
                shape, dtype = self._dataset.shape, self._dataset.dtype
            self._supply = FrameSupply(self._dataset, feed)
            n_frames = shape.nav.size
            self._image_count = self._nav_shape_product = n_frames
            self._sync_offset = 0
            self._meta = DataSetMeta(
                shape=TheirShape(shape.to_tuple(), sig_dims=shape.sig_dims),
                raw_dtype=dtype,
                dtype=dtype,
                image_count=n_frames,
            )
            return self

        @property
        def shape(self) -> Any:
            """Navigation and signal shape."""
            return self._meta.shape

        @property
        def dtype(self) -> Any:
            """Type of the data."""
            return self._meta.dtype

        def close(self) -> None:
            """Leave the acquisition if LiberTEM has not run to its end."""
            self._supply.close()

        def check_valid(self) -> bool:
            """Return True; it could be opened."""
            return True

        def get_cache_key(self) -> str:
            """Return a key that no other data set has."""
            return f"udf_core.bridge-{id(self._dataset)}"

        def get_num_partitions(self) -> int:
            """Return how many partitions there are."""
            return int(max(1, min(self._wanted or _PARTITIONS, self._meta.shape.nav.size)))

        def need_decode(self, read_dtype: Any, roi: Any, corrections: Any) -> bool:
            """Return True: tiles are always made, and should be small."""
            return True

        def get_partitions(self) -> Iterator[Any]:
            """Yield the partitions; frames are read when their tiles are asked for."""
            n_frames, sig = self._meta.shape.nav.size, self._meta.shape.sig
            edges = np.linspace(0, n_frames, self.get_num_partitions() + 1).astype(int)
            for start, stop in itertools.pairwise(edges):
                part = TheirSlice(
                    (int(start), *(0,) * sig.dims), TheirShape((int(stop - start), *sig), sig_dims=sig.dims)
                )
                yield BridgedPartition(self._meta, part, self._supply, self.get_io_backend())

    return BridgedDataSet, BridgedPartition


def _as_mask(roi: Any) -> npt.NDArray[np.bool_]:
    dense = roi.todense() if hasattr(roi, "todense") else roi
    return np.asarray(dense, dtype=bool).reshape(-1)


def _stacks(chosen: list[tuple[int, Array]], depth: int) -> Iterator[tuple[int, Array]]:
    """Put frames of consecutive places together, at most `depth` at a time."""
    start = 0
    for i in range(1, len(chosen) + 1):
        if i == len(chosen) or i - start == depth or chosen[i][0] != chosen[i - 1][0] + 1:
            yield chosen[start][0], np.stack([frame for _, frame in chosen[start:i]])
            start = i
