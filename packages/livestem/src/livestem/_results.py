"""Results of a run on their way to files: snapshots, pictures, numbers.

A snapshot copies what the run has so far, so that drawing it can't see half an update.  One NPZ holds
every number of a run with the map of valid positions and a description of how it was made; pictures
are made of those results that a view suits.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .views import (
    Calibration,
    Channel,
    Kind,
    Picture,
    choose_view,
    contact_sheet,
    encode_png,
    installed_views,
    symmetric_span,
    usual_unit,
    write_whole,
)

MOST_FRAMES = 4  # of a stack of picked frames, so many become pictures
OVERVIEW = "overview.png"
INTERMEDIATE = ("raw_", "varsum")
_COMPONENT = re.compile(r"(.+)_[yx]")


class Buffer(Protocol):
    """A result buffer as `udf_core` hands it out."""

    @property
    def data(self) -> npt.NDArray[Any]: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def extra_shape(self) -> tuple[int, ...]: ...
    @property
    def valid_mask(self) -> npt.NDArray[np.bool_]: ...


@dataclass(frozen=True, slots=True)
class Scales:
    """Distances of neighbouring pixels.

    Parameters
    ----------
    scan
        Of scan positions.
    detector
        Of detector pixels.
    """

    scan: Calibration = field(default_factory=Calibration)
    detector: Calibration = field(default_factory=Calibration)


@dataclass(frozen=True)
class Snapshot:
    """What a run has so far, copied.

    Parameters
    ----------
    channels
        Results in order.
    valid
        Which scan positions are in.
    """

    channels: tuple[Channel, ...]
    valid: npt.NDArray[np.bool_]

    @property
    def share_done(self) -> float:
        """Share of the scan that is in, 0 to 1."""
        return float(np.count_nonzero(self.valid)) / max(self.valid.size, 1)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all numbers by ``label.name``, and ``valid``."""
        named = {f"{channel.source}.{channel.name}": channel.data for channel in self.channels}
        return {"valid": self.valid, **named}


def take_snapshot(
    buffers: Sequence[Mapping[str, Buffer]],
    valid: npt.NDArray[np.bool_],
    labels: Sequence[str],
    scales: Scales | None = None,
) -> Snapshot:
    """Copy the results of a run.

    Parameters
    ----------
    buffers
        One mapping of names to result buffers per algorithm.
    valid
        Which scan positions are in, shape of the scan.
    labels
        What each algorithm is called.
    scales
        Distances of neighbouring pixels.
    """
    scales = scales or Scales()
    channels = [
        _channel(name, buffer, label, scales)
        for label, results in zip(labels, buffers, strict=True)
        for name, buffer in results.items()
    ]
    return Snapshot(tuple(channels), np.array(valid, dtype=np.bool_))


def _channel(name: str, buffer: Buffer, label: str, scales: Scales) -> Channel:
    data = np.array(buffer.data)
    extra = tuple(buffer.extra_shape)
    kind = buffer.kind
    valid: npt.NDArray[np.bool_] | None = None
    if kind == "single":
        extra = data.shape
    elif kind == "nav":
        # A position is as good as all of its values.
        mask = np.asarray(buffer.valid_mask)
        axes = tuple(range(data.ndim - len(extra), mask.ndim))
        valid = np.array(mask.all(axis=axes) if axes else mask, dtype=np.bool_)
    scale = scales.scan if kind == "nav" else scales.detector
    return Channel(
        name,
        data,
        kind,
        valid,
        extra,
        source=label,
        unit=usual_unit(name),
        calibration=scale,
    )


def drawable(snapshot: Snapshot) -> list[Channel]:
    """Return the results worth a picture: no raw intermediates, no single components of a vector.

    Parameters
    ----------
    snapshot
        Results of a run.
    """
    vectors = {(channel.source, channel.name) for channel in snapshot.channels if channel.extra_shape == (2,)}
    chosen: list[Channel] = []
    for channel in snapshot.channels:
        component = _COMPONENT.fullmatch(channel.name)
        if channel.name.startswith(INTERMEDIATE) or (component and (channel.source, component[1]) in vectors):
            continue
        chosen.extend(_planes(channel))
    views = list(installed_views().values())
    return [_beside(channel, chosen) for channel in chosen if choose_view(channel, views) is not None]


def _beside(channel: Channel, others: list[Channel]) -> Channel:
    """Give a curl the span of the divergence beside it: how small it is tells how good the data are."""
    if channel.name != "curl":
        return channel
    for other in others:
        if (other.name, other.source) == ("divergence", channel.source):
            limit = symmetric_span(other.as_plane(other.data), other.seen())
            return replace(channel, span=(-limit, limit))
    return channel


def _planes(channel: Channel) -> list[Channel]:
    """Cut stacks of maps and of picked frames into single ones."""
    if channel.kind == "single" and channel.data.ndim == 3:
        frames = channel.data[:MOST_FRAMES]
        return [_part(channel, number, frame, "sig") for number, frame in enumerate(frames)]
    if channel.kind == "nav" and len(channel.extra_shape) == 1 and choose_view(channel) is None:
        if channel.extra_shape == (1,):
            return [_part(channel, None, channel.data[..., 0], "nav")]
        return [_part(channel, n, channel.data[..., n], "nav") for n in range(channel.extra_shape[0])]
    return [channel]


def _part(channel: Channel, number: int | None, data: npt.NDArray[Any], kind: Kind) -> Channel:
    name = channel.name if number is None else f"{channel.name}_{number}"
    return Channel(
        name,
        data,
        kind,
        channel.valid if kind == "nav" else None,
        source=channel.source,
        unit=channel.unit,
        calibration=channel.calibration,
    )


def file_name(channel: Channel) -> str:
    """Return the name of a channel's picture file.

    Parameters
    ----------
    channel
        What is drawn.
    """
    name = channel.source if channel.name == "intensity" else f"{channel.source}-{channel.name}"
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name) + ".png"


def draw_all(snapshot: Snapshot, most: int | None = None) -> dict[str, Picture]:
    """Draw every result that is worth a picture.

    Parameters
    ----------
    snapshot
        Results of a run.
    most
        Draw no more than so many.

    Returns
    -------
    pictures
        By file name.
    """
    views = list(installed_views().values())
    pictures = {}
    for channel in drawable(snapshot)[:most]:
        view = choose_view(channel, views)
        if view is not None:
            pictures[file_name(channel)] = view.draw(channel)
    return pictures


def overview(snapshot: Snapshot, most: int | None = None) -> bytes:
    """Draw all results on one sheet; bytes of a PNG file.

    Parameters
    ----------
    snapshot
        Results of a run.
    most
        Draw no more than so many.
    """
    return encode_png(contact_sheet(picture.pixels() for picture in draw_all(snapshot, most).values()))


def write_results(folder: Path, snapshot: Snapshot, description: Mapping[str, Any]) -> list[Path]:
    """Write all pictures, one sheet with all of them, then ``results.npz``.

    Parameters
    ----------
    folder
        Is made if it isn't there.
    snapshot
        Results of a run.
    description
        How they were made; becomes the JSON text ``metadata`` of the NPZ.

    Returns
    -------
    files
        What was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sheets = {name: picture.pixels() for name, picture in draw_all(snapshot).items()}
    written = [write_whole(folder / name, encode_png(sheet)) for name, sheet in sheets.items()]
    if len(sheets) > 1:
        written.append(write_whole(folder / OVERVIEW, encode_png(contact_sheet(sheets.values()))))
    arrays = {name: data for name, data in snapshot.arrays().items() if data.dtype != np.dtype(object)}
    arrays["metadata"] = np.array(json.dumps(description, default=str))
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
    return [*written, write_whole(folder / "results.npz", packed.getvalue())]


def read_results(path: Path | str) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Read ``results.npz``.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    arrays, description
        Numbers by ``label.name``, and how they were made.
    """
    with np.load(path) as packed:
        arrays = {name: packed[name] for name in packed.files}
    return arrays, json.loads(str(arrays.pop("metadata")))
