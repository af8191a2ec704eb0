"""Telling somebody how far a run is: a tqdm bar, or an object of the user's.

If nothing else is said there is a bar where somebody can see it, in a terminal and in a notebook, once a run
takes longer than a second.
"""

from __future__ import annotations

import sys
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
    frame_bytes
        Bytes of a frame as stored, 0 if not known.
    """

    num_frames_complete: float
    num_frames_total: int
    num_part_complete: int
    num_part_in_progress: int
    num_part_total: int
    progress_id: str
    frame_bytes: int = 0


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


DELAY_S = 1.0
"""A bar that nobody has asked for comes so late: short runs have none."""


class TQDMReporter:
    """Shows frames, frames per second, GB/s and the time left on a tqdm bar.

    Parameters
    ----------
    delay_s
        Show nothing if the run is over by then.
    """

    def __init__(self, delay_s: float = 0.0) -> None:
        self._delay_s = delay_s
        self._bar: Any = None

    def start(self, state: ProgressState) -> None:
        """Open the bar."""
        from tqdm.auto import tqdm

        self._bar = tqdm(
            total=state.num_frames_total or None, unit=" frames", unit_scale=True, delay=self._delay_s
        )

    def update(self, state: ProgressState) -> None:
        """Move the bar."""
        if self._bar is None:
            return
        facts = self._bar.format_dict
        rate = facts["rate"] or facts["n"] / max(facts["elapsed"], 1e-9)
        if state.frame_bytes and rate:
            self._bar.set_postfix_str(f"{rate * state.frame_bytes / 1e9:.2f} GB/s", refresh=False)
        self._bar.update(state.num_frames_complete - self._bar.n)

    def end(self, state: ProgressState) -> None:
        """Close the bar and leave it as it stands."""
        if self._bar is not None:
            self.update(state)
            self._bar.close()
            self._bar = None


class NoReporter:
    """Says nothing."""

    def start(self, state: ProgressState) -> None:
        """Do nothing."""

    def update(self, state: ProgressState) -> None:
        """Do nothing."""

    def end(self, state: ProgressState) -> None:
        """Do nothing."""


def reporter_for(progress: bool | ProgressReporter | None) -> ProgressReporter:
    """Return the reporter for what a user said.

    Parameters
    ----------
    progress
        True for a bar, False for none, an object of the user's; ``None`` for a bar where somebody can see it,
        if the run takes longer than `DELAY_S`.
    """
    if progress is None:
        return TQDMReporter(DELAY_S) if is_watched() else NoReporter()
    if progress is True:
        return TQDMReporter()
    if progress is False:
        return NoReporter()
    return progress


def is_watched() -> bool:
    """Whether a bar would be seen: standard error is a terminal, or this is a notebook."""
    ipython = sys.modules.get("IPython")
    if ipython is not None and hasattr(ipython.get_ipython(), "kernel"):
        return True
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False
