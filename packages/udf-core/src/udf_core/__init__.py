"""The executor of user-defined functions (UDFs) over array streams, the same live and offline."""

# "arraystream" is also the name of an unrelated project: say so rather than fail obscurely.
try:
    from arraystream import PROTOCOL_VERSION as _PROTOCOL_VERSION  # noqa: F401
except ImportError as error:
    raise ImportError(
        "This needs arraystream-protocol, but found another 'arraystream', or none. Run: "
        "pip uninstall arraystream && pip install --force-reinstall arraystream-protocol"
    ) from error

from ._analysis import Analysis, AnalysisResult, AnalysisResultSet
from ._auto_udf import AutoUDF
from ._buffer import AuxBuffer, BufferWrapper, MaskedResult
from ._context import AsyncResultGenerator, Context, ResultGenerator
from ._corrections import CorrectionSet, SuppliesCorrections
from ._corrections_masks import correct, correct_dot_masks
from ._corrections_source import KnowsFrames
from ._dataset import SourceDataSet, StreamDataset
from ._devices import Device, DeviceClass, detect, register_device_class
from ._errors import (
    CorrectionError,
    CorrectionTypeError,
    CoverageError,
    DuplicatePositionError,
    ExecutorSpecException,
    ExportDependencyError,
    ExportError,
    InvalidMaskError,
    RemoteTraceback,
    RepairValueError,
    RoiError,
    ScanError,
    SliceUsageError,
    UDFError,
    UDFException,
    UDFRunCancelled,
    UseDiscouragedWarning,
    WorkerHung,
    WorkerHungError,
    WorkerHungWarning,
    WorkerLost,
    WorkerLostError,
    WorkerLostWarning,
)
from ._executor import Crew, Executor, make_executor
from ._executors.dask import DaskExecutor
from ._export import to_xarray
from ._export_axes import Axes, Axis
from ._export_dataset import export_dataset
from ._export_files import export
from ._mask_container import MaskContainer
from ._merge import UDFResults
from ._meta import UDFMeta
from ._namespace import MergeView
from ._passes import RollingResults
from ._plots import Dummy2DPlot, Live2DPlot, LivePlot
from ._progress import ProgressReporter, ProgressState
from ._roi import RoiBuilder, roi_mask
from ._run import Run
from ._runner import UDFRunner
from ._scan import Scan, ScanMap
from ._shape import Shape, Slice, prod
from ._tiling import TilingScheme
from ._udf import UDF, NoOpUDF, TilingHint, UDFMethod

__all__ = [
    "UDF",
    "Analysis",
    "AnalysisResult",
    "AnalysisResultSet",
    "AsyncResultGenerator",
    "AutoUDF",
    "AuxBuffer",
    "Axes",
    "Axis",
    "BufferWrapper",
    "Context",
    "CorrectionError",
    "CorrectionSet",
    "CorrectionTypeError",
    "CoverageError",
    "Crew",
    "DaskExecutor",
    "Device",
    "DeviceClass",
    "Dummy2DPlot",
    "DuplicatePositionError",
    "Executor",
    "ExecutorSpecException",
    "ExportDependencyError",
    "ExportError",
    "InvalidMaskError",
    "KnowsFrames",
    "Live2DPlot",
    "LivePlot",
    "MaskContainer",
    "MaskedResult",
    "MergeView",
    "NoOpUDF",
    "ProgressReporter",
    "ProgressState",
    "RemoteTraceback",
    "RepairValueError",
    "ResultGenerator",
    "RoiBuilder",
    "RoiError",
    "RollingResults",
    "Run",
    "Scan",
    "ScanError",
    "ScanMap",
    "Shape",
    "Slice",
    "SliceUsageError",
    "SourceDataSet",
    "StreamDataset",
    "SuppliesCorrections",
    "TilingHint",
    "TilingScheme",
    "UDFError",
    "UDFException",
    "UDFMeta",
    "UDFMethod",
    "UDFResults",
    "UDFRunCancelled",
    "UDFRunner",
    "UseDiscouragedWarning",
    "WorkerHung",
    "WorkerHungError",
    "WorkerHungWarning",
    "WorkerLost",
    "WorkerLostError",
    "WorkerLostWarning",
    "correct",
    "correct_dot_masks",
    "detect",
    "export",
    "export_dataset",
    "make_executor",
    "prod",
    "register_device_class",
    "roi_mask",
    "to_xarray",
]
