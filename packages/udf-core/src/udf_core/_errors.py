"""What can go wrong in a run of user-defined functions, by name.

Every error says what happened, on which object, with which value, and what to do.  Each is also the
built-in exception a caller would expect (`ScanError` is a `ValueError`).
"""

from __future__ import annotations

from dataclasses import dataclass


class UDFError(Exception):
    """Base of all errors of this package."""


class UDFException(UDFError):  # noqa: N818  (the contract's name)
    """A user-defined function breaks the UDF contract."""


class UDFRunCancelled(UDFError):  # noqa: N818  (the contract's name)
    """The run was ended before all frames were processed."""


class InvalidMaskError(UDFError, ValueError):
    """A validity mask is not boolean or can't be broadcast to its data."""


class ScanError(UDFError, ValueError):
    """A scan's shape does not fit the number of items, or its parameters contradict each other."""


class DuplicatePositionError(ScanError):
    """Several items of a scan were given the same position."""


class RoiError(UDFError, ValueError):
    """A region of interest does not fit the scan."""


class SliceUsageError(UDFError, ValueError):
    """Slices or shapes that don't belong together were combined."""


class ExecutorSpecException(UDFError, ValueError):  # noqa: N818  (the contract's name)
    """The wanted executor does not exist or does not take these settings."""


class CorrectionError(UDFError, ValueError):
    """Detector corrections contradict each other, or do not fit the frames."""


class RepairValueError(CorrectionError):
    """A pixel can't be repaired: no neighbour is left, or a tile holds only part of its neighbourhood."""


class CorrectionTypeError(UDFError, TypeError):
    """Data or corrections are of a type that can't be corrected, e.g. integers in place."""


class CoverageError(UDFError, AssertionError):
    """The engine itself skipped or repeated data.  Always a bug of this package: please report it."""


class WorkerLostError(UDFError, RuntimeError):
    """Workers died so often that the run was given up."""


class ExportError(UDFError, ValueError):
    """Results can't be written in the wanted form."""


class ExportDependencyError(UDFError, ImportError):
    """A package that an export needs isn't installed; the text has the line that installs it."""


class WorkerHungError(UDFError, TimeoutError):
    """A worker made no progress for longer than the limit, and the run was given up."""


class RemoteTraceback(UDFError):  # noqa: N818  (is only ever a cause)
    """Cause of an error that was raised in a worker: carries the worker's traceback as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


class UseDiscouragedWarning(FutureWarning):
    """Something works but has a better replacement, named in the text."""


class WorkerLostWarning(RuntimeWarning):
    """A worker died during a run; its work was done again and the result is exact."""


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """Record of a worker that died during a run.

    Parameters
    ----------
    worker
        Number of the worker.
    reason
        How it ended, in words (``killed by SIGKILL``).
    replaced
        Whether another worker was started in its place.
    """

    worker: int
    reason: str
    replaced: bool

    def __str__(self) -> str:
        after = "another one was started" if self.replaced else "the others went on"
        return f"worker {self.worker} was lost ({self.reason}); its uncommitted frames were redone, {after}"


class WorkerHungWarning(RuntimeWarning):
    """A worker holds data and has made no progress for a while; the text shows its stack."""


@dataclass(frozen=True, slots=True)
class WorkerHung:
    """Record of a worker that made no progress.

    Parameters
    ----------
    worker
        Number of the worker; ``None`` for the main side, which merges.
    where
        UDF, method and scan positions.
    waited_s
        How long there has been no progress.
    stack
        Stack of its thread, innermost call last.
    over_limit
        Whether that was too long for the run to go on.
    """

    worker: int | None
    where: str
    waited_s: float
    stack: str
    over_limit: bool = False

    @property
    def who(self) -> str:
        """The worker in words."""
        return "the main side" if self.worker is None else f"worker {self.worker}"

    def __str__(self) -> str:
        return (
            f"{self.who} has made no progress for {self.waited_s:.1f} s {self.where}; its stack, "
            f"innermost call last:\n{self.stack}"
        )
