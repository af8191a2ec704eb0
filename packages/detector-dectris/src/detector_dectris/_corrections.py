"""What a detector itself knows about its pixels: which hold no data, and how their response differs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arraystream import ProtocolError

from ._simplon import SimplonClient
from ._simplon_errors import SimplonUnknownKeyError

_IMAGE_DIMS = 2


@dataclass(frozen=True, slots=True)
class PixelCorrections:
    """The corrections of one threshold channel.

    Parameters
    ----------
    pixel_mask
        Bits per pixel, shape (rows, columns), uint32: 0 gap, 1 dead, 2 under-responding,
        3 over-responding, 4 noisy; 0 is a good pixel.  ``None`` if the detector has none.
    flatfield
        Factors that counts are multiplied by, shape (rows, columns), float32; ``None`` if none.
    count_cutoff
        The largest count that count-rate correction gives; ``None`` if the detector does not tell.
    is_flatfield_applied, is_mask_applied, is_countrate_applied
        Whether the detector does it before sending: masked pixels then hold the type's largest value, or 0.
    """

    pixel_mask: NDArray[np.uint32] | None = None
    flatfield: NDArray[np.float32] | None = None
    count_cutoff: int | None = None
    is_flatfield_applied: bool = False
    is_mask_applied: bool = False
    is_countrate_applied: bool = False

    @property
    def correction_data(self) -> dict[str, Any]:
        """What is left to do, as `arraystream.Connection.correction_data` wants it.

        Pixels with any bit in the mask are excluded, whether the detector has applied the mask or not: that
        only means that they read the largest value, or 0.  Inside of wider gaps, where no neighbour has
        data either, pixels are set to 0; with several channels all masked ones are, for neighbours along that
        axis are no neighbours on the detector.  The flat field is a gain unless the detector has applied it
        already.
        """
        data: dict[str, Any] = {}
        if self.flatfield is not None and not self.is_flatfield_applied:
            data["gain"] = self.flatfield
        if self.pixel_mask is not None and self.pixel_mask.any():
            excluded = self.pixel_mask != 0
            unusable = excluded
            if excluded.ndim == _IMAGE_DIMS:
                data["excluded_pixels"] = excluded
                unusable = excluded & ~_has_good_neighbour(excluded)
            if unusable.any():
                gain = data.get("gain")
                gain = np.ones(excluded.shape, np.float32) if gain is None else gain.copy()
                gain[unusable] = 0
                data |= {"gain": gain} | ({"allow_empty": True} if "excluded_pixels" in data else {})
        return data


def _has_good_neighbour(excluded: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell of each pixel whether one of the eight around it is in order."""
    good = np.pad(~excluded, 1)
    rows, columns = excluded.shape
    shifts = ((y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1))
    found: NDArray[np.bool_] = np.logical_or.reduce([good[y : y + rows, x : x + columns] for y, x in shifts])
    return found


def read_corrections(client: SimplonClient, channel: str | None = None) -> PixelCorrections:
    """Fetch the corrections of a channel.

    Parameters
    ----------
    channel
        As the stream names it: ``"threshold_1"``, ``"threshold_2"``, ``"difference"``; by default the
        first.  The difference has the masks of both thresholds, and no flat field of its own.  ``"all"``
        gives arrays of shape (channels, rows, columns), with the channels that are enabled.

    Raises
    ------
    ValueError
        If the channel has another name.
    SimplonError, ConnectionFailed, ConnectionClosed, Stalled, ProtocolError, LimitError
        As `SimplonClient.get_array`.
    """
    if channel == "all":
        return _stack([read_corrections(client, name) for name in enabled_channels(client)])
    thresholds = _thresholds(channel)
    masks = [_read_array(client, "pixel_mask", n) for n in thresholds]
    known = [mask.astype(np.uint32) for mask in masks if mask is not None]
    _check_shapes("pixel_mask", known)
    flatfield = _read_array(client, "flatfield", thresholds[0]) if len(thresholds) == 1 else None
    cutoff = _read_if_known(client, "countrate_correction_count_cutoff")
    return PixelCorrections(
        pixel_mask=np.bitwise_or.reduce(known) if known else None,
        flatfield=None if flatfield is None else flatfield.astype(np.float32),
        count_cutoff=int(cutoff) if isinstance(cutoff, int | float) else None,
        is_flatfield_applied=bool(_read_if_known(client, "flatfield_correction_applied")),
        is_mask_applied=bool(_read_if_known(client, "pixel_mask_applied")),
        is_countrate_applied=bool(_read_if_known(client, "countrate_correction_applied")),
    )


def enabled_channels(client: SimplonClient) -> list[str]:
    """Return the names of the channels that the stream sends, in its order.

    Raises
    ------
    SimplonError, ConnectionFailed, ConnectionClosed, Stalled, ProtocolError
        As `SimplonClient.get_config`.
    """
    modes = {"threshold_1": "threshold/1/mode", "threshold_2": "threshold/2/mode"}
    modes["difference"] = "threshold/difference/mode"
    names = [name for name, key in modes.items() if _read_if_known(client, key) == "enabled"]
    return names or ["threshold_1"]


def _stack(channels: Sequence[PixelCorrections]) -> PixelCorrections:
    """Put the arrays of channels behind each other; one that lacks its array has nothing to correct."""
    masks = [channel.pixel_mask for channel in channels]
    flatfields = [channel.flatfield for channel in channels]
    return replace(
        channels[0],
        pixel_mask=_stacked(masks, np.uint32(0)),
        flatfield=_stacked(flatfields, np.float32(1)),
    )


def _stacked(arrays: Sequence[NDArray[Any] | None], neutral: np.generic) -> NDArray[Any] | None:
    known = [array for array in arrays if array is not None]
    if not known:
        return None
    _check_shapes("correction", known)
    return np.stack([np.full_like(known[0], neutral) if array is None else array for array in arrays])


def _check_shapes(what: str, arrays: Sequence[NDArray[Any]]) -> None:
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ProtocolError(f"the {what} arrays of the detector's thresholds differ in shape: {shapes}")


def _thresholds(channel: str | None) -> tuple[int, ...]:
    if channel is None:
        return (1,)
    if channel in ("difference", "threshold_difference"):
        return (1, 2)
    match = re.fullmatch(r"threshold_(\d{1,2})", channel)
    if match is None:
        raise ValueError(f"channel={channel!r} is none of threshold_1, threshold_2 …, difference")
    return (int(match[1]),)


def _read_array(client: SimplonClient, key: str, threshold: int) -> NDArray[Any] | None:
    # The plain name is the first threshold's, and the only one that old firmware knows.
    names = [key] if threshold == 1 else []
    for name in [*names, f"threshold/{threshold}/{key}"]:
        with suppress(SimplonUnknownKeyError):
            return client.get_array(name)
    return None


def _read_if_known(client: SimplonClient, key: str) -> Any:
    with suppress(SimplonUnknownKeyError):
        return client.get_config(key)
    return None
