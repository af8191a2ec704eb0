"""The executor of user-defined functions (UDFs) over array streams, the same live and offline."""

from ._buffer import AuxBuffer, BufferWrapper, MaskedResult
from ._errors import (
    CoverageError,
    ExecutorSpecException,
    InvalidMaskError,
    RemoteTraceback,
    RoiError,
    ScanError,
    SliceUsageError,
    UDFError,
    UDFException,
    UDFRunCancelled,
    UseDiscouragedWarning,
    WorkerLost,
    WorkerLostError,
    WorkerLostWarning,
)
from ._meta import UDFMeta
from ._namespace import MergeView
from ._shape import Shape, Slice, prod
from ._udf import UDF, NoOpUDF, TilingHint, UDFMethod

__all__ = [
    "UDF",
    "AuxBuffer",
    "BufferWrapper",
    "CoverageError",
    "ExecutorSpecException",
    "InvalidMaskError",
    "MaskedResult",
    "MergeView",
    "NoOpUDF",
    "RemoteTraceback",
    "RoiError",
    "ScanError",
    "Shape",
    "Slice",
    "SliceUsageError",
    "TilingHint",
    "UDFError",
    "UDFException",
    "UDFMeta",
    "UDFMethod",
    "UDFRunCancelled",
    "UseDiscouragedWarning",
    "WorkerLost",
    "WorkerLostError",
    "WorkerLostWarning",
    "prod",
]
