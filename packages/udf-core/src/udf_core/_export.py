"""Results on their way out: one table of named arrays with axes, for files and for xarray.

Results are brought into that form first (`ResultTable`), so that every format says the same: the arrays,
where they are valid, the points along each axis, and how they were made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ._buffer import BufferWrapper
from ._errors import ExportDependencyError, ExportError
from ._export_axes import Axes, Axis, axes_of
from ._merge import UDFResults
from ._provenance import Origin, plain
from ._shape import Shape

Results = Mapping[str, BufferWrapper] | Sequence[Mapping[str, BufferWrapper]] | UDFResults


@dataclass(frozen=True)
class Variable:
    """A named array.

    Parameters
    ----------
    name, dims, data
        What, along which axes, and the numbers.
    attributes
        Plain values.
    """

    name: str
    dims: tuple[str, ...]
    data: npt.NDArray[Any]
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ResultTable:
    """All that a file of results holds.

    Parameters
    ----------
    variables
        Results, and maps of where they are valid.
    coordinates
        Points along the axes that have any.
    attributes
        Of the whole: data set, verdict, algorithms.
    """

    variables: tuple[Variable, ...]
    coordinates: tuple[Variable, ...]
    attributes: dict[str, Any]


def tabulate(
    results: Results, dataset: Any = None, axes: Axes | Mapping[str, Any] | None = None
) -> ResultTable:
    """Bring results into the form that all formats write.

    Parameters
    ----------
    results
        What `Context.run_udf` returned, or one state of `Context.run_udf_iter`.
    dataset
        The data set they come from, if the results don't know it.
    axes
        Axes of the data set; by default what its file says, else the usual names.

    Raises
    ------
    ExportError
        If there is nothing to export, or something that is no plain numbers.
    """
    per_udf = _as_list(results)
    shape = _shape(per_udf, dataset)
    origins = [_origin(buffers) for buffers in per_udf]
    run = next((o.run for o in origins if o is not None and o.run is not None), None)
    meta = getattr(dataset, "meta", None) or (run.meta if run is not None else {})
    nav, sig = axes_of(axes, meta.get("axes", ()), shape).named(len(shape.nav), len(shape.sig))
    variables: list[Variable] = []
    used = {axis.name for axis in (*nav, *sig)}
    algorithms = {}
    for label, buffers, origin in zip(_labels(origins), per_udf, origins, strict=True):
        if origin is not None:
            algorithms[label] = {"udf": origin.udf, "params": plain(origin.params)}
        for name, buffer in buffers.items():
            full_name = name if len(per_udf) == 1 else f"{label}.{name}"
            variables.extend(_variables(full_name, buffer, nav, sig, used, origin))
    attributes: dict[str, Any] = {} if run is None else run.as_attributes()
    if dataset is not None:
        attributes["dataset"] = repr(dataset)
    attributes["udfs"] = algorithms
    there = {dim for variable in variables for dim in variable.dims}
    extents = zip((*nav, *sig), shape, strict=True)
    coordinates = tuple(_coordinate(axis, extent) for axis, extent in extents if axis.name in there)
    return ResultTable(tuple(variables), coordinates, attributes)


def to_xarray(results: Results, *, dataset: Any = None, axes: Axes | Mapping[str, Any] | None = None) -> Any:
    """Return results as an ``xarray.Dataset`` with axes, units, valid maps and how they were made.

    Parameters
    ----------
    results
        What `Context.run_udf` returned, or one state of `Context.run_udf_iter`.
    dataset
        The data set they come from, if the results don't know it.
    axes
        `Axes` of the data set; by default what its file says, else y, x and ky, kx.

    Raises
    ------
    ExportDependencyError
        If xarray isn't installed.
    """
    xarray = dependency("xarray")
    table = tabulate(results, dataset, axes)
    return xarray.Dataset(
        {v.name: (v.dims, v.data, v.attributes) for v in table.variables},
        {c.name: (c.dims, c.data, c.attributes) for c in table.coordinates},
        table.attributes,
    )


def dependency(module: str) -> Any:
    """Import an optional dependency.

    Raises
    ------
    ExportDependencyError
        If it isn't installed.
    """
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise ExportDependencyError(
            f"this export needs {module}, which can't be imported ({error}); "
            'to get it: pip install "udf-core[export]"'
        ) from error


def _as_list(results: Results) -> list[Mapping[str, BufferWrapper]]:
    if isinstance(results, UDFResults):
        per_udf: list[Mapping[str, BufferWrapper]] = list(results.buffers)
    elif isinstance(results, Mapping):
        per_udf = [results]
    else:
        per_udf = list(results)
    for buffers in per_udf:
        if not isinstance(buffers, Mapping):
            raise ExportError(
                f"results are dicts of buffers as run_udf returns them, not {type(buffers).__name__}"
            )
        for name, buffer in buffers.items():
            if not isinstance(buffer, BufferWrapper):
                raise ExportError(f"result {name!r} is of type {type(buffer).__name__}, not a BufferWrapper")
            if buffer.dtype.hasobject:
                raise ExportError(
                    f"result {name!r} holds Python objects, which no file format stores; leave it out: "
                    f"export({{k: v for k, v in results.items() if k != {name!r}}}, …)"
                )
    if not any(per_udf):
        raise ExportError("there are no results to export")
    return per_udf


def _shape(per_udf: list[Mapping[str, BufferWrapper]], dataset: Any) -> Shape:
    if dataset is not None:
        shape: Shape = dataset.shape
        return shape
    buffer = next(buffer for buffers in per_udf for buffer in buffers.values())
    return buffer.dataset_shape


def _origin(buffers: Mapping[str, BufferWrapper]) -> Origin | None:
    return next((buffer.origin for buffer in buffers.values() if buffer.origin is not None), None)


def _labels(origins: Sequence[Origin | None]) -> Iterator[str]:
    """Names of the classes, with a number where they repeat."""
    seen: dict[str, int] = {}
    for origin in origins:
        name = "UDF" if origin is None else origin.udf_name
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name}_{seen[name]}"


def _variables(
    name: str,
    buffer: BufferWrapper,
    nav: Sequence[Axis],
    sig: Sequence[Axis],
    axis_names: set[str],
    origin: Origin | None,
) -> Iterator[Variable]:
    if name in axis_names:
        raise ExportError(
            f"a result and an axis are both called {name!r}; give the axis another name with axes="
        )
    data = buffer.data
    dims = tuple(axis.name for axis in {"nav": nav, "sig": sig, "single": ()}[buffer.kind])
    dims += tuple(f"{name}_{number}" for number in range(data.ndim - len(dims)))
    attributes: dict[str, Any] = {"kind": buffer.kind}
    if origin is not None:
        attributes["udf"] = origin.udf
    valid, n_extra = buffer.valid_mask, data.ndim - len(nav)
    if buffer.kind == "nav" or not valid.all():
        mask_dims = dims
        # The positions are enough if all values of each are alike.
        extra = tuple(range(len(nav), data.ndim))
        if buffer.kind == "nav" and n_extra and np.array_equal(valid.any(axis=extra), valid.all(axis=extra)):
            valid, mask_dims = np.asarray(valid.all(axis=extra)), dims[: len(nav)]
        attributes["ancillary_variables"] = f"{name}_valid"
        yield Variable(name, dims, data, attributes)
        yield Variable(f"{name}_valid", mask_dims, np.array(valid), {"long_name": f"where {name} is valid"})
    else:
        yield Variable(name, dims, data, attributes)


def _coordinate(axis: Axis, extent: int) -> Variable:
    attributes = {"units": axis.units} if axis.units else {}
    return Variable(axis.name, (axis.name,), axis.points(extent), attributes)
