"""Masks as the kernels want them, cut into the bands of a tiling scheme.

Masks are made from factories once per worker.  For each band every mask takes the cheapest of three ways:
binary masks become runs of pixels (no multiplication, exact), dense ones weights, sparse ones rows of a CSR
matrix.  Complex masks count as two real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

from . import _kernels as kernels
from ._bands import Band
from ._runs import Index, frame_runs

MaskFactories = Callable[[], Any] | Iterable[Callable[[], Any]]

#: A binary mask is summed by runs if its runs are this long on average.
_MEAN_RUN = 8


@dataclass(frozen=True)
class BandMasks:
    """The masks within one band; made by `MaskStack.cut`."""

    n_columns: int
    runs: list[tuple[int, Index, Index]]
    dense: tuple[npt.NDArray[np.int64], npt.NDArray[Any], npt.NDArray[np.bool_]] | None
    sparse: tuple[npt.NDArray[Any], Index, Index] | None

    def apply(self, tile: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Multiply each frame of a tile with the real masks, shape ``(n, n_columns)``."""
        if tile.dtype.kind == "c":
            return self.apply(tile.real) + 1j * self.apply(tile.imag)
        if self.sparse is not None:
            return kernels.dot_sparse(tile, *self.sparse)
        if self.dense is not None and not self.runs:
            return kernels.dot_dense(tile, *self.dense[1:])
        out = np.zeros((tile.shape[0], self.n_columns))
        for column, starts, stops in self.runs:
            if starts.size:
                out[:, column] = kernels.sum_runs(tile, starts, stops)
        if self.dense is not None:
            columns, weights, active = self.dense
            out[:, columns] = kernels.dot_dense(tile, weights, active)
        return out


class MaskStack:
    """Masks made from factories.

    Parameters
    ----------
    mask_factories
        A function that returns a stack ``(n_masks, *sig)``, or functions that return one mask ``sig`` each:
        NumPy arrays, SciPy sparse matrices or ``sparse`` arrays.
    sig_shape
        Shape of a frame.
    use_sparse
        Multiply as sparse matrix; ``None`` if all masks are sparse; a string naming a library means True.
    dtype
        Convert the masks to this type.

    Raises
    ------
    ValueError
        If a mask does not have the shape of a frame.
    """

    def __init__(
        self,
        mask_factories: MaskFactories,
        sig_shape: tuple[int, ...],
        use_sparse: bool | str | None = None,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        self.sig_shape = sig_shape
        if callable(mask_factories):
            stacks = [self._rows(mask_factories())]
        else:
            stacks = [self._rows(factory()) for factory in mask_factories]
        if not stacks:
            raise ValueError("ApplyMasksUDF needs at least one mask")
        if use_sparse is None:
            use_sparse = all(scipy.sparse.issparse(rows) for rows in stacks)
        join, form = (scipy.sparse.vstack, scipy.sparse.csr_array) if use_sparse else (np.concatenate, _dense)
        rows: Any = join([form(stack) for stack in stacks])
        self.dtype: np.dtype[Any] = np.dtype(dtype) if dtype is not None else rows.dtype
        self.n_masks: int = rows.shape[0]
        self.is_complex = self.dtype.kind == "c"
        if self.is_complex:
            rows = join([rows.real, rows.imag])
        self._real = rows.tocsr() if use_sparse else rows

    def cut(self, band: Band, input_dtype: npt.DTypeLike) -> BandMasks:
        """Return the masks within a band, ready for tiles of `input_dtype`."""
        pixels = np.arange(int(np.prod(self.sig_shape))).reshape(self.sig_shape)[band].reshape(-1)
        real: Any = self._real[:, pixels]
        n_columns = real.shape[0]
        lane = self._lane(np.dtype(input_dtype), real)
        if scipy.sparse.issparse(real):
            csr = (real.data.astype(lane), real.indices.astype(np.int64), real.indptr.astype(np.int64))
            return BandMasks(n_columns, [], None, csr)
        runs, columns = [], []
        for column, weights in enumerate(real):
            selected = weights != 0
            starts, stops = frame_runs(selected)
            binary = bool((weights[selected] == 1).all())
            if binary and starts.size * _MEAN_RUN <= selected.sum():
                runs.append((column, starts, stops))
            else:
                columns.append(column)
        if not columns:
            return BandMasks(n_columns, runs, None, None)
        weights = np.ascontiguousarray(real[columns], lane)
        dense = (np.array(columns), weights, kernels.active_blocks(weights))
        return BandMasks(n_columns, runs, dense, None)

    def weights(self, band: Band, *, dense: bool) -> Any:
        """Return the real masks within a band as columns ``(n_pixels, n)``, in double precision."""
        pixels = np.arange(int(np.prod(self.sig_shape))).reshape(self.sig_shape)[band].reshape(-1)
        columns: Any = self._real[:, pixels].T.astype(np.float64)
        if scipy.sparse.issparse(columns):
            return columns.toarray() if dense else columns.tocsr()
        return np.ascontiguousarray(columns)

    def apply(self, part: BandMasks, tile: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Multiply a tile with the masks of its band, shape ``(n, n_masks)``, float64 or complex128."""
        return self.combine(part.apply(tile))

    def apply_shifted(self, frame: npt.NDArray[Any], dy: int, dx: int) -> npt.NDArray[Any]:
        """Multiply a two-dimensional frame with the masks moved by ``(dy, dx)``, shape ``(n_masks,)``."""
        if frame.dtype.kind == "c":
            return self.apply_shifted(frame.real, dy, dx) + 1j * self.apply_shifted(frame.imag, dy, dx)
        return self.combine(kernels.dot_shifted(frame, self._images, dy, dx))

    @cached_property
    def _images(self) -> npt.NDArray[Any]:
        lane = np.float32 if self.dtype == np.float32 else np.float64
        images: npt.NDArray[Any] = np.ascontiguousarray(_dense(self._real), lane)
        return images.reshape(-1, *self.sig_shape)

    def combine(self, real: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return products with the masks from those with real ones, of which complex masks have two."""
        if not self.is_complex:
            return real
        combined: npt.NDArray[Any] = real[..., : self.n_masks] + 1j * real[..., self.n_masks :]
        return combined

    def _lane(self, input_dtype: np.dtype[Any], weights: Any) -> np.dtype[Any]:
        part = np.zeros((), input_dtype).real.dtype
        lane = kernels.weight_dtype(part if part.kind != "b" else np.dtype(np.uint8))
        single = self.dtype in (np.float32, np.complex64)
        values = weights.data if scipy.sparse.issparse(weights) else weights
        if single or lane == np.float64 or bool((values.astype(np.float32) == values).all()):
            return lane
        return np.dtype(np.float64)

    def _rows(self, mask: Any) -> Any:
        shape = tuple(mask.shape)
        n_pixels = int(np.prod(self.sig_shape))
        if shape[-len(self.sig_shape) :] != self.sig_shape or len(shape) > len(self.sig_shape) + 1:
            raise ValueError(
                f"a mask has shape {shape}, but a frame has shape {self.sig_shape}; "
                f"a factory returns one mask of that shape or a stack of them"
            )
        n_masks = shape[0] if len(shape) > len(self.sig_shape) else 1
        if scipy.sparse.issparse(mask):
            return mask.reshape((n_masks, n_pixels)).tocsr()
        if hasattr(mask, "to_scipy_sparse") or hasattr(mask, "tocoo"):
            return mask.reshape((n_masks, n_pixels)).to_scipy_sparse().tocsr()
        return np.asarray(mask).reshape(n_masks, n_pixels)


def _dense(rows: Any) -> npt.NDArray[Any]:
    dense: npt.NDArray[Any] = rows.toarray() if scipy.sparse.issparse(rows) else rows
    return dense
