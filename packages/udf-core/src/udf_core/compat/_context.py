"""`Context` as programs written for LiberTEM use it."""

from __future__ import annotations

from typing import Any

from udf_core._context import Context as OurContext
from udf_core._dataset import SourceDataSet

from ._memory import MemoryDataSet


class Context(OurContext):
    """`udf_core.Context` that takes LiberTEM's arguments for data in memory."""

    def load(self, filetype: str, *args: Any, **kwargs: Any) -> SourceDataSet:
        """Open a file or an array; see `udf_core.Context.load` and `MemoryDataSet`."""
        kwargs.pop("io_backend", None)
        if filetype == "memory":
            if args:
                kwargs["data"], *rest = args
                if rest:
                    raise TypeError("give only the array without a name")
            return MemoryDataSet(**kwargs)
        return super().load(filetype, *args, **kwargs)
