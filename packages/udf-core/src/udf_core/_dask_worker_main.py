"""A Dask worker: ``python -m udf_core._dask_worker_main FD SCHEDULER NAME DIRECTORY PORT``.

Has one thread, and ends at once when the process that started it goes away, for whatever reason.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

from ._worker_main import end_with_main


async def serve(scheduler: str, name: str, directory: str, port: int) -> None:
    """Work for a scheduler until it goes away."""
    import dask
    import distributed

    with dask.config.set({"distributed.worker.profile.enabled": False}):
        worker: Any = distributed.Worker(
            scheduler,
            name=name,
            nthreads=1,
            memory_limit=0,
            host="127.0.0.1",
            port=port,
            dashboard=False,
            dashboard_address="127.0.0.1:0",
            local_directory=directory,
        )
        async with worker:
            await worker.finished()


def main(arguments: list[str]) -> None:
    """Serve the scheduler named on the command line."""
    fd, scheduler, name, directory, port = arguments
    threading.Thread(target=end_with_main, args=(int(fd),), daemon=True).start()
    asyncio.run(serve(scheduler, name, directory, int(port)))


if __name__ == "__main__":
    main(sys.argv[1:])
