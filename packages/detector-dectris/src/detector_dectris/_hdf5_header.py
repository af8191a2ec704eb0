"""What a DECTRIS HDF5 file says of its detector: settings with units, pixel mask, flat field.

Names are the vendor's, relative to ``/entry/instrument/detector``; those of ``detectorSpecific`` and of the
detector itself share one level, everything else keeps its group: ``beam/incident_wavelength``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ._corrections import PixelCorrections

_DETECTOR = "entry/instrument/detector"
_MOST_VALUES = 16
_MOST_OBJECTS = 4096


@dataclass(frozen=True)
class Header:
    """Settings of the detector.

    Parameters
    ----------
    values
        Numbers, texts and short lists by name.
    units
        Units as the file has them, by name.
    corrections
        What the detector knows about its pixels.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    corrections: PixelCorrections = field(default_factory=PixelCorrections)

    @property
    def n_announced(self) -> int | None:
        """How many frames the detector was armed for; ``None`` if the file does not say."""
        n_images = self.values.get("nimages")
        if not isinstance(n_images, int):
            return None
        n_triggers = self.values.get("ntrigger", 1)
        return n_images * n_triggers if isinstance(n_triggers, int) else n_images

    @property
    def index_shape(self) -> tuple[int, ...]:
        """(triggers, images per trigger) if both are more than one, else empty."""
        shape = tuple(self.values.get(name, 1) for name in ("ntrigger", "nimages"))
        return shape if all(isinstance(extent, int) and extent > 1 for extent in shape) else ()


def read_header(file: Any, channel: str | None = None) -> Header:
    """Read what there is; an empty header for a data file without its master file.

    Parameters
    ----------
    file
        An open ``h5py.File``.
    channel
        Whose mask and flat field to take if each channel has its own.
    """
    values: dict[str, Any] = {}
    units: dict[str, str] = {}
    for name, dataset in _described(file):
        value = _plain(dataset)
        if value is None:
            continue
        values[name] = value
        unit = dataset.attrs.get("units")
        if unit is not None:
            units[name] = _plain_text(unit)
    flatfield_applied = values.get("flatfield_correction_applied", values.get("flatfield_applied", True))
    cutoff = values.get("countrate_correction_count_cutoff")
    corrections = PixelCorrections(
        pixel_mask=_image(file, "pixel_mask", channel, "u4"),
        flatfield=_image(file, "flatfield", channel, "f4"),
        count_cutoff=cutoff if isinstance(cutoff, int) else None,
        is_flatfield_applied=bool(flatfield_applied),
        is_mask_applied=bool(values.get("pixel_mask_applied")),
        is_countrate_applied=bool(values.get("countrate_correction_applied")),
    )
    return Header(values, units, corrections)


def _described(file: Any) -> Iterator[tuple[str, Any]]:
    """Yield the small data sets of the groups that describe the measurement."""
    for group, prefix in (("entry/instrument", ""), ("entry/sample", "sample/")):
        start = file.get(group) if group in file else None
        if start is None or not hasattr(start, "visititems"):
            continue
        found: list[tuple[str, Any]] = []

        def note(path: str, thing: Any, found: list[tuple[str, Any]] = found) -> bool | None:
            if getattr(thing, "shape", None) is not None and thing.size <= _MOST_VALUES:
                found.append((path, thing))
            return True if len(found) >= _MOST_OBJECTS else None

        start.visititems(note)
        for path, thing in found:
            yield prefix + path.removeprefix("detector/").removeprefix("detectorSpecific/"), thing


def _plain(dataset: Any) -> Any:
    """Return the value of a small data set as Python's own types; ``None`` if it is of no use."""
    value = dataset[()]
    if isinstance(value, bytes | str):
        return _plain_text(value)
    array = np.asarray(value)
    if array.dtype.kind in "SO":
        return [_plain_text(one) for one in array.reshape(-1)]
    return array.tolist() if array.dtype.kind in "biuf" else None


def _plain_text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _image(file: Any, name: str, channel: str | None, dtype: str) -> npt.NDArray[Any] | None:
    places = [f"{_DETECTOR}/detectorSpecific/{name}", f"{_DETECTOR}/{name}"]
    if channel is not None:
        places.insert(0, f"{_DETECTOR}/{channel}_channel/{name}")
    for place in places:
        found = file.get(place) if place in file else None
        if found is not None and getattr(found, "ndim", 0) == 2:
            return np.asarray(found[()]).astype(dtype)
    return None
