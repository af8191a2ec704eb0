"""A function of one frame as a UDF."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ._buffer import Array, BufferWrapper
from ._udf import UDF


class AutoUDF(UDF):
    """Call a function for each frame and keep what it returns.

    The function is tried on a frame of ones to find shape and type of its results.  What is no number (texts,
    dicts, lists of different lengths, any object) goes into a buffer of objects.

    Parameters
    ----------
    f
        Function of one frame.
    monitor
        Also show the newest result, see below.

    Notes
    -----
    Result ``result``, kind nav: one value per scan position.  Result ``monitor`` (if wanted), kind single:
    the value at the last position that is in.

    Examples
    --------
    >>> from udf_core import Context
    >>> with Context.make_with("inline") as context:
    ...     dataset = context.load("memory", np.ones((2, 3, 4, 4)))
    ...     result = context.run_udf(dataset, AutoUDF(f=lambda frame: frame.max()))
    >>> result["result"].data.tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """

    def __init__(self, f: Callable[[Array], Any], monitor: bool = False) -> None:
        super().__init__(f=f, monitor=monitor)

    def get_result_buffers(self) -> Mapping[str, BufferWrapper]:
        """Declare buffers for what the function returns for a frame of ones."""
        frame = np.ones(self.meta.dataset_shape.sig.to_tuple(), dtype=self.meta.input_dtype)
        shape, dtype = _layout(self.params.f(frame))
        buffers = {"result": self.buffer("nav", extra_shape=shape, dtype=dtype)}
        if self.params.monitor:
            buffers["monitor"] = self.buffer("single", extra_shape=shape, dtype=dtype, use="result_only")
        return buffers

    def process_frame(self, frame: Array) -> None:
        """Call the function."""
        declared = self.results.get_buffer("result")
        if declared.dtype.hasobject:  # what comes back may hold on to the frame, whose memory is used again
            frame = frame.copy()
        value = self.params.f(frame)
        target = self.results.result
        if declared.extra_shape:
            target[...] = value
        else:
            target[0] = value

    def get_results(self) -> Mapping[str, Any]:
        """Return the results."""
        result = self.results.result
        if not self.params.monitor:
            return {"result": result}
        valid = self.meta.get_valid_nav_mask()
        there = np.arange(0) if valid is None else np.flatnonzero(valid)
        newest = result[there[-1:]] if len(there) else np.zeros((1, *result.shape[1:]), result.dtype)
        return {"result": result, "monitor": newest if newest.ndim == 1 else newest[0]}


def _layout(value: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return extra shape and dtype of a buffer for values like this one."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):
        return (), np.dtype(object)
    if array.dtype.kind in "SU":  # others may be longer
        return array.shape, np.dtype(object)
    return array.shape, array.dtype
