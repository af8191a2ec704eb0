"""All frames of a data set into one ``.npy`` file, in the order of the scan."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from arraystream import FeedChunk, FeedEnd, Member, open_decoder

from ._dataset import StreamDataset
from ._errors import ExportError, UDFRunCancelled
from ._export_files import new_file
from ._progress import ProgressReporter, ProgressState, reporter_for
from ._scan import Scan

_PATIENCE_S = 0.1


def export_dataset(
    dataset: StreamDataset,
    path: str | os.PathLike[str],
    *,
    progress: bool | ProgressReporter | None = None,
    overwrite: bool = False,
) -> Path:
    """Write all frames to a ``.npy`` file of shape ``(*nav_shape, *sig_shape)`` in the stored type.

    Frames without a position are left out; positions without a frame are zero.

    Parameters
    ----------
    dataset
        The frames.
    path
        The file.  It appears under this name only when it is complete.
    progress
        As for `Context.run_udf`.
    overwrite
        Whether a file of that name may be replaced.

    Raises
    ------
    ExportError
        If the suffix is not ``.npy``, or the scan has no end.
    FileExistsError
        If there is such a file already.
    UDFRunCancelled
        If the acquisition was aborted.
    """
    path = Path(path)
    if path.suffix.lower() != ".npy":
        raise ExportError(f"{path}: data sets are exported as .npy, not as {path.suffix!r}")
    with new_file(path, overwrite=overwrite) as unfinished:
        error: BaseException | None = None
        feed = dataset.start()
        try:
            _copy(dataset, feed, unfinished, reporter_for(progress))
        except BaseException as caught:
            error = caught
            raise
        finally:
            feed.close()
            dataset.finish(error)
    return path


def _copy(dataset: StreamDataset, feed: Any, path: Path, reporter: ProgressReporter) -> None:
    descriptor = feed.descriptor
    scan = dataset.scan.resolve(descriptor.n_items)
    if scan.endless:
        raise ExportError(f"{dataset!r} has no end; export the result of a scan with an end")
    shape = (*scan.nav_shape, *descriptor.item_shape)
    out = np.lib.format.open_memmap(path, "w+", descriptor.dtype, shape)
    frames = out.reshape(-1, *descriptor.item_shape)
    n_done = 0

    def state() -> ProgressState:
        return ProgressState(n_done, len(frames), 0, 0, 0, f"export of {path.name}")

    decoder, member = open_decoder(descriptor), feed.join()
    reporter.start(state())
    try:
        while (chunk := _next(feed, member)) is not None:
            n_done += _place(chunk, scan, decoder, frames)
            feed.settle(member.number, [chunk.lease.token])
            chunk.lease.release()
            reporter.update(state())
    finally:
        reporter.end(state())
        member.close()
    out.flush()


def _next(feed: Any, member: Member) -> FeedChunk | None:
    """Return the next chunk, ``None`` if the acquisition has ended well."""
    while not isinstance(received := member.recv(_PATIENCE_S), FeedChunk):
        verdict = feed.verdict()
        if isinstance(received, FeedEnd) and verdict is not None:
            if verdict.error is not None:
                raise verdict.error
            if verdict.status != "complete":
                raise UDFRunCancelled(f"the export was cancelled: {verdict.reason or verdict.status}")
            return None
    return received


def _place(chunk: FeedChunk, scan: Scan, decoder: Any, frames: np.ndarray[Any, Any]) -> int:
    """Decode a chunk to where its frames belong; return how many there were."""
    positions = scan.positions(chunk.first, chunk.n)
    wanted = np.flatnonzero(positions >= 0)
    if not len(wanted):
        return 0
    rows = (0, frames.shape[1])
    at = positions[wanted]
    if len(wanted) == at[-1] - at[0] + 1 and np.all(np.diff(at) == 1):
        decoder.decode(chunk.payload, chunk.offsets[wanted], rows, frames[at[0] : at[-1] + 1])
    else:
        decoded = np.empty((len(wanted), *frames.shape[1:]), frames.dtype)
        decoder.decode(chunk.payload, chunk.offsets[wanted], rows, decoded)
        frames[at] = decoded
    return len(wanted)
