"""The task that makes a thread of a Dask worker a worker of a run."""

from __future__ import annotations

from threadpoolctl import threadpool_limits

from ._channel import ChannelClosed
from ._executors.threads import limit_numba
from ._remote_channel import Call, open_channel
from ._worker_main import WorkerMain


def work(call: Call) -> None:
    """Call the main side and serve it until it says that this was all, or hangs up."""
    try:
        channel = open_channel(call)
    except ChannelClosed:
        return  # the run is over, or this is a repetition
    try:
        with threadpool_limits(1):
            limit_numba()
            WorkerMain(channel, call.number).serve()
    except ChannelClosed:
        pass
    finally:
        channel.close()
