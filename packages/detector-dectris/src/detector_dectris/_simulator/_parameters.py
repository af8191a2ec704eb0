"""The parameters of the REST interface, with what is told about each.

Names and units: SIMPLON API reference 1.8.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ._models import Model

TRIGGER_MODES = ["eies", "exte", "extg", "exts", "inte", "ints"]


class RefusedValueError(ValueError):
    """A parameter can't have this value."""


@dataclass(slots=True)
class Parameter:
    """A value and what is told about it.

    Parameters
    ----------
    value
        Number, text, boolean, list, or an array.
    access
        ``r`` or ``rw``.
    unit
        Or empty.
    low, high, allowed
        Limits, or ``None``.
    """

    value: Any
    access: str = "rw"
    unit: str = ""
    low: float | None = None
    high: float | None = None
    allowed: list[Any] | None = None

    def describe(self) -> dict[str, Any]:
        """Return what a GET answers."""
        told: dict[str, Any] = {
            "value": darray(self.value) if isinstance(self.value, np.ndarray) else self.value,
            "value_type": self._type(),
            "access_mode": self.access,
        }
        extra = {"unit": self.unit or None, "min": self.low, "max": self.high, "allowed_values": self.allowed}
        return told | {key: value for key, value in extra.items() if value is not None}

    def accept(self, name: str, value: Any) -> Any:
        """Return `value` in the parameter's type.

        Raises
        ------
        RefusedValueError
            If it can't have this value.
        """
        if self.access == "r":
            raise RefusedValueError(f"{name} is read-only")
        wanted = type(self.value)
        if wanted in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
            if wanted is int and value != int(value):
                raise RefusedValueError(f"{name} must be a whole number, not {value!r}")
            value = wanted(value)
        elif wanted is bool and value in (0, 1):
            value = bool(value)
        if not isinstance(value, wanted):
            raise RefusedValueError(f"{name} must be of type {self._type()}, not {value!r}")
        if self.allowed is not None and value not in self.allowed:
            raise RefusedValueError(f"{name} {value!r} is not among {self.allowed}")
        low, high = self.low, self.high
        if (low is not None and value < low) or (high is not None and value > high):
            raise RefusedValueError(f"{name} {value!r} is not within {low} and {high}")
        return value

    def _type(self) -> str:
        match self.value:
            case bool():
                return "bool"
            case int():
                return "uint" if self.low is None or self.low >= 0 else "int"
            case float():
                return "float"
            case np.ndarray():
                return "float[][]" if self.value.dtype.kind == "f" else "uint[][]"
            case list():
                return "float[]" if self.value and isinstance(self.value[0], float) else "string[]"
        return "string"


def darray(values: npt.NDArray[Any]) -> dict[str, Any]:
    """Return an array as JSON has it; the shape is width and height."""
    import base64

    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return {
        "__darray__": [1, 0, 0],
        "type": f"<{little.dtype.kind}{little.itemsize}",
        "shape": list(reversed(values.shape)),
        "filters": ["base64"],
        "data": base64.b64encode(little.tobytes()).decode("ascii"),
    }


def from_darray(value: Any, name: str, like: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Read an array as JSON has it.

    Raises
    ------
    RefusedValueError
        If it is no array of the shape and type of `like`.
    """
    import base64
    import binascii

    try:
        raw = base64.b64decode(value["data"], validate=True)
        dtype, shape = str(value["type"]), tuple(reversed(value["shape"]))
    except (TypeError, KeyError, binascii.Error) as error:
        raise RefusedValueError(f"{name} must be a __darray__: {error!r}") from error
    expected = f"<{like.dtype.kind}{like.itemsize}"
    if dtype != expected or shape != like.shape or len(raw) != like.nbytes:
        raise RefusedValueError(f"{name} must be {expected} of {like.shape}, not {dtype} of {shape}")
    return np.frombuffer(raw, like.dtype).reshape(like.shape).copy()


def detector_config(model: Model, shape: tuple[int, int], dtype: str) -> dict[str, Parameter]:
    """Return the configuration after ``initialize``."""
    bits = 8 * np.dtype(dtype).itemsize
    energy = 200e3 if model.electrons else 8041.0
    made: dict[str, Parameter] = {
        "auto_summation": Parameter(bits > 16),
        "beam_center_x": Parameter(shape[1] / 2),
        "beam_center_y": Parameter(shape[0] / 2),
        "bit_depth_image": Parameter(bits, "r"),
        "bit_depth_readout": Parameter(min(bits, 16), "r"),
        "compression": Parameter("bslz4", allowed=["bslz4", "lz4", "none"]),
        "count_time": Parameter(model.frame_time - 1e-7, unit="s", low=1e-6, high=3600.0),
        "counting_mode": Parameter("normal", allowed=["normal", "retrigger"]),
        "countrate_correction_applied": Parameter(False),
        "countrate_correction_count_cutoff": Parameter(2**bits - 2, "r"),
        "countrate_correction_table": Parameter(np.zeros((2, 2), np.float32), "r"),
        "data_collection_date": Parameter(rfc3339(), "r"),
        "description": Parameter(model.description, "r"),
        "detector_distance": Parameter(1.0, unit="m", low=0.0),
        "detector_number": Parameter("S-0000", "r"),
        "detector_orientation": Parameter([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
        "detector_readout_time": Parameter(1e-7, "r", "s"),
        "detector_translation": Parameter([0.0, 0.0, 1.0], unit="m"),
        "eiger_fw_version": Parameter("release-0000", "r"),
        "element": Parameter("" if model.electrons else "Cu"),
        "extg_mode": Parameter("double", allowed=["single", "double"]),
        "flatfield": Parameter(np.ones(shape, np.float32)),
        "flatfield_correction_applied": Parameter(False),
        "frame_count_time": Parameter(model.frame_time, "r", "s"),
        "frame_time": Parameter(model.frame_time, unit="s", low=1e-6, high=3600.0),
        "incident_energy": Parameter(energy, unit="eV", low=0.0),
        "instrument_name": Parameter(""),
        "mask_to_zero": Parameter(False),
        "nexpi": Parameter(1, low=1),
        "nimages": Parameter(1, low=1, high=2**48),
        "ntrigger": Parameter(1, low=1, high=2**48),
        "number_of_excluded_pixels": Parameter(0, "r"),
        "photon_energy": Parameter(energy, unit="eV", low=0.0),
        "pixel_mask": Parameter(np.zeros(shape, np.uint32)),
        "pixel_mask_applied": Parameter(True),
        "roi_mode": Parameter("disabled", allowed=["disabled"]),
        "sample_name": Parameter(""),
        "sensor_material": Parameter("Si", "r"),
        "sensor_thickness": Parameter(4.5e-4, "r", "m"),
        "software_version": Parameter("1.8.0", "r"),
        "source_name": Parameter(""),
        "test_image_mode": Parameter(""),
        "test_image_value": Parameter(0, low=0),
        "threshold_energy": Parameter(energy / 2, unit="eV", low=0.0),
        "total_flux": Parameter(0.0),
        "trigger_mode": Parameter("ints", allowed=TRIGGER_MODES),
        "trigger_start_delay": Parameter(0.0, unit="s", low=0.0),
        "virtual_pixel_correction_applied": Parameter(False),
        "wavelength": Parameter(12398.42 / energy, unit="angstrom", low=0.0),
        "x_pixel_size": Parameter(model.pixel_size, "r", "m"),
        "x_pixels_in_detector": Parameter(shape[1], "r"),
        "y_pixel_size": Parameter(model.pixel_size, "r", "m"),
        "y_pixels_in_detector": Parameter(shape[0], "r"),
    }
    for axis in ("chi", "kappa", "omega", "phi", "two_theta"):
        made[f"{axis}_start"] = Parameter(0.0, unit="degree")
        made[f"{axis}_increment"] = Parameter(0.0, unit="degree")
    if model.binning:
        made["binning_mode"] = Parameter("none", allowed=["none", "2x2"])
    for n in range(1, model.thresholds + 1):
        made[f"threshold/{n}/energy"] = Parameter(energy / 2, unit="eV", low=0.0)
        made[f"threshold/{n}/mode"] = Parameter(
            "enabled" if n == 1 else "disabled", allowed=["enabled", "disabled"]
        )
        made[f"threshold/{n}/pixel_mask"] = Parameter(np.zeros(shape, np.uint32))
        made[f"threshold/{n}/flatfield"] = Parameter(np.ones(shape, np.float32))
        made[f"threshold/{n}/number_of_excluded_pixels"] = Parameter(0, "r")
    if model.thresholds > 1:
        made["threshold/difference/mode"] = Parameter("disabled", allowed=["enabled", "disabled"])
        made["threshold/difference/lower_threshold"] = Parameter(1, low=1, high=model.thresholds)
        made["threshold/difference/upper_threshold"] = Parameter(2, low=1, high=model.thresholds)
    return made


def stream_config() -> dict[str, Parameter]:
    """Return the stream's configuration after ``initialize``."""
    return {
        "format": Parameter("legacy", allowed=["legacy", "cbor"]),
        "header_appendix": Parameter(""),
        "header_detail": Parameter("basic", allowed=["all", "basic", "none"]),
        "image_appendix": Parameter(""),
        "mode": Parameter("disabled", allowed=["enabled", "disabled"]),
    }


def filewriter_config() -> dict[str, Parameter]:
    """Return the configuration of the file writer, which writes nothing."""
    return {
        "compression_enabled": Parameter(True),
        "format": Parameter("hdf5 nexus v2024.2 nxmx", allowed=["hdf5 nexus v2024.2 nxmx"]),
        "image_nr_start": Parameter(1, low=0),
        "mode": Parameter("disabled", allowed=["enabled", "disabled"]),
        "name_pattern": Parameter("series_$id"),
        "nimages_per_file": Parameter(1000, low=0),
    }


def monitor_config() -> dict[str, Parameter]:
    """Return the configuration of the monitor, which shows nothing."""
    return {
        "buffer_size": Parameter(100, low=1),
        "discard_new": Parameter(True),
        "mode": Parameter("disabled", allowed=["enabled", "disabled"]),
    }


def rfc3339() -> str:
    """Return the present time."""
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
