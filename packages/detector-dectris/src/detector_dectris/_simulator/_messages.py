"""Header and end messages of both streams; images are composed natively.

Format: stream interfaces V1 (`dheader-1.0`, `dseries_end-1.0`) and V2 of the SIMPLON API.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _cbor
from ._frames import Blobs

# Not among the values of V1's header: arrays come in parts of their own.
_ARRAYS = ("flatfield", "pixel_mask", "countrate_correction_table")

_V2_NAMES = {
    "beam_center_x": "beam_center_x",
    "beam_center_y": "beam_center_y",
    "count_time": "count_time",
    "countrate_correction_enabled": "countrate_correction_applied",
    "detector_description": "description",
    "detector_serial_number": "detector_number",
    "detector_translation": "detector_translation",
    "flatfield_enabled": "flatfield_correction_applied",
    "frame_time": "frame_time",
    "image_size_x": "x_pixels_in_detector",
    "image_size_y": "y_pixels_in_detector",
    "incident_energy": "incident_energy",
    "incident_wavelength": "wavelength",
    "pixel_mask_enabled": "pixel_mask_applied",
    "pixel_size_x": "x_pixel_size",
    "pixel_size_y": "y_pixel_size",
    "saturation_value": "countrate_correction_count_cutoff",
    "sensor_material": "sensor_material",
    "sensor_thickness": "sensor_thickness",
    "virtual_pixel_interpolation_enabled": "virtual_pixel_correction_applied",
}


@dataclass(frozen=True, slots=True)
class Series:
    """What was armed: a snapshot of the configuration.

    Parameters
    ----------
    number, unique_id, date
        Sequence id, V2's name, time of arming (RFC 3339).
    version
        Stream 1 or 2.
    config
        Values of the detector's parameters.
    channels, compression, dtype, shape, blobs
        The images; shape is rows and columns.
    header_detail, header_appendix, image_appendix
        As configured.
    """

    number: int
    unique_id: str
    date: str
    version: int
    config: dict[str, Any]
    channels: tuple[str, ...]
    compression: str
    dtype: str
    shape: tuple[int, int]
    blobs: Blobs
    header_detail: str
    header_appendix: str
    image_appendix: str

    @property
    def n_images(self) -> int:
        """Images of the whole series."""
        nimages, ntrigger = int(self.config["nimages"]), int(self.config["ntrigger"])
        return nimages if self.config["trigger_mode"] == "extg" else nimages * ntrigger

    @property
    def n_per_trigger(self) -> int:
        """Images a trigger starts."""
        return int(self.config["nimages"]) if self.config["trigger_mode"] in ("ints", "exts", "eies") else 1

    def encoding(self) -> str:
        """Return V1's name of how pixels are encoded."""
        bits = 8 * np.dtype(self.dtype).itemsize
        return {"none": "<", "lz4": "lz4<", "bslz4": f"bs{bits}-lz4<"}[self.compression]

    def image_part(self, n_bytes: int) -> bytes:
        """Return part 2 of V1's image message."""
        rows, columns = self.shape
        return (
            f'{{"encoding":"{self.encoding()}","htype":"dimage_d-1.0","shape":[{columns},{rows}],'
            f'"size":{n_bytes},"type":"{self.dtype}"}}'
        ).encode()

    def image_user_data(self) -> bytes | None:
        """Return what images carry along: V1's appendix, or V2's user data as CBOR."""
        if not self.image_appendix:
            return None
        if self.version == 1:
            return self.image_appendix.encode()
        return _cbor.dumps(_parsed(self.image_appendix))

    def start(self, *, split: bool = False) -> list[list[bytes]]:
        """Return the messages that begin the series, each a list of parts."""
        if self.version == 2:
            return [[self._start_v2()]]
        parts = self._start_v1()
        return [parts[:1], parts[1:]] if split and len(parts) > 1 else [parts]

    def end(self, number: int | None = None) -> list[bytes]:
        """Return the message that ends the series, or the one of that number."""
        series = self.number if number is None else number
        if self.version == 1:
            return [_compact({"htype": "dseries_end-1.0", "series": series})]
        item = {"type": "end", "series_id": series, "series_unique_id": self.unique_id}
        return [_cbor.message(item)]

    def _start_v1(self) -> list[bytes]:
        detail = self.header_detail
        parts = [_compact({"header_detail": detail, "htype": "dheader-1.0", "series": self.number})]
        if detail != "none":
            parts.append(_compact({key: v for key, v in self.config.items() if _in_header(key, v)}))
        if detail == "all":
            tables = (
                ("dflatfield-1.0", self.config["flatfield"]),
                ("dpixelmask-1.0", self.config["pixel_mask"]),
                ("dcountrate_table-1.0", self.config["countrate_correction_table"]),
            )
            for htype, table in tables:
                shape = list(reversed(table.shape))
                parts.append(_compact({"htype": htype, "shape": shape, "type": table.dtype.name}))
                parts.append(_little(table))
            if self.header_appendix:
                parts.append(self.header_appendix.encode())
        return parts

    def _start_v2(self) -> bytes:
        config = self.config
        start: dict[str, Any] = {
            "type": "start",
            "arm_date": _cbor.date(self.date),
            **{name: config[key] for name, key in _V2_NAMES.items()},
            "channels": list(self.channels),
            "goniometer": {
                axis: {"increment": config[f"{axis}_increment"], "start": config[f"{axis}_start"]}
                for axis in ("chi", "kappa", "omega", "phi", "two_theta")
            },
            "image_dtype": self.dtype,
            "number_of_images": self.n_images,
            "series_id": self.number,
            "series_unique_id": self.unique_id,
            "threshold_energy": {name: self._threshold_energy(name) for name in self.channels},
            "user_data": _parsed(self.header_appendix),
        }
        if self.header_detail == "all":
            table = _cbor.array(config["countrate_correction_table"])
            start["countrate_correction_lookup_table"] = table
            start["flatfield"] = {name: _cbor.array(self._table(name, "flatfield")) for name in self.channels}
            start["pixel_mask"] = {
                name: _cbor.array(self._table(name, "pixel_mask")) for name in self.channels
            }
        return _cbor.message(start)

    def _threshold_energy(self, channel: str) -> float:
        found = self.config.get(f"threshold/{channel[-1]}/energy", self.config["threshold_energy"])
        return float(found)

    def _table(self, channel: str, key: str) -> npt.NDArray[Any]:
        table: npt.NDArray[Any] = self.config.get(f"threshold/{channel[-1]}/{key}", self.config[key])
        return table


def _in_header(key: str, value: Any) -> bool:
    return key not in _ARRAYS and not isinstance(value, np.ndarray) and "/" not in key


def _parsed(text: str) -> Any:
    """Return what a text means as JSON, or the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _compact(item: dict[str, Any]) -> bytes:
    return json.dumps(item, separators=(",", ":"), sort_keys=True).encode()


def _little(table: npt.NDArray[Any]) -> bytes:
    return np.ascontiguousarray(table, table.dtype.newbyteorder("<")).tobytes()
