"""Where results come from: what a file of results has to say about how they were made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from arraystream import FeedVerdict

_MOST_ELEMENTS = 64


@dataclass
class RunRecord:
    """Facts about one run, filled in while it goes on.

    Parameters
    ----------
    dataset
        The data set as text.
    meta
        What the source says of itself.
    started
        When, ISO 8601.
    verdict
        How the acquisition ended, empty while it has not.
    complete
        Whether no frame is missing.
    """

    dataset: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    verdict: str = ""
    complete: bool = False

    def end(self, verdict: FeedVerdict | None, error: BaseException | None) -> None:
        """Take note of how the run ended."""
        self.verdict = "left early" if verdict is None else verdict.status
        self.complete = verdict is not None and verdict.status == "complete" and not verdict.gaps
        self.complete &= error is None

    def as_attributes(self) -> dict[str, Any]:
        """Return what belongs into a file's metadata."""
        attributes: dict[str, Any] = {"dataset": self.dataset, "started": self.started}
        if "source" in self.meta:
            attributes["source"] = str(self.meta["source"])
        attributes["verdict"] = self.verdict or "not ended"
        attributes["complete"] = self.complete
        return attributes


@dataclass(frozen=True)
class Origin:
    """Who made a result.

    Parameters
    ----------
    udf
        Name of the class, with its module.
    params
        Arguments of the UDF.
    run
        The run.
    """

    udf: str
    params: Mapping[str, Any]
    run: RunRecord | None

    @property
    def udf_name(self) -> str:
        """Name of the class."""
        return self.udf.rpartition(".")[2]


def plain(value: Any) -> Any:
    """Return a value as JSON knows it; of what it does not know, a description.

    Examples
    --------
    >>> from udf_core._provenance import plain
    >>> plain({"center": (1, np.float32(2.5)), "mask": np.zeros((128, 128))})
    {'center': [1, 2.5], 'mask': '<array (128, 128) float64>'}
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        small = value.size <= _MOST_ELEMENTS and value.dtype.kind in "biufU"
        return value.tolist() if small else f"<array {value.shape} {value.dtype}>"
    if isinstance(value, list | tuple) and len(value) <= _MOST_ELEMENTS:
        return [plain(part) for part in value]
    if callable(value) and hasattr(value, "__qualname__"):
        return f"<{value.__module__}.{value.__qualname__}>"
    if isinstance(value, complex):
        return str(value)
    return f"<{type(value).__name__}>"
