"""What the UDFs of a run ask for: backends, the type of their data, and how frames are cut."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from arraystream import ItemDescriptor

from ._backends import dtype_for, is_sparse
from ._corrections import CorrectionSet
from ._errors import UDFException
from ._plan import ExecutionPlan
from ._tile_reader import is_plain
from ._tiling import TILE_BYTES, TilingPreference, TilingScheme, negotiate
from ._udf import UDF, TilingHint, UDFMethod

_SPARSE_TILE = 16
"""How much larger tiles may be if none of them is ever dense."""


def check_udf(udf: UDF) -> None:
    """Raise unless this is a UDF that can run here.

    Parameters
    ----------
    udf
        The user's object.

    Raises
    ------
    TypeError
        If it is no UDF, or has no process method.
    UDFException
        If its `get_method` returns nonsense.
    """
    if not isinstance(udf, UDF):
        raise TypeError(f"{udf!r} is not a UDF object; did you pass the class instead of an object?")
    name = type(udf).__name__
    method = udf.get_method()
    if not isinstance(method, UDFMethod):
        raise UDFException(f"{name}.get_method() returned {method!r}, which is no member of UDF.UDF_METHOD")
    if not hasattr(udf, f"process_{method.value}"):
        raise UDFException(f"{name}.get_method() chose {method}, but there is no process_{method.value}()")


def input_dtype(
    stored: npt.DTypeLike,
    udfs: Sequence[UDF],
    corrections: CorrectionSet | None = None,
    plans: Iterable[ExecutionPlan] = (),
) -> np.dtype[Any]:
    """Return the type in which all UDFs of a run get their data.

    With corrections it is at least float32; the array types of `plans` can have it.
    """
    if corrections is not None and corrections.have_corrections():
        stored = np.result_type(np.float32, np.dtype(stored))
    wanted = [np.dtype(udf.get_preferred_input_dtype()) for udf in udfs]
    # One after the other: all at once, NumPy would find smaller types than the contract says.
    dtype = functools.reduce(np.result_type, wanted, np.dtype(stored))
    return dtype_for(dtype, (backend for plan in plans for backend in plan.backends))


def tiling_scheme(
    descriptor: ItemDescriptor,
    dtype: npt.DTypeLike,
    udfs: Sequence[UDF],
    *,
    tile_bytes: int = TILE_BYTES,
    corrections: CorrectionSet | None = None,
    plans: Iterable[ExecutionPlan] = (),
) -> TilingScheme:
    """Return how frames are cut for these UDFs; their `meta` is set."""
    plans = tuple(plans)
    sparse = any(is_sparse(plan.source) for plan in plans)
    if plans and all(is_sparse(backend) for plan in plans for backend in (plan.source, *plan.backends)):
        tile_bytes *= _SPARSE_TILE  # most pixels take no memory
    return negotiate(
        descriptor.item_shape,
        np.dtype(dtype).itemsize,
        [tiling_preference(udf) for udf in udfs],
        tile_bytes=tile_bytes,
        whole_frames=sparse or is_plain(descriptor, dtype, corrections),
        forbidden=None
        if corrections is None or not corrections.have_corrections()
        else corrections.forbidden_cuts(),
    )


def tiling_preference(udf: UDF) -> TilingPreference:
    """Ask a UDF how it wants its data cut; its `meta` is set."""
    method = udf.get_method()
    if method is not UDFMethod.TILE:
        return TilingPreference(method.value)
    wanted = udf.get_tiling_preferences()
    depth, size = wanted.get("depth"), wanted.get("total_size", np.inf)
    return TilingPreference(
        "tile",
        None if depth is None or isinstance(depth, TilingHint) else float(depth),
        np.inf if isinstance(size, TilingHint) else float(size),
    )
