"""Centre of mass of each frame, and the field it draws over the scan (differential phase contrast)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from udf_core import UDF, BufferWrapper

from . import _array_types as array_types
from . import _com_field as fields
from . import _kernels as kernels
from . import masks
from ._bands import bands_of
from ._com_field import CoMParams, RegressionOptions
from ._runs import frame_spans

_MOMENTS = "raw_mask_result"


class CoMUDF(UDF):
    """Centre of mass, shift field, and its derivatives.

    Parameters
    ----------
    com_params
        All parameters in one object.
    **settings
        Single parameters, which go before those of `com_params`; see `with_params`.

    Notes
    -----
    Per frame, over the selected pixels: ``com = (Σ y I / Σ I, Σ x I / Σ I)``.  Counts are added exactly.
    Vectors are (y, x) in detector pixels; derivatives are per scan step.

    ================ ============ ===============================================================
    result           shape        meaning
    ================ ============ ===============================================================
    ``raw_com``      nav + (2,)   centre of mass; the centre itself for empty frames
    ``raw_shifts``   nav + (2,)   ``raw_com - (cy, cx)``
    ``field``        nav + (2,)   shifts in scan coordinates (flip, then rotation), less regression
    ``field_y/_x``   nav          its components
    ``magnitude``    nav          its length
    ``divergence``   nav          ``d field_y/dy + d field_x/dx``
    ``curl``         nav          ``d field_y/dx - d field_x/dy``
    ``regression``   (3, 2)       the plane that was subtracted: ``[1, y, x] · regression``
    ================ ============ ===============================================================

    All are float64.  Positions without data (outside the ROI, lost, not yet scanned) are NaN, and so are
    derivatives there and beside them.  The last two navigation axes are y and x, axes before them (repeats,
    depths, times) are separate fields with one common regression; a line scan has no y.  Partial results are
    made from the positions there are, with their regression.

    For a phase object and an aperture within the detector, the field is ``(1/2π) |P|² ⋆ ∇φ`` (in 1/length).

    Examples
    --------
    >>> udf = CoMUDF.with_params(cy=128, cx=128, r=60, regression=0)
    >>> udf.params.com_params.r
    60
    """

    def __init__(self, com_params: CoMParams | None = None, **settings: Any) -> None:
        super().__init__(com_params=replace(com_params or CoMParams(), **settings))

    @classmethod
    def with_params(
        cls,
        *,
        cy: float | None = None,
        cx: float | None = None,
        r: float = math.inf,
        ri: float = 0.0,
        scan_rotation: float = 0.0,
        flip_y: bool = False,
        regression: int
        | npt.NDArray[np.floating[Any]]
        | Sequence[Sequence[float]] = RegressionOptions.NO_REGRESSION,
    ) -> Self:
        """Return a `CoMUDF` with these parameters.

        Parameters
        ----------
        cy, cx
            Reference centre in detector pixels; ``size // 2`` by default.
        r, ri
            Only pixels with ``ri < distance <= r`` count (``0 <= distance`` if `ri` is 0).
        scan_rotation
            Degrees by which detector vectors are turned (clockwise on screen) into scan coordinates.
        flip_y
            Negate detector y before the rotation.
        regression
            -1: subtract nothing, 0: the mean, 1: the plane fitted to all positions; or a matrix ``(3, 2)``:
            rows offset, slope along scan y and x; columns y and x component.

        Raises
        ------
        ValueError
            If `ri` is not smaller than `r`, or `regression` is none of these.
        """
        return cls(
            com_params=CoMParams(
                cy=cy,
                cx=cx,
                r=r,
                ri=ri,
                scan_rotation=scan_rotation,
                flip_y=flip_y,
                regression=regression,
            )
        )

    def get_preferred_input_dtype(self) -> npt.DTypeLike:
        """Take data as they are."""
        return self.USE_NATIVE_DTYPE

    def get_result_buffers(self) -> dict[str, BufferWrapper]:
        """Declare the moments and all results."""
        shape = self.meta.dataset_shape
        if shape.sig.dims != 2:
            raise ValueError(
                f"CoMUDF needs two-dimensional frames, not frames of shape {shape.sig.to_tuple()}; say so "
                f"with sig_dims or sig_shape when the data set is loaded"
            )
        if self.meta.input_dtype.kind == "c":
            raise ValueError("CoMUDF needs real data; apply it to the intensity |ψ|²")
        return {
            _MOMENTS: self.buffer(kind="nav", extra_shape=(3,), dtype=np.float64, use="private"),
            **{name: self._map(2) for name in ("raw_shifts", "raw_com", "field")},
            **{name: self._map() for name in ("field_y", "field_x")},
            "regression": self.buffer(kind="single", extra_shape=(3, 2), dtype=np.float64, use="result_only"),
            **{name: self._map() for name in self.get_field_result_names()},
        }

    def get_worker_data(self) -> dict[str, Any]:
        """Find the selected spans of pixels in each band, and have the kernel compiled."""
        selection = self._selection()
        if self.meta.array_backend in UDF.SPARSE_BACKENDS:
            return {"bands": [self._weights(selection, band) for band in bands_of(self.meta)]}
        bands = []
        for rows, columns in bands_of(self.meta):
            part = None if selection is None else frame_spans(selection[rows, columns])
            bands.append((rows.start, columns.start, part))
        self._moments(np.zeros((1, 1, 1), self.meta.input_dtype), None if selection is None else _NO_SPANS)
        return {"bands": bands}

    def get_backends(self) -> tuple[str, ...]:
        """Take sparse rows, too."""
        return array_types.SPARSE

    def process_tile(self, tile: Any) -> None:
        """Add the moments of the tile's pixels."""
        if type(tile) is not np.ndarray:
            weights = self.worker_data.bands[self.meta.tiling_scheme_idx]
            self.results.raw_mask_result += array_types.dot(tile, weights)
            return
        y, x, spans = self.worker_data.bands[self.meta.tiling_scheme_idx]
        moments = self._moments(tile, spans)
        if y:
            moments[:, 1] += y * moments[:, 0]
        if x:
            moments[:, 2] += x * moments[:, 0]
        self.results.raw_mask_result += moments

    def merge(self, dest: Any, src: Any) -> None:
        """Take over the partition's moments."""
        dest.raw_mask_result[:] = src.raw_mask_result

    def get_results(self) -> dict[str, Any]:
        """Return field and derivatives from the moments that are there."""
        p: CoMParams = self.params.com_params
        com, shifts = fields.shifts_from_moments(self._moments_of_scan(), *self._center())
        field_y, field_x = fields.apply_correction(shifts[..., 0], shifts[..., 1], p.scan_rotation, p.flip_y)
        matrix = fields.regress(field_y, field_x, p.regression)
        plane_y, plane_x = fields.background(field_y.shape, matrix)
        field_y, field_x = field_y - plane_y, field_x - plane_x
        maps = self.get_field_results(field_y, field_x)
        here = np.isfinite(field_y)
        results = {
            "raw_shifts": shifts,
            "raw_com": com,
            "field": np.stack([field_y, field_x], axis=-1),
            "field_y": field_y,
            "field_x": field_x,
            **{name: np.where(here, values, np.nan) for name, values in maps.items()},
        }
        nav = self.meta.dataset_shape.nav.to_tuple()
        added = field_y.ndim - len(nav)  # the y axis of a line scan
        return {
            **{name: values.reshape(values.shape[added:]) for name, values in results.items()},
            "regression": matrix,
        }

    def get_field_result_names(self) -> Sequence[str]:
        """Return the names of the scalar maps that `get_field_results` makes."""
        return "magnitude", "divergence", "curl"

    def get_field_results(self, field_y: fields.Map, field_x: fields.Map) -> dict[str, fields.Map]:
        """Return scalar maps made from the corrected field; a subclass may add to them.

        Parameters
        ----------
        field_y, field_x
            Components in the shape of the scan, NaN where there are no data.
        """
        return {
            "magnitude": fields.magnitude(field_y, field_x),
            "divergence": fields.divergence(field_y, field_x),
            "curl": fields.curl_2d(field_y, field_x),
        }

    def _weights(
        self, selection: npt.NDArray[np.bool_] | None, band: tuple[slice, ...]
    ) -> npt.NDArray[np.float64]:
        """Return what pixels of a band count for sum, y and x moment, shape ``(n_pixels, 3)``."""
        y, x = np.mgrid[band]
        inside = np.ones(y.shape) if selection is None else selection[band].astype(np.float64)
        return np.stack([inside, inside * y, inside * x], axis=-1).reshape(-1, 3)

    def _map(self, *components: int) -> BufferWrapper:
        return self.buffer(kind="nav", extra_shape=components, dtype=np.float64, use="result_only")

    def _center(self) -> tuple[float, float]:
        height, width = self.meta.dataset_shape.sig.to_tuple()
        p: CoMParams = self.params.com_params
        return (height // 2 if p.cy is None else p.cy), (width // 2 if p.cx is None else p.cx)

    def _selection(self) -> npt.NDArray[np.bool_] | None:
        """Which pixels count; ``None`` for all."""
        height, width = self.meta.dataset_shape.sig.to_tuple()
        cy, cx = self._center()
        p: CoMParams = self.params.com_params
        if p.ri > 0:
            selection = masks.ring(cx, cy, width, height, p.r, p.ri)
        else:
            selection = masks.circular(cx, cy, width, height, p.r)
        return None if selection.all() else selection

    @staticmethod
    def _moments(tile: npt.NDArray[Any], spans: Any) -> npt.NDArray[np.float64]:
        return kernels.moments(tile) if spans is None else kernels.moments_of_spans(tile, *spans)

    def _moments_of_scan(self) -> npt.NDArray[np.float64]:
        """Moments in the shape of the scan, NaN where there are none; at least two axes (y, x)."""
        nav = self.meta.dataset_shape.nav.to_tuple()
        nav = (1, *nav) if len(nav) == 1 else nav
        moments = self.results.raw_mask_result
        valid = self.meta.get_valid_nav_mask()
        if valid is not None:
            moments = np.where(valid[:, np.newaxis], moments, np.nan)
        if self.meta.roi is not None:
            full = np.full((self.meta.roi.size, 3), np.nan)
            full[self.meta.roi.reshape(-1)] = moments
            moments = full
        scan: npt.NDArray[np.float64] = moments.reshape(*nav, 3)
        return scan


_NO_SPANS = (np.zeros(0, np.int64),) * 3
