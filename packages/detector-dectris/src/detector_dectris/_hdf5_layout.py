"""DECTRIS HDF5 files: which data sets hold the frames, in which order, and which channels they have.

Three layouts are known.  A master file links ``data_000001``, ``data_000002``, … below ``/entry/data``, the
first EIGER firmware below ``/entry``.  A data file, or a master file that keeps its frames itself, has
``/entry/data/data`` with axes (image, row, column).  In format v2024.2 the same data set has axes (image,
channel, row, column), and is virtual if the frames are in data files.

Nothing is read here but the structure; data sets stay open as long as the files given in are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from arraystream import ProtocolError, SourceError, TruncatedStream

_LINK = re.compile(r"data_(\d{6})")
_IMAGE_AXES, _CHANNEL_AXES = 3, 4


@dataclass(frozen=True)
class Part:
    """A data set with consecutive frames.

    Parameters
    ----------
    dataset
        An open ``h5py.Dataset`` with axes (image, row, column), (image, channel, row, column) or, with a
        single image, (row, column).
    n_frames
        How many of its frames to take, from the first one on.
    """

    dataset: Any
    n_frames: int

    @classmethod
    def whole(cls, dataset: Any) -> Part:
        """Take all frames of a data set."""
        return cls(dataset, int(dataset.shape[0]) if dataset.ndim >= _IMAGE_AXES else 1)

    @property
    def path(self) -> Path:
        """The file that it lies in."""
        return Path(self.dataset.file.filename)

    @property
    def name(self) -> str:
        """Its name in this file."""
        return str(self.dataset.name)

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Rows and columns, or channels, rows and columns."""
        shape = tuple(int(extent) for extent in self.dataset.shape)
        return shape if len(shape) < _IMAGE_AXES else shape[1:]

    @property
    def image_numbers(self) -> tuple[int, int] | None:
        """First and last number as the detector counts images; ``None`` if they are not there."""
        low, high = (self.dataset.attrs.get(f"image_nr_{end}") for end in ("low", "high"))
        return None if low is None or high is None else (int(low), int(high))

    def __str__(self) -> str:
        return f"{self.path}::{self.name}"


def is_dectris_file(file: Any) -> bool:
    """Whether an open ``h5py.File`` was written by a DECTRIS detector, to judge by what is in it."""
    if file.get("entry/instrument/detector/detectorSpecific", getlink=True) is not None:
        return True
    entry = file.get("entry", getlink=True)
    if entry is not None and "DECTRIS_lab_geometry" in getattr(_member(file, "entry"), "attrs", ()):
        return True
    data = _member(file, "entry/data/data")
    return data is not None and "image_nr_low" in data.attrs


def find_parts(file: Any, opened: ExitStack, *, n_items: int | None, ignore_numbers: bool) -> list[Part]:
    """Return where the frames are, in order.

    Parameters
    ----------
    file
        An open ``h5py.File``.
    opened
        Keeps files open that had to be opened beside it.
    n_items
        How many frames are wanted; data files behind them need not be there.
    ignore_numbers
        Take the parts as they come, even if their numbers do not follow one another.

    Raises
    ------
    SourceError
        If the file has none of the layouts, or parts differ in the shape or type of frames.
    ProtocolError
        If a part is missing in between.
    TruncatedStream
        If a data file isn't there.
    """
    for place in ("entry/data", "entry"):
        links = sorted(name for name in _member(file, place) or () if _LINK.fullmatch(name))
        if links:
            parts = list(_follow(file, place, links, n_items, ignore_numbers=ignore_numbers))
            break
    else:
        dataset = _member(file, "entry/data/data")
        if dataset is None or not hasattr(dataset, "chunks"):
            raise SourceError(
                f"{file.filename} is no DECTRIS file: it has neither /entry/data/data_000001 nor "
                '/entry/data/data. The source "hdf5" opens any HDF5 file.'
            )
        parts = _of_virtual(file, dataset, opened) if dataset.is_virtual else [Part.whole(dataset)]
    _check_alike(parts)
    if not ignore_numbers:
        _check_numbers(parts)
    return parts


def channel_names(file: Any, parts: list[Part]) -> list[str]:
    """Return the names of the threshold channels in order; empty if frames have no channel axis."""
    if len(parts[0].frame_shape) < _CHANNEL_AXES - 1:
        return []
    n_channels = parts[0].frame_shape[0]
    axis = _member(file, "entry/data/channel")
    names = [] if axis is None else [_text(name) for name in axis[()].reshape(-1)]
    if len(names) != n_channels:
        return [f"threshold_{number}" for number in range(1, n_channels + 1)]
    return names


def _follow(
    file: Any, place: str, names: list[str], n_items: int | None, *, ignore_numbers: bool
) -> Iterator[Part]:
    """Open what the links of a master file lead to."""
    there = 0
    for before, name in zip([None, *names], names, strict=False):
        if n_items is not None and there >= n_items and before is not None:
            return
        if before is not None and int(name[5:]) != int(before[5:]) + 1 and not ignore_numbers:
            raise ProtocolError(
                f"{file.filename}: after /{place}/{before} comes {name}; frames in between are missing. "
                "ignore_numbers=True takes the files as they come."
            )
        dataset = _member(file, f"{place}/{name}")
        if dataset is None:
            target = file[place].get(name, getlink=True)
            where = Path(file.filename).parent / str(getattr(target, "filename", "?"))
            remedy = f"Put it there, or take n_items={there} to leave it out." if there else "Put it there."
            raise TruncatedStream(
                f"{file.filename}: /{place}/{name} leads to {where} ({getattr(target, 'path', '?')}), "
                f"which can't be opened. {remedy}"
            )
        part = Part.whole(dataset)
        there += part.n_frames
        yield part


def _of_virtual(file: Any, dataset: Any, opened: ExitStack) -> list[Part]:
    """Return the parts of a virtual data set; itself if they do not simply follow one another."""
    import h5py

    parts: list[Part] = []
    first = 0
    simple = True
    for source in dataset.virtual_sources():
        path = Path(file.filename)
        if source.file_name != ".":
            path = path.parent / source.file_name
        if not path.is_file():
            raise TruncatedStream(
                f"{file.filename}: {dataset.name} has frames in {path}, which is not there. Put it there."
            )
        n_frames = _frames_taken(source, dataset.shape, first)
        simple = simple and n_frames is not None
        if n_frames is None:
            continue
        origin = file if source.file_name == "." else opened.enter_context(h5py.File(path, "r"))
        target = _member(origin, source.dset_name)
        if target is None:
            raise TruncatedStream(
                f"{file.filename}: {dataset.name} has frames in {path}::{source.dset_name}, "
                "which is not there."
            )
        simple = simple and target.shape[1:] == dataset.shape[1:] and len(target) >= n_frames
        simple = simple and not target.is_virtual
        parts.append(Part(target, n_frames))
        first += n_frames
    return parts if simple and first == dataset.shape[0] else [Part.whole(dataset)]


def _frames_taken(source: Any, shape: tuple[int, ...], first: int) -> int | None:
    """How many whole frames a source has for a virtual data set from `first` on, if that is all it does."""
    start, stop = _frame_range(source.vspace, shape)
    n_frames = stop - start
    taken = _frame_range(source.src_space, (n_frames, *shape[1:]))
    return n_frames if start == first and taken == (0, n_frames) else None


def _frame_range(space: Any, whole: tuple[int, ...]) -> tuple[int, int]:
    """Return which frames a selection of HDF5 takes; (-1, -1) if it is no range of whole ones."""
    import h5py

    if space.get_select_type() == h5py.h5s.SEL_ALL:
        return 0, whole[0]
    low, high = space.get_select_bounds()
    n_frames = int(high[0]) + 1 - int(low[0])
    frame_size = math.prod(whole[1:])
    is_range = len(low) == len(whole) and not any(low[1:])
    if not is_range or space.get_select_npoints() != n_frames * frame_size:
        return -1, -1
    return int(low[0]), int(high[0]) + 1


def _check_alike(parts: list[Part]) -> None:
    first = parts[0]
    for part in parts:
        if part.dataset.dtype.kind not in "ui" or not 2 <= part.dataset.ndim <= _CHANNEL_AXES:
            raise SourceError(
                f"{part} is {part.dataset.dtype} of shape {part.dataset.shape}: no frames of a detector."
            )
        if (part.frame_shape, part.dataset.dtype) != (first.frame_shape, first.dataset.dtype):
            raise SourceError(
                f"{part} has frames {part.frame_shape} of {part.dataset.dtype}, but {first} has "
                f"{first.frame_shape} of {first.dataset.dtype}; the files are not of one acquisition."
            )


def _check_numbers(parts: list[Part]) -> None:
    for before, part in pairwise(parts):
        ends, begins = before.image_numbers, part.image_numbers
        if ends is not None and begins is not None and begins[0] != ends[1] + 1:
            raise ProtocolError(
                f"{part.path} begins with image number {begins[0]}, but {before.path} ends with {ends[1]}: "
                "a file is missing, or they are of several acquisitions. "
                "ignore_numbers=True takes them as they come."
            )


def _member(group: Any, name: str) -> Any:
    """Return a member, ``None`` if there is none or its link leads nowhere."""
    try:
        return group[name]
    except (KeyError, OSError, ValueError):
        return None


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
