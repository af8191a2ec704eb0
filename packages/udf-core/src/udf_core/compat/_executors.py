"""Executors under LiberTEM's names and with its ways of making them."""

from __future__ import annotations

from typing import Any, Self

from udf_core._errors import ExecutorSpecException
from udf_core._executor import Executor, make_executor
from udf_core._executors.inline import InlineExecutor
from udf_core._executors.processes import ProcessesExecutor
from udf_core._executors.threads import ThreadsExecutor


class InlineJobExecutor(InlineExecutor):
    """Works in the calling thread.

    Parameters
    ----------
    debug
        LiberTEM checks pickling if it is set; of no effect here.
    """

    def __init__(self, debug: bool = False) -> None:
        super().__init__()
        self.debug = debug


class ConcurrentJobExecutor(ThreadsExecutor):
    """Works in threads."""

    @classmethod
    def make_local(cls, n_threads: int | None = None) -> Self:
        """Make an executor with so many threads."""
        return cls() if n_threads is None else cls(n_workers=n_threads)


class PipelinedExecutor(ProcessesExecutor):
    """Works in processes.

    Parameters
    ----------
    spec
        What `make_spec` returned; by default one process for each core but one.
    pin_workers
        Of no effect: the operating system places the processes.
    """

    def __init__(self, spec: dict[str, Any] | None = None, pin_workers: bool = True) -> None:
        if spec is None:
            super().__init__()
        else:
            super().__init__(n_workers=spec["n_workers"])

    @classmethod
    def make_spec(cls, cpus: Any, cudas: Any = ()) -> dict[str, Any]:
        """Return what to hand over as `spec`.

        Raises
        ------
        ExecutorSpecException
            If workers on GPUs are wanted.
        """
        if cudas:
            raise ExecutorSpecException(
                "workers on GPUs are made with Context.make_with('processes', gpus=...), not with make_spec"
            )
        return {"n_workers": cpus if isinstance(cpus, int) else len(list(cpus))}

    @classmethod
    def make_local(cls, **_: Any) -> Self:
        """Make an executor with the default number of processes."""
        return cls()


class DaskJobExecutor:
    """Works on a Dask cluster; made with `make_local` or `connect`."""

    @classmethod
    def make_local(cls, spec: Any = None) -> Executor:
        """Make a local cluster.

        Raises
        ------
        ExecutorSpecException
            If `spec` is given: describe the cluster with ``Context.make_with("dask", cpus=...)``.
        """
        if spec is not None:
            raise ExecutorSpecException("describe the cluster with Context.make_with('dask', cpus=...)")
        return make_executor("dask")

    @classmethod
    def connect(cls, scheduler_uri: str) -> Executor:
        """Use a cluster that runs."""
        from arraystream import load_plugin

        made: Executor = load_plugin("udf_core.executors", "dask")(address=scheduler_uri)
        return made
