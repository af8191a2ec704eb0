"""Raw frames of chosen scan positions."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from udf_core import UDF, BufferWrapper

_log = logging.getLogger(__name__)

_WARN_BYTES = 256 << 20


class PickUDF(UDF):
    """Take the frames of the ROI as they are.

    Notes
    -----
    Result ``intensity``, kind single, shape ``(n_roi, *sig)`` in the order of the scan, native dtype (the
    type of the run if another UDF asks for floats).  Without ROI that is the whole data set; a warning is
    logged above 256 MiB.  Frames that have not come (yet) are zero.
    """

    def get_preferred_input_dtype(self) -> npt.DTypeLike:
        """Take data as they are."""
        return self.USE_NATIVE_DTYPE

    def get_result_buffers(self) -> dict[str, BufferWrapper]:
        """Declare the frames: one per position on the way, all together as result."""
        sig = self.meta.dataset_shape.sig.to_tuple()
        roi = self.meta.roi
        n_frames = self.meta.dataset_shape.nav.size if roi is None else int(np.count_nonzero(roi))
        dtype = self.meta.input_dtype
        return {
            "frames": self.buffer(kind="nav", extra_shape=sig, dtype=dtype, use="private"),
            "intensity": self.buffer(
                kind="single", extra_shape=(n_frames, *sig), dtype=dtype, use="result_only"
            ),
        }

    def preprocess(self) -> None:
        """Warn if the result is large."""
        n_bytes = self.results.frames.nbytes
        on_main_side = self.meta.array_backend is None
        if on_main_side and n_bytes > _WARN_BYTES:
            _log.warning("PickUDF collects %d MiB of frames; choose fewer with a ROI", n_bytes >> 20)

    def process_tile(self, tile: npt.NDArray[Any]) -> None:
        """Copy the tile."""
        band = self.meta.sig_slice
        part = () if band is None else band.get()
        self.results.frames[(slice(None), *part)] = tile

    def get_results(self) -> dict[str, Any]:
        """Return the frames."""
        return {"intensity": self.results.frames}
