"""Which corrections a run uses: the user's, else those that the data set supplies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from ._corrections import CorrectionSet, SuppliesCorrections
from ._errors import CorrectionTypeError


@runtime_checkable
class KnowsFrames(Protocol):
    """A data set that may know the shape of its frames before it is started."""

    @property
    def known_sig_shape(self) -> tuple[int, ...] | None:
        """Shape of a frame if it is certain by now, without waiting; else ``None``."""
        ...


def early_corrections(corrections: Any, dataset: object) -> CorrectionSet | None:
    """Check what the user gave, as far as it can be checked before the data set is started.

    Raises
    ------
    CorrectionTypeError
        If it is no `CorrectionSet`.
    CorrectionError
        If it does not fit the frames.
    """
    if corrections is None:
        return None
    if not isinstance(corrections, CorrectionSet):
        raise CorrectionTypeError(
            f"corrections is of type {type(corrections).__name__}; give a udf_core.CorrectionSet"
        )
    known = dataset.known_sig_shape if isinstance(dataset, KnowsFrames) else None
    return corrections if known is None else corrections.for_frames(known)


def corrections_of(wanted: CorrectionSet | None, dataset: object, sig_shape: Sequence[int]) -> CorrectionSet:
    """Return what a run does to frames of this shape; the data set has been started.

    Raises
    ------
    CorrectionTypeError
        If the data set supplies something else than a `CorrectionSet`.
    CorrectionError
        If the corrections do not fit the frames.
    """
    found: Any = wanted
    if found is None and isinstance(dataset, SuppliesCorrections):
        found = dataset.get_correction_data()
        if found is not None and not isinstance(found, CorrectionSet):
            raise CorrectionTypeError(
                f"{type(dataset).__name__}.get_correction_data() returned a {type(found).__name__}; "
                f"it has to return a udf_core.CorrectionSet or None"
            )
    return CorrectionSet() if found is None else found.for_frames(sig_shape)
