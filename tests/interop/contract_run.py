"""Runs the cases of `contract_udfs` on an engine and takes down everything users can see of the results."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
from contract_udfs import Case, contract_cases, datasets, rois

Facts = dict[str, Any]


class LookError(str):
    """Looking at a result failed, with this text."""

    __slots__ = ()


def run_all(names: SimpleNamespace, context: Any, load: Any) -> dict[str, np.ndarray]:
    """Run all cases; see `run_case`.

    Parameters
    ----------
    names
        See `contract_cases`.
    context
        Runs UDFs.
    load
        ``load(array, **options)`` makes a data set.

    Returns
    -------
    dict
        For each case one array with one object: what `run_case` returns.
    """
    taken = {}
    for name, case in contract_cases(names).items():
        box = np.empty(1, object)
        box[0] = run_case(case, context, load)
        taken[name] = box
    return taken


def run_case(case: Case, context: Any, load: Any) -> dict[str, Facts]:
    """Run a case with each of its regions of interest.

    Returns
    -------
    dict
        For each region, UDF, result and attribute the value: ``"some/0/total/data"``.  If there is an error,
        its type's names instead, most special first.
    """
    dataset = load(datasets()[case.data], **case.load)
    facts: dict[str, Any] = {}
    for selection in case.roi:
        roi = None if selection is None else rois()[selection]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                results = context.run_udf(dataset=dataset, udf=case.make(), roi=roi, **case.run)
        except Exception as error:
            facts[f"{selection}/error"] = [cls.__name__ for cls in type(error).__mro__]
            facts[f"{selection}/text"] = str(error)
            continue
        for number, result in enumerate(results):
            facts[f"{selection}/{number}/names"] = list(result)
            for name, buffer in result.items():
                for attribute, value in look_at(buffer).items():
                    facts[f"{selection}/{number}/{name}/{attribute}"] = value
    return facts


def look_at(buffer: Any) -> dict[str, Any]:
    """Return what a result shows; an error where looking at it fails."""
    views = {
        "data": lambda: np.array(buffer.data),
        "raw_data": lambda: np.array(buffer.raw_data),
        "valid_mask": lambda: np.array(buffer.valid_mask),
        "masked": lambda: np.ma.getmaskarray(buffer.masked_data),
        "raw_masked": lambda: np.ma.getmaskarray(buffer.raw_masked_data),
        "array": lambda: np.asarray(buffer),
        "bounding": lambda: region(buffer.data, buffer.valid_slice_bounding),
        "inner": lambda: region(buffer.data, buffer.get_valid_slice_inner()),
        "kind": lambda: buffer.kind,
        "extra_shape": lambda: tuple(buffer.extra_shape),
        "shape": lambda: tuple(buffer.shape),
        "dtype": lambda: np.dtype(buffer.dtype),
        "use": lambda: buffer.use,
    }
    facts = {}
    for name, view in views.items():
        try:
            facts[name] = view()
        except Exception as error:
            facts[name] = LookError(f"{type(error).__name__}: {error}")
    return facts


def region(data: np.ndarray, index: tuple[slice, ...]) -> tuple[tuple[int, int], ...]:
    """Return first and last + 1 of a region along each axis; nothing if it is empty."""
    if data[index].size == 0:
        return ()
    bounds = (part.indices(n)[:2] for part, n in zip(index, data.shape, strict=True))
    return tuple((int(start), int(stop)) for start, stop in bounds)
