"""What can go wrong in a session, beyond the errors of streams and algorithms."""

from __future__ import annotations

from arraystream import StreamError
from udf_core import ScanError

# Named after what happened, like the errors of arraystream.
# ruff: noqa: N818


class SpecError(ValueError):
    """The text does not name an algorithm, or its parameters do not fit it."""


class AcquisitionTimeout(StreamError, TimeoutError):
    """No acquisition began within the time given."""


class ShapeMismatch(ScanError):
    """The scan's shape does not fit the frames that the detector announced.

    Parameters
    ----------
    message
        What does not fit, and what to do.
    nav_shape
        Shape asked for.
    n_frames
        Frames announced; ``None`` for a continuous acquisition.
    """

    def __init__(self, message: str, *, nav_shape: tuple[int, ...] | None, n_frames: int | None) -> None:
        super().__init__(message)
        self.nav_shape = nav_shape
        self.n_frames = n_frames
