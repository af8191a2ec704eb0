"""What UDFs would return for a data set, found out without reading data.

The user's objects are not touched: copies of them are asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._buffer import BufferWrapper
from ._dataset import StreamDataset
from ._merge import Merger, UDFResults
from ._requirements import input_dtype
from ._roi import roi_mask
from ._udf import UDF


def dry_run(udfs: Sequence[UDF], dataset: StreamDataset, roi: Any = None) -> UDFResults:
    """Return the results of UDFs that have seen no data.

    Raises
    ------
    arraystream.StateError
        If nobody knows the shape of a live data set yet.
    """
    return _merger(udfs, dataset, roi)[1].results()


def inspect_udf(udf: UDF, dataset: StreamDataset, roi: Any = None) -> dict[str, BufferWrapper]:
    """Return the buffers that a UDF declares for a data set, with their shapes.

    Raises
    ------
    arraystream.StateError
        If nobody knows the shape of a live data set yet.
    """
    copies, _ = _merger([udf], dataset, roi)
    return dict(copies[0].results._buffers)


def _merger(udfs: Sequence[UDF], dataset: StreamDataset, roi: Any) -> tuple[list[UDF], Merger]:
    shape = dataset.shape
    mask = roi_mask(roi, shape.nav.to_tuple())
    copies = [udf.copy() for udf in udfs]
    dtype = input_dtype(dataset.dtype, copies)
    return copies, Merger(copies, shape, mask, dataset.dtype, dtype)
