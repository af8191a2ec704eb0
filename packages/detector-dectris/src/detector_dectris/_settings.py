"""What is set when a detector is armed, in which order, and when a value counts as taken.

Pure: no detector is asked here.  Source: SIMPLON API reference 1.8, version 3.2 (trigger modes; order of
region of interest and times).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

TriggerMode = Literal["ints", "exts", "inte", "exte", "extg", "eies"]
TRIGGER_MODES: tuple[TriggerMode, ...] = get_args(TriggerMode)
SOFTWARE_TRIGGER_MODES: frozenset[str] = frozenset({"ints", "inte"})
#: One image per trigger, whose gate or ``count_time`` is the exposure.
ENABLE_MODES: frozenset[str] = frozenset({"inte", "exte"})

#: The most images of a series that recent firmware takes.
MAX_IMAGES = 1 << 48
#: The longest series that can be armed.
MAX_SERIES_S = 7 * 24 * 3600.0

# In this order they are set: what changes others comes first.  Settings not named here are set where the
# empty name stands.
_ORDER = (
    "roi_mode",
    "binning_mode",
    "roi_bit_depth",
    "roi_y_size",
    "element",
    "photon_energy",
    "incident_energy",
    "threshold_energy",
    "threshold/1/mode",
    "threshold/1/energy",
    "threshold/2/mode",
    "threshold/2/energy",
    "threshold/difference/mode",
    "compression",
    "",
    "count_time",
    "frame_time",
    "trigger_mode",
    "nexpi",
    "nimages",
    "ntrigger",
)
_RANK = {name: rank for rank, name in enumerate(_ORDER)}

# Times are rounded to the detector's clock, energies to what its threshold can be set to.
_TOLERANCE = {"count_time": 1e-7, "frame_time": 1e-7, "photon_energy": 0.5, "incident_energy": 0.5}
_THRESHOLD_TOLERANCE_EV = 1.0


class SeriesPlan(NamedTuple):
    """How many images a trigger gives, and how many triggers the series takes."""

    nimages: int
    ntrigger: int


def plan_series(
    trigger_mode: str, n_items: int, nimages: int | None = None, ntrigger: int | None = None
) -> SeriesPlan:
    """Divide the images of a series among triggers.

    Parameters
    ----------
    trigger_mode
        One of `TRIGGER_MODES`.
    n_items
        Images of the series.
    nimages, ntrigger
        As wished: images per trigger, triggers.  If neither is given, one trigger gives all images, or in
        modes ``inte`` and ``exte`` each image has its own.

    Raises
    ------
    ValueError
        If the numbers do not fit together.

    Examples
    --------
    >>> plan_series("exte", 100)
    SeriesPlan(nimages=1, ntrigger=100)
    >>> plan_series("exts", 100, nimages=10)
    SeriesPlan(nimages=10, ntrigger=10)
    """
    if not 1 <= n_items <= MAX_IMAGES:
        raise ValueError(f"n_items={n_items} images can't be armed; 1 … 2^48 can")
    if trigger_mode in ENABLE_MODES:
        if nimages not in (None, 1):
            raise ValueError(
                f"nimages={nimages} does not go with trigger_mode={trigger_mode!r}: a trigger gives one image"
            )
        plan = SeriesPlan(1, n_items)
    elif trigger_mode == "extg":
        # Here gates are counted, not triggers: `nexpi` of them make an image.
        plan = SeriesPlan(n_items, 1)
    elif nimages is not None:
        plan = SeriesPlan(nimages, max(1, n_items // nimages))
    else:
        plan = SeriesPlan(n_items // (ntrigger or 1), ntrigger or 1)
    if plan.nimages * plan.ntrigger != n_items or ntrigger not in (None, plan.ntrigger):
        shown = "" if nimages is None else f"nimages={nimages}, "
        raise ValueError(
            f"{shown}ntrigger={ntrigger or plan.ntrigger} do not give n_items={n_items} images "
            f"in trigger_mode={trigger_mode!r}; change one of them"
        )
    return plan


def longest_series(frame_time_s: float) -> int:
    """Return how many images a series may have that is armed to be aborted some time."""
    # A gate or trigger may come as fast as the detector can: the frame time is the shortest distance.
    limit = MAX_IMAGES if frame_time_s <= 0 else int(0.99 * MAX_SERIES_S / frame_time_s)
    return max(1, min(limit, (1 << 31) - 1))


def in_order(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in the order in which they are to be set."""
    return dict(sorted(settings.items(), key=lambda item: _RANK.get(item[0], _RANK[""])))


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse what no detector allows; ranges are left to the detector.

    Raises
    ------
    ValueError
        If settings contradict each other, or a number is none.
    """
    for name, value in settings.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name}={value} is no number that can be set")
    for name in ("nimages", "ntrigger", "nexpi"):
        n = settings.get(name)
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
            raise ValueError(f"{name}={n!r} is not a count from 1 on")
    for name in ("count_time", "frame_time"):
        seconds = settings.get(name)
        if seconds is not None and not seconds > 0:
            raise ValueError(f"{name}={seconds!r} is not a positive number of seconds")
    count_time, frame_time = settings.get("count_time"), settings.get("frame_time")
    if count_time is not None and frame_time is not None and frame_time < count_time:
        raise ValueError(f"frame_time={frame_time} s is shorter than count_time={count_time} s")
    mode = settings.get("trigger_mode")
    if mode is not None and mode not in TRIGGER_MODES:
        raise ValueError(f"trigger_mode={mode!r} is none of {', '.join(TRIGGER_MODES)}")
    if mode in ENABLE_MODES and settings.get("nimages") not in (None, 1):
        raise ValueError(
            f"nimages={settings['nimages']} does not go with trigger_mode={mode!r}: a trigger gives one image"
        )
    if settings.get("roi_mode") == "merge2x2" and settings.get("binning_mode") not in (None, "disabled"):
        raise ValueError(
            f"roi_mode={settings['roi_mode']!r} does not go with binning_mode={settings['binning_mode']!r}"
        )


def matches(name: str, wanted: Any, found: Any) -> bool:
    """Tell whether a value read back is the one that was set, up to the detector's own rounding.

    Examples
    --------
    >>> matches("count_time", 1e-5, 1.00000001e-5), matches("count_time", 1.0, 0.5)
    (True, False)
    >>> matches("pixel_mask_applied", True, 1)
    True
    """
    numbers = [value for value in (wanted, found) if isinstance(value, int | float)]
    if len(numbers) < 2 or not any(isinstance(value, float) for value in numbers):
        return bool(wanted == found)
    tolerance = _THRESHOLD_TOLERANCE_EV if name.startswith("threshold") else _TOLERANCE.get(name, 0.0)
    return math.isclose(*numbers, rel_tol=1e-5, abs_tol=tolerance)


def as_trigger_mode(mode: object) -> TriggerMode:
    """Return what a detector says its trigger mode is.

    Raises
    ------
    ValueError
        If this is a mode that nothing is known about.
    """
    if mode not in TRIGGER_MODES:
        raise ValueError(
            f"the detector's trigger_mode {mode!r} is none of {', '.join(TRIGGER_MODES)}; give trigger_mode"
        )
    return mode
