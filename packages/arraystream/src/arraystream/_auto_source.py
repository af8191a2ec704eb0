"""Find out what something is, and open it: arrays by their type, files by their first bytes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ._errors import PluginError, SourceError
from ._plugins import VENDOR_FILES, list_plugins, load_plugin
from ._sources import ArraySource

_NPY = b"\x93NUMPY"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZARR_FILES = ("zarr.json", ".zarray", ".zgroup", ".zmetadata")
_HDF5_PLACES = (0, 512, 1024, 2048, 4096, 8192)

LOOKED_FOR = (
    "NumPy arrays, dask arrays and Zarr arrays in memory; files that begin like .npy, HDF5 or .mib (also "
    "by their .hdr); folders and .zip files with a Zarr hierarchy; URLs of Zarr stores"
)


def open_auto(thing: Any, **kwargs: Any) -> ArraySource:
    """Open an array, a file, a folder or a URL as what it is.

    Parameters
    ----------
    thing
        What to open.
    **kwargs
        For the source that is found.

    Raises
    ------
    SourceError
        If nothing fits; the text says what was looked for.
    """
    name, target = recognise(thing)
    source: ArraySource = load_plugin("arraystream.sources", name)(target, **kwargs)
    return source


def recognise(thing: Any) -> tuple[str, Any]:
    """Return the name of the source for something, and what to give it.

    Examples
    --------
    >>> from arraystream._auto_source import recognise
    >>> recognise(np.zeros((2, 3)))[0]
    'memory'
    """
    if isinstance(thing, np.ndarray):
        return "memory", thing
    if isinstance(thing, str) and "://" in thing and not thing.startswith("file://"):
        return "zarr", thing
    if isinstance(thing, str | os.PathLike):
        return _by_content(Path(os.fspath(thing).removeprefix("file://")))
    for module, attribute, name in (("dask.array", "Array", "dask-array"), ("zarr", "Array", "zarr")):
        cls = getattr(sys.modules.get(module), attribute, None)
        if cls is not None and isinstance(thing, cls):
            return name, thing
    raise SourceError(f"A {type(thing).__name__} is no source of items. Looked for: {LOOKED_FOR}.")


def _by_content(path: Path) -> tuple[str, Any]:
    if path.is_dir():
        if any((path / name).exists() for name in _ZARR_FILES):
            return "zarr", path
        raise SourceError(f"{path} is a folder without a Zarr hierarchy. Looked for: {LOOKED_FOR}.")
    with path.open("rb") as file:
        start = file.read(8)
        if start.startswith(_NPY):
            return "npy", path
        for magic, name in VENDOR_FILES.items():
            if start.startswith(magic):
                return name, path
        for place in _HDF5_PLACES:
            file.seek(place)
            if file.read(8) == _HDF5:
                return _hdf5_kind(path), path
    if path.suffix.lower() == ".zip" and start.startswith(b"PK"):
        return "zarr", path
    raise SourceError(
        f"{path} begins with {start!r}, which is of no known kind. Looked for: {LOOKED_FOR}. For plain "
        'numbers use the source "raw" with path, dtype and item_shape; for files of other vendors '
        '"rosettasciio".'
    )


def _hdf5_kind(path: Path) -> str:
    """Return the source that says of an HDF5 file that it is one of its own, else the general one."""
    for name in list_plugins("arraystream.hdf5_kinds", check=False):
        try:
            if load_plugin("arraystream.hdf5_kinds", name)(path):
                return name
        except PluginError:
            continue  # a broken plug-in costs nobody else a file
    return "hdf5"
