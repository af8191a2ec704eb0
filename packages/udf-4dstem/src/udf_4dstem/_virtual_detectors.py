"""Virtual detectors: the intensity that falls on a part of the detector, per scan position.

A detector is a set of pixels, kept as runs; nothing is multiplied and unselected pixels are not read, and
the sums of counts are exact.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from udf_core import UDF, BufferWrapper

from . import _kernels as kernels
from . import masks
from ._bands import bands_of
from ._runs import frame_runs
from ._sum import exact_dtype


class VirtualDetectorUDF(UDF):
    """Sum each frame over the pixels of a virtual detector.

    Subclasses say which pixels in `get_selection`.

    Notes
    -----
    Result ``intensity``, kind nav, float64 (complex128 for complex data).
    """

    @abstractmethod
    def get_selection(self) -> npt.NDArray[np.bool_]:
        """Return which pixels of a frame belong to the detector, shape ``sig``."""

    def get_preferred_input_dtype(self) -> npt.DTypeLike:
        """Take data as they are."""
        return self.USE_NATIVE_DTYPE

    def get_result_buffers(self) -> dict[str, BufferWrapper]:
        """Declare ``intensity``."""
        return {"intensity": self.buffer(kind="nav", dtype=exact_dtype(self.meta.input_dtype))}

    def get_worker_data(self) -> dict[str, Any]:
        """Find the detector's runs of pixels in each band, and have the kernel compiled."""
        selection = self.get_selection()
        kernels.sum_runs(np.zeros((1, 1), self.meta.input_dtype), *kernels.whole_frame(1))
        return {"runs": [frame_runs(selection[band]) for band in bands_of(self.meta)]}

    def process_tile(self, tile: npt.NDArray[Any]) -> None:
        """Add the selected pixels of the tile."""
        starts, stops = self.worker_data.runs[self.meta.tiling_scheme_idx]
        if starts.size:
            self.results.intensity += kernels.sum_runs(tile, starts, stops)

    def _image_shape(self) -> tuple[int, int]:
        shape = self.meta.dataset_shape.sig.to_tuple()
        if len(shape) != 2:
            raise ValueError(f"{type(self).__name__} needs frames with two axes, these have shape {shape}")
        return shape[0], shape[1]

    def _center(self) -> tuple[float, float]:
        height, width = self._image_shape()
        cy, cx = self.params.cy, self.params.cx
        return (height / 2 if cy is None else float(cy)), (width / 2 if cx is None else float(cx))


class DiskUDF(VirtualDetectorUDF):
    """A disk: bright field if it is the size of the direct beam.

    Parameters
    ----------
    cy, cx
        Centre in detector pixels (y down, x right, pixel centres at integers); half the size by default.
    r
        Radius in pixels; pixels at this distance belong to the disk.  By default 0.3 of the smaller side's
        half.

    Notes
    -----
    Result ``intensity``, kind nav, float64 (complex128 for complex data).
    """

    def __init__(self, cy: float | None = None, cx: float | None = None, r: float | None = None) -> None:
        super().__init__(cy=cy, cx=cx, r=r)

    def get_selection(self) -> npt.NDArray[np.bool_]:
        """Return the disk."""
        height, width = self._image_shape()
        cy, cx = self._center()
        r = 0.3 * min(height, width) / 2 if self.params.r is None else float(self.params.r)
        return masks.circular(cx, cy, width, height, r)


class RingUDF(VirtualDetectorUDF):
    """A ring: (annular) dark field if it lies outside the direct beam.

    Parameters
    ----------
    cy, cx
        Centre in detector pixels; half the size by default.
    inner, outer
        Radii in pixels: ``inner < distance <= outer``.  By default the ring ends at the nearest border and
        starts at 0.8 of that.

    Notes
    -----
    Result ``intensity``, kind nav, float64 (complex128 for complex data).

    Raises
    ------
    ValueError
        If `inner` is not smaller than `outer`.
    """

    def __init__(
        self,
        cy: float | None = None,
        cx: float | None = None,
        inner: float | None = None,
        outer: float | None = None,
    ) -> None:
        if inner is not None and outer is not None and inner >= outer:
            raise ValueError(f"a ring needs inner < outer, got inner={inner}, outer={outer}")
        super().__init__(cy=cy, cx=cx, inner=inner, outer=outer)

    def get_selection(self) -> npt.NDArray[np.bool_]:
        """Return the ring."""
        height, width = self._image_shape()
        cy, cx = self._center()
        outer = min(height, width) / 2 if self.params.outer is None else float(self.params.outer)
        inner = 0.8 * outer if self.params.inner is None else float(self.params.inner)
        return masks.ring(cx, cy, width, height, outer, inner)


class PointUDF(VirtualDetectorUDF):
    """A single pixel.

    Parameters
    ----------
    cy, cx
        The pixel, truncated to integers; half the size by default.

    Notes
    -----
    Result ``intensity``, kind nav, float64 (complex128 for complex data).
    """

    def __init__(self, cy: float | None = None, cx: float | None = None) -> None:
        super().__init__(cy=cy, cx=cx)

    def get_selection(self) -> npt.NDArray[np.bool_]:
        """Return the pixel."""
        cy, cx = (int(c) for c in self._center())
        height, width = self._image_shape()
        if not (0 <= cy < height and 0 <= cx < width):
            raise ValueError(f"pixel cy={cy}, cx={cx} lies outside of the frame of shape {(height, width)}")
        selection = np.zeros((height, width), bool)
        selection[cy, cx] = True
        return selection
