"""Masks made from factories and cut to the part of the detector that a tile shows."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import cloudpickle
import numpy as np
import numpy.typing as npt
import scipy.sparse
import sparse

from ._shape import Slice, prod
from ._tiling import TilingScheme

MaskFactory = Callable[[], Any]

_WARN_BYTES = 1 << 20
_SPARSE_FORMS = (
    "scipy.sparse",
    "scipy.sparse.csr",
    "scipy.sparse.csc",
    "sparse.pydata",
    "sparse.pydata.GCXS",
)


class MaskContainer:
    """A stack of masks, ready to be multiplied with tiles.

    For UDFs: make it in `UDF.get_task_data` or `UDF.get_worker_data`, so that masks are computed on the
    worker, and multiply ``tile.reshape((n, -1)) @ masks.get(self.meta.slice)``.

    Parameters
    ----------
    mask_factories
        A function that returns a stack ``(n_masks, *sig)``, or functions that return one mask ``sig`` each:
        NumPy arrays, SciPy sparse matrices or ``sparse`` arrays.
    dtype
        Of the masks; by default the common type of all of them.
    use_sparse
        ``False`` for dense masks, ``True`` or one of ``"scipy.sparse"``, ``"scipy.sparse.csr"``,
        ``"scipy.sparse.csc"``, ``"sparse.pydata"``, ``"sparse.pydata.GCXS"`` for sparse ones.  By default
        sparse if all masks are.
    count
        Number of masks, if it shall be known without making them.
    backend
        Array type of dense masks in the result of `get`: ``"numpy"`` or a sparse type's name.
    default_sparse
        What ``use_sparse=True`` means.

    Examples
    --------
    >>> from udf_core import Shape
    >>> masks = MaskContainer([lambda: np.ones((4, 4)), lambda: np.eye(4)])
    >>> masks.get_for_sig_slice(Slice((2, 0), Shape((2, 4), 2))).shape
    (8, 2)
    """

    def __init__(
        self,
        mask_factories: MaskFactory | Sequence[MaskFactory],
        dtype: npt.DTypeLike | None = None,
        use_sparse: bool | str | None = None,
        count: int | None = None,
        backend: str | None = None,
        default_sparse: str = "scipy.sparse",
    ) -> None:
        form = default_sparse if use_sparse is True else use_sparse
        if isinstance(form, str) and form not in _SPARSE_FORMS:
            raise ValueError(f"use_sparse={form!r} names no sparse format; choose from {_SPARSE_FORMS}")
        self.mask_factories = mask_factories
        self.backend = backend or "numpy"
        self._default_sparse = default_sparse
        self._form = form
        self._dtype = None if dtype is None else np.dtype(dtype)
        self._count = count
        self._cut: dict[tuple[Any, ...], Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_cut": {}}
        for made in ("_masks", "computed_masks"):
            state.pop(made, None)
        return state

    def __len__(self) -> int:
        if self._count is not None:
            return self._count
        if not callable(self.mask_factories):
            return len(self.mask_factories)
        return int(self._masks.shape[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the masks."""
        return np.dtype(self._masks.dtype) if self._dtype is None else self._dtype

    @property
    def use_sparse(self) -> bool | str:
        """The sparse format that is used, or False."""
        if self._form is None:
            self._form = self._default_sparse if isinstance(self._masks, sparse.SparseArray) else False
        return self._form

    @cached_property
    def computed_masks(self) -> Any:
        """All masks, ``(n_masks, *sig)``: an array, or ``sparse.COO`` if they are used as sparse."""
        masks = self._masks
        if self.use_sparse:
            return masks if isinstance(masks, sparse.SparseArray) else sparse.COO.from_numpy(masks)
        return masks.todense() if isinstance(masks, sparse.SparseArray) else masks

    def validate_mask_functions(self) -> None:
        """Warn about factories that are large when they travel to workers."""
        factories = [self.mask_factories] if callable(self.mask_factories) else self.mask_factories
        for factory in factories:
            try:
                size = len(cloudpickle.dumps(factory))
            except (pickle.PicklingError, TypeError):
                continue
            if size > _WARN_BYTES:
                warnings.warn(
                    f"the mask factory {factory!r} is {size} bytes large when pickled; let it compute the "
                    f"mask instead of carrying it along",
                    RuntimeWarning,
                    stacklevel=3,
                )

    def get(
        self,
        key: Slice,
        dtype: npt.DTypeLike | None = None,
        sparse_backend: str | None = None,
        transpose: bool = True,
        backend: str | None = None,
    ) -> Any:
        """Return the masks cut to the signal part of a slice.

        Parameters
        ----------
        key
            The slice.
        dtype
            Other type than `dtype`.
        sparse_backend
            Other sparse format than `use_sparse`.
        transpose
            Return one column per mask instead of one row.
        backend
            Array type of dense masks.

        Returns
        -------
        array
            Shape ``(n_pixels, n_masks)``, or ``(n_masks, n_pixels)`` if not transposed.  Made once per slice.
        """
        return self.get_for_sig_slice(key.sig, dtype, sparse_backend, transpose, backend)

    def get_for_idx(self, scheme: TilingScheme, idx: int, *args: Any, **kwargs: Any) -> Any:
        """Return the masks cut to a tile of a scheme; see `get`."""
        return self.get_for_sig_slice(scheme[idx], *args, **kwargs)

    def get_for_sig_slice(
        self,
        sig_slice: Slice,
        dtype: npt.DTypeLike | None = None,
        sparse_backend: str | None = None,
        transpose: bool = True,
        backend: str | None = None,
    ) -> Any:
        """Return the masks cut to a part of the detector; see `get`."""
        wanted = self.dtype if dtype is None else np.dtype(dtype)
        form = (sparse_backend or self.use_sparse) if self.use_sparse else False
        kind = str(form or backend or self.backend)
        key = (sig_slice, wanted, kind, transpose)
        if key not in self._cut:
            self._cut[key] = _arrange(self.computed_masks, sig_slice, wanted, kind, transpose)
        return self._cut[key]

    @cached_property
    def _masks(self) -> Any:
        """The stack as the factories make it: sparse only if all masks are."""
        if callable(self.mask_factories):
            stack = _uniform(self.mask_factories())
        else:
            masks = [_uniform(factory()) for factory in self.mask_factories]
            if all(isinstance(mask, sparse.SparseArray) for mask in masks):
                stack = sparse.stack(masks)
            else:
                stack = np.stack([m.todense() if isinstance(m, sparse.SparseArray) else m for m in masks])
        return stack if self._dtype is None else stack.astype(self._dtype)


def _uniform(mask: Any) -> Any:
    """Return a mask as ``sparse.COO`` or as array."""
    if scipy.sparse.issparse(mask):
        return sparse.COO.from_scipy_sparse(mask)
    if isinstance(mask, sparse.SparseArray):
        return mask if isinstance(mask, sparse.COO) else mask.asformat("coo")
    return np.asarray(mask)


def _arrange(stack: Any, part: Slice, dtype: np.dtype[Any], kind: str, transpose: bool) -> Any:
    cut = stack[(slice(None), *part.get())]
    rows = cut.reshape((cut.shape[0], prod(part.shape.to_tuple()))).astype(dtype)
    flat = rows.T if transpose else rows
    if kind in ("numpy", "cuda"):
        return flat
    if kind in ("sparse.pydata", "sparse.COO"):
        return flat if isinstance(flat, sparse.COO) else sparse.COO.from_numpy(flat)
    if kind in ("sparse.pydata.GCXS", "sparse.GCXS"):
        return sparse.GCXS(flat)
    matrix = flat.to_scipy_sparse() if isinstance(flat, sparse.SparseArray) else flat
    name = kind.removeprefix("scipy.sparse").lstrip(".") or "csr"
    name = name if name.endswith(("_matrix", "_array")) else f"{name}_matrix"
    make = getattr(scipy.sparse, name, None)
    if make is None:
        raise ValueError(f"masks can't be made as {kind!r}")
    return make(matrix)
