"""Which data set of an HDF5 file holds the items: what the file says itself, else the largest one.

Looked at in this order: a series ``data_000001``, ``data_000002``, … of one group (master files);
the NeXus chain ``@default`` … ``@signal``; EMD groups (``emd_group_type``); the largest numeric data set with
at least three axes.  Group ``links`` may leave the file; loops and very many objects are no trouble.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ._axes import Axis, axis, axis_of, text
from ._errors import SourceError, TruncatedStream
from ._extras import require

_MOST_OBJECTS = 20_000
_SERIES = re.compile(r"data_\d{6}")
_LEAST_AXES = 3


def find_parts(file: Any, wanted: str | None) -> list[Any]:
    """Return the data sets whose items follow one another: one, or a whole series.

    Parameters
    ----------
    file
        An open ``h5py.File``.
    wanted
        Path of a data set, or of a group to look into; ``None`` to look everywhere.

    Raises
    ------
    SourceError
        If there is nothing suitable; the text lists what there is.
    TruncatedStream
        If a file that belongs to a series is not there.
    """
    start = file
    if wanted is not None:
        start = _get(file, wanted)
        if start is None:
            raise SourceError(f"{file.filename} has no {wanted!r}; it has {_listing(file)}.")
        if _is_dataset(start):
            return [start]
    found = _series(start) or _series_anywhere(start)
    if found:
        return found
    if wanted is None and _get(file, "Data/Image") is not None:
        raise SourceError(
            f"{file.filename} is a Velox file, whose frames lie along the last axis: "
            'open it with the source "rosettasciio", or name a data set with dataset=.'
        )
    chosen = _by_nexus(start) or _by_emd(start) or _largest(start)
    if chosen is None:
        raise SourceError(
            f"{file.filename} has no numeric data set with at least {_LEAST_AXES} axes "
            f"(looked for a series data_000001, NeXus @signal, EMD groups); it has {_listing(file)}. "
            "Name one with dataset=."
        )
    return [chosen]


def axes_of(dataset: Any) -> tuple[Axis, ...]:
    """Return what EMD or NeXus say of the axes of a data set; empty if nothing."""
    group = dataset.parent
    n_axes = len(dataset.shape)
    dims = [_get(group, f"dim{number}") for number in range(1, n_axes + 1)]
    if all(_is_dataset(dim) for dim in dims):
        return tuple(_described(dim, extent) for dim, extent in zip(dims, dataset.shape, strict=True))
    names = group.attrs.get("axes")
    if names is None:
        return ()
    if isinstance(names, str | bytes):
        names = re.split(r"[:,\s]+", text(names).strip("[]"))
    labels = [text(name) for name in names]
    if len(labels) != n_axes:
        return ()
    return tuple(
        axis() if label == "." else _described(_get(group, label), extent, label)
        for label, extent in zip(labels, dataset.shape, strict=True)
    )


def _described(positions: Any, extent: int, name: str = "") -> Axis:
    if not _is_dataset(positions) or positions.ndim != 1 or not 0 < len(positions) <= extent:
        return axis(name)
    attributes = positions.attrs
    return axis_of(
        positions[:],
        extent,
        attributes.get("name", attributes.get("long_name", name)),
        attributes.get("units"),
    )


def _is_dataset(thing: Any) -> bool:
    h5py = require("h5py", "hdf5")
    return isinstance(thing, h5py.Dataset)


def _is_group(thing: Any) -> bool:
    h5py = require("h5py", "hdf5")
    return isinstance(thing, h5py.Group)


def _suits(thing: Any, least_axes: int = _LEAST_AXES) -> bool:
    return (
        _is_dataset(thing)
        and thing.shape is not None
        and thing.ndim >= least_axes
        and thing.dtype.kind in "biufc"
    )


def _get(group: Any, name: str) -> Any:
    """Return a member, ``None`` if there is none or its link leads nowhere."""
    try:
        return group[name]
    except (KeyError, OSError, ValueError):
        return None


def _series(group: Any) -> list[Any]:
    """Members ``data_000001`` … of a group, in order."""
    if not _is_group(group):
        return []
    names = sorted(name for name in group if _SERIES.fullmatch(name))
    parts = []
    for name in names:
        part = _get(group, name)
        if part is None:
            link = group.get(name, getlink=True)
            where = getattr(link, "filename", "?")
            raise TruncatedStream(
                f"{group.file.filename}: {group.name}/{name} leads to {where}, which can't be opened. "
                "Put it beside this file, or name one of the other data sets with dataset=."
            )
        if not _suits(part):
            return []
        parts.append(part)
    return parts


def _series_anywhere(start: Any) -> list[Any]:
    for path in ("entry/data", "data"):
        found = _series(_get(start, path))
        if found:
            return found
    return []


def _by_nexus(start: Any) -> Any:
    """Follow ``@default`` from group to group to the ``@signal``."""
    group = start
    for _ in range(8):
        if not _is_group(group):
            return group if _suits(group) else None
        signal = group.attrs.get("signal")
        if signal is not None:
            chosen = _get(group, text(signal))
            return chosen if _suits(chosen) else None
        default = group.attrs.get("default")
        if default is None:
            break
        group = _get(group, text(default))
    return _by_old_nexus(start)


def _by_old_nexus(start: Any) -> Any:
    """NeXus before 2014: the data set itself has ``@signal = 1``."""
    return next((d for d in _datasets(start) if _suits(d) and text(d.attrs.get("signal")) == "1"), None)


def _by_emd(start: Any) -> Any:
    """The largest ``data`` of a group that says it is EMD."""
    return _biggest(d for d in _datasets(start) if "emd_group_type" in d.parent.attrs and _suits(d))


def _largest(start: Any) -> Any:
    return _biggest(d for d in _datasets(start) if _suits(d))


def _biggest(datasets: Iterator[Any]) -> Any:
    return max(datasets, key=lambda d: d.size * d.dtype.itemsize, default=None)


def _datasets(start: Any) -> Iterator[Any]:
    """All data sets below a group, each once."""
    seen: set[tuple[int, int]] = set()
    waiting = [start]
    while waiting and len(seen) < _MOST_OBJECTS:
        thing = waiting.pop()
        if _is_dataset(thing):
            yield thing
        elif _is_group(thing):
            h5py = require("h5py", "hdf5")
            info = h5py.h5o.get_info(thing.id)
            if (info.fileno, info.addr) in seen:
                continue
            seen.add((info.fileno, info.addr))
            waiting.extend(
                member for name in reversed(list(thing)) if (member := _get(thing, name)) is not None
            )


def _listing(file: Any) -> str:
    """The data sets there are, as text."""
    names = []
    for dataset in _datasets(file):
        names.append(f"{dataset.name} {dataset.shape} {dataset.dtype}")
        if len(names) == 12:
            names.append("…")
            break
    return ", ".join(names) or "no data sets"
