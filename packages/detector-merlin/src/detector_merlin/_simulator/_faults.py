"""What can go wrong on a Merlin's data port, to be switched on in tests.

Frame numbers are those of the frame headers, from 1.  Settings hold until they are changed, except
`disconnect_in`, which is used up when it happens.  Change them between acquisitions; `resume` may be
called at any time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields


@dataclass
class Faults:
    """Faults to inject; as made, there are none.

    Parameters
    ----------
    duplicate_hdr
        How many more times the acquisition header is sent.
    old_hdr
        2020-byte acquisition header with LF line ends.
    missing_thresholds
        Frame headers with an empty threshold field and no DACs (software of 2019, raw).
    missing_dacs
        Frame headers without DACs.
    missing_mq1a
        Frame headers without the ``MQ1A`` extension, thus without counter depth.
    stale_frames
        How many frames of an earlier acquisition a newly connected client gets first.
    late_frames
        How many frames still follow after ABORT.
    keep_running
        Go on acquiring when the client goes away; the next one gets frames without a header.
    lost, duplicated, corrupted, swapped, hdr_instead_of
        Numbers of frames that are never sent; sent twice; sent with an unreadable header; sent after
        their successor; replaced by an acquisition header.
    garbage_before
        Bytes to send before the frame of a number.
    disconnect_in
        Close the connection in the middle of this frame.
    disconnect_after_bytes
        How much of that frame is sent; ``None`` for half of it.
    stall_at
        Wait before this frame until `resume` is called or the acquisition is ended.
    stall_after_bytes
        How much of that frame is sent before waiting.
    abort_at
        End the acquisition silently before this frame, as if someone else had aborted it.
    segment_bytes
        Write this many bytes at once, or these sizes in turn; ``None`` for as many as possible.
    bytes_per_s
        Upper limit of the rate.
    first_number
        Number of the first frame of an acquisition.
    """

    duplicate_hdr: int = 0
    old_hdr: bool = False
    missing_thresholds: bool = False
    missing_dacs: bool = False
    missing_mq1a: bool = False
    stale_frames: int = 0
    late_frames: int = 0
    keep_running: bool = False
    lost: Iterable[int] = ()
    duplicated: Iterable[int] = ()
    corrupted: Iterable[int] = ()
    swapped: Iterable[int] = ()
    hdr_instead_of: Iterable[int] = ()
    garbage_before: dict[int, bytes] = field(default_factory=dict)
    disconnect_in: int | None = None
    disconnect_after_bytes: int | None = None
    stall_at: int | None = None
    stall_after_bytes: int = 0
    abort_at: int | None = None
    segment_bytes: int | Sequence[int] | None = None
    bytes_per_s: float | None = None
    first_number: int = 1

    def __post_init__(self) -> None:
        self._resumed = threading.Event()

    def clear(self) -> None:
        """Switch all faults off."""
        for name, value in _defaults().items():
            setattr(self, name, value)
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

    def touch(self, first: int, stop: int) -> bool:
        """Tell whether anything is to happen at the frames ``[first, stop)``."""
        single = (self.disconnect_in, self.stall_at, self.abort_at)
        several = (
            self.lost,
            self.duplicated,
            self.corrupted,
            self.swapped,
            self.hdr_instead_of,
            self.garbage_before,
        )
        return any(n is not None and first <= n < stop for n in single) or any(
            first <= n < stop for numbers in several for n in numbers
        )


def _defaults() -> dict[str, object]:
    fresh = Faults()
    return {one.name: getattr(fresh, one.name) for one in fields(Faults)}
