"""What can go wrong with a DECTRIS detector's stream, to be switched on in tests.

Image numbers are the stream's own, from 0.  Settings hold until they are changed; change them between
series.  `resume` may be called at any time.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Literal


@dataclass
class Faults:
    """Faults to inject; as made, there are none.

    Parameters
    ----------
    lost, duplicated, corrupted, swapped
        Numbers of images that are never sent; sent twice; sent with half of the blob overwritten; sent
        after their successor.
    truncated
        Numbers of images whose blob is cut in half.
    missing_start
        The header is not sent, as if the client had come too late.
    missing_end
        The end message is not sent.
    double_start
        The header is sent twice.
    split_header
        V1: the two parts of the header come as two messages.
    stale_images
        How many images of the series before come between header and first image.
    stale_end
        An end message of the series before comes after the header.
    early_end
        An end message comes before the header of its series.
    stall_at
        Wait before this image until `resume` is called or the series is ended.
    restart_at
        The control unit restarts before this image: no end message, state ``na``, series numbers begin
        again.
    second_client
        Every second message goes to somebody else, as ZeroMQ shares them out.
    hash
        V1's ``hash``: the MD5 sum of part 2 (as real detectors have it), of the blob, or a wrong one.
    images_per_s
        Upper limit of the rate.
    """

    lost: Collection[int] = ()
    duplicated: Collection[int] = ()
    corrupted: Collection[int] = ()
    swapped: Collection[int] = ()
    truncated: Collection[int] = ()
    missing_start: bool = False
    missing_end: bool = False
    double_start: bool = False
    split_header: bool = False
    stale_images: int = 0
    stale_end: bool = False
    early_end: bool = False
    stall_at: int | None = None
    restart_at: int | None = None
    second_client: bool = False
    hash: Literal["part2", "blob", "wrong"] = "part2"
    images_per_s: float | None = None

    def __post_init__(self) -> None:
        self._resumed = threading.Event()

    def clear(self) -> None:
        """Switch all faults off."""
        fresh = Faults()
        for one in fields(Faults):
            setattr(self, one.name, getattr(fresh, one.name))
        self.resume()

    def resume(self) -> None:
        """End the stall that is going on, or the next one at once."""
        self._resumed.set()

    @property
    def resumed(self) -> bool:
        """Whether `resume` was called since the last stall began."""
        return self._resumed.is_set()

    def end_stall(self) -> None:
        """Forget that `resume` was called."""
        self._resumed.clear()

    def special(self, first: int, stop: int) -> list[int]:
        """Return the images of ``[first, stop)`` that have to be sent one by one, in order."""
        single = {n for n in (self.stall_at, self.restart_at) if n is not None}
        several = set(self.duplicated) | set(self.corrupted) | set(self.truncated)
        pairs = {n + d for n in self.swapped for d in (0, 1)}
        return sorted(n for n in single | several | pairs if first <= n < stop)
