"""Dot products of each frame with masks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

from udf_core import UDF, BufferWrapper, UDFMethod

from . import _array_types as array_types
from ._bands import bands_of
from ._mask_stack import MaskFactories, MaskStack
from ._sum import exact_dtype


class ApplyMasksUDF(UDF):
    """Multiply each frame with masks and sum up.

    Parameters
    ----------
    mask_factories
        A function that returns a stack of masks ``(n_masks, *sig)``, or several functions that return one
        mask each.  Masks are NumPy arrays, SciPy sparse matrices or ``sparse`` arrays, made on the workers.
    use_torch
        Accepted for scripts written for LiberTEM; the kernels here need no other library.
    use_sparse
        True or the name of a sparse library: multiply as sparse matrix; False: as dense weights;
        ``None``: sparse if all masks are.
    mask_count, mask_dtype
        Number and type of the masks.  If both are given, no masks are made on the main side.  Dense products
        are added in single precision within short blocks if the masks are float32 or would be exact in it.
    preferred_dtype
        Type the data are wanted in; as they are by default.
    backends
        Restricts the array types that are asked for; sparse rows stay sparse.
    shifts
        ``(y, x)`` in whole pixels by which masks are moved before they are applied, positive to the bottom
        and right; or ``ApplyMasksUDF.aux_data(..., kind="nav", extra_shape=(2,))`` for one shift per frame.
        What leaves the frame is cut off.  Floats are truncated.

    Notes
    -----
    Result ``intensity``, kind nav with extra shape ``(n_masks,)``: ``sum over p of M[m, p] · I[r, p]``,
    float64, or complex128 if masks or data are complex (LiberTEM: the common type of data and masks).

    Examples
    --------
    >>> import numpy as np
    >>> udf = ApplyMasksUDF(mask_factories=lambda: np.ones((1, 64, 64)), mask_count=1)
    >>> udf.params.mask_count
    1
    """

    def __init__(
        self,
        mask_factories: MaskFactories,
        use_torch: bool = True,
        use_sparse: bool | str | None = None,
        mask_count: int | None = None,
        mask_dtype: npt.DTypeLike | None = None,
        preferred_dtype: npt.DTypeLike | None = None,
        backends: str | Iterable[str] | None = None,
        shifts: Any = None,
        **kwargs: Any,
    ) -> None:
        if shifts is not None and isinstance(use_sparse, str) and use_sparse.startswith("scipy"):
            raise ValueError(f"use_sparse={use_sparse!r} can't be combined with shifts; leave it out")
        super().__init__(
            mask_factories=mask_factories,
            use_torch=use_torch,
            use_sparse=use_sparse,
            mask_count=mask_count,
            mask_dtype=mask_dtype,
            preferred_dtype=preferred_dtype,
            backends=backends,
            shifts=shifts,
            **kwargs,
        )
        self._masks: MaskStack | None = None

    def get_preferred_input_dtype(self) -> npt.DTypeLike:
        """Take data as they are, unless told otherwise."""
        dtype: npt.DTypeLike = self.params.preferred_dtype
        return self.USE_NATIVE_DTYPE if dtype is None else dtype

    def get_method(self) -> UDFMethod:
        """Take tiles, or frames if masks are shifted."""
        return UDFMethod.FRAME if self._shifted() else UDFMethod.TILE

    def get_result_buffers(self) -> dict[str, BufferWrapper]:
        """Declare ``intensity``."""
        count, dtype = self.params.mask_count, self.params.mask_dtype
        if count is None or dtype is None:
            masks = self._mask_stack()
            count, dtype = masks.n_masks, masks.dtype
        result = exact_dtype(self.meta.input_dtype, dtype)
        return {"intensity": self.buffer(kind="nav", extra_shape=(count,), dtype=result)}

    def get_worker_data(self) -> dict[str, Any]:
        """Make the masks, cut them into bands, and have the kernels compiled."""
        masks = self._mask_stack()
        if self._shifted():
            masks.apply_shifted(np.zeros(masks.sig_shape, self.meta.input_dtype), 0, 0)
            return {"masks": masks, "bands": []}
        regions = bands_of(self.meta)
        if self.meta.array_backend not in (None, UDF.BACKEND_NUMPY, UDF.BACKEND_CUDA):
            sparse = self.meta.array_backend in UDF.SPARSE_BACKENDS
            return {"masks": masks, "bands": [masks.weights(region, dense=not sparse) for region in regions]}
        bands = [masks.cut(region, self.meta.input_dtype) for region in regions]
        shape = tuple(part.stop - part.start for part in regions[0])
        masks.apply(bands[0], np.zeros((1, *shape), self.meta.input_dtype))
        return {"masks": masks, "bands": bands}

    def get_backends(self) -> tuple[str, ...]:
        """Take sparse rows and arrays of a device, too, unless masks are shifted."""
        allowed = self.params.backends
        there = (UDF.BACKEND_NUMPY,) if self._shifted() else array_types.ALL
        if allowed is None:
            return there
        wanted = (allowed,) if isinstance(allowed, str) else tuple(allowed)
        # What this UDF can't take is left out, as in LiberTEM's list of all that masks can be applied to.
        return tuple(name for name in there if name in wanted) or (UDF.BACKEND_NUMPY,)

    def process_tile(self, tile: Any) -> None:
        """Add the products with the masks' part in this tile."""
        data = self.worker_data
        band = data.bands[self.meta.tiling_scheme_idx]
        if type(tile) is np.ndarray:
            self.results.intensity += data.masks.apply(band, tile)
        elif scipy.sparse.issparse(tile):
            self.results.intensity += data.masks.combine(array_types.dot(tile, band))
        else:
            frames = array_types.wide(self.xp, tile, self.meta.input_dtype)
            weights = self.xp.asarray(band, dtype=frames.dtype)
            product = self.xp.matmul(frames, weights)
            like = np.empty(product.shape, np.complex128 if self.meta.input_dtype.kind == "c" else float)
            self.results.intensity += data.masks.combine(self.forbuf(product, like))

    def process_frame(self, frame: npt.NDArray[Any]) -> None:
        """Multiply with the masks moved for this frame."""
        dy, dx = (int(shift) for shift in self.params.shifts)
        self.results.intensity[:] = self.worker_data.masks.apply_shifted(frame, dy, dx)

    def _shifted(self) -> bool:
        return self._kwargs["shifts"] is not None

    def _mask_stack(self) -> MaskStack:
        if "masks" in self.worker_data:
            masks: MaskStack = self.worker_data.masks
            return masks
        if self._masks is None:
            p = self.params
            shape = self.meta.dataset_shape.sig.to_tuple()
            self._masks = MaskStack(p.mask_factories, shape, p.use_sparse, p.mask_dtype)
            if p.mask_count is not None and p.mask_count != self._masks.n_masks:
                raise ValueError(
                    f"mask_count={p.mask_count}, but the factories make {self._masks.n_masks} masks"
                )
        return self._masks
