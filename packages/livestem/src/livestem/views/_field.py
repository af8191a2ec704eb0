"""View of a vector at every scan position: direction as hue, magnitude as lightness, legend wheel."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ._channel import Channel
from ._colour import direction_colours, wheel
from ._panel import BAR_GAP, INK, MARGIN_LEFT, MARGIN_TOP, Panel, Picture, missing_note
from ._scaling import robust_span

WHEEL = 112
VECTOR = re.compile(r"(field|vector|shift|com|dpc|gradient)")


class FieldView:
    """A vector (y, x) at every scan position, y down, as a colour-wheel image."""

    name = "field"

    def suits(self, channel: Channel) -> int:
        """Say how well this view shows the channel: 0 not at all, more is better.

        Parameters
        ----------
        channel
            What is to be shown.
        """
        vector = channel.kind == "nav" and channel.extra_shape == (2,)
        return 2 if vector and VECTOR.search(channel.name) else 0

    def draw(self, channel: Channel) -> Picture:
        """Draw the channel.

        Parameters
        ----------
        channel
            Vectors over the scan, extra shape (2,): (y, x) components.
        """
        seen = channel.seen()
        plane = np.asarray(channel.as_plane(channel.data), dtype=np.float64)
        y, x = (np.where(seen, plane[..., component], 0.0) for component in (0, 1))
        longest = robust_span(np.hypot(y, x), seen)[1]
        panel = Panel(
            (plane.shape[0], plane.shape[1]),
            channel.caption,
            calibration=channel.calibration,
            note=missing_note(seen),
            legend_width=BAR_GAP + WHEEL + 48,
        )
        panel.image(direction_colours(y / longest, x / longest), seen)
        panel.scale_bar()
        return panel.finish(_legend(panel, longest, channel.unit))


def _legend(panel: Panel, longest: float, unit: str) -> tuple[int, int, int, int]:
    left, top = MARGIN_LEFT + panel.width + BAR_GAP + 10, MARGIN_TOP + 20
    axes = panel.place(left, top, WHEEL, WHEEL)
    axes.imshow(wheel(WHEEL), interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    style: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 8, "color": INK}
    axes.text(1.06, 0.5, "+x", ha="left", va="center", **style)
    axes.text(0.5, -0.06, "+y", ha="center", va="top", **style)
    axes.text(0.5, 1.06, f"rim: {longest:.3g} {unit}".rstrip(), ha="center", va="bottom", **style)
    return left, top, left + WHEEL, top + WHEEL
