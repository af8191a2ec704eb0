"""One scan from the first frame to the figures, whatever ends it.

The loop that `livestem run` and `livestem demo` share.  Complete, interrupted, aborted or failed: what
has been computed by then is kept, and the outcome says how it ended.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from arraystream import FeedVerdict
from udf_core import CorrectionSet

from ._figures import Figures, Meter
from ._results import Scales, Snapshot, take_snapshot

if TYPE_CHECKING:
    from ._acquisition import Acquisition
    from ._context import LiveContext


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Parameters
    ----------
    snapshot
        Results, also partial ones; ``None`` if there were none.
    figures
        What it cost and achieved.
    error
        What ended it early, ``KeyboardInterrupt`` included; ``None`` if nothing did.
    verdict
        How the acquisition ended; ``None`` if it was left before.
    """

    snapshot: Snapshot | None
    figures: Figures
    error: BaseException | None
    verdict: FeedVerdict | None

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it."""
        return isinstance(self.error, KeyboardInterrupt)


@dataclass(frozen=True)
class Job:
    """What to compute from a scan.

    Parameters
    ----------
    algorithms
        UDF objects.
    labels
        What each is called.
    roi
        Which positions to process, shape of the scan.
    scales
        Distances of neighbouring pixels.
    endless
        Whether the scan has no last pass.
    corrections
        What is done to the frames; ``None`` for what the detector says itself.
    executor, n_workers
        Who does it; only reported.
    """

    algorithms: Sequence[Any]
    labels: Sequence[str]
    roi: npt.NDArray[np.bool_] | None = None
    scales: Scales = field(default_factory=Scales)
    endless: bool = False
    corrections: CorrectionSet | None = None
    executor: str = ""
    n_workers: int = 0

    def snapshot(self, part: Any) -> Snapshot:
        """Copy partial results.

        Parameters
        ----------
        part
            What ``run_udf_iter`` yields.
        """
        return take_snapshot(part.buffers, part.covered.data, self.labels, self.scales)


def warm_up(
    context: LiveContext,
    algorithms: Sequence[Any],
    item_shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    corrections: CorrectionSet | None = None,
) -> None:
    """Have the kernels compiled or loaded before the first frame, which would wait for them otherwise.

    Best effort: the real frames may have another type, and algorithms may refuse empty ones; what is wrong
    then shows in the run itself.

    Parameters
    ----------
    context, algorithms
        Who will compute what.
    item_shape, dtype
        What the frames will probably look like.
    corrections
        Will be used too.
    """
    frames = context.load("memory", np.zeros((2, 2, *item_shape), dtype))
    with contextlib.suppress(Exception):
        context.run_udf(
            dataset=frames,
            udf=[copy(algorithm) for algorithm in algorithms],
            corrections=corrections,
            progress=False,
        )


def process_scan(
    context: LiveContext,
    acquisition: Acquisition,
    job: Job,
    meter: Meter,
    on_partial: Callable[[Any], None] = lambda part: None,
) -> Outcome:
    """Run the algorithms over a scan and keep whatever they give.

    Parameters
    ----------
    context, acquisition, job
        Who, from what, what.
    meter
        Has been started before the scan.
    on_partial
        Called with each partial result, about 10 times a second or more.
    """
    error: BaseException | None = None
    parts = context.run_udf_iter(
        dataset=acquisition,
        udf=list(job.algorithms),
        roi=job.roi,
        corrections=job.corrections,
        progress=False,
    )
    try:
        for part in parts:
            meter.saw_result()
            on_partial(part)
    except (KeyboardInterrupt, Exception) as caught:
        error = caught
    finally:
        parts.close()
    snapshot = _newest(context, job)
    ended_s = time.monotonic()
    n_wanted = 0
    if snapshot is not None:
        n_wanted = snapshot.valid.size if job.roi is None else int(np.count_nonzero(job.roi))
    n_done = 0 if snapshot is None else int(np.count_nonzero(snapshot.valid))
    run = context.last_run
    figures = meter.figures(
        n_frames=n_done,
        n_frames_expected=n_wanted,
        n_passes=0 if snapshot is None or run is None else run.results.scan_pass + 1,
        n_surplus=0 if run is None else run.n_surplus,
        executor=job.executor,
        n_workers=job.n_workers,
        ended_s=ended_s if snapshot is not None and error is None else None,
    )
    return Outcome(snapshot, figures, error, acquisition.verdict)


def _newest(context: LiveContext, job: Job) -> Snapshot | None:
    """Copy all that has been merged, also what came after the last partial result was looked at."""
    run = context.last_run
    return None if run is None or not run.n_commits else job.snapshot(run.results)
