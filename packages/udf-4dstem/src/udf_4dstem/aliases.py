"""Where LiberTEM keeps what is here: tables for ``udf_core.compat``, ``name -> "module:name"``.

With them ``from libertem.udf.sum import SumUDF`` gives `udf_4dstem.SumUDF` where LiberTEM is not installed.
"""

from __future__ import annotations


def _same(*names: str) -> dict[str, str]:
    return {name: f"udf_4dstem:{name}" for name in names}


_COM = _same("GuessResult", "apply_correction", "guess_corrections")

SUM = _same("SumUDF")
SUMSIG = _same("SumSigUDF")
MASKS = _same("ApplyMasksUDF")
COM = _same("CoMParams", "CoMUDF", "RegressionOptions") | _COM
STDDEV = _same("StdDevUDF", "run_stddev")
LOGSUM = _same("LogsumUDF", "run_logsum")
RAW = _same("PickUDF")
ANALYSIS_COM = _COM
