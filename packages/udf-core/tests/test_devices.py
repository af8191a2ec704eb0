"""Workers on devices beside workers on the CPU.  The device is a CPU library that is registered as one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import array_api_strict
import numpy as np
import numpy.typing as npt
import pytest

from udf_core import UDF, Context, Device, DeviceClass, ExecutorSpecException, detect, register_device_class
from udf_core import _devices as devices

ARRAY = type(array_api_strict.asarray(0))
_active = threading.local()
allocated: list[int] = []


def library() -> Any:
    return array_api_strict


def upload(array: npt.NDArray[Any]) -> Any:
    assert getattr(_active, "number", None) is not None, "no device was chosen in this thread"
    return array_api_strict.asarray(array, copy=True)


def download(array: Any) -> npt.NDArray[Any]:
    return np.array(np.from_dlpack(array))


def activate(number: int) -> None:
    _active.number = number


def host_memory(n_bytes: int) -> npt.NDArray[np.uint8]:
    allocated.append(n_bytes)
    return np.empty(n_bytes, np.uint8)


STRICT = DeviceClass("strict", ("strict",), library, upload, download, activate, host_memory)


class Sums(UDF):
    """Sums with whatever library the data came in."""

    def __init__(self, backends: Any) -> None:
        super().__init__(backends=backends)

    def get_backends(self) -> Any:
        return self.params.backends

    def get_result_buffers(self) -> dict[str, Any]:
        return {
            "frames": self.buffer("nav", dtype="f4", where="device"),
            "pixels": self.buffer("sig", dtype="f4"),
            "device": self.buffer("nav", dtype="U8"),
            "backend": self.buffer("nav", dtype="U8"),
        }

    def process_tile(self, tile: Any) -> None:
        on_device = self.meta.array_backend == "strict"
        assert on_device == (type(tile) is ARRAY)
        assert (self.xp is array_api_strict) == on_device
        assert type(self.results.frames) is (ARRAY if on_device else np.ndarray)
        self.results.frames += self.xp.sum(tile, axis=(1, 2))
        self.results.pixels += self.forbuf(self.xp.sum(tile, axis=0), self.results.pixels)
        self.results.device[:] = self.meta.device_class
        self.results.backend[:] = self.meta.array_backend

    def merge(self, dest: Any, src: Any) -> None:
        for name in ("frames", "device", "backend"):
            getattr(dest, name)[:] = getattr(src, name)
        dest.pixels += src.pixels


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    register_device_class(STRICT)
    yield
    del devices._classes["strict"]


@pytest.fixture(scope="module", params=["threads", "processes"])
def mixed(request: pytest.FixtureRequest, registered: None) -> Iterator[Context]:
    with Context.make_with(request.param, cpus=1, gpus=[Device(STRICT, 3)]) as context:
        yield context


@pytest.fixture(scope="module")
def data() -> npt.NDArray[Any]:
    return np.random.default_rng(3).integers(0, 9, (16, 16, 6, 7)).astype("u2")


def check(result: Any, data: npt.NDArray[Any]) -> set[tuple[str, str]]:
    assert np.array_equal(result["frames"].data, data.sum(axis=(2, 3)))
    assert np.array_equal(result["pixels"].data, data.sum(axis=(0, 1)))
    return set(zip(result["device"].raw_data, result["backend"].raw_data, strict=True))


def test_device_udf_runs_on_the_device_only(mixed: Context, data: Any) -> None:
    dataset = mixed.load("memory", data, chunk_items=8)
    assert check(mixed.run_udf(dataset, Sums("strict")), data) == {("strict", "strict")}


def test_cpu_udf_runs_on_the_cpu_only(mixed: Context, data: Any) -> None:
    dataset = mixed.load("memory", data, chunk_items=8)
    assert check(mixed.run_udf(dataset, Sums("numpy")), data) == {("cpu", "numpy")}


def test_udf_for_both_shares_the_work(mixed: Context, data: Any) -> None:
    dataset = mixed.load("memory", data, chunk_items=8)
    seen = check(mixed.run_udf(dataset, Sums(("numpy", "strict"))), data)
    assert seen <= {("cpu", "numpy"), ("strict", "strict")}


def test_company_decides_where_all_run(mixed: Context, data: Any) -> None:
    dataset = mixed.load("memory", data, chunk_items=8)
    both = Sums(("numpy", "strict"))
    for only, where in (("strict", ("strict", "strict")), ("numpy", ("cpu", "numpy"))):
        for result in mixed.run_udf(dataset, [Sums(only), both]):
            assert check(result, data) == {where}
    with pytest.raises(ValueError, match="no common supported UDF backend"):
        mixed.run_udf(dataset, [Sums("numpy"), Sums("strict"), both])


def test_both_devices_get_a_share(data: Any) -> None:
    here = threading.Barrier(2, timeout=60)

    class Meeting(Sums):
        def get_worker_data(self) -> dict[str, Any]:
            here.wait()  # returns when both workers have come
            return {}

    with Context.make_with("threads", cpus=1, gpus=[Device(STRICT, 0)]) as context:
        dataset = context.load("memory", data, chunk_items=8)
        seen = check(context.run_udf(dataset, Meeting(("numpy", "strict"))), data)
    assert seen == {("cpu", "numpy"), ("strict", "strict")}


def test_memory_for_transfers_comes_from_the_device(data: Any) -> None:
    allocated.clear()
    with Context.make_with("threads", cpus=0, gpus=[Device(STRICT, 0)]) as context:
        check(context.run_udf(context.load("memory", data), Sums("strict")), data)
    assert allocated


def test_device_that_nobody_has(inline: Context, data: Any) -> None:
    with pytest.raises(RuntimeError, match="Could not find backends for remaining"):
        inline.run_udf(inline.load("memory", data), Sums("strict"))


def test_lost_device_worker_is_replaced_by_one_on_the_device(data: Any) -> None:
    with Context.make_with("processes", cpus=0, gpus=[Device(STRICT, 5)]) as context:
        executor: Any = context.executor
        first = context.run_udf(context.load("memory", data), Sums("strict"))
        assert check(first, data) == {("strict", "strict")}
        (process,) = executor._processes
        process.kill()
        assert process.gone.wait(20)
        second = context.run_udf(context.load("memory", data), Sums("strict"))
        assert check(second, data) == {("strict", "strict")}


def test_names_are_taken_once() -> None:
    with pytest.raises(ValueError, match="backend 'numpy'"):
        register_device_class(DeviceClass("other", ("numpy",), library, upload, download))
    with pytest.raises(ValueError, match="'cpu' exists already"):
        register_device_class(DeviceClass("cpu", ("x",), library, upload, download))
    with pytest.raises(ValueError, match="'cuda' exists already"):
        register_device_class(DeviceClass("cuda", ("x",), library, upload, download))


def test_gpus_that_are_not_there() -> None:
    assert set(detect()) == {"cpus", "cudas", "has_cupy"}
    n = len(detect()["cudas"])
    with pytest.raises(ExecutorSpecException, match="this machine has CUDA devices"):
        Context.make_with("threads", gpus=n + 1)
    with pytest.raises(ExecutorSpecException, match="neither 'all'"):
        Context.make_with("threads", gpus="some")
    with pytest.raises(ExecutorSpecException, match="does not take devices"):
        Context.make_with("inline", gpus=[Device(STRICT, 0)])


@pytest.mark.parametrize("prefix", ["UDF_CORE", "LIBERTEM"])
def test_environment_chooses_the_device(prefix: str) -> None:
    assert devices.device_from_environment({}).device_class == "cpu"
    assert devices.device_from_environment({f"{prefix}_USE_CPU": "0"}).device_class == "cpu"
    chosen = devices.device_from_environment({f"{prefix}_USE_CUDA": "2"})
    assert (chosen.device_class, chosen.number) == ("cuda", 2)
    with pytest.raises(RuntimeError, match="both set"):
        devices.device_from_environment({f"{prefix}_USE_CUDA": "2", f"{prefix}_USE_CPU": "0"})
    with pytest.raises(ValueError, match="not the number"):
        devices.device_from_environment({f"{prefix}_USE_CUDA": "two"})
