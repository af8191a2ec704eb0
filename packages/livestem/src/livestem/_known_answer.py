"""Compares the results of a simulated scan with what is known about it.

Two kinds of answer: the frames that were sent, whose sums must come out exactly, and the physics
behind them, from which counted electrons may deviate by their counting noise only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._results import Snapshot

if TYPE_CHECKING:
    from udf_4dstem.specimen import SimulatedScan

Map = npt.NDArray[np.float64]
BATCH = 512


@dataclass(frozen=True, slots=True)
class Comparison:
    """One result beside its known answer.

    Parameters
    ----------
    what
        Which result.
    words
        How they compare.
    agrees
        Whether that is as it should be.
    """

    what: str
    words: str
    agrees: bool


def compare(simulated: SimulatedScan, sent: npt.NDArray[Any], snapshot: Snapshot) -> list[Comparison]:
    """Compare all results of the demo with the known answer.

    Parameters
    ----------
    simulated
        What is known.
    sent
        Frames as sent, shape ``(*scan_shape, *sig_shape)``.
    snapshot
        Results with the labels ``sum``, ``bright_field``, ``annular_dark_field`` and ``com``.
    """
    arrays, ideal = snapshot.arrays(), simulated.ideal
    return [
        compare_sum(sent, arrays["sum.intensity"]),
        compare_counts(
            "bright field", arrays["bright_field.intensity"], simulated.electrons * ideal.bright_field
        ),
        compare_counts(
            "annular dark field",
            arrays["annular_dark_field.intensity"],
            simulated.electrons * ideal.dark_field,
        ),
        compare_field(arrays["com.field"], np.stack([ideal.com_y, ideal.com_x], axis=-1)),
    ]


def compare_sum(sent: npt.NDArray[Any], measured: npt.NDArray[Any]) -> Comparison:
    """Compare the sum of all frames with the sum of those that were sent: exactly.

    Parameters
    ----------
    sent, measured
        Frames, and their sum as it came out.
    """
    frames = sent.reshape(-1, *sent.shape[-2:])
    total = np.zeros(frames.shape[1:], dtype=np.uint64)
    for first in range(0, len(frames), BATCH):
        total += frames[first : first + BATCH].sum(axis=0, dtype=np.uint64)
    n_wrong = int(np.count_nonzero(total != measured))
    words = f"{n_wrong} of {total.size} pixels differ from the frames sent ({int(total.sum()):,} electrons)"
    return Comparison("sum pattern", words, n_wrong == 0)


def compare_counts(what: str, measured: Map, expected: Map) -> Comparison:
    """Compare counts with their expected values, in units of their counting noise.

    Parameters
    ----------
    what
        Which result.
    measured, expected
        Counts, and the mean they should have.
    """
    deviation = float(np.sqrt(np.mean((measured - expected) ** 2 / np.maximum(expected, 1e-9))))
    words = f"deviates by {deviation:.2f} of its counting noise from the noise-free answer"
    return Comparison(what, words, deviation < 1.25)


def compare_field(measured: Map, expected: Map) -> Comparison:
    """Compare centres of mass with those of the noise-free patterns.

    Parameters
    ----------
    measured, expected
        Shape ``(*scan_shape, 2)``, in detector pixels.
    """
    deviation = float(np.sqrt(np.mean((measured - expected) ** 2)))
    size = float(np.sqrt(np.mean(expected**2)))
    words = (
        f"deviates by {deviation:.2f} px of {size:.2f} px (rms) from the noise-free answer, "
        f"correlation {correlation(measured, expected):.4f}"
    )
    return Comparison("centre of mass", words, bool(deviation < 0.5 * size))


def correlation(measured: Map, expected: Map) -> float:
    """Return how alike two maps are, 1 if they are the same but for scale and offset.

    Parameters
    ----------
    measured, expected
        Of the same shape.
    """
    return float(np.corrcoef(measured.ravel(), expected.ravel())[0, 1])
