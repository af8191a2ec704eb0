"""Readers of HDF5 data sets: see `open_hdf5` for which is used when.  All are picklable."""

from __future__ import annotations

import itertools
import math
import os
import threading
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._chunk_grid import Box, boxes
from ._errors import CodecError, TruncatedStream
from ._extras import require
from ._mapped_file import MappedFile
from ._shared_bytes import SharedBytes
from ._slicing_reader import SlicingReader, as_payload, part_of

_Payload = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]
_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_ENTRY = np.dtype([("offset", "<u8"), ("size", "<u4"), ("skipped", "<u4")])
_NOT_WRITTEN = np.iinfo(np.uint64).max
_MOST_CHUNKS = 1 << 24


class ChunkTable:
    """Where each chunk of a data set lies in its file.

    Parameters
    ----------
    entries
        Records of offset, size and skipped filters, in C order of the chunks.
    is_complete
        Whether every chunk was written.
    """

    def __init__(self, entries: SharedBytes, is_complete: bool) -> None:
        self._entries = entries
        self.is_complete = is_complete

    @classmethod
    def of(cls, dataset: Any, file_bytes: int) -> ChunkTable | None:
        """Ask HDF5 for the table; ``None`` if it is too long, or HDF5 too old to tell.

        Raises
        ------
        TruncatedStream
            If a chunk ends behind the end of the file.
        """
        counts = [-(-extent // chunk) for extent, chunk in zip(dataset.shape, dataset.chunks, strict=True)]
        if math.prod(counts) > _MOST_CHUNKS or not hasattr(dataset.id, "chunk_iter"):
            return None
        if dataset.file.userblock_size:  # releases of HDF5 differ in whether it counts
            return None
        entries = np.zeros(math.prod(counts), _ENTRY)
        entries["offset"] = _NOT_WRITTEN
        strides = [math.prod(counts[axis + 1 :]) for axis in range(len(counts))]
        chunks = dataset.chunks

        def note(info: Any) -> None:
            index = sum(
                at // chunk * step for at, chunk, step in zip(info.chunk_offset, chunks, strides, strict=True)
            )
            entries[index] = (info.byte_offset, info.size, info.filter_mask)

        dataset.id.chunk_iter(note)
        written = entries[entries["offset"] != _NOT_WRITTEN]
        if len(written) and int((written["offset"] + written["size"]).max()) > file_bytes:
            raise TruncatedStream(
                f"{dataset.file.filename}: chunks of {dataset.name} end behind the end of the file "
                f"({file_bytes} bytes); it has been cut off."
            )
        return cls(SharedBytes(entries.view(np.uint8)), len(written) == len(entries))

    @property
    def entries(self) -> npt.NDArray[Any]:
        """The records, shape ``(n_chunks,)``."""
        return self._entries.array.view(_ENTRY)


def load_filters() -> None:
    """Have HDF5 know the filters of hdf5plugin, if it is there."""
    try:
        import hdf5plugin  # noqa: F401
    except ImportError:
        return


def own_filters(dataset: Any) -> tuple[int, ...] | None:
    """Return the data set's filters in the order of writing; ``None`` if one of them is not known here."""
    plist = dataset.id.get_create_plist()
    filters = tuple(plist.get_filter(number)[0] for number in range(plist.get_nfilters()))
    return filters if set(filters) <= {_DEFLATE, _SHUFFLE, _FLETCHER32} else None


class _Chunked:
    """What readers of chunks have in common: the shape of things."""

    def __init__(
        self,
        path: str,
        table: ChunkTable,
        shape: Sequence[int],
        chunks: Sequence[int],
        dtype: np.dtype[Any],
        sig_dims: int,
    ) -> None:
        self._file = MappedFile(path)
        self._path = path
        self._table = table
        self._dtype = dtype
        self._nav, self._sig = tuple(shape[:-sig_dims]), tuple(shape[-sig_dims:])
        self._chunks = tuple(chunks)
        self._counts = [-(-extent // chunk) for extent, chunk in zip(shape, chunks, strict=True)]
        self._strides = [math.prod(self._counts[axis + 1 :]) for axis in range(len(shape))]
        self._item_bytes = math.prod(self._sig) * dtype.itemsize


class MappedChunks(_Chunked):
    """Chunks of whole items without compression: views of the mapped file, nothing is copied."""

    def read(self, first: int, n: int) -> _Payload:
        """Return a view of the file from the first to the last of the items, wherever they lie in it."""
        items = np.arange(first, first + n)
        index, within = np.zeros(n, np.int64), np.zeros(n, np.int64)
        if self._nav:
            for axis, at in enumerate(np.unravel_index(items, self._nav)):
                chunk = self._chunks[axis]
                index += at // chunk * self._strides[axis]
                within = within * chunk + at % chunk
        offsets = self._table.entries["offset"][index] + (within * self._item_bytes).astype(np.uint64)
        start = int(offsets.min())
        payload = self._file.view(start, int(offsets.max()) + self._item_bytes)
        return payload, offsets - np.uint64(start)


class DecodedChunks(_Chunked):
    """Chunks that are decoded here, without HDF5 and its lock."""

    def __init__(
        self,
        path: str,
        table: ChunkTable,
        shape: Sequence[int],
        chunks: Sequence[int],
        dtype: np.dtype[Any],
        sig_dims: int,
        filters: tuple[int, ...],
        fill: npt.NDArray[Any],
    ) -> None:
        super().__init__(path, table, shape, chunks, dtype, sig_dims)
        self._filters = filters
        self._fill = fill

    def read(self, first: int, n: int) -> _Payload:
        """Decode each chunk that touches the items, once, and return copies of the items."""
        out = np.empty((n, *self._sig), self._dtype)
        whole_item = tuple(slice(0, extent) for extent in self._sig)
        parts = [(box + whole_item, part_of(out, at, box)) for at, box in boxes(self._nav, first, n)]
        for chunk in self._touched([box for box, _ in parts]):
            self._copy(chunk, parts)
        return as_payload(out)

    def _touched(self, wanted: list[Box]) -> list[tuple[int, ...]]:
        """The chunks with a share in any of the boxes."""
        touched: dict[tuple[int, ...], None] = {}
        for box in wanted:
            spans = [
                range(part.start // chunk, -(-part.stop // chunk))
                for part, chunk in zip(box, self._chunks, strict=True)
            ]
            touched.update(dict.fromkeys(itertools.product(*spans)))
        return list(touched)

    def _copy(self, chunk: tuple[int, ...], parts: list[tuple[Box, npt.NDArray[Any]]]) -> None:
        data: npt.NDArray[Any] | None = None
        for box, out in parts:
            from_chunk, to_out = [], []
            for part, at, extent in zip(box, chunk, self._chunks, strict=True):
                start, stop = max(part.start, at * extent), min(part.stop, (at + 1) * extent)
                from_chunk.append(slice(start - at * extent, stop - at * extent))
                to_out.append(slice(start - part.start, stop - part.start))
            if any(part.stop <= part.start for part in to_out):
                continue
            if data is None:
                data = self._decoded(chunk)
            out[tuple(to_out)] = data if data.ndim == 0 else data[tuple(from_chunk)]

    def _decoded(self, chunk: tuple[int, ...]) -> npt.NDArray[Any]:
        number = sum(at * step for at, step in zip(chunk, self._strides, strict=True))
        entry = self._table.entries[number]
        if entry["offset"] == _NOT_WRITTEN:
            return self._fill
        raw = self._file.view(int(entry["offset"]), int(entry["offset"]) + int(entry["size"]))
        n_bytes = math.prod(self._chunks) * self._dtype.itemsize
        try:
            raw = self._unfiltered(raw, int(entry["skipped"]), n_bytes)
        except zlib.error as error:
            raise CodecError(f"{self._path}: chunk {chunk} is damaged: {error}") from error
        if raw.nbytes != n_bytes:
            raise CodecError(
                f"{self._path}: chunk {chunk} decodes to {raw.nbytes} bytes instead of {n_bytes}."
            )
        return raw.view(self._dtype).reshape(self._chunks)

    def _unfiltered(self, raw: npt.NDArray[np.uint8], skipped: int, n_bytes: int) -> npt.NDArray[np.uint8]:
        for number, kind in reversed(list(enumerate(self._filters))):
            if skipped >> number & 1:
                continue
            if kind == _DEFLATE:
                # Never more than a chunk and a checksum, whatever the bytes say.
                raw = np.frombuffer(zlib.decompressobj().decompress(raw.data, n_bytes + 5), np.uint8)
            elif kind == _FLETCHER32:
                raw = raw[:-4]
            elif self._dtype.itemsize > 1:
                raw = np.ascontiguousarray(raw[:n_bytes].reshape(self._dtype.itemsize, -1).T).reshape(-1)
        return raw


class SlicedDataset(SlicingReader):
    """A data set read by HDF5 itself, each process with a file handle of its own."""

    def __init__(
        self, path: str, name: str, shape: Sequence[int], dtype: np.dtype[Any], sig_dims: int
    ) -> None:
        super().__init__(shape, dtype, sig_dims)
        self._path, self._name = os.path.abspath(path), name
        self._lock = threading.Lock()
        self._opened: tuple[int, Any] = (0, None)

    def _read_box(self, box: Box, out: npt.NDArray[Any]) -> None:
        try:
            self._dataset().read_direct(out, (*box, Ellipsis))
        except OSError as error:
            raise CodecError(
                f"{self._path}: {self._name} can't be read at {box}: {error}. If a filter is missing: "
                'pip install "arraystream-protocol[hdf5]"; else the file is damaged.'
            ) from error

    def _dataset(self) -> Any:
        # A handle must not be used in another process than the one that opened it.
        with self._lock:
            if self._opened[0] != os.getpid():
                h5py = require("h5py", "hdf5")
                load_filters()
                self._opened = (os.getpid(), h5py.File(self._path, "r")[self._name])
            return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_lock": None, "_opened": (0, None)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())
