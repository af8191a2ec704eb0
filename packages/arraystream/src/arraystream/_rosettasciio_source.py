"""Whatever RosettaSciIO reads, as a source.  It is under the GPL and imported only on demand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ._axes import Axis, axis, text
from ._dask_source import open_dask_array
from ._errors import PluginError, SourceError
from ._extras import require
from ._sources import ArraySource, array_source, open_memory

_LEAST_AXES = 3


def open_rosettasciio(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002  (the word of its users)
    sig_dims: int | None = None,
    **kwargs: Any,
) -> ArraySource:
    """Open a file by RosettaSciIO, lazily where its reader can.

    Parameters
    ----------
    path
        The file.
    format
        Name of RosettaSciIO's reader; by default the one for the file's extension.
    sig_dims
        Axes of an item; by default as many as the reader says are signal axes.
    **kwargs
        For the reader.

    Raises
    ------
    SourceError
        If no reader knows the file, or it has nothing with at least three axes.
    PluginError
        If rosettasciio isn't installed.
    """
    rsciio = require("rsciio", "rosettasciio")
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}.")
    reader = _reader(rsciio, path, format)
    try:
        try:
            found = reader(os.fspath(path), lazy=True, **kwargs)
        except NotImplementedError:
            found = reader(os.fspath(path), **kwargs)
    except (PluginError, FileNotFoundError, PermissionError, MemoryError):
        raise
    except Exception as error:  # readers raise whatever they like
        raise SourceError(f"RosettaSciIO can't read {path}: {type(error).__name__}: {error}") from error
    signals = [signal for signal in found if np.ndim(signal["data"]) >= _LEAST_AXES]
    if not signals:
        shapes = ", ".join(str(np.shape(signal["data"])) for signal in found) or "nothing"
        raise SourceError(f"{path} has no data with at least {_LEAST_AXES} axes; it has {shapes}.")
    signal = max(signals, key=lambda s: s["data"].size)
    return _open(path, signal["data"], signal.get("axes", []), sig_dims)


def _reader(rsciio: Any, path: Path, name: str | None) -> Any:
    extension = path.suffix.lower().lstrip(".")
    for plugin in rsciio.IO_PLUGINS:
        fits = extension in [e.lower() for e in plugin["file_extensions"]]
        if name is not None:
            fits = name.lower() in (plugin["name"].lower(), *(a.lower() for a in plugin["name_aliases"]))
        if fits:
            return require(plugin["api"], "rosettasciio").file_reader
    wanted = f"files {path.suffix!r}" if name is None else f"the format {name!r}"
    known = ", ".join(plugin["name"] for plugin in rsciio.IO_PLUGINS)
    raise SourceError(f"{path}: RosettaSciIO has no reader for {wanted}; name one with format=: {known}.")


def _open(path: Path, data: Any, found: list[Any], sig_dims: int | None) -> ArraySource:
    if sig_dims is None:
        n_signal = sum(1 for one in found if not one.get("navigate", False))
        sig_dims = n_signal if 0 < n_signal < data.ndim else 2
    axes = tuple(_axis(one) for one in found) if len(found) == data.ndim else ()
    name = os.fspath(path)
    if not isinstance(data, np.ndarray):
        return open_dask_array(data, sig_dims=sig_dims, axes=axes, name=name)
    source = open_memory(data, sig_dims)
    described = source.descriptor
    stored = np.dtype(described.codec_params["dtype"])
    assert source._reader is not None
    return array_source(
        stored,
        described.item_shape,
        source._reader,
        source.n_items,
        source.index_shape,
        name=name,
        axes=axes,
    )


def _axis(found: Any) -> Axis:
    if "scale" not in found:
        return axis(_known(found.get("name")))
    return axis(_known(found.get("name")), _known(found.get("units")), found["scale"], found.get("offset", 0))


def _known(value: Any) -> str:
    word = text(value)
    return "" if word == "<undefined>" else word
