"""Which names of LiberTEM stand for which of ours: for each alias module, ``name -> "module:name"``.

Algorithms and masks are not here: packages register them in the entry-point group ``udf_core.aliases``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Table = Mapping[str, Mapping[str, str]]


def _same(names: Iterable[str], module: str = "udf_core") -> dict[str, str]:
    return {name: f"{module}:{name}" for name in names}


_SHAPES = _same(("Shape", "Slice", "SliceUsageError"))
_ERRORS = _same(("ExecutorSpecException", "UDFException", "UDFRunCancelled"))
_SETS = (
    *("CPU_BACKENDS", "CUDA_BACKENDS", "CUPY_BACKENDS"),
    *("D2_BACKENDS", "DENSE_BACKENDS", "ND_BACKENDS", "SPARSE_BACKENDS"),
)
_BACKEND_SETS = {name: f"udf_core:UDF.{name}" for name in _SETS}
_BACKEND_NAMES = {
    name: f"udf_core:UDF.BACKEND_{name}"
    for name in (
        *("NUMPY", "CUDA", "CUPY", "SPARSE_COO", "SPARSE_GCXS", "SPARSE_DOK"),
        *("SCIPY_COO", "SCIPY_CSR", "SCIPY_CSC", "SCIPY_COO_ARRAY", "SCIPY_CSR_ARRAY", "SCIPY_CSC_ARRAY"),
        *("CUPY_SCIPY_COO", "CUPY_SCIPY_CSR", "CUPY_SCIPY_CSC"),
    )
}
_RUNNING = _same(("UDF", "UDFMeta", "AutoUDF", "UDFRunCancelled", "UDFResults", "UDFRunner"))
_UDF_DATA = {"MergeAttrMapping": "udf_core:MergeView", "AuxBufferWrapper": "udf_core:AuxBuffer"}
_EXECUTORS = "udf_core.compat._executors"
_INLINE = _same(("InlineJobExecutor",), _EXECUTORS)
_CONCURRENT = _same(("ConcurrentJobExecutor",), _EXECUTORS)
_PIPELINED = _same(("PipelinedExecutor",), _EXECUTORS)
_DASK = _same(("DaskJobExecutor",), _EXECUTORS)
_JOB_EXECUTOR = {"JobExecutor": "udf_core:Executor"}
_PLOTS = _same(("Live2DPlot", "Dummy2DPlot"))
_CORRECTION_SET = _same(("CorrectionSet",))
_DETECTOR = _same(("RepairValueError", "correct", "correct_dot_masks"), "udf_core.compat._corrections")
_MASK_CONTAINER = _same(("MaskContainer",))
_MEMORY = _same(("MemoryDataSet",), "udf_core.compat._memory")
_DATASETS = {"DataSet": "udf_core:SourceDataSet"}
_TILING = {"TilingScheme": "udf_core:TilingScheme"}
_POLAR = _same(
    (
        *("make_cartesian", "make_polar", "rotate_deg", "rotate_rad"),
        *("calc_coords", "frame_peaks", "regularize_indices", "within_frame"),
    ),
    "udf_core.compat._lattice",
)

LIBERTEM: Table = {
    "libertem": {},
    "libertem.api": {
        "Context": "udf_core.compat._context:Context",
        **_RUNNING,
        **_same(("BufferWrapper", "ResultGenerator", "ExecutorSpecException", "ProgressReporter")),
        "ResultAsyncGenerator": "udf_core:AsyncResultGenerator",
        **_CORRECTION_SET,
        **_INLINE,
        **_CONCURRENT,
        **_PIPELINED,
        **_DASK,
        **_DATASETS,
        **_JOB_EXECUTOR,
    },
    "libertem.udf": {
        **_same(("UDF", "UDFMeta", "AutoUDF", "UDFRunCancelled")),
    },
    "libertem.udf.base": {
        **_RUNNING,
        **_UDF_DATA,
        **_ERRORS,
        **_SHAPES,
        **_BACKEND_SETS,
        **_same(("NoOpUDF", "UDFMethod", "BufferWrapper", "UseDiscouragedWarning", "prod")),
        **_CORRECTION_SET,
    },
    "libertem.udf.auto": _same(("AutoUDF", "UDF")),
    "libertem.common": _SHAPES,
    "libertem.common.shape": _same(("Shape",)),
    "libertem.common.slice": _SHAPES,
    "libertem.common.math": _same(
        ("prod", "count_nonzero", "flat_nonzero", "make_2D_square", "ndenumerate"), "udf_core.compat._arrays"
    ),
    "libertem.common.buffers": {
        **_same(("BufferWrapper", "InvalidMaskError")),
        "AuxBufferWrapper": "udf_core:AuxBuffer",
        "ArrayWithMask": "udf_core:MaskedResult",
        **_same(("reshaped_view", "to_numpy", "zeros_aligned", "empty_aligned"), "udf_core.compat._arrays"),
    },
    "libertem.common.container": _MASK_CONTAINER,
    "libertem.common.exceptions": _ERRORS,
    "libertem.exceptions": _ERRORS,
    "libertem.common.progress": _same(("ProgressReporter", "ProgressState")),
    "libertem.common.executor": _JOB_EXECUTOR,
    "libertem.common.udf": {**_BACKEND_SETS, **_BACKEND_NAMES, **_same(("UDFMethod",))},
    "libertem.common.sparse": _same(
        ("is_sparse", "to_dense", "to_sparse", "sparse_to_coo"), "udf_core.compat._arrays"
    ),
    "libertem.common.numba": _same(
        (
            *("cached_njit", "rmatmul"),
            *("numba_ravel_multi_index_single", "numba_ravel_multi_index_multi"),
            *("numba_unravel_index_single", "numba_unravel_index_multi"),
        ),
        "udf_core.compat._numba",
    ),
    "libertem.utils.devices": _same(("detect", "has_cupy"), "udf_core.compat._devices"),
    "libertem.utils": _POLAR,
    "libertem.warnings": _same(("UseDiscouragedWarning",)),
    "libertem.corrections": _CORRECTION_SET,
    "libertem.corrections.corrset": _CORRECTION_SET,
    "libertem.corrections.detector": _DETECTOR,
    "libertem.corrections.coordinates": _same(
        ("identity", "scale", "rotate", "rotate_deg", "flip_x", "flip_y", "scale_rotate_flip_y"),
        "udf_core.compat._coordinates",
    ),
    "libertem.io": {},
    "libertem.io.corrections": _CORRECTION_SET,
    "libertem.io.corrections.corrset": _CORRECTION_SET,
    "libertem.io.corrections.detector": _DETECTOR,
    "libertem.io.dataset": {},
    "libertem.io.dataset.base": {**_DATASETS, **_TILING},
    "libertem.io.dataset.memory": _MEMORY,
    "libertem.executor": {},
    "libertem.executor.base": {**_JOB_EXECUTOR, **_same(("ExecutorSpecException",))},
    "libertem.executor.inline": _INLINE,
    "libertem.executor.concurrent": _CONCURRENT,
    "libertem.executor.pipelined": _PIPELINED,
    "libertem.executor.dask": _DASK,
    "libertem.viz": {},
    "libertem.viz.base": _PLOTS,
}
