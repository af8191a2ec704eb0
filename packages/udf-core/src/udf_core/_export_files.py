"""Files of results: NPZ, HDF5 and Zarr.  A file is there whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ._errors import ExportError
from ._export import Results, ResultTable, dependency, tabulate
from ._export_axes import Axes


def export(
    results: Results,
    path: str | os.PathLike[str],
    *,
    dataset: Any = None,
    axes: Axes | Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write results to a file; its suffix says in which format.

    ========================  ==============================================================================
    ``.npz``                  arrays by name; axes as ``axis.<name>``; ``metadata`` is JSON text
    ``.h5``, ``.hdf5``        HDF5 with dimension scales and attributes, readable as netCDF4
    ``.zarr``                 a Zarr 3 folder with named dimensions, readable by ``xarray.open_zarr``
    ========================  ==============================================================================

    Maps of where results are valid are called ``<name>_valid``.

    Parameters
    ----------
    results
        What `Context.run_udf` returned, or one state of `Context.run_udf_iter`.
    path
        The file.  It appears under this name only when it is complete.
    dataset
        The data set the results come from, if they don't know it.
    axes
        `Axes` of the data set; by default what its file says, else y, x and ky, kx.
    overwrite
        Whether a file of that name may be replaced.

    Returns
    -------
    path
        The file.

    Raises
    ------
    ExportError
        If the suffix is not known, or the results can't be stored.
    FileExistsError
        If there is such a file already.
    ExportDependencyError
        If the package that writes this format isn't installed.
    """
    path = Path(path)
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise ExportError(f"{path}: no format is known by {path.suffix!r}; use one of {', '.join(_WRITERS)}")
    table = tabulate(results, dataset, axes)
    with new_file(path, overwrite=overwrite) as unfinished:
        write(table, unfinished)
    return path


@contextlib.contextmanager
def new_file(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a name beside `path`; what is written there gets the name `path` if nothing goes wrong.

    Raises
    ------
    FileExistsError
        If `path` is there and must not be replaced.
    """
    if not overwrite and os.path.lexists(path):
        raise FileExistsError(f"{path} is there already; choose another name or pass overwrite=True")
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        yield unfinished
        if overwrite and (path.is_dir() or (unfinished.is_dir() and path.exists())):
            os.rename(path, Path(folder) / "replaced")
        if overwrite or unfinished.is_dir():
            os.replace(unfinished, path)
            return
        try:
            os.link(unfinished, path)  # unlike a rename, this never replaces anything
        except FileExistsError:
            raise FileExistsError(f"{path} has been made meanwhile; choose another name") from None
        except OSError:  # a file system without hard links
            os.replace(unfinished, path)


def _write_npz(table: ResultTable, path: Path) -> None:
    arrays = {variable.name: variable.data for variable in table.variables}
    for name in ("file", "metadata"):
        if name in arrays:
            raise ExportError(f"a result can't be called {name!r} in an NPZ file; use .h5 or .zarr")
    arrays |= {f"axis.{axis.name}": axis.data for axis in table.coordinates}
    described = {
        **table.attributes,
        "variables": {v.name: {"dims": v.dims, **v.attributes} for v in table.variables},
        "axes": {axis.name: axis.attributes for axis in table.coordinates},
    }
    arrays["metadata"] = np.array(json.dumps(described))
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def _write_hdf5(table: ResultTable, path: Path) -> None:
    h5py = dependency("h5py")
    with h5py.File(path, "w") as file:
        _set_attributes(file.attrs, table.attributes)
        for axis in table.coordinates:
            dataset = file.create_dataset(axis.name, data=axis.data)
            dataset.make_scale(axis.name)
            _set_attributes(dataset.attrs, axis.attributes)
        known = {axis.name for axis in table.coordinates}
        for variable in table.variables:
            packing: dict[str, Any] = (
                {"compression": "gzip", "shuffle": True} if variable.data.size > 1 else {}
            )
            dataset = file.create_dataset(variable.name, data=variable.data, **packing)
            _set_attributes(dataset.attrs, variable.attributes)
            for number, dim in enumerate(variable.dims):
                dataset.dims[number].label = dim
                if dim in known:
                    dataset.dims[number].attach_scale(file[dim])


def _write_zarr(table: ResultTable, path: Path) -> None:
    zarr = dependency("zarr")
    group = zarr.create_group(path, zarr_format=3)
    _set_attributes(group.attrs, table.attributes, nested=True)
    for variable in (*table.coordinates, *table.variables):
        array = group.create_array(
            variable.name,
            shape=variable.data.shape,
            dtype=variable.data.dtype,
            chunks=tuple(max(1, extent) for extent in variable.data.shape)
            if variable.data.nbytes < 1 << 24
            else "auto",
            dimension_names=variable.dims,
        )
        array[...] = variable.data
        _set_attributes(array.attrs, variable.attributes, nested=True)


def _set_attributes(target: Any, attributes: Mapping[str, Any], *, nested: bool = False) -> None:
    """Store plain values; what has parts goes as JSON text where the format knows no parts."""
    for name, value in attributes.items():
        target[name] = json.dumps(value) if isinstance(value, Mapping | list) and not nested else value


_WRITERS: dict[str, Callable[[ResultTable, Path], None]] = {
    ".npz": _write_npz,
    ".h5": _write_hdf5,
    ".hdf5": _write_hdf5,
    ".zarr": _write_zarr,
}
"""By suffix."""
