"""Merlin files: ``.mib`` with the frames, ``.hdr`` with what was announced.

A file's frames are decoded by the same codec as live ones; the file is mapped, never read as a whole.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arraystream import (
    ArraySource,
    ItemDescriptor,
    MappedFile,
    ProtocolError,
    SeriesReader,
    TruncatedStream,
)

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
        self._file = MappedFile(path)
        self._stride, self._data_offset = stride, data_offset

    def read(self, first: int, n: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
        """Return a view of the frames, headers included, and where their pixels start in it.

        Raises
        ------
        TruncatedStream
            If the file was shortened since it was opened.
        """
        start, stop = first * self._stride, (first + n) * self._stride
        offsets = np.arange(n, dtype=np.uint64) * np.uint64(self._stride) + np.uint64(self._data_offset)
        return self._file.view(start, stop, f"frames {first} to {first + n - 1}"), offsets


@dataclass(frozen=True)
class _Part:
    """One file of an acquisition."""

    path: Path
    found: dict[str, Any]

    @classmethod
    def of(cls, path: Path) -> _Part:
        file = map_file(path)
        try:
            return cls(path, scan_mib(file))
        except ProtocolError as error:
            raise ProtocolError(f"{path}: {error}") from error

    def follows(self, other: _Part, *, ignore_numbers: bool) -> None:
        """Check that this is the continuation of another file."""
        same = ("codec_params", "item_shape", "dtype", "stride", "data_offset")
        differing = [key for key in same if self.found[key] != other.found[key]]
        if differing:
            raise ProtocolError(
                f"{self.path}: frames differ from those of {other.path} ({', '.join(differing)}); "
                "the files are not of one acquisition."
            )
        expected = other.found["first_number"] + other.found["n_frames"]
        if self.found["first_number"] != expected and not ignore_numbers:
            raise ProtocolError(
                f"{self.path} begins with frame number {self.found['first_number']}, but {other.path} "
                f"ends with {expected - 1}: a file is missing, or they are of several acquisitions. "
                "ignore_numbers=True takes them as they come."
            )


def map_file(path: Path) -> npt.NDArray[np.uint8]:
    """Map a file read-only; the map lives as long as an array looks at it."""
    return MappedFile(path).view(0, path.stat().st_size)


def open_mib(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    hdr: str | os.PathLike[str] | None = None,
    *,
    nav_shape: tuple[int, ...] | None = None,
    n_items: int | None = None,
    flip_y: bool = False,
    ignore_numbers: bool = False,
) -> ArraySource:
    """Open the ``.mib`` file or files of an acquisition; all frame headers are read and checked.

    Parameters
    ----------
    path
        The ``.mib`` file; or several that follow one another; or the ``.hdr`` file, for all ``.mib`` files
        beside it whose names begin as its own does, in the order of their frame numbers.
    hdr
        The ``.hdr`` file; by default the one beside the first file, if there is one.  It gives the index
        space.
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
        If a header can't be read, frames differ, or a frame or file is missing in between.
    TruncatedStream
        If a file ends within a frame, or there are fewer frames than are asked for.
    FileNotFoundError
        If there is no ``.mib`` file of that name.
    """
    parts, hdr = _parts(path, hdr)
    first = parts[0]
    for before, part in pairwise(parts):
        part.follows(before, ignore_numbers=ignore_numbers)
    lengths = _lengths(parts, n_items, ignore_numbers=ignore_numbers)
    total = sum(lengths)
    announced = _read_hdr(first.path, hdr)
    index_shape = _index_shape(first.path, announced, total, nav_shape)
    params = dict(first.found["codec_params"])
    if flip_y:
        params["flip_y"] = True
    descriptor = ItemDescriptor(
        dtype=np.dtype(first.found["dtype"]),
        item_shape=tuple(first.found["item_shape"]),
        codec="merlin",
        codec_params=params,
        index_shape=index_shape,
        n_items=total,
        meta={
            "source": os.fspath(first.path),
            "shutter_s": first.found["shutter_s"],
            "counter": first.found["counter"],
            "header": announced.get("header", {}),
        },
    )
    readers = [MibReader(part.path, part.found["stride"], part.found["data_offset"]) for part in parts]
    reader = readers[0] if len(readers) == 1 else SeriesReader(readers, lengths)
    return ArraySource(descriptor, reader, n_items=total, index_shape=index_shape)


def _parts(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], hdr: str | os.PathLike[str] | None
) -> tuple[list[_Part], str | os.PathLike[str] | None]:
    """Find the files of an acquisition, in order, and its header."""
    if not isinstance(path, str | os.PathLike):
        if not path:
            raise ValueError("the list of .mib files is empty; name at least one")
        return [_Part.of(Path(one)) for one in path], hdr
    path = Path(path)
    if path.suffix.lower() != ".hdr":
        return [_Part.of(path)], hdr
    beside = sorted(one for one in path.parent.iterdir() if _belongs(one, path))
    if not beside:
        raise FileNotFoundError(f"There is no .mib file beside {path} whose name begins with {path.stem!r}.")
    parts = [_Part.of(one) for one in beside]
    return sorted(parts, key=lambda part: int(part.found["first_number"])), hdr or path


def _belongs(file: Path, hdr: Path) -> bool:
    """Whether a file is named like a header, but for a number: ``scan.mib``, ``scan_0002.mib``."""
    rest = file.stem.removeprefix(hdr.stem)
    named_alike = file.stem.startswith(hdr.stem) and rest.strip("_-. ").isdigit()
    return file.suffix.lower() == ".mib" and (file.stem == hdr.stem or named_alike)


def _lengths(parts: list[_Part], wanted: int | None, *, ignore_numbers: bool) -> list[int]:
    """How many frames to take of each file."""
    there = sum(part.found["n_frames"] for part in parts)
    if len(parts) > 1 and wanted is not None and not 0 <= wanted <= there:
        raise TruncatedStream(f"{parts[0].path}: n_items is {wanted}, the files have {there} whole frames.")
    lengths: list[int] = []
    for number, part in enumerate(parts):
        take = wanted
        if wanted is not None and len(parts) > 1:
            take = min(wanted - sum(lengths), part.found["n_frames"])
        lengths.append(_check_length(part.path, part.found, take, ignore_numbers=ignore_numbers))
        if wanted is not None and sum(lengths) == wanted:
            return [*lengths, *[0] * (len(parts) - number - 1)]
    return lengths


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
