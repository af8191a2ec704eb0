"""Telling somebody how far a run is: a tqdm bar, or an object of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class ProgressState:
    """How far a run is.

    Parameters
    ----------
    num_frames_complete, num_frames_total
        Frames whose results are merged, and all; the total is 0 while it is unknown.
    num_part_complete, num_part_in_progress, num_part_total
        Partitions merged, being worked on (not known, 0), and in all (not known before the end).
    progress_id
        Names the run.
    """

    num_frames_complete: float
    num_frames_total: int
    num_part_complete: int
    num_part_in_progress: int
    num_part_total: int
    progress_id: str


class ProgressReporter(Protocol):
    """What `Context.run_udf` takes as `progress`."""

    def start(self, state: ProgressState) -> None:
        """Begin."""
        ...

    def update(self, state: ProgressState) -> None:
        """Show progress."""
        ...

    def end(self, state: ProgressState) -> None:
        """Finish."""
        ...


class TQDMReporter:
    """Shows frames and frame rate on a tqdm bar."""

    def __init__(self) -> None:
        self._bar: Any = None

    def start(self, state: ProgressState) -> None:
        """Open the bar."""
        from tqdm.auto import tqdm

        self._bar = tqdm(total=state.num_frames_total or None, unit="frame", unit_scale=True)

    def update(self, state: ProgressState) -> None:
        """Move the bar."""
        self._bar.update(state.num_frames_complete - self._bar.n)

    def end(self, state: ProgressState) -> None:
        """Close the bar."""
        self.update(state)
        self._bar.close()


class NoReporter:
    """Says nothing."""

    def start(self, state: ProgressState) -> None:
        """Do nothing."""

    def update(self, state: ProgressState) -> None:
        """Do nothing."""

    def end(self, state: ProgressState) -> None:
        """Do nothing."""


def reporter_for(progress: bool | ProgressReporter) -> ProgressReporter:
    """Return the reporter for what a user said: True, False or an object."""
    if progress is True:
        return TQDMReporter()
    if progress is False or progress is None:
        return NoReporter()
    return progress
