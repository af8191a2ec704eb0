"""Between this engine and the real LiberTEM, where that is installed.

`adapt` lets a UDF object of LiberTEM, or of a package built on it, run here; `Context.run_udf` does it by
itself.  `as_libertem_dataset` hands one of our data sets, or a running acquisition, to LiberTEM's `Context`.

Nothing of LiberTEM is imported before one of its objects is met.
"""

from __future__ import annotations

from ._bridge_dataset import as_libertem_dataset
from ._bridge_udf import BridgedUDF, adapt, is_libertem_udf

__all__ = ["BridgedUDF", "adapt", "as_libertem_dataset", "is_libertem_udf"]
