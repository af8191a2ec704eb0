"""Views by name, from the entry-point group ``livestem.views``, and the one that suits a channel."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from arraystream import PluginError, list_plugins, load_plugin

from ._channel import Channel
from ._panel import Picture

GROUP = "livestem.views"


@runtime_checkable
class View(Protocol):
    """Turns a channel into a picture.  The entry point is a class without parameters, or an object."""

    name: str

    def suits(self, channel: Channel) -> int:
        """Say how well this view shows the channel: 0 not at all, more is better."""
        ...

    def draw(self, channel: Channel) -> Picture:
        """Draw the channel."""
        ...


def open_view(name: str) -> View:
    """Return a view by name.

    Parameters
    ----------
    name
        Name in the entry-point group ``livestem.views``.

    Raises
    ------
    PluginError
        If there is none; the text lists those that exist.
    """
    view = load_plugin(GROUP, name)
    return view() if isinstance(view, type) else view  # type: ignore[no-any-return]


def installed_views() -> Mapping[str, View]:
    """Return all views that can be loaded; a broken one is left out."""
    views = {}
    for name in list_plugins(GROUP):
        try:
            views[name] = open_view(name)
        except PluginError:
            continue
    return views


def choose_view(channel: Channel, views: Iterable[View] | None = None) -> View | None:
    """Return the view that suits a channel best, or ``None`` if it can't be drawn.

    Parameters
    ----------
    channel
        What is to be shown.
    views
        To choose from; by default all that are installed.
    """
    candidates = installed_views().values() if views is None else views
    best = max(candidates, key=lambda view: view.suits(channel), default=None)
    return best if best is not None and best.suits(channel) > 0 else None


def draw(channel: Channel, view: str | None = None) -> Picture:
    """Draw a channel.

    Parameters
    ----------
    channel
        What is to be shown.
    view
        Name of the view; by default the one that suits best.

    Raises
    ------
    PluginError
        If no view of that name is installed.
    ValueError
        If no view can show the channel.

    Examples
    --------
    >>> import numpy as np
    >>> from livestem.views import Channel, draw
    >>> picture = draw(Channel("intensity", np.arange(12.0).reshape(3, 4), unit="counts"))
    >>> picture.zoom
    120
    """
    chosen = choose_view(channel) if view is None else open_view(view)
    if chosen is None:
        raise ValueError(
            f"no view can show {channel.caption!r} ({channel.kind}, shape {channel.data.shape}); "
            f"there are: {', '.join(sorted(installed_views()))}"
        )
    return chosen.draw(channel)


def contact_sheet(
    sheets: Iterable[npt.NDArray[np.uint8]], columns: int | None = None
) -> npt.NDArray[np.uint8]:
    """Put pictures side by side.

    Parameters
    ----------
    sheets
        Pixels of finished pictures, each (height, width, 4).
    columns
        Pictures per row; by default so many that the sheet is about as wide as a screen.

    Returns
    -------
    pixels
        Shape (height, width, 4), RGBA.

    Raises
    ------
    ValueError
        If there is no picture.
    """
    waiting = list(sheets)
    if not waiting:
        raise ValueError("there is no picture to put on the sheet")
    if columns is None:
        columns = math.ceil(math.sqrt(len(waiting)))
        columns += columns * (columns - 1) < len(waiting) and len(waiting) > 4
    rows = [waiting[first : first + columns] for first in range(0, len(waiting), columns)]
    width = max(sum(sheet.shape[1] for sheet in row) for row in rows)
    whole = np.full((sum(max(s.shape[0] for s in row) for row in rows), width, 4), 255, dtype=np.uint8)
    top = 0
    for row in rows:
        left = 0
        for sheet in row:
            whole[top : top + sheet.shape[0], left : left + sheet.shape[1]] = sheet
            left += sheet.shape[1]
        top += max(sheet.shape[0] for sheet in row)
    return whole
