"""DECTRIS HDF5 files as a source: master files with their data files, or a data file alone.

Images are decoded by the same codec as live ones; what it does not take (other filters, several images in a
chunk, no compression) is read as the source ``hdf5`` reads it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arraystream import (
    ArraySource,
    ItemDescriptor,
    PluginError,
    RangeReader,
    SeriesReader,
    SourceError,
    TruncatedStream,
    load_plugin,
)

from ._hdf5_frames import ImageChunks, compression_of, find_chunks
from ._hdf5_header import Header, read_header
from ._hdf5_layout import Part, channel_names, find_parts, is_dectris_file
from ._metadata import describe_series

_WANTED_BYTES, _MOST_BYTES, _CHUNKS_WANTED = 4 << 20, 16 << 20, 256


@dataclass(frozen=True)
class _Frames:
    """Frames of all parts, as the engine will read them."""

    readers: Sequence[RangeReader]
    lengths: Sequence[int]
    codec: str
    codec_params: dict[str, Any]
    item_shape: tuple[int, ...]


def open_dectris_h5(
    path: str | os.PathLike[str],
    *,
    channel: str | int | None = None,
    n_items: int | None = None,
    ignore_numbers: bool = False,
) -> ArraySource:
    """Open the HDF5 files of an acquisition of a DECTRIS detector.

    Parameters
    ----------
    path
        The master file (``…_master.h5``), for all data files that it links; or a data file.
    channel
        Which threshold of files with several: its name, e.g. ``"threshold_2"``, or its number from 0;
        ``"all"`` for items of shape (channels, rows, columns).  By default the first.
    n_items
        How many frames; by default all that were written.
    ignore_numbers
        Take the data files as they come, even if their numbers do not follow one another.

    Returns
    -------
    ArraySource
        Its ``index_shape`` is (triggers, images per trigger) if both are more than one and all frames are
        there, else empty.  Its ``meta``: ``source``, ``header`` (settings by the vendor's names),
        ``units`` of these, ``n_announced`` frames, ``channels``, ``channel``, and the names that a
        live acquisition has (``count_time_s``, ``pixel_size_m``, …).  Its ``correction_data`` has the pixel
        mask and, unless the detector applied it, the flat field.

    Raises
    ------
    SourceError
        If it is no file of a DECTRIS detector, or the files are not of one acquisition.
    ProtocolError
        If a data file is missing in between.
    TruncatedStream
        If a data file isn't there, one is cut off, or there are fewer frames than are asked for.
    FileNotFoundError
        If there is no such file.
    PluginError
        If h5py isn't installed.
    """
    h5py = _require_h5py()
    path = Path(path)
    with path.open("rb"):
        pass  # the system's own error for what is missing or forbidden
    with ExitStack() as opened:
        try:
            file = opened.enter_context(h5py.File(path, "r"))
        except OSError as error:
            if "truncated" in str(error):
                raise TruncatedStream(f"{path} is cut off: {error}") from error
            raise SourceError(f"{path} can't be opened as HDF5 file: {error}") from error
        parts = find_parts(file, opened, n_items=n_items, ignore_numbers=ignore_numbers)
        channels = channel_names(file, parts)
        chosen = _choose(path, channels, channel)
        header = read_header(file, None if chosen is None else channels[chosen])
        frames = _chunked_frames(parts, chosen) or _any_frames(parts, chosen, n_items)
        there = sum(frames.lengths)
        n_taken = _n_taken(path, there, n_items, header)
        dtype = parts[0].dataset.dtype.newbyteorder("=")
    index_shape = header.index_shape if math.prod(header.index_shape) == n_taken else ()
    descriptor = ItemDescriptor(
        dtype=dtype,
        item_shape=frames.item_shape,
        codec=frames.codec,
        codec_params=frames.codec_params,
        index_shape=index_shape,
        n_items=n_taken,
        meta=_meta(path, header, channels, chosen),
    )
    readers, lengths = frames.readers, frames.lengths
    return ArraySource(
        descriptor,
        readers[0] if len(readers) == 1 else SeriesReader(readers, lengths),
        n_items=n_taken,
        index_shape=index_shape,
        ends=_ends(lengths, n_taken, math.prod(frames.item_shape) * dtype.itemsize),
        corrections=_fitting(header, frames.item_shape),
    )


def is_dectris_h5(path: str | os.PathLike[str]) -> bool:
    """Whether an HDF5 file was written by a DECTRIS detector; ``False`` also if it can't be opened."""
    try:
        import h5py

        with h5py.File(path, "r") as file:
            return is_dectris_file(file)
    except (ImportError, OSError):
        return False


def _require_h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise PluginError(
            f'Source "dectris-h5" needs h5py, which can\'t be imported ({error}). '
            'To get it: pip install "detector-dectris[hdf5]"'
        ) from error
    return h5py


def _choose(path: Path, channels: list[str], wanted: str | int | None) -> int | None:
    """Return the number of the channel; ``None`` for all of them, or if there is no such axis."""
    if not channels:
        if wanted not in (None, 0, "threshold_1"):
            raise SourceError(
                f"{path}: there is no channel {wanted!r}; the frames are of one threshold only."
            )
        return None
    if wanted == "all":
        return None
    number = wanted if isinstance(wanted, int) else channels.index(wanted) if wanted in channels else None
    if wanted is None:
        number = 0
    if number is None or not 0 <= number < len(channels):
        raise SourceError(f"{path}: there is no channel {wanted!r}; it has {', '.join(channels)}.")
    return number


def _chunked_frames(parts: list[Part], chosen: int | None) -> _Frames | None:
    """Frames as the detector compressed them; ``None`` if not all of them are such."""
    compressions = {compression_of(part) for part in parts}
    compression = compressions.pop()
    item_shape = parts[0].frame_shape
    if compression is None or compressions or (chosen is None and len(item_shape) > 2):
        return None
    readers, lengths = [], []
    for number, part in enumerate(parts):
        chunks = find_chunks(part)
        if chunks is None or chunks["skipped"].any():
            return None
        if len(chunks) < part.n_frames and number + 1 < len(parts):
            raise TruncatedStream(
                f"{part}: {part.n_frames - len(chunks)} of {part.n_frames} frames were never written, though "
                "others follow."
            )
        if chosen is not None:
            chunks = chunks[:, chosen]
        readers.append(ImageChunks(part.path, chunks))
        lengths.append(len(chunks))
    byteorder = ">" if parts[0].dataset.dtype.str.startswith(">") else "<"
    return _Frames(readers, lengths, compression, {"byteorder": byteorder}, item_shape[-2:])


class _ChannelReader:
    """Gives one channel of items that have all of them, one behind the other."""

    def __init__(self, reader: RangeReader, skipped_bytes: int) -> None:
        self._reader, self._skipped = reader, np.uint64(skipped_bytes)

    def read(self, first: int, n: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
        """See `arraystream.RangeReader.read`."""
        payload, offsets = self._reader.read(first, n)
        return payload, offsets + self._skipped


def _any_frames(parts: list[Part], chosen: int | None, n_items: int | None) -> _Frames:
    """Frames as the source ``hdf5`` reads them."""
    open_hdf5 = load_plugin("arraystream.sources", "hdf5")
    item_shape = parts[0].frame_shape
    readers: list[RangeReader] = []
    params: dict[str, Any] = {}
    for part in parts:
        source = open_hdf5(part.path, part.name, sig_dims=len(item_shape))
        params = dict(source.descriptor.codec_params)
        reader: RangeReader = source.reader
        if chosen is not None:
            frame_bytes = math.prod(item_shape[1:]) * source.descriptor.dtype.itemsize
            reader = _ChannelReader(reader, chosen * frame_bytes)
        readers.append(reader)
    if chosen is not None:
        item_shape = item_shape[1:]
    return _Frames(readers, [part.n_frames for part in parts], "raw", params, item_shape)


def _n_taken(path: Path, there: int, wanted: int | None, header: Header) -> int:
    if wanted is not None and not 0 <= wanted <= there:
        announced = f" of {header.n_announced} announced" if header.n_announced is not None else ""
        raise TruncatedStream(f"{path}: n_items is {wanted}, but {there} frames{announced} were written.")
    return there if wanted is None else wanted


def _ends(lengths: Sequence[int], n_items: int, item_bytes: int) -> list[int] | None:
    """Where chunks of a feed end, so that each lies in one file."""
    if len(lengths) == 1 or not n_items:
        return None
    wanted = min(max(n_items * item_bytes // _CHUNKS_WANTED, _WANTED_BYTES), _MOST_BYTES)
    step = max(1, wanted // max(1, item_bytes))
    ends: list[int] = []
    first = 0
    for length in lengths:
        stop = min(first + length, n_items)
        if stop > first:
            ends += [*range(first + step, stop, step), stop]
        first = stop
    return ends


def _meta(path: Path, header: Header, channels: list[str], chosen: int | None) -> dict[str, Any]:
    meta: dict[str, Any] = {
        "source": os.fspath(path),
        "header": dict(header.values),
        "units": dict(header.units),
    }
    if header.n_announced is not None:
        meta["n_announced"] = header.n_announced
    if channels:
        meta["channels"] = channels
        meta["channel"] = "all" if chosen is None else channels[chosen]
    return describe_series(meta)


def _fitting(header: Header, item_shape: tuple[int, ...]) -> dict[str, Any]:
    """What is wrong with the pixels, as far as it is told for frames of this shape."""
    data = header.corrections.correction_data
    fitting = {name: value for name, value in data.items() if np.shape(value) in ((), item_shape)}
    if "gain" in fitting and np.all(fitting["gain"] == 1):
        del fitting["gain"]  # it would only turn counts into floats
    return fitting
