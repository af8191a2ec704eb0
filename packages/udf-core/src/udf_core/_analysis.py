"""Ready-made analyses: a UDF for a data set together with names for its results.

The UDFs come from the entry-point group ``udf_core.udfs`` by name; the package ``udf-4dstem`` brings those
used here.  An analysis returns numbers; pictures of them are for a viewer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraystream import load_plugin

from ._buffer import BufferWrapper
from ._dataset import StreamDataset
from ._udf import UDF

GROUP = "udf_core.udfs"
"""Entry-point group of UDF classes."""

Buffers = dict[str, BufferWrapper]


@dataclass(frozen=True, slots=True)
class AnalysisResult:
    """One result of an analysis; array-like.

    Parameters
    ----------
    raw_data
        The numbers; a tuple of arrays for a field.
    title, desc
        For people.
    key
        Its name.
    """

    raw_data: Any
    title: str
    desc: str
    key: str

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        array = np.asarray(self.raw_data, dtype=dtype)
        return array.copy() if copy else array


class AnalysisResultSet:
    """Results of an analysis, by attribute, by name, by number, or one after the other.

    Parameters
    ----------
    results
        The results.
    raw_results
        What the UDF returned.
    """

    def __init__(self, results: Sequence[AnalysisResult], raw_results: Any = None) -> None:
        self.results = tuple(results)
        self.raw_results = raw_results

    def keys(self) -> list[str]:
        """Return the names."""
        return [result.key for result in self.results]

    def __getitem__(self, key: int | str) -> AnalysisResult:
        if isinstance(key, int):
            return self.results[key]
        for result in self.results:
            if result.key == key:
                return result
        raise KeyError(f"there is no result {key!r}; there are: {', '.join(self.keys())}")

    def __getattr__(self, name: str) -> AnalysisResult:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __iter__(self) -> Iterator[AnalysisResult]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __repr__(self) -> str:
        return f"<AnalysisResultSet: {', '.join(self.keys())}>"


@dataclass(frozen=True, slots=True)
class Analysis:
    """A UDF for a data set, and how its results are called; made by ``Context.create_*_analysis``.

    Parameters
    ----------
    dataset
        Where the frames come from.
    make_udf
        Makes the UDF.
    name_results
        From the UDF's results to those of the analysis.
    roi
        Positions that the analysis is for, ``None`` for all or what `Context.run` says.
    """

    dataset: StreamDataset
    make_udf: Callable[[], UDF]
    name_results: Callable[[Buffers], list[AnalysisResult]]
    roi: Any = None

    def get_udf(self) -> UDF:
        """Return a fresh UDF."""
        return self.make_udf()

    def get_udf_results(self, results: Buffers) -> AnalysisResultSet:
        """Return the results of the UDF under their names."""
        return AnalysisResultSet(self.name_results(results), results)


def _class(name: str) -> Any:
    return load_plugin(GROUP, name)


def _twice(first: tuple[str, str], second: tuple[str, str], data: Any, desc: str) -> list[AnalysisResult]:
    """Return the same numbers under the two names that users of LiberTEM know."""
    return [AnalysisResult(data, title, desc, key) for key, title in (first, second)]


def mask_analysis(
    dataset: StreamDataset,
    factories: Any,
    use_sparse: Any = None,
    mask_count: int | None = None,
    mask_dtype: Any = None,
    dtype: Any = None,
) -> Analysis:
    """Apply masks: results ``mask_0``, ``mask_1`` and so on, in navigation shape."""

    def make() -> UDF:
        udf: UDF = _class("masks")(
            mask_factories=factories,
            use_sparse=use_sparse,
            mask_count=mask_count,
            mask_dtype=mask_dtype,
            preferred_dtype=dtype,
        )
        return udf

    def names(results: Buffers) -> list[AnalysisResult]:
        data = results["intensity"].data
        return [
            AnalysisResult(data[..., i], f"mask {i}", f"intensity for mask {i}", f"mask_{i}")
            for i in range(data.shape[-1])
        ]

    return Analysis(dataset, make, names)


def detector_analysis(dataset: StreamDataset, name: str, **settings: Any) -> Analysis:
    """Apply a virtual detector (``"disk"``, ``"ring"``, ``"point"``): result ``intensity``."""

    def names(results: Buffers) -> list[AnalysisResult]:
        lin, log = ("intensity", "intensity [lin]"), ("intensity_log", "intensity [log]")
        return _twice(lin, log, results["intensity"].data, f"sum over the {name}")

    return Analysis(dataset, lambda: _class(name)(**settings), names)


def com_analysis(dataset: StreamDataset, **settings: Any) -> Analysis:
    """Find centres of mass: ``field`` (tuple x, y), ``magnitude``, ``divergence``, ``curl``, ``x``, ``y``."""

    def names(results: Buffers) -> list[AnalysisResult]:
        x, y = results["field_x"].data, results["field_y"].data
        values = {
            "field": (x, y),
            **{name: results[name].data for name in ("magnitude", "divergence", "curl")},
            "x": x,
            "y": y,
        }
        return [AnalysisResult(v, name, f"{name} of the centre of mass", name) for name, v in values.items()]

    return Analysis(dataset, lambda: _class("com").with_params(**settings), names)


def sum_analysis(dataset: StreamDataset) -> Analysis:
    """Add up all frames: result ``intensity``."""
    return Analysis(dataset, lambda: _class("sum")(), _sum_names)


def pick_analysis(dataset: StreamDataset, position: tuple[int, ...]) -> Analysis:
    """Take one frame: result ``intensity``."""
    shape = dataset.shape
    nav = shape.nav.to_tuple()
    fits = len(position) == len(nav) and all(0 <= p < n for p, n in zip(position, nav, strict=True))
    if not fits:
        raise ValueError(f"position {position} (z, y, x) is not in the scan {nav}")
    roi = np.zeros(nav, dtype=bool)
    roi[position] = True

    def names(results: Buffers) -> list[AnalysisResult]:
        frame = results["intensity"].data.reshape(shape.sig.to_tuple())
        lin, log = ("intensity_lin", "intensity [lin]"), ("intensity", "intensity [log]")
        return _twice(log, lin, frame, f"the frame at {position}")

    return Analysis(dataset, lambda: _class("pick")(), names, roi)


def _sum_names(results: Buffers) -> list[AnalysisResult]:
    lin, log = ("intensity_lin", "intensity [lin]"), ("intensity", "intensity [log]")
    return _twice(log, lin, results["intensity"].data, "sum of frames")
