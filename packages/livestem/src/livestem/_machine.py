"""What this machine can do for live processing, found out without changing anything.

Each check returns a `Finding`: a fact, whether it is good, and if it isn't, what to do about it.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

Verdict = Literal["good", "improve", "bad"]
MIB, GIB = 2**20, 2**30

OURS = (
    "livestem",
    "arraystream-protocol",
    "shmring",
    "udf-core",
    "udf-4dstem",
    "detector-merlin",
    "detector-dectris",
    "detector-asi",
)
THEIRS = ("numpy", "numba", "scipy", "sparse", "matplotlib")
VECTOR_FLAGS = ("sse4_2", "avx2", "bmi2", "fma", "avx512f", "avx512bw", "asimd", "sve")
RECEIVE_BUFFER_WANTED = 16 * MIB


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about the machine.

    Parameters
    ----------
    topic
        What was looked at.
    fact
        What was found.
    verdict
        Whether it is good for live processing.
    advice
        What to do, if it isn't.
    """

    topic: str
    fact: str
    verdict: Verdict = "good"
    advice: str = ""


def examine() -> Iterator[Finding]:
    """Look at everything, in an order that reads well; a check that fails becomes a finding."""
    for check in _CHECKS:
        try:
            yield from check()
        except (OSError, ValueError, ImportError) as error:
            yield Finding(
                check.__name__.strip("_").replace("_", " "), f"can't be found out: {error}", "improve"
            )


def _python() -> Iterator[Finding]:
    yield Finding("Python", f"{platform.python_version()} ({sys.executable})")
    release = f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield Finding(
        "system",
        release,
        "good" if sys.platform == "linux" else "bad",
        "" if sys.platform == "linux" else "the shared ring needs Linux",
    )


def _packages() -> Iterator[Finding]:
    for group in (OURS, THEIRS):
        there, missing = [], []
        for name in group:
            try:
                there.append(f"{name} {version(name)}")
            except PackageNotFoundError:
                missing.append(name)
        yield Finding("packages" if group is OURS else "libraries", ", ".join(there))
        for name in missing:
            yield Finding("packages", f"{name} is not installed", "improve", f"pip install {name}")


def _cores() -> Iterator[Finding]:
    usable = len(os.sched_getaffinity(0))
    fact = f"{usable} usable of {os.cpu_count()}"
    quota = _cpu_quota()
    if quota is not None:
        fact += f", limited to {quota:g} by the container"
    few = min(usable, quota or usable) < 4
    yield Finding(
        "cores",
        fact,
        "improve" if few else "good",
        "one core is kept busy by the receiver; 4 or more give the algorithms room" if few else "",
    )


def _cpu_quota() -> float | None:
    with contextlib.suppress(OSError, ValueError):
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if limit != "max":
            return int(limit) / int(period)
    return None


def _processor() -> Iterator[Finding]:
    model, flags = platform.processor(), ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            model = value.strip()
        elif key.strip() in ("flags", "Features") and not flags:
            flags = value
    has = [flag for flag in VECTOR_FLAGS if flag in flags.split()]
    wide = bool({"avx2", "asimd"} & set(has))
    yield Finding(
        "processor",
        f"{model or 'unknown'}: {', '.join(has) or 'no vector instructions known to us'}",
        "good" if wide else "improve",
        "" if wide else "without AVX2 or NEON the decoders run several times slower",
    )


def _memory() -> Iterator[Finding]:
    sizes = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        key, _, value = line.partition(":")
        sizes[key] = int(value.split()[0]) * 1024 if value.split() and value.split()[0].isdigit() else 0
    total, free = sizes["MemTotal"], sizes.get("MemAvailable", 0)
    limit = _memory_limit()
    fact = f"{total / GIB:.1f} GiB, {free / GIB:.1f} GiB free"
    if limit is not None and limit < total:
        fact += f", limited to {limit / GIB:.1f} GiB by the container"
    tight = min(free, limit or free) < 4 * GIB
    yield Finding(
        "memory",
        fact,
        "improve" if tight else "good",
        "the ring and its workers are comfortable with 4 GiB free" if tight else "",
    )
    yield Finding("huge pages", _huge_pages(sizes))


def _memory_limit() -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(Path("/sys/fs/cgroup/memory.max").read_text())
    return None


def _huge_pages(sizes: dict[str, int]) -> str:
    def chosen(name: str) -> str:
        with contextlib.suppress(OSError):
            text = Path(f"/sys/kernel/mm/transparent_hugepage/{name}").read_text()
            return text[text.find("[") + 1 : text.find("]")]
        return "unknown"

    return (
        f"transparent: {chosen('enabled')}, for shared memory: {chosen('shmem_enabled')}, "
        f"reserved: {sizes.get('HugePages_Total', 0) // 1024}"
    )


def _shared_memory() -> Iterator[Finding]:
    descriptor = os.memfd_create("livestem-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, mmap.PAGESIZE)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        with mmap.mmap(descriptor, mmap.PAGESIZE) as memory:
            memory[:4] = b"ring"
    finally:
        os.close(descriptor)
    yield Finding("memfd", "works, with seals (this is what the ring uses)")
    with contextlib.suppress(OSError):
        usage = shutil.disk_usage("/dev/shm")
        yield Finding("/dev/shm", f"{usage.total / GIB:.1f} GiB (not needed by the ring)")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = soft < 1024
    yield Finding(
        "open files", f"{soft} of {hard}", "improve" if few else "good", "ulimit -n 4096" if few else ""
    )


def _sockets() -> Iterator[Finding]:
    def numbers(name: str) -> list[int]:
        return [int(word) for word in Path(f"/proc/sys/net/{name}").read_text().split()]

    automatic = numbers("ipv4/tcp_rmem")[-1]
    with contextlib.suppress(OSError):
        requested = numbers("core/rmem_max")[0]
        small = max(automatic, requested) < RECEIVE_BUFFER_WANTED
        yield Finding(
            "socket buffers",
            f"up to {automatic / MIB:.1f} MiB automatic, {requested / MIB:.1f} MiB on request",
            "improve" if small else "good",
            f"sudo sysctl -w net.core.rmem_max={4 * RECEIVE_BUFFER_WANTED} "
            f"net.ipv4.tcp_rmem='4096 131072 {4 * RECEIVE_BUFFER_WANTED}' bridges longer pauses at 10 Gbit/s"
            if small
            else "",
        )
        return
    yield Finding("socket buffers", f"up to {automatic / MIB:.1f} MiB automatic")


def _bandwidth() -> Iterator[Finding]:
    size = 64 * MIB
    started = time.perf_counter()
    source = np.ones(size, dtype=np.uint8)
    target = np.ones(size, dtype=np.uint8)
    fresh = 2 * size / (time.perf_counter() - started)
    copied = 0.0
    for _ in range(3):
        started = time.perf_counter()
        np.copyto(target, source)
        copied = max(copied, size / (time.perf_counter() - started))
    slow = copied < 2e9
    yield Finding(
        "memory speed",
        f"copy {copied / GIB:.1f} GiB/s on one core; first touch of fresh memory {fresh / GIB:.1f} GiB/s",
        "improve" if slow else "good",
        "this machine is busy or slow: 1 kHz of 512×512 u16 frames needs 0.5 GiB/s several times over"
        if slow
        else "",
    )


def _compiled_code() -> Iterator[Finding]:
    directory = os.environ.get("NUMBA_CACHE_DIR")
    folders = [Path(directory)] if directory else []
    for package in ("udf_core", "udf_4dstem"):
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            folders.append(Path(spec.origin).parent)
    cached = sum(1 for folder in folders for _ in folder.rglob("*.nbi"))
    writable = all(os.access(folder, os.W_OK) for folder in folders if folder.exists())
    if cached:
        yield Finding("numba cache", f"{cached} compiled functions are cached")
    elif writable:
        yield Finding(
            "numba cache",
            "empty: the first run compiles the kernels",
            "improve",
            "run `livestem demo` once before the microscope session",
        )
    else:
        yield Finding(
            "numba cache",
            "empty, and the packages' folders can't be written",
            "improve",
            "set NUMBA_CACHE_DIR to a folder of yours, or each process compiles the kernels again",
        )


def _stranger() -> Iterator[Finding]:
    with contextlib.suppress(PackageNotFoundError):
        distribution("arraystream")
        yield Finding(
            "arraystream",
            "a stranger's package of this name is installed and hides ours",
            "bad",
            "pip uninstall arraystream; pip install --force-reinstall arraystream-protocol",
        )


_CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _packages,
    _stranger,
    _processor,
    _cores,
    _memory,
    _shared_memory,
    _sockets,
    _bandwidth,
    _compiled_code,
)
