"""Views of scalars: maps over the scan, signed maps, detector images."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize

from ._channel import BoolMap, Channel
from ._panel import Panel, Picture, missing_note
from ._scaling import robust_span, symmetric_span

SIGNED = re.compile(r"(^|_)(div|divergence|curl|shift|difference|residual|y|x)($|_)")
DEVIATION = re.compile(r"(magnitude|std|var|error|length)")


def _draw(
    channel: Channel, values: npt.NDArray[Any], seen: BoolMap, norm: Normalize, colours: Colormap
) -> Picture:
    panel = Panel(
        (values.shape[0], values.shape[1]),
        channel.caption,
        calibration=channel.calibration,
        note=missing_note(seen),
    )
    filled = np.where(seen, values, norm.vmin or 0.0)
    panel.image(colours(norm(filled))[..., :3], seen)
    panel.colour_bar(ScalarMappable(norm=norm, cmap=colours), channel.unit)
    panel.scale_bar()
    return panel.finish()


def _plane(channel: Channel) -> npt.NDArray[np.float64]:
    return np.asarray(channel.as_plane(channel.data), dtype=np.float64)


class MapView:
    """A scalar at every scan position: grey for intensities, warm colours for deviations."""

    name = "map"

    def suits(self, channel: Channel) -> int:
        """Say how well this view shows the channel: 0 not at all, more is better.

        Parameters
        ----------
        channel
            What is to be shown.
        """
        return 1 if channel.kind == "nav" and not channel.extra_shape else 0

    def draw(self, channel: Channel) -> Picture:
        """Draw the channel.

        Parameters
        ----------
        channel
            Scalar over the scan.
        """
        values, seen = _plane(channel), channel.seen()
        low, high = channel.span or robust_span(values, seen)
        colours = colormaps["magma" if DEVIATION.search(channel.name) else "gray"]
        return _draw(channel, values, seen, Normalize(low, high), colours)


class SignedView:
    """A scalar with a sign at every scan position: 0 is white, below is blue, above is red."""

    name = "signed"

    def suits(self, channel: Channel) -> int:
        """Say how well this view shows the channel: 0 not at all, more is better.

        Parameters
        ----------
        channel
            What is to be shown.
        """
        scalar = channel.kind == "nav" and not channel.extra_shape
        return 2 if scalar and SIGNED.search(channel.name) else 0

    def draw(self, channel: Channel) -> Picture:
        """Draw the channel.

        Parameters
        ----------
        channel
            Scalar over the scan.
        """
        values, seen = _plane(channel), channel.seen()
        limit = symmetric_span(values, seen) if channel.span is None else max(map(abs, channel.span))
        return _draw(channel, values, seen, Normalize(-limit, limit), colormaps["RdBu_r"])


class FrameView:
    """A detector image on a logarithmic scale, so that weak scattering shows beside the direct beam."""

    name = "frame"

    def suits(self, channel: Channel) -> int:
        """Say how well this view shows the channel: 0 not at all, more is better.

        Parameters
        ----------
        channel
            What is to be shown.
        """
        return 1 if channel.kind == "sig" and not channel.extra_shape else 0

    def draw(self, channel: Channel) -> Picture:
        """Draw the channel; linear if it has values below 0.

        Parameters
        ----------
        channel
            Scalar over the detector.
        """
        values, seen = _plane(channel), channel.seen()
        believed = values[seen]
        low, high = robust_span(values, seen, tail=0.0)
        colours = colormaps["inferno"]
        if not believed.size or believed.min() < 0 or not (believed > 0).any():
            return _draw(channel, values, seen, Normalize(*robust_span(values, seen)), colours)
        positive = believed[believed > 0]
        low = min(max(float(np.quantile(positive, 0.01)), high * 1e-6), high / 10)
        norm = LogNorm(low, high, clip=True)
        # Pixels that counted nothing are as dark as the scale gets.
        return _draw(channel, np.maximum(values, low), seen, norm, colours)


class ProfileView:
    """A scalar along a line scan, as a curve; positions without data are gaps."""

    name = "profile"

    def suits(self, channel: Channel) -> int:
        """Say how well this view shows the channel: 0 not at all, more is better.

        Parameters
        ----------
        channel
            What is to be shown.
        """
        flat = len(channel.shape) == 1 and not channel.extra_shape
        return 3 if flat and channel.kind in ("nav", "sig") else 0

    def draw(self, channel: Channel) -> Picture:
        """Draw the channel.

        Parameters
        ----------
        channel
            Scalar along one axis.
        """
        values, seen = _plane(channel)[0], channel.seen()
        panel = Panel((240, 480), channel.caption, calibration=channel.calibration, note=missing_note(seen))
        axes = panel.axes
        position = np.arange(values.size) * channel.calibration.step[-1]
        axes.clear()
        axes.plot(position, np.where(seen[0], values, math.nan), color="#1f5fa8", linewidth=1.2)
        axes.set_xlim(position[0] - 0.5, position[-1] + 0.5)
        low, high = robust_span(values, seen[0], tail=0.0)
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        axes.set_xlabel(f"position [{channel.calibration.unit}]", fontsize=9)
        axes.set_ylabel(channel.unit, fontsize=9)
        axes.grid(visible=True, linewidth=0.3)
        return panel.finish()
