"""The frames of a scan, written to a file as they come."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from udf_core import UDF, BufferWrapper


class RecordUDF(UDF):
    """Write all frames to an ``.npy`` file while the run goes on.

    Parameters
    ----------
    filename
        The file, of shape ``(*nav, *sig)``.  It is made anew when a run starts; an older one is replaced.
        All workers must reach it under this name.

    Notes
    -----
    No results.  Frames are written in their native dtype (the type of the run if another UDF asks for
    floats), each to its place in the scan; positions without a frame stay zero.

    Raises
    ------
    RuntimeError
        If there is a ROI: the file holds whole scans only.

    Examples
    --------
    >>> import tempfile
    >>> from udf_core import Context
    >>> data = np.arange(96, dtype="u2").reshape(2, 3, 4, 4)
    >>> with Context.make_with("inline") as context, tempfile.TemporaryDirectory() as directory:
    ...     udf = RecordUDF(f"{directory}/scan.npy")
    ...     _ = context.run_udf(context.load("memory", data), udf)
    ...     bool(np.array_equal(np.load(f"{directory}/scan.npy"), data))
    True
    """

    def __init__(self, filename: str | os.PathLike[str]) -> None:
        super().__init__(filename=str(Path(filename).absolute()))

    def get_preferred_input_dtype(self) -> npt.DTypeLike:
        """Take data as they are."""
        return self.USE_NATIVE_DTYPE

    def get_result_buffers(self) -> dict[str, BufferWrapper]:
        """Return no buffers."""
        return {}

    def preprocess(self) -> None:
        """Make the file; on the main side, before any worker starts."""
        if self.meta.array_backend is not None:
            return
        if self.meta.roi is not None:
            raise RuntimeError("RecordUDF writes whole scans; run it without a ROI")
        shape = self.meta.dataset_shape.to_tuple()
        memory = np.lib.format.open_memmap(
            self.params.filename, mode="w+", dtype=self.meta.input_dtype, shape=shape
        )
        memory.flush()

    def get_task_data(self) -> dict[str, Any]:
        """Open the file for writing."""
        memory = np.lib.format.open_memmap(self.params.filename, mode="r+")
        frames = memory.reshape((-1, *self.meta.dataset_shape.sig))
        return {"frames": frames}

    def process_tile(self, tile: npt.NDArray[Any]) -> None:
        """Write the tile to its place."""
        part = self.meta.slice
        assert part is not None
        self.task_data.frames[part.get()] = tile
