"""4D STEM algorithms as user-defined functions for `udf_core`.

All results are in detector pixels and counts; `CONVENTIONS.md` states axes, signs and units.  The simulated
specimen is in the submodule `udf_4dstem.specimen`, the mask generators in `udf_4dstem.masks`.
"""

from . import masks
from ._apply_masks import ApplyMasksUDF
from ._com import CoMUDF
from ._com_field import CoMParams, GuessResult, RegressionOptions, apply_correction, guess_corrections
from ._logsum import LogsumUDF, run_logsum
from ._pick import PickUDF
from ._record import RecordUDF
from ._stddev import StdDevUDF, run_stddev
from ._sum import SumSigUDF, SumUDF
from ._virtual_detectors import DiskUDF, PointUDF, RingUDF, VirtualDetectorUDF

__all__ = [
    "ApplyMasksUDF",
    "CoMParams",
    "CoMUDF",
    "DiskUDF",
    "GuessResult",
    "LogsumUDF",
    "PickUDF",
    "PointUDF",
    "RecordUDF",
    "RegressionOptions",
    "RingUDF",
    "StdDevUDF",
    "SumSigUDF",
    "SumUDF",
    "VirtualDetectorUDF",
    "apply_correction",
    "guess_corrections",
    "masks",
    "run_logsum",
    "run_stddev",
]
