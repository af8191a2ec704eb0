"""What a UDF may know about the run and about the data it sees at the moment: ``self.meta``.

The engine moves one `UDFMeta` along with the data of a partition by writing three plain attributes; slices
and coordinates are made only when asked for.  It also notes whether a UDF asked for facts about its whole
partition, since then the partition has to be one unbroken run of positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._corrections import CorrectionSet
from ._errors import UDFException
from ._grid import SCATTERED
from ._shape import Shape, Slice

if TYPE_CHECKING:
    from ._tiling import TilingScheme


class UDFMeta:
    """Facts about the data set, the run, and the current slice.

    Parameters
    ----------
    partition_slice
        The partition, with one navigation axis, compressed if there is a ROI; ``None`` on the main side.
    dataset_shape
        Shape of the whole data set, regardless of the ROI.
    roi
        Which scan positions take part, in navigation shape, or ``None`` for all.
    dataset_dtype, input_dtype
        Type of the data as stored, and as handed to the UDFs.
    tiling_scheme, tiling_index
        How frames are cut into tiles, and the number of the current tile in it; ``None`` on the main side.
    corrections
        What is done to the frames before UDFs see them; an empty set if nothing is.
    device_class
        ``"cpu"``.
    threads_per_worker
        How many threads numerical libraries may use, ``None`` if they are not limited.
    array_backend
        ``"numpy"``, or ``None`` on the main side.
    valid_nav_mask
        Which (compressed) positions have been merged.
    """

    def __init__(
        self,
        partition_slice: Slice | None,
        dataset_shape: Shape,
        roi: npt.NDArray[np.bool_] | None,
        dataset_dtype: npt.DTypeLike,
        input_dtype: npt.DTypeLike,
        tiling_scheme: TilingScheme | None = None,
        tiling_index: int = 0,
        corrections: CorrectionSet | None = None,
        device_class: str | None = None,
        threads_per_worker: int | None = None,
        array_backend: str | None = None,
        valid_nav_mask: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self.dataset_shape = dataset_shape
        self.roi = roi
        self.dataset_dtype: np.dtype[Any] = np.dtype(dataset_dtype)
        self.input_dtype: np.dtype[Any] = np.dtype(input_dtype)
        self.tiling_scheme = tiling_scheme
        self.tiling_scheme_idx = tiling_index
        self.corrections = CorrectionSet() if corrections is None else corrections
        self.device_class = device_class or "cpu"
        self.threads_per_worker = threads_per_worker
        self.array_backend = array_backend
        self._valid = valid_nav_mask
        # Where the UDF is now.  The engine writes these three for each tile, see `_partition`.
        self.first = -1 if partition_slice is None else partition_slice.origin[0]
        self.count = 0 if partition_slice is None else partition_slice.shape[0]
        self.slice_cache: Slice | None = partition_slice
        # Whether `slice` means the whole partition, and whether the UDF has asked for it.
        self.whole_partition = partition_slice is not None
        self.asked_for_partition = False
        # Whether it has asked where a tile is, so that its frames have to be neighbours.
        self.asked_for_slice = False
        self.positions: npt.NDArray[np.int64] | None = None
        self._partition_count = self.count
        self._inside: npt.NDArray[np.int64] | None = None

    @property
    def slice(self) -> Slice | None:
        """The current data: flat (compressed) navigation and signal axes; ``None`` on the main side.

        Raises
        ------
        UDFException
            If this is a partition made of several runs of positions.
        """
        if self.whole_partition:
            self.asked_for_partition = True
        self.asked_for_slice = True
        if self.slice_cache is None and self.first != -1:
            if self.first == SCATTERED:
                raise UDFException(
                    "meta.slice was asked for where frames are not neighbours, not in the first partition; "
                    "use meta.sig_slice and meta.coordinates, or set CONTIGUOUS_PARTITIONS = True"
                )
            sig = self._full_sig() if self.whole_partition else self.sig_slice or self._full_sig()
            shape = Shape((self.count, *sig.shape), self.dataset_shape.sig_dims)
            self.slice_cache = Slice((self.first, *sig.origin), shape)
        return self.slice_cache

    @property
    def sig_slice(self) -> Slice | None:
        """The signal part of the current tile; ``None`` on the main side."""
        return None if self.tiling_scheme is None else self.tiling_scheme[self.tiling_scheme_idx]

    @property
    def partition_shape(self) -> Shape:
        """Shape of the current partition, with one navigation axis.

        Raises
        ------
        ValueError
            On the main side.
        """
        if self.first == -1:
            raise ValueError("meta.partition_shape exists on workers only")
        self.asked_for_partition = True
        return Shape((self._partition_count, *self.dataset_shape.sig), self.dataset_shape.sig_dims)

    @property
    def coordinates(self) -> npt.NDArray[np.int64]:
        """Scan coordinates of the current frames, shape ``(n_frames, nav_dims)``."""
        if self.whole_partition:
            self.asked_for_partition = True
        if self.positions is not None:
            flat = self.positions
        elif self.first < 0:
            flat = np.arange(self._n_selected())
        else:
            flat = np.arange(self.first, self.first + self.count)
        if self.roi is not None:
            if self._inside is None:
                self._inside = np.flatnonzero(self.roi)
            flat = self._inside[flat]
        return np.stack(np.unravel_index(flat, self.dataset_shape.nav.to_tuple()), axis=-1)

    def get_valid_nav_mask(self, full_nav: bool = False) -> npt.NDArray[np.bool_] | None:
        """Return which positions have been merged, flat; ``None`` while frames are processed.

        Parameters
        ----------
        full_nav
            Return all positions of the scan instead of those in the ROI only.
        """
        if self._valid is None or not full_nav or self.roi is None:
            return self._valid
        full = np.zeros(self.roi.size, dtype=bool)
        full[self.roi.reshape(-1)] = self._valid
        return full

    def set_valid_nav_mask(self, mask: npt.NDArray[np.bool_] | None) -> None:
        """Tell which (compressed) positions have been merged."""
        self._valid = mask

    # -- engine side ------------------------------------------------------------------------------

    def enter_partition(
        self, first: int, count: int, positions: npt.NDArray[np.int64] | None = None, *, shape_count: int
    ) -> None:
        """Let `slice` mean the whole partition.

        Parameters
        ----------
        first, count
            Positions; `first` is `SCATTERED` if they are not one run, then `positions` lists them.
        positions
            The positions, if they are not one run.
        shape_count
            How many positions `partition_shape` tells.
        """
        self.whole_partition = True
        self.first = first
        self.count = count
        self.positions = positions
        self.slice_cache = None
        self.tiling_scheme_idx = 0
        self._partition_count = shape_count

    def leave_partition(self) -> None:
        """Let `slice` mean the current tile from now on."""
        self.whole_partition = False
        self.positions = None
        self.slice_cache = None

    def _full_sig(self) -> Slice:
        sig = self.dataset_shape.sig
        return Slice((0,) * sig.dims, sig)

    def _n_selected(self) -> int:
        return self.dataset_shape.nav.size if self.roi is None else int(np.count_nonzero(self.roi))
