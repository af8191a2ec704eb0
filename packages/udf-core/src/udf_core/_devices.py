"""Devices that workers compute on: the CPU, CUDA, and any other that a package registers.

A device class says which array types live on it and how arrays get there and back.  A worker belongs to one
device; workers of several devices share the work of a run.  ``"cuda"`` is complete but has not run on
hardware yet; the same paths are tested with a CPU namespace that is registered as if it were a device.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from ._errors import ExecutorSpecException

CPU = "cpu"
CUDA = "cuda"
_USE_CPU = ("UDF_CORE_USE_CPU", "LIBERTEM_USE_CPU")
_USE_CUDA = ("UDF_CORE_USE_CUDA", "LIBERTEM_USE_CUDA")


def _pageable(n_bytes: int) -> npt.NDArray[np.uint8]:
    return np.empty(n_bytes, np.uint8)


def _stay(number: int) -> None:
    """Nothing has to be selected."""


@dataclass(frozen=True)
class DeviceClass:
    """A kind of device.

    Parameters
    ----------
    name
        What ``meta.device_class`` says.
    backends
        Array types that live on it; a UDF names them in `UDF.get_backends`.
    namespace
        Returns the array library that ``self.xp`` is for these types.
    to_device
        Makes an array of the device from a C-contiguous NumPy array.  It has been copied, or shares the
        memory, when the call returns.
    to_host
        Makes a NumPy array from one of the device; returns when it is complete.
    activate
        Called in each worker of the class, with the number of its device, before anything else.
    host_memory
        Returns bytes to decode into, e.g. pinned for fast transfers.

    Examples
    --------
    >>> import array_api_strict as strict
    >>> device = DeviceClass("strict", ("strict",), lambda: strict, strict.asarray, np.from_dlpack)
    >>> device.to_host(device.to_device(np.ones(2))).tolist()
    [1.0, 1.0]
    """

    name: str
    backends: tuple[str, ...]
    namespace: Callable[[], ModuleType]
    to_device: Callable[[npt.NDArray[Any]], Any]
    to_host: Callable[[Any], npt.NDArray[Any]]
    activate: Callable[[int], None] = _stay
    host_memory: Callable[[int], npt.NDArray[np.uint8]] = _pageable


@dataclass(frozen=True, slots=True)
class Device:
    """One device.

    Parameters
    ----------
    kind
        Its class; ``None`` for the CPU.
    number
        Of the device in its class.
    """

    kind: DeviceClass | None = None
    number: int = 0

    @property
    def device_class(self) -> str:
        """Name of its class."""
        return CPU if self.kind is None else self.kind.name

    def activate(self) -> None:
        """Let the calling thread compute on it."""
        if self.kind is not None:
            register_device_class(self.kind)  # it may have come from another process
            self.kind.activate(self.number)

    def host_memory(self, n_bytes: int) -> npt.NDArray[np.uint8]:
        """Return bytes from which transfers are fast."""
        return _pageable(n_bytes) if self.kind is None else self.kind.host_memory(n_bytes)


def cupy() -> Any:
    """Return CuPy."""
    import cupy as module

    return module


def has_cupy() -> bool:
    """Tell whether CuPy is installed; it is not imported."""
    return importlib.util.find_spec("cupy") is not None


def _cuda_array(array: npt.NDArray[Any]) -> Any:
    xp = cupy()
    made = xp.asarray(array)
    # Transfers from pinned memory are asynchronous, and the next tile is decoded into the same memory.
    xp.cuda.get_current_stream().synchronize()
    return made


def _cuda_to_host(array: Any) -> npt.NDArray[Any]:
    return np.asarray(array.get() if hasattr(array, "get") else array)


def _select_cuda(number: int) -> None:
    if has_cupy():
        cupy().cuda.Device(number).use()
    else:
        cuda: Any = importlib.import_module("numba.cuda")
        cuda.select_device(number)


def _pinned(n_bytes: int) -> npt.NDArray[np.uint8]:
    if not has_cupy():
        return _pageable(n_bytes)
    memory = cupy().cuda.alloc_pinned_memory(max(1, n_bytes))
    return np.frombuffer(memory, np.uint8, n_bytes)


CUDA_CLASS = DeviceClass(
    CUDA,
    (
        "cuda",
        "cupy",
        "cupyx.scipy.sparse.coo_matrix",
        "cupyx.scipy.sparse.csr_matrix",
        "cupyx.scipy.sparse.csc_matrix",
    ),
    cupy,
    _cuda_array,
    _cuda_to_host,
    _select_cuda,
    _pinned,
)

_classes: dict[str, DeviceClass] = {CUDA: CUDA_CLASS}


def register_device_class(kind: DeviceClass) -> None:
    """Make a device class known to this process; workers in other processes learn it with their device.

    Raises
    ------
    ValueError
        If its name, or one of its backends, means something else already.
    """
    if kind.name == CPU or (kind.name in _classes and _classes[kind.name].backends != kind.backends):
        raise ValueError(f"device class {kind.name!r} exists already; choose another name")
    for name in kind.backends:
        owner = device_class_of(name)
        taken = name in _CPU_NAMES if owner is None else owner.name != kind.name
        if taken:
            raise ValueError(f"backend {name!r} of device class {kind.name!r} exists already; rename it")
    _classes[kind.name] = kind


_SCIPY_NAMES = {
    f"scipy.sparse.{form}_{what}" for form in ("coo", "csr", "csc") for what in ("matrix", "array")
}
_CPU_NAMES = {"numpy", "numpy.matrix", "sparse.COO", "sparse.GCXS", "sparse.DOK"} | _SCIPY_NAMES


def device_class_of(backend: str) -> DeviceClass | None:
    """Return the class that arrays of this type live on, ``None`` for the CPU or an unknown type."""
    return next((kind for kind in _classes.values() if backend in kind.backends), None)


def device_classes() -> Mapping[str, DeviceClass]:
    """Return the classes that are known, by name; the CPU is none of them."""
    return dict(_classes)


def devices_from(gpus: int | Sequence[int] | str | Sequence[Device] | None) -> tuple[Device, ...]:
    """Make devices from what a user says.

    Parameters
    ----------
    gpus
        ``None`` or 0 for none, ``"all"`` for the CUDA devices of this machine, how many of them, their
        numbers (one worker each), or devices of any class.

    Raises
    ------
    ExecutorSpecException
        If there are not as many.
    """
    if gpus is None:
        return ()
    if isinstance(gpus, (int, str)):
        there = detect()["cudas"]
        if isinstance(gpus, str) and gpus != "all":
            raise ExecutorSpecException(f"gpus={gpus!r} is neither 'all' nor numbers of devices")
        wanted = len(there) if isinstance(gpus, str) else gpus
        if not 0 <= wanted <= len(there):
            raise ExecutorSpecException(
                f"gpus={gpus}, but this machine has CUDA devices {there or 'none'}; a list of numbers puts "
                f"several workers on one device"
            )
        gpus = list(there[:wanted])
    return tuple(g if isinstance(g, Device) else Device(CUDA_CLASS, int(g)) for g in gpus)


def detect() -> dict[str, Any]:
    """Find out what this machine has.

    Returns
    -------
    dict
        ``"cpus"``: numbers of the physical cores this process may use; ``"cudas"``: numbers of the CUDA
        devices; ``"has_cupy"``: whether CuPy is installed.
    """
    return {"cpus": _physical_cores(), "cudas": _cuda_numbers(), "has_cupy": has_cupy()}


def _physical_cores() -> list[int]:
    """Processors this process may use, one of each core."""
    cores: dict[str, int] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.setdefault(siblings.read_text(), cpu)
        except OSError:
            cores[str(cpu)] = cpu
    return list(cores.values())


def _cuda_numbers() -> list[int]:
    # Without CUDA, CuPy and numba raise errors of many kinds, and none of them matters here.
    with contextlib.suppress(Exception):
        if has_cupy():
            return list(range(cupy().cuda.runtime.getDeviceCount()))
        cuda: Any = importlib.import_module("numba.cuda")
        if cuda.is_available():
            return [device.id for device in cuda.gpus]
    return []


def device_from_environment(environment: Mapping[str, str] | None = None) -> Device:
    """Return the device that the environment chooses for this process; the CPU if it says nothing.

    ``UDF_CORE_USE_CUDA=n`` (or ``LIBERTEM_USE_CUDA``) chooses a CUDA device, ``UDF_CORE_USE_CPU=n`` (or
    ``LIBERTEM_USE_CPU``) the CPU.

    Raises
    ------
    RuntimeError
        If it chooses both.
    ValueError
        If a value is no number.
    """
    environment = os.environ if environment is None else environment
    cpu = next((name for name in _USE_CPU if environment.get(name)), None)
    gpu = next((name for name in _USE_CUDA if environment.get(name)), None)
    if cpu is not None and gpu is not None:
        raise RuntimeError(f"{cpu} and {gpu} are both set; a process computes on one device: unset one")
    if gpu is None:
        return Device()
    try:
        return Device(CUDA_CLASS, int(environment[gpu]))
    except ValueError:
        raise ValueError(f"{gpu}={environment[gpu]!r} is not the number of a device") from None


def environment_of(device: Device) -> dict[str, str]:
    """Return the variables that tell a worker process its device; the other ones are empty."""
    chosen = dict.fromkeys((*_USE_CPU, *_USE_CUDA), "")
    if device.device_class == CUDA:
        chosen.update(dict.fromkeys(_USE_CUDA, str(device.number)))
    elif device.kind is None:
        chosen.update(dict.fromkeys(_USE_CPU, "0"))
    return chosen
