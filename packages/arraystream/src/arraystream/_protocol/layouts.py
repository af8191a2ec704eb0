"""The layouts of items, and the checks that make their buffers safe to index with.

A wrong index in a sparse chunk would let a compiled kernel write anywhere, so the structure is proved
here, in one vectorised pass, before anybody sees the buffers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .buffers import DTYPES, Buffers
from .limits import ErrorCode, Limits, wire_error
from .messages import Chunk, Describe, Encoded

LAYOUTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "dense": (("values",), ("item_time", "positions", "offsets")),
    "csr": (("indptr", "indices", "values"), ("item_time", "positions")),
    "coo": (("item", "index", "values"), ("item_time", "positions")),
    "events": (("index",), ("item", "time", "values", "item_time", "positions")),
    "reference": ((), ()),
}
"""Required and optional buffers of each layout."""

INDEX_DTYPES = ("|u1", "<u2", "<u4", "<u8")
INDEX_ORDERS = ("C", "C-snake", "explicit")

_Array = npt.NDArray[Any]


def check_description(describe: Describe, limits: Limits) -> None:
    """Refuse a description that is not possible or beyond the limits."""
    _require(describe.dtype in DTYPES, describe, f"dtype {describe.dtype!r} is not in the list")
    _require(describe.layout in LAYOUTS, describe, f"layout {describe.layout!r} is not in the list")
    _require(describe.index_dtype in INDEX_DTYPES, describe, f"index_dtype {describe.index_dtype!r}")
    _require(describe.index_order in INDEX_ORDERS, describe, f"index_order {describe.index_order!r}")
    for shape in (describe.item_shape, describe.index_shape):
        if len(shape) > limits.dimensions or any(extent > limits.extent for extent in shape):
            raise wire_error(
                ErrorCode.LIMIT_EXCEEDED,
                f"Limits dimensions and extent: a shape has {len(shape)} axes, the longest {max(shape)}.",
                channel=describe.channel,
            )
    _require(all(extent >= -1 for extent in describe.index_shape), describe, "index_shape is below -1")
    for names in (describe.dims, describe.axes):
        fits = len(names) in (0, len(describe.item_shape))
        _require(fits, describe, f"{len(names)} names for {len(describe.item_shape)} axes")
    _require(all(type(c.get("name")) is str for c in describe.codecs), describe, "a codec has no name")
    item_bytes = describe.n_columns * np.dtype(describe.dtype).itemsize
    if describe.layout == "dense" and item_bytes > limits.decoded_bytes:
        raise wire_error(
            ErrorCode.LIMIT_EXCEEDED,
            f"Limit decoded_bytes: one item has {item_bytes}, at most {limits.decoded_bytes}.",
            channel=describe.channel,
        )
    for name, shape in describe.table_shapes.items():
        table = describe.buffers.get(name)
        extents_ok = isinstance(shape, list | tuple) and all(type(e) is int and e >= 0 for e in shape)
        _require(extents_ok, describe, f"table {name!r} has no shape")
        if isinstance(table, np.ndarray):
            _require(math.prod(shape) == table.size, describe, f"table {name!r} does not fit its shape")


def _require(condition: bool, describe: Describe, problem: str) -> None:
    if not condition:
        raise wire_error(
            ErrorCode.MALFORMED_HEADER, f"Channel {describe.channel}: {problem}.", channel=describe.channel
        )


def shape_tables(describe: Describe) -> Buffers:
    """Return the tables of a description in the shapes it states."""
    return {
        role: buffer.reshape(describe.table_shapes[role])
        if role in describe.table_shapes and isinstance(buffer, np.ndarray)
        else buffer
        for role, buffer in describe.buffers.items()
    }


def check_chunk(chunk: Chunk, describe: Describe, *, structure: bool = True) -> Buffers:
    """Check the buffers of a chunk and return them in their shapes.

    Parameters
    ----------
    chunk, describe
        The chunk and what describes its channel.
    structure
        Look into sparse buffers; only for trusted peers ``False``.
    """
    required, _ = LAYOUTS[describe.layout]
    missing = [role for role in required if role not in chunk.buffers]
    if missing:
        raise _mismatch(chunk, f"a chunk of layout {describe.layout} has no {' and no '.join(missing)}")
    for buffer in chunk.buffers.values():
        if isinstance(buffer, Encoded) and buffer.codec >= len(describe.codecs):
            raise wire_error(
                ErrorCode.CODEC,
                f"Channel {chunk.channel}: no codec {buffer.codec} among {len(describe.codecs)}.",
                channel=chunk.channel,
            )
    shaped = dict(chunk.buffers)
    _check_values(chunk, describe, shaped)
    _check_per_item(chunk, describe, shaped)
    plain = {role: b for role, b in shaped.items() if isinstance(b, np.ndarray)}
    if structure and describe.layout in _STRUCTURE and all(role in plain for role in required):
        _STRUCTURE[describe.layout](chunk, describe, plain)
    return shaped


def _mismatch(chunk: Chunk, problem: str) -> Exception:
    return wire_error(
        ErrorCode.SIZE_MISMATCH,
        f"Channel {chunk.channel}, items {chunk.at} to {chunk.at + chunk.n}: {problem}.",
        channel=chunk.channel,
    )


def _bad_structure(chunk: Chunk, problem: str) -> Exception:
    return wire_error(
        ErrorCode.BAD_SPARSE_STRUCTURE,
        f"Channel {chunk.channel}, items {chunk.at} to {chunk.at + chunk.n}: {problem}.",
        channel=chunk.channel,
    )


def _check_values(chunk: Chunk, describe: Describe, shaped: dict[str, _Array | Encoded]) -> None:
    if "values" not in shaped:
        return
    values = shaped["values"]
    if values.dtype.str != describe.dtype:
        raise _mismatch(chunk, f"values are {values.dtype.str}, described as {describe.dtype}")
    if describe.layout != "dense":
        return
    expected = chunk.n * describe.n_columns * values.dtype.itemsize
    there = values.decoded_bytes if isinstance(values, Encoded) else values.nbytes
    if there != expected:
        raise _mismatch(chunk, f"values have {there} bytes, {expected} were described")
    if isinstance(values, np.ndarray):
        shaped["values"] = values.reshape(chunk.n, *describe.item_shape)


def _check_per_item(chunk: Chunk, describe: Describe, shaped: dict[str, _Array | Encoded]) -> None:
    """Buffers with one entry per item."""
    wanted = {"item_time": ("<i8", ()), "offsets": ("<u8", ()), "positions": (None, describe.index_shape)}
    for role, (dtype, index_shape) in wanted.items():
        buffer = shaped.get(role)
        if not isinstance(buffer, np.ndarray):
            continue
        n_columns = max(1, len(index_shape))
        if (dtype is not None and buffer.dtype.str != dtype) or buffer.size != chunk.n * n_columns:
            raise _mismatch(chunk, f"{role} is {buffer.size} x {buffer.dtype.str}, not one per item")
        shaped[role] = buffer.reshape(chunk.n, n_columns) if role == "positions" else buffer


def _check_csr(chunk: Chunk, describe: Describe, buffers: dict[str, _Array]) -> None:
    indptr, indices, values = buffers["indptr"], buffers["indices"], buffers["values"]
    _check_index_type(chunk, describe, indices)
    if indptr.dtype.str not in INDEX_DTYPES or indptr.size != chunk.n + 1:
        raise _mismatch(chunk, f"indptr is {indptr.size} x {indptr.dtype.str} for {chunk.n} items")
    if indptr[0] != 0 or np.any(indptr[1:] < indptr[:-1]):
        raise _bad_structure(chunk, "indptr does not start at 0 or falls")
    if not int(indptr[-1]) == indices.size == values.size:
        raise _bad_structure(
            chunk, f"indptr ends at {indptr[-1]}, there are {indices.size} indices and {values.size} values"
        )
    _check_columns(chunk, describe, indices)
    if describe.canonical and indices.size > 1:
        rising = indices[1:] > indices[:-1]
        # Where a row starts, the index may fall.
        starts = indptr[(indptr > 0) & (indptr < indices.size)].astype(np.intp)
        rising[starts - 1] = True
        _require_rising(chunk, bool(rising.all()))


def _check_coo(chunk: Chunk, describe: Describe, buffers: dict[str, _Array]) -> None:
    item, index, values = buffers["item"], buffers["index"], buffers["values"]
    _check_index_type(chunk, describe, index)
    if not item.size == index.size == values.size:
        raise _bad_structure(chunk, f"{item.size} items, {index.size} indices, {values.size} values")
    _check_item(chunk, item)
    _check_columns(chunk, describe, index)
    if describe.canonical and index.size > 1:
        later = item[1:] > item[:-1]
        rising = later | ((item[1:] == item[:-1]) & (index[1:] > index[:-1]))
        _require_rising(chunk, bool(rising.all()))


def _check_events(chunk: Chunk, describe: Describe, buffers: dict[str, _Array]) -> None:
    index = buffers["index"]
    _check_index_type(chunk, describe, index)
    for role in ("item", "time", "values"):
        if role in buffers and buffers[role].size != index.size:
            raise _bad_structure(chunk, f"{buffers[role].size} of {role} for {index.size} events")
    if "item" in buffers:
        _check_item(chunk, buffers["item"])
    _check_columns(chunk, describe, index)


def _check_index_type(chunk: Chunk, describe: Describe, indices: _Array) -> None:
    if indices.dtype.str != describe.index_dtype:
        raise _mismatch(chunk, f"indices are {indices.dtype.str}, described as {describe.index_dtype}")


def _check_item(chunk: Chunk, item: _Array) -> None:
    if item.dtype.str not in INDEX_DTYPES:
        raise _mismatch(chunk, f"item is {item.dtype.str}, not one of {INDEX_DTYPES}")
    if item.size and int(item.max()) >= chunk.n:
        raise _bad_structure(chunk, f"an entry belongs to item {item.max()} of the chunk's {chunk.n}")


def _check_columns(chunk: Chunk, describe: Describe, indices: _Array) -> None:
    if indices.size and int(indices.max()) >= describe.n_columns:
        raise _bad_structure(
            chunk, f"index {indices.max()} is beyond an item's {describe.n_columns} elements"
        )


def _require_rising(chunk: Chunk, rising: bool) -> None:
    if not rising:
        raise _bad_structure(chunk, "indices are said to be canonical but are not sorted and unique")


_STRUCTURE = {"csr": _check_csr, "coo": _check_coo, "events": _check_events}
