"""Which array type each UDF of a run gets, and how tiles are converted.

There is one plan per run and class of device.  Types that the data can be read as go first, then types as
sparse or dense as the data, then any type of the device, then the rest; among equals the one that serves most
UDFs.  Each tile is converted once per type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ._backends import NUMPY, conversion_cost, is_available, is_known, is_native, is_sparse, names_of
from ._devices import CPU, CUDA, device_class_of
from ._udf import UDF


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One array type of a plan.

    Parameters
    ----------
    backend
        Its name.
    origin
        The type that tiles are converted from; `backend` itself if they are read as it.
    udfs
        Numbers of the UDFs that get it.
    """

    backend: str
    origin: str
    udfs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ExecutionPlan:
    """What is converted to what for whom, in the order in which it is done.

    Parameters
    ----------
    source
        The type that tiles are read as.
    steps
        One per array type.
    """

    source: str
    steps: tuple[PlanStep, ...]

    @property
    def backends(self) -> tuple[str, ...]:
        """All types that UDFs get."""
        return tuple(step.backend for step in self.steps)

    @property
    def is_plain(self) -> bool:
        """Whether all UDFs get tiles as they are read, in host memory."""
        return self.source in (NUMPY, CUDA) and all(step.backend == self.source for step in self.steps)


def plain_plan(n_udfs: int, source: str = NUMPY) -> ExecutionPlan:
    """Return the plan for UDFs that all take what is read."""
    return ExecutionPlan(source, (PlanStep(source, source, tuple(range(n_udfs))),))


def supported_backends(udf: UDF, allowed: str | Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the types that a UDF takes and the user allows, preferred ones first.

    Raises
    ------
    ValueError
        If one of the names is unknown.
    RuntimeError
        If none is left.
    """
    name = type(udf).__name__
    supported = names_of(udf.get_backends())
    unknown = [backend for backend in supported if not is_known(backend)]
    if unknown:
        raise ValueError(f"UDF {name} returned invalid backend {unknown[0]!r} from get_backends()")
    if allowed is None:
        left = supported
    else:
        allowed = names_of(allowed)
        unknown = [backend for backend in allowed if not is_known(backend)]
        if unknown:
            raise ValueError(f"backends={allowed!r} contains {unknown[0]!r}, which is no backend")
        left = tuple(backend for backend in supported if backend in allowed)
    if not left:
        limits = "" if allowed is None else f", allowed is {', '.join(allowed) or 'none'}"
        raise RuntimeError(
            f"Could not find backends for remaining UDF {name}: it supports {', '.join(supported) or 'none'}"
            f"{limits}"
        )
    return left


def resources_for(supported: Sequence[Sequence[str]]) -> frozenset[str]:
    """Return what a worker must have to run UDFs that take these types.

    ``"CPU"`` or the name of a device class in capitals if a UDF takes nothing else, ``"compute"`` always, and
    ``"ndarray"`` unless all UDFs take host arrays on a CUDA worker.

    Raises
    ------
    ValueError
        If no single worker has it all.
    """
    needed = set()
    for names in supported:
        owners = {None if (kind := device_class_of(name)) is None else kind.name for name in names}
        if len(owners) == 1:
            owner = owners.pop()
            needed.add("CPU" if owner is None else owner.upper())
    if len(needed) > 1:
        raise ValueError(
            f"There is no common supported UDF backend (needed: {', '.join(sorted(needed))}): one worker "
            f"has to run all UDFs, but they take {' | '.join(', '.join(names) for names in supported)}; run "
            f"them one after the other, or add backends"
        )
    resources = {*needed, "compute"}
    if not all("cuda" in names for names in supported):
        resources.add("ndarray")
    return frozenset(resources)


def suits(device_class: str, resources: Iterable[str]) -> bool:
    """Tell whether workers of this class have these resources."""
    return all(r in ("compute", "ndarray", device_class.upper()) for r in resources)


def make_plans(
    udfs: Sequence[UDF],
    supported: Sequence[Sequence[str]],
    offers: Sequence[str],
    readable: Sequence[str],
    device_classes: Iterable[str],
) -> dict[str, ExecutionPlan]:
    """Return the plan of each class of devices that can do the run.

    Parameters
    ----------
    udfs
        For their names.
    supported
        Types that each UDF takes.
    offers
        Types that suit the data, the best one first.
    readable
        Types that tiles can be read as.
    device_classes
        What the executor's workers are.

    Raises
    ------
    ValueError
        If no worker could ever run all of them together.
    RuntimeError
        If the executor has no worker for them.
    """
    resources = resources_for(supported)
    plans: dict[str, ExecutionPlan] = {}
    first: RuntimeError | None = None
    classes = sorted(set(device_classes))
    for device_class in classes:
        if suits(device_class, resources):
            try:
                plans[device_class] = make_plan(udfs, supported, offers, readable, device_class)
            except RuntimeError as error:
                first = first or error
    if not plans:
        if first is not None:
            raise first
        names = ", ".join(type(udf).__name__ for udf in udfs)
        raise RuntimeError(
            f"Could not find backends for remaining UDFs {names}: they need a worker with "
            f"{', '.join(sorted(resources - {'compute', 'ndarray'}))}, the executor has {', '.join(classes)}"
        )
    return plans


def make_plan(
    udfs: Sequence[UDF],
    supported: Sequence[Sequence[str]],
    offers: Sequence[str],
    readable: Sequence[str],
    device_class: str = CPU,
) -> ExecutionPlan:
    """Return the plan for one class of devices; see `make_plans`.

    Raises
    ------
    RuntimeError
        If there is no type for a UDF.
    """
    possible = [[b for b in names if is_available(b, device_class)] for names in supported]
    chosen = _assign(possible, offers, device_class)
    left = set(range(len(supported))) - {index for indices in chosen.values() for index in indices}
    if left:
        texts = [f"{type(udfs[i]).__name__} (supports {', '.join(supported[i])})" for i in sorted(left)]
        raise RuntimeError(
            f"Could not find backends for remaining UDFs {', '.join(texts)} on a worker of device class "
            f"{device_class!r}; libraries may be missing"
        )
    return _order(chosen, readable)


def _assign(
    possible: Sequence[Sequence[str]], offers: Sequence[str], device_class: str
) -> dict[str, tuple[int, ...]]:
    """Choose a type for each UDF; insertion order is the order of choice."""
    left = set(range(len(possible)))
    chosen: dict[str, tuple[int, ...]] = {}

    def native(backend: str) -> bool:
        return is_native(backend, device_class)

    def takers(backend: str) -> list[int]:
        return [i for i in sorted(left) if backend in possible[i]]

    def by_offer(backend: str) -> tuple[float, ...]:
        return -len(takers(backend)), offers.index(backend)

    def by_preference(backend: str) -> tuple[float, ...]:
        ranks = (possible[i].index(backend) / len(possible[i]) for i in takers(backend))
        return -len(takers(backend)), sum(ranks)

    def take(condition: Callable[[str], bool], key: Callable[[str], tuple[float, ...]]) -> None:
        while True:
            there = dict.fromkeys(b for i in sorted(left) for b in possible[i] if condition(b))
            if not there:
                return
            best = min(there, key=key)
            chosen[best] = tuple(takers(best))
            left.difference_update(chosen[best])

    take(lambda b: b in offers and native(b), by_offer)
    if any(is_sparse(b) for b in offers):
        take(lambda b: is_sparse(b) and native(b), by_preference)
    if any(not is_sparse(b) for b in offers):
        take(lambda b: not is_sparse(b) and native(b), by_preference)
    take(native, by_preference)
    take(lambda b: b in offers, by_offer)
    take(lambda b: True, by_preference)
    return chosen


def _order(chosen: dict[str, tuple[int, ...]], readable: Sequence[str]) -> ExecutionPlan:
    """Read what is converted most cheaply to the first type, then always make the cheapest next one."""
    first = next(iter(chosen))
    source = first
    if first not in readable:
        source = min(readable, key=lambda origin: conversion_cost(origin, first))
    made, steps, rest = [source], [], dict(chosen)
    while rest:
        pairs = [(origin, target) for target in rest for origin in made]
        if source in rest:
            origin, target = source, source
        elif len(pairs) == 1:
            origin, target = pairs[0]
        else:
            origin, target = min(pairs, key=lambda pair: conversion_cost(*pair))
        steps.append(PlanStep(target, origin, rest.pop(target)))
        made.append(target)
    return ExecutionPlan(source, tuple(steps))
