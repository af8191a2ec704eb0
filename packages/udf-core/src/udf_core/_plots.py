"""Live plots: what is shown while a run goes on.

There is nothing here that draws.  A class that does is given to `Context` as `plot_class`; it derives from
`Live2DPlot` or has the same methods.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from arraystream import StateError

from ._buffer import Array, BufferWrapper
from ._dataset import StreamDataset
from ._dry_run import dry_run
from ._merge import UDFResults
from ._udf import UDF

MIN_DELTA_S = 0.3
"""Shortest time between two pictures that `Context.run_udf` asks for."""

Buffers = Mapping[str, BufferWrapper]
Extract = Callable[[Buffers, BufferWrapper], tuple[Any, Any]]
Channel = str | tuple[str, Callable[[Any], Any]] | Extract


class LivePlot(Protocol):
    """A plot of one channel of one UDF."""

    def display(self) -> Any:
        """Show the plot; called once, before the run."""
        ...

    def new_data(self, udf_results: Buffers, damage: BufferWrapper, force: bool = False) -> Any:
        """Take note of new results; with `force` they are shown in any case."""
        ...

    def get_udf(self) -> UDF:
        """Return whose results are shown."""
        ...


class Live2DPlot:
    """Base of plots that show a picture.  A subclass implements `update` and `display`.

    Parameters
    ----------
    dataset, roi
        What the run is about.
    udf
        Whose results are shown.
    channel
        Name of a result; a tuple of a name and a function of its data; or a function of all results and the
        damage that returns the picture and its map of valid pixels.  By default the first result that is a
        picture.
    title
        For people.
    min_delta
        Shortest time in seconds between two updates.
    udfresult
        Results before there are data; found by a dry run if not given.

    Attributes
    ----------
    data, damage
        The picture as last extracted, and which of its pixels are valid.

    Raises
    ------
    ValueError
        If there is no such channel, or it is no picture.
    """

    def __init__(
        self,
        dataset: StreamDataset,
        udf: UDF,
        roi: Any = None,
        channel: Channel | None = None,
        title: str | None = None,
        min_delta: float = 0,
        udfresult: UDFResults | Buffers | None = None,
    ) -> None:
        if udfresult is None:
            udfresult = dry_run([udf], dataset, roi)
        if isinstance(udfresult, UDFResults):
            damage = udfresult.damage
            buffers: Buffers = udfresult.buffers[0]
        else:
            buffers = udfresult
            damage = BufferWrapper("nav", dtype=bool).set_shape(dataset.shape).allocate()
        if channel is None:
            there = picture_channels(buffers)
            if not there:
                raise ValueError(
                    f"{type(udf).__name__} has no result that is a picture: {', '.join(buffers)}"
                )
            channel = there[0]
        self.dataset = dataset
        self.udf = udf
        self.roi = roi
        self.channel = channel
        self.title = title or f"{type(udf).__name__}: {channel_name(channel)}"
        self.min_delta = min_delta
        self._updated_at = -np.inf
        self.data, self.damage = self.extract(buffers, damage)

    @property
    def is_due(self) -> bool:
        """Whether the last update is long enough ago."""
        return time.monotonic() - self._updated_at >= self.min_delta

    def extract(self, udf_results: Buffers, damage: BufferWrapper) -> tuple[Array, Array]:
        """Return the picture and which of its pixels are valid."""
        channel = self.channel
        if not isinstance(channel, str | tuple):
            data, valid = channel(udf_results, damage)
        else:
            name, function = (channel, None) if isinstance(channel, str) else channel
            if name not in udf_results:
                raise ValueError(
                    f"{type(self.udf).__name__} has no result {name!r} to plot; it has: "
                    f"{', '.join(udf_results)}"
                )
            buffer = udf_results[name]
            data, valid = buffer.data, buffer.valid_mask
            if function is not None:
                data = function(data)
        picture = np.squeeze(np.asarray(data))
        if picture.ndim != 2:
            raise ValueError(
                f"channel {channel_name(channel)!r} has shape {np.shape(data)} and is no picture"
            )
        spread = np.squeeze(np.asarray(valid))
        if spread.shape != picture.shape:
            spread = (
                np.broadcast_to(spread, picture.shape) if spread.ndim == 0 else np.ones(picture.shape, bool)
            )
        return picture, spread

    def new_data(self, udf_results: Buffers, damage: BufferWrapper, force: bool = False) -> None:
        """Extract the picture and show it, if the last time is long enough ago or if forced."""
        if force or self.is_due:
            self.data, self.damage = self.extract(udf_results, damage)
            self.update(self.damage, force=force)
            self._updated_at = time.monotonic()

    def get_udf(self) -> UDF:
        """Return whose results are shown."""
        return self.udf

    def update(self, damage: Array, force: bool = False) -> None:
        """Show `data`."""
        raise NotImplementedError(f"{type(self).__name__} has to implement update(damage, force)")

    def display(self) -> Any:
        """Show the plot for the first time."""
        raise NotImplementedError(f"{type(self).__name__} has to implement display()")


class Dummy2DPlot(Live2DPlot):
    """A plot that nobody sees: counts its updates and keeps the last picture."""

    n_updates = 0
    displayed = False

    def update(self, damage: Array, force: bool = False) -> None:
        """Count."""
        self.n_updates += 1

    def display(self) -> Dummy2DPlot:
        """Take note."""
        self.displayed = True
        return self


class LivePlots:
    """The plots of one run.

    Parameters
    ----------
    plots
        What the user said: True for all pictures, channels per UDF, or plot objects.
    plot_class
        Makes plots.
    dataset, udfs, roi
        What the run is about.

    Raises
    ------
    ValueError
        If there is nothing to make plots with, or a channel does not exist.
    """

    def __init__(
        self, plots: Any, plot_class: Any, dataset: StreamDataset, udfs: Sequence[UDF], roi: Any
    ) -> None:
        self.plots: list[tuple[int, Any]] = []
        self._wanted = plots
        self._plot_class = plot_class
        self._dataset = dataset
        self._udfs = list(udfs)
        self._roi = roi
        self._made = False
        wanted = [] if plots is True else list(plots)
        if plots is not True and wanted and all(hasattr(plot, "new_data") for plot in wanted):
            self.plots = [(self._index_of(plot), plot) for plot in wanted]
            self._made = True
            return
        if plot_class is None:
            raise ValueError(
                "plots= needs something that draws: pass plot objects, or make the context with plot_class=, "
                "a class like udf_core.Live2DPlot"
            )
        if plots is not True and len(self._udfs) == 1 and not all(isinstance(w, list) for w in wanted):
            self._wanted = [wanted]
        if self._wanted is not True and len(self._wanted) != len(self._udfs):
            raise ValueError(f"plots= has channels for {len(wanted)} UDFs, but there are {len(self._udfs)}")
        try:
            empty = dry_run(self._udfs, dataset, roi)
        except StateError:
            return  # live: the shape will be known with the first results
        self._make(empty)

    def update(self, results: UDFResults, *, force: bool = False) -> None:
        """Show new results in all plots that want to see them."""
        if not self._made:
            self._make(results)
        for index, plot in self.plots:
            if force or getattr(plot, "is_due", True):
                plot.new_data(results.buffers[index], results.damage, force=force)

    def _make(self, results: UDFResults) -> None:
        self._made = True
        for index, udf in enumerate(self._udfs):
            buffers = results.buffers[index]
            there = picture_channels(buffers) if self._wanted is True else self._wanted[index]
            for channel in there:
                plot = self._plot_class(
                    self._dataset,
                    udf=udf,
                    roi=self._roi,
                    channel=channel,
                    title=f"{type(udf).__name__}: {channel_name(channel)}",
                    min_delta=MIN_DELTA_S,
                    udfresult=UDFResults([dict(buffers)], results.damage),
                )
                plot.display()
                self.plots.append((index, plot))
        if not self.plots:
            names = ", ".join(type(udf).__name__ for udf in self._udfs)
            warnings.warn(f"plots= shows nothing: {names} have no result that is a picture", stacklevel=5)

    def _index_of(self, plot: Any) -> int:
        udf = plot.get_udf()
        for index, candidate in enumerate(self._udfs):
            if candidate is udf:
                return index
        raise ValueError(f"the plot {plot!r} is for a {type(udf).__name__} object that is not in this run")


def picture_channels(buffers: Buffers) -> list[str]:
    """Return the names of results that are pictures: two axes longer than 1, of numbers."""
    return [
        name
        for name, buffer in buffers.items()
        if np.squeeze(buffer.data).ndim == 2 and buffer.data.dtype.kind in "biufc"
    ]


def channel_name(channel: Channel) -> str:
    """Return what a channel is called."""
    if isinstance(channel, str):
        return channel
    if isinstance(channel, tuple):
        return f"{channel[0]} ({getattr(channel[1], '__name__', 'function')})"
    return getattr(channel, "__name__", "function")
