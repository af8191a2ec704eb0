"""`MemoryDataSet`: an array as data set, with the arguments of LiberTEM's class of this name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from arraystream import open_memory
from udf_core._dataset import SourceDataSet


class MemoryDataSet(SourceDataSet):
    """An array in memory.

    Parameters
    ----------
    tileshape, base_shape, tiledelay, force_need_decode, check_cast, io_backend, array_backends
        Settings that LiberTEM's own tests use to reach parts of its engine.  They change no result, and
        nothing at all here.
    num_partitions
        Into how many chunks the data are cut.
    data
        The array.
    sig_dims
        Number of signal axes; 2 by default, or as `sig_shape` says.
    datashape
        Of no effect: the array has its shape.
    nav_shape, sig_shape
        Other shape than the array's; `nav_shape` may be shorter or longer than the array.
    sync_offset
        See `udf_core.Scan.offset`.
    """

    def __init__(
        self,
        tileshape: Any = None,
        num_partitions: int | None = None,
        data: Any = None,
        sig_dims: int | None = None,
        check_cast: bool = True,
        tiledelay: float | None = None,
        datashape: Sequence[int] | None = None,
        base_shape: Sequence[int] | None = None,
        force_need_decode: bool = False,
        io_backend: Any = None,
        nav_shape: Sequence[int] | None = None,
        sig_shape: Sequence[int] | None = None,
        sync_offset: int = 0,
        array_backends: Sequence[str] | None = None,
    ) -> None:
        if data is None:
            if datashape is None:
                raise ValueError("give the array as data=")
            data = np.zeros(datashape, np.float32)
        if hasattr(data, "toarray") or hasattr(data, "todense"):
            data = data.toarray() if hasattr(data, "toarray") else data.todense()
        array = np.asarray(data)
        if sig_dims is None:
            sig_dims = 2 if sig_shape is None else len(sig_shape)
        n_nav = array.ndim - sig_dims
        if sig_shape is not None:
            array = array.reshape((*array.shape[:n_nav], *sig_shape))
            sig_dims = len(sig_shape)
        source = open_memory(array, sig_dims=sig_dims)
        chunk = None if num_partitions is None else max(1, -(-source.n_items // num_partitions))
        super().__init__(source, nav_shape=nav_shape, sync_offset=sync_offset, chunk_items=chunk)
        self.data = array
        self.num_partitions = num_partitions

    def initialize(self, executor: Any = None) -> MemoryDataSet:
        """Return this; there is nothing to prepare."""
        return self

    def check_valid(self) -> bool:
        """Return True; an array can be read."""
        return True
