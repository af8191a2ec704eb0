"""The detectors that are simulated: what differs between them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Model:
    """A detector as its configuration describes it.

    Parameters
    ----------
    description
        As the detector calls itself.
    shape
        Rows and columns.
    dtypes
        Pixel types images may have; the first one is the default.
    pixel_size
        Metres.
    frame_time
        Shortest, seconds.
    thresholds
        How many.
    binning
        Whether ``binning_mode`` exists.
    electrons
        Whether it is an electron detector: ``incident_energy`` is a beam energy.
    """

    description: str
    shape: tuple[int, int]
    dtypes: tuple[str, ...]
    pixel_size: float
    frame_time: float
    thresholds: int = 1
    binning: bool = False
    electrons: bool = True


MODELS = {
    "arina": Model("ARINA Si (simulated)", (192, 192), ("uint16", "uint8"), 1e-4, 1 / 120e3, binning=True),
    "quadro": Model("QUADRO Si (simulated)", (514, 514), ("uint16", "uint8", "uint32"), 7.5e-5, 1 / 4500),
    "eiger2-500k": Model(
        "EIGER2 500K Si (simulated)",
        (514, 1030),
        ("uint32", "uint16", "uint8"),
        7.5e-5,
        1 / 2000,
        thresholds=2,
        electrons=False,
    ),
}
