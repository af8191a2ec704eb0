"""Merlin files: ``.mib`` with the frames, ``.hdr`` with what was announced.

A file's frames are decoded by the same codec as live ones; the file is mapped, never read as a whole.
"""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arraystream import ArraySource, ItemDescriptor, ProtocolError, TruncatedStream

from ._merlin import parse_hdr, scan_mib


class MibReader:
    """Gives the bytes of any range of frames (implements `arraystream.RangeReader`).

    Parameters
    ----------
    path
        The file; an absolute path travels to other processes.
    stride, data_offset
        Bytes from one frame to the next, and of a frame's header.
    """

    def __init__(self, path: str | os.PathLike[str], stride: int, data_offset: int) -> None:
        self._path = Path(path).absolute()
        self._stride, self._data_offset = stride, data_offset
        self._map: npt.NDArray[np.uint8] | None = None
        self._lock = threading.Lock()

    def read(self, first: int, n: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
        """Return a view of the frames, headers included, and where their pixels start in it.

        Raises
        ------
        TruncatedStream
            If the file was shortened since it was opened.
        """
        with self._lock:
            if self._map is None:
                self._map = map_file(self._path)
        start, stop = first * self._stride, (first + n) * self._stride
        if stop > self._map.nbytes:
            raise TruncatedStream(
                f"{self._path} has {self._map.nbytes} bytes; frames {first} to {first + n - 1} end at "
                f"{stop}. Was it shortened after it had been opened?"
            )
        offsets = np.arange(n, dtype=np.uint64) * np.uint64(self._stride) + np.uint64(self._data_offset)
        return self._map[start:stop], offsets

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_map": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


def map_file(path: Path) -> npt.NDArray[np.uint8]:
    """Map a file read-only; the map lives as long as an array looks at it."""
    if path.stat().st_size == 0:
        return np.empty(0, np.uint8)
    return np.asarray(np.memmap(path, np.uint8, mode="r"))


def open_mib(
    path: str | os.PathLike[str],
    hdr: str | os.PathLike[str] | None = None,
    *,
    nav_shape: tuple[int, ...] | None = None,
    n_items: int | None = None,
    flip_y: bool = False,
    ignore_numbers: bool = False,
) -> ArraySource:
    """Open a ``.mib`` file; all its frame headers are read and checked.

    Parameters
    ----------
    path
        The ``.mib`` file.
    hdr
        The ``.hdr`` file; by default the one beside it, if there is one.  It gives the index space.
    nav_shape
        The index space; wins over that of the header.
    n_items
        How many frames; by default all.
    flip_y
        Turn images upside down, as the vendor's own display does.
    ignore_numbers
        Take the frames as they come, even if their numbers do not follow one another.

    Returns
    -------
    ArraySource
        Its ``index_shape`` is `nav_shape`, or that of the scan interface, or (triggers, frames per
        trigger), or empty if none of these gives the number of frames.

    Raises
    ------
    ProtocolError
        If a header can't be read, frames differ, or a frame is missing in between.
    TruncatedStream
        If the file ends within a frame, or holds fewer frames than are asked for.
    """
    path = Path(path)
    file = map_file(path)
    try:
        found = scan_mib(file)
    except ProtocolError as error:
        raise ProtocolError(f"{path}: {error}") from error
    n_items = _check_length(path, found, n_items, ignore_numbers=ignore_numbers)
    announced = _read_hdr(path, hdr)
    index_shape = _index_shape(path, announced, n_items, nav_shape)
    params = dict(found["codec_params"])
    if flip_y:
        params["flip_y"] = True
    descriptor = ItemDescriptor(
        dtype=np.dtype(found["dtype"]),
        item_shape=tuple(found["item_shape"]),
        codec="merlin",
        codec_params=params,
        index_shape=index_shape,
        n_items=n_items,
        meta={
            "source": os.fspath(path),
            "shutter_s": found["shutter_s"],
            "counter": found["counter"],
            "header": announced.get("header", {}),
        },
    )
    reader = MibReader(path, found["stride"], found["data_offset"])
    return ArraySource(descriptor, reader, n_items=n_items, index_shape=index_shape)


def _check_length(path: Path, found: dict[str, Any], wanted: int | None, *, ignore_numbers: bool) -> int:
    there: int = found["n_frames"]
    if wanted is None and found["n_left_over"]:
        raise TruncatedStream(
            f"{path}: {found['n_left_over']} bytes are left over after {there} frames of "
            f"{found['stride']} bytes: the last frame is cut off. Take n_items={there} to leave it out."
        )
    if wanted is not None and not 0 <= wanted <= there:
        raise TruncatedStream(f"{path}: n_items is {wanted}, the file has {there} whole frames.")
    jump = found["jump"]
    n_items = there if wanted is None else wanted
    if jump is not None and jump[0] < n_items and not ignore_numbers:
        raise ProtocolError(
            f"{path}: after frame number {jump[1] - 1} comes {jump[2]} (frame {jump[0]} of the file): "
            "frames are missing, or several acquisitions are in one file. "
            "ignore_numbers=True takes them as they come."
        )
    return n_items


def _read_hdr(path: Path, hdr: str | os.PathLike[str] | None) -> dict[str, Any]:
    """What the header announces; nothing if there is none."""
    beside = path.with_suffix(".hdr")
    if hdr is None and not beside.is_file():
        return {}
    source = beside if hdr is None else Path(hdr)
    try:
        return parse_hdr(source.read_bytes())
    except ProtocolError as error:
        raise ProtocolError(f"{source}: {error}") from error


def _index_shape(
    path: Path, announced: dict[str, Any], n_items: int, wanted: tuple[int, ...] | None
) -> tuple[int, ...]:
    if wanted is not None:
        if math.prod(wanted) > n_items:
            raise TruncatedStream(
                f"{path}: nav_shape {wanted} needs more frames than the {n_items} there are."
            )
        return tuple(int(extent) for extent in wanted)
    shape = tuple(announced.get("index_shape") or ())
    return shape if math.prod(shape) == n_items else ()
