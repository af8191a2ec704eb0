"""Sum of the logarithms of all frames: shows weak features beside strong ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from udf_core import UDF, BufferWrapper, Context, StreamDataset


class LogsumUDF(UDF):
    """Sum the logarithm of all frames of a scan.

    Notes
    -----
    Result ``logsum``, kind sig, float64 (LiberTEM: float32): ``sum over r of ln(I[r, p] - min_p I[r] + 1)``.
    """

    def get_result_buffers(self) -> dict[str, BufferWrapper]:
        """Declare ``logsum``."""
        return {"logsum": self.buffer(kind="sig", dtype=np.float64)}

    def process_frame(self, frame: npt.NDArray[Any]) -> None:
        """Add the logarithm of a frame."""
        self.results.logsum += np.log(frame - np.min(frame) + 1)

    def merge(self, dest: Any, src: Any) -> None:
        """Add partial sums."""
        dest.logsum += src.logsum


def run_logsum(ctx: Context, dataset: StreamDataset, **kwargs: Any) -> dict[str, BufferWrapper]:
    """Run `LogsumUDF`; keyword arguments are those of `udf_core.Context.run_udf`."""
    result: dict[str, BufferWrapper] = ctx.run_udf(dataset, LogsumUDF(), **kwargs)
    return result
