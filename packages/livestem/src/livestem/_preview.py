"""A picture file that follows a running scan.

Drawing happens in a thread of its own with the newest snapshot only, so that a slow disk or a busy
machine makes the preview less frequent and never the scan slower.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from ._results import Snapshot, overview
from .views import write_whole

PERIOD_S = 0.3
MOST_PICTURES = 4


class Preview:
    """Keeps a PNG up to date.

    Parameters
    ----------
    path
        File to replace again and again; a reader never sees half of it.
    period_s
        Shortest time between two pictures.
    """

    def __init__(self, path: Path, period_s: float = PERIOD_S) -> None:
        self.path = path
        self.n_drawn = 0
        self.error: Exception | None = None
        self._period_s = period_s
        self._newest: Snapshot | None = None
        self._changed = threading.Condition()
        self._busy = False
        self._ended = False
        self._drawn_s = self._drawing_s = 0.0
        self._thread = threading.Thread(target=self._draw_newest, name="livestem-preview", daemon=True)
        self._thread.start()

    @property
    def is_due(self) -> bool:
        """Whether it is worth taking a snapshot now."""
        # Drawing takes half of one core at most, however many pictures there are.
        rest_s = max(self._period_s, self._drawing_s)
        return not self._busy and time.monotonic() - self._drawn_s >= rest_s

    def show(self, snapshot: Snapshot) -> None:
        """Draw a snapshot soon; an older one that waits is dropped.

        Parameters
        ----------
        snapshot
            Results so far.
        """
        with self._changed:
            self._newest, self._busy = snapshot, True
            self._changed.notify()

    def close(self) -> None:
        """Finish the picture that is being drawn, then end."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _draw_newest(self) -> None:
        while (snapshot := self._await_snapshot()) is not None:
            began_s = time.monotonic()
            try:
                write_whole(self.path, overview(snapshot, MOST_PICTURES))
                self.n_drawn += 1
            except (OSError, ValueError) as error:
                self.error = error
            self._drawn_s = time.monotonic()
            self._drawing_s = self._drawn_s - began_s
            self._busy = False

    def _await_snapshot(self) -> Snapshot | None:
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._ended)
            snapshot, self._newest = self._newest, None
            return snapshot
