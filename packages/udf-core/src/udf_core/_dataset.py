"""Data sets: what a run gets its frames from, live or from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from arraystream import ArraySource, Feed

from ._corrections import CorrectionSet
from ._roi import RoiBuilder
from ._scan import Scan
from ._shape import Shape


@runtime_checkable
class StreamDataset(Protocol):
    """One acquisition, or a file, as `Context.run_udf` takes it.

    `start` and `finish` are called once per run, in this order, from the thread that asked for the run.
    """

    @property
    def shape(self) -> Shape:
        """Navigation and signal shape; of a live data set it may be known only after `start`."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the data as stored; of a live data set it may be known only after `start`."""
        ...

    @property
    def scan(self) -> Scan:
        """Which position each item belongs to.

        Before `start` it may still have placeholders, or may not be known yet (`arraystream.StateError`).
        """
        ...

    def start(self) -> Feed:
        """Arm, or wait for the first item, as needed; return the feed of this run."""
        ...

    def finish(self, error: BaseException | None) -> None:
        """Take note that the run is over; `error` is what it raises, if anything."""
        ...


class SourceDataSet:
    """A file or an array in memory.

    Parameters
    ----------
    source
        Where the items come from.
    nav_shape
        Navigation shape, with ``-1`` for what follows from the number of items.  By default what the source
        says, else one axis.
    scan
        The whole scan, instead of `nav_shape` and `sync_offset`.
    sync_offset
        See `Scan.offset`.
    chunk_items
        Items that a worker takes at once; chosen by the source if not given.
    corrections
        What is wrong with the detector, for all runs that are not given other corrections.

    Raises
    ------
    ScanError
        If the scan does not fit the number of items.
    CorrectionError
        If the corrections do not fit the frames.

    Examples
    --------
    >>> from arraystream import open_memory
    >>> dataset = SourceDataSet(open_memory(np.zeros((6, 4, 4))), nav_shape=(2, -1))
    >>> dataset.shape
    Shape((2, 3, 4, 4), sig_dims=2)
    """

    def __init__(
        self,
        source: ArraySource,
        *,
        nav_shape: Sequence[int] | None = None,
        scan: Scan | None = None,
        sync_offset: int = 0,
        chunk_items: int | None = None,
        corrections: CorrectionSet | None = None,
    ) -> None:
        if scan is not None and (nav_shape is not None or sync_offset):
            raise ValueError("give either scan, or nav_shape and sync_offset")
        if scan is None:
            shape = nav_shape if nav_shape is not None else source.index_shape or (source.n_items,)
            scan = Scan(tuple(shape), offset=sync_offset)
        self._source = source
        self._scan = scan.resolve(source.n_items)
        self._chunk_items = chunk_items
        sig_shape = source.descriptor.item_shape
        self._corrections = None if corrections is None else corrections.for_frames(sig_shape)

    @property
    def shape(self) -> Shape:
        """Navigation and signal shape."""
        sig = self._source.descriptor.item_shape
        return Shape((*self._scan.nav_shape, *sig), sig_dims=len(sig))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the data as stored, in native byte order."""
        return np.dtype(self._source.descriptor.dtype)

    @property
    def known_sig_shape(self) -> tuple[int, ...]:
        """Shape of a frame."""
        return self._source.descriptor.item_shape

    def get_correction_data(self) -> CorrectionSet | None:
        """Return the corrections that this data set was given, else those that its source states."""
        if self._corrections is not None:
            return self._corrections
        return CorrectionSet.from_mapping(self._source.correction_data())

    @property
    def scan(self) -> Scan:
        """Which position each item belongs to."""
        return self._scan

    @property
    def meta(self) -> Mapping[str, Any]:
        """What the source says of itself: ``source``, and ``axes`` if it knows them."""
        return self._source.descriptor.meta

    @property
    def roi(self) -> RoiBuilder:
        """Makes regions of interest by indexing: ``dataset.roi[2:4]``."""
        return RoiBuilder(self._scan.nav_shape)

    def start(self) -> Feed:
        """Open a feed over all items."""
        return self._source.feed(self._chunk_items)

    def finish(self, error: BaseException | None) -> None:
        """Do nothing: the source can be run over again."""

    def close(self) -> None:
        """Let go of the source."""
        self._source.close()

    def __repr__(self) -> str:
        return f"<SourceDataSet {self.shape} of {self.dtype}>"
