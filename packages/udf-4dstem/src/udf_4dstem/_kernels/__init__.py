"""Compiled kernels over tiles; every one has a slow and obvious NumPy model in the tests."""

from ._dots import active_blocks, dot_dense, dot_shifted, dot_sparse
from ._electrons import GRID, count_electrons
from ._moments import moments, moments_of_spans
from ._sums import RUN_LIMIT, add_frames, sum_runs, whole_frame
from ._tiles import real_pairs, weight_dtype
from ._variance import add_variance, merge_variance

__all__ = [
    "GRID",
    "RUN_LIMIT",
    "active_blocks",
    "add_frames",
    "add_variance",
    "count_electrons",
    "dot_dense",
    "dot_shifted",
    "dot_sparse",
    "merge_variance",
    "moments",
    "moments_of_spans",
    "real_pairs",
    "sum_runs",
    "weight_dtype",
    "whole_frame",
]
