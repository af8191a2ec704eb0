"""The sheet of paper under every picture: axes, title, colour bar, scale bar, hatching.

Laid out in whole screen pixels: a scan position is a square of ``zoom × zoom`` of them, so nothing is
resampled and a picture can be checked pixel by pixel.  Matplotlib is used through its object
interface only: nothing here touches global state, and threads may draw at the same time.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ._channel import BoolMap, Calibration
from ._scaling import nice_length

DPI = 100
TARGET = 480  # the longer side of a picture is about this many screen pixels
LARGEST = 1040
MARGIN_LEFT, MARGIN_BOTTOM, MARGIN_TOP = 64, 56, 44
BAR_GAP, BAR_WIDTH, BAR_LABELS = 18, 16, 84
INK = "#222222"
MISSING_FILL, MISSING_HATCH = "#b9b9b9", "#8c8c8c"
FONT: dict[str, Any] = {"family": "DejaVu Sans", "color": INK}


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished drawing.

    Parameters
    ----------
    figure
        For further drawing with matplotlib.
    image_box
        Where the data are, in screen pixels: (left, top, right, bottom).
    zoom
        Screen pixels per data pixel.
    legend_box
        Where the colour wheel is, if there is one; like `image_box`.
    """

    figure: Figure
    image_box: tuple[int, int, int, int]
    zoom: float
    legend_box: tuple[int, int, int, int] | None = None

    def pixels(self) -> npt.NDArray[np.uint8]:
        """Render: shape (height, width, 4), RGBA, row 0 at the top."""
        canvas = self.figure.canvas
        if not isinstance(canvas, FigureCanvasAgg):
            canvas = FigureCanvasAgg(self.figure)
        canvas.draw()  # type: ignore[no-untyped-call]
        return np.array(canvas.buffer_rgba(), dtype=np.uint8)  # type: ignore[no-untyped-call]

    def png(self) -> bytes:
        """Render to the bytes of a PNG file."""
        return encode_png(self.pixels())

    def save(self, path: Path | str) -> Path:
        """Write a PNG file.  A reader never sees half of it.

        Parameters
        ----------
        path
            File to write; an older one is replaced.
        """
        return write_whole(Path(path), self.png())


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Turn RGBA pixels into the bytes of a PNG file.

    Parameters
    ----------
    pixels
        Shape (height, width, 4).
    """
    target = io.BytesIO()
    imsave(target, pixels[..., :3], format="png", dpi=DPI, pil_kwargs={"compress_level": 4})
    return target.getvalue()


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file under another name and move it into place.

    Parameters
    ----------
    path, content
        Target and bytes.
    """
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(content)
    draft.replace(path)
    return path


def _zoom_for(shape: tuple[int, int]) -> float:
    longer = max(shape)
    if longer > LARGEST:
        return LARGEST / longer
    return max(1, round(TARGET / longer))


class Panel:
    """Lays out one picture.

    Parameters
    ----------
    shape
        Pixels of the data, (y, x).
    title
        Text above the picture.
    calibration
        Distance of neighbouring pixels.
    note
        Small text below the title, e.g. how much of the scan is missing.
    legend_width
        Screen pixels to keep free right of the picture.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        title: str,
        *,
        calibration: Calibration,
        note: str = "",
        legend_width: int = BAR_GAP + BAR_WIDTH + BAR_LABELS,
    ) -> None:
        self.shape = shape
        self.calibration = calibration
        self.zoom = _zoom_for(shape)
        self.height = max(1, round(shape[0] * self.zoom))
        self.width = max(1, round(shape[1] * self.zoom))
        self.sheet_height = max(self.height, 120) + MARGIN_TOP + MARGIN_BOTTOM
        self.sheet_width = max(self.width + legend_width, 300) + MARGIN_LEFT
        self.figure = Figure(
            # A little more than whole pixels, as the canvas rounds down.
            figsize=((self.sheet_width + 1e-3) / DPI, (self.sheet_height + 1e-3) / DPI),
            dpi=DPI,
            facecolor="white",
        )
        FigureCanvasAgg(self.figure)
        self.axes = self.place(MARGIN_LEFT, MARGIN_TOP, self.width, self.height)
        self._label(title, note)
        self._frame_axes()

    def place(self, left: int, top: int, width: int, height: int) -> Axes:
        """Add axes at a place given in screen pixels from the top left corner.

        Parameters
        ----------
        left, top, width, height
            The place.
        """
        bottom = self.sheet_height - top - height
        axes = self.figure.add_axes(
            (
                left / self.sheet_width,
                bottom / self.sheet_height,
                width / self.sheet_width,
                height / self.sheet_height,
            )
        )
        axes.tick_params(labelsize=8, colors=INK, width=0.6, length=3)
        for spine in axes.spines.values():
            spine.set_linewidth(0.6)
            spine.set_color(INK)
        return axes

    def _label(self, title: str, note: str) -> None:
        left = MARGIN_LEFT / self.sheet_width
        title_y = 1 - (12 if note else 20) / self.sheet_height
        self.figure.text(left, title_y, title, va="center", ha="left", fontsize=11, weight="bold", **FONT)
        if note:
            self.figure.text(
                left, 1 - 30 / self.sheet_height, note, va="center", ha="left", fontsize=8, color="#a03020"
            )

    def _frame_axes(self) -> None:
        rows, columns = self.shape
        axes, calibration = self.axes, self.calibration
        axes.set_xlim(-0.5, columns - 0.5)
        axes.set_ylim(rows - 0.5, -0.5)
        for axis, name, step, count in (
            (axes.xaxis, "x", calibration.step[1], columns),
            (axes.yaxis, "y", calibration.step[0], rows),
        ):
            if calibration.unit == "px":
                axis.set_major_locator(MaxNLocator(6 if count > 8 else max(count, 1), integer=True))
            else:
                axis.set_major_locator(_CalibratedLocator(step))
                axis.set_major_formatter(FuncFormatter(lambda value, _, s=step: f"{value * s:g}"))
            axis.set_label_text(f"{name} [{calibration.unit}]", fontsize=9, color=INK)

    def hatch(self) -> None:
        """Fill the place of the data with what stands for *not valid*."""
        self.axes.add_patch(
            Rectangle(
                (-0.5, -0.5),
                self.shape[1],
                self.shape[0],
                facecolor=MISSING_FILL,
                edgecolor=MISSING_HATCH,
                hatch="////",
                linewidth=0,
                zorder=0,
            )
        )

    def image(self, rgb: npt.NDArray[np.float64], seen: BoolMap) -> None:
        """Draw colours where the data are valid and hatching elsewhere.

        Parameters
        ----------
        rgb
            Shape (y, x, 3), 0 … 1.
        seen
            Shape (y, x).
        """
        if not seen.all():
            self.hatch()
        rgba = np.concatenate([rgb, seen[..., None].astype(np.float64)], axis=-1)
        smaller = self.zoom < 1
        self.axes.imshow(
            rgba,
            interpolation="antialiased" if smaller else "nearest",
            aspect="auto",
            extent=(-0.5, self.shape[1] - 0.5, self.shape[0] - 0.5, -0.5),
            zorder=1,
        )

    def colour_bar(self, mappable: ScalarMappable, label: str) -> None:
        """Draw the colour bar right of the picture.

        Parameters
        ----------
        mappable
            Colours and span.
        label
            What the values are, with their unit.
        """
        height = max(self.height, 120)
        axes = self.place(MARGIN_LEFT + self.width + BAR_GAP, MARGIN_TOP, BAR_WIDTH, height)
        bar = self.figure.colorbar(mappable, cax=axes)
        axes.tick_params(labelsize=8, colors=INK, width=0.6, length=3)
        axes.yaxis.get_offset_text().set_fontsize(8)
        bar.set_label(label, fontsize=9, color=INK)
        bar.outline.set_linewidth(0.6)

    def scale_bar(self) -> None:
        """Draw a bar of a round length into the lower left corner of the picture."""
        rows, columns = self.shape
        if self.height < 60 or self.width < 100:
            return
        step, unit = self.calibration.step[1], self.calibration.unit
        length = nice_length(columns * step)
        if unit == "px":
            length = max(1.0, round(length))
        bar, pad, thick = length / step, 10 / self.zoom, 5 / self.zoom
        box_height, box_width = 30 / self.zoom, bar + 2 * (7 / self.zoom)
        left, bottom = pad - 0.5, rows - 0.5 - pad
        self.axes.add_patch(
            Rectangle(
                (left, bottom - box_height),
                box_width,
                box_height,
                facecolor="black",
                alpha=0.55,
                linewidth=0,
                zorder=3,
            )
        )
        self.axes.add_patch(
            Rectangle(
                (left + 7 / self.zoom, bottom - 6 / self.zoom - thick),
                bar,
                thick,
                facecolor="white",
                linewidth=0,
                zorder=4,
            )
        )
        self.axes.text(
            left + box_width / 2,
            bottom - 14 / self.zoom,
            f"{length:g} {unit}",
            color="white",
            fontsize=8,
            ha="center",
            va="bottom",
            zorder=4,
            clip_on=True,
        )

    def finish(self, legend_box: tuple[int, int, int, int] | None = None) -> Picture:
        """Return the finished picture.

        Parameters
        ----------
        legend_box
            Where a colour wheel was put.
        """
        box = (MARGIN_LEFT, MARGIN_TOP, MARGIN_LEFT + self.width, MARGIN_TOP + self.height)
        return Picture(self.figure, box, self.zoom, legend_box)


class _CalibratedLocator(MaxNLocator):
    """Puts ticks at round values of the calibrated axis, whose data are pixels."""

    def __init__(self, step: float) -> None:
        super().__init__(6)
        self._step = step

    def tick_values(self, vmin: float, vmax: float) -> Any:
        return np.asarray(super().tick_values(vmin * self._step, vmax * self._step)) / self._step


def missing_note(seen: BoolMap) -> str:
    """Say how much of a picture is not valid; ``""`` if nothing is.

    Parameters
    ----------
    seen
        Where the data can be believed.
    """
    n_missing = int(seen.size - np.count_nonzero(seen))
    if not n_missing:
        return ""
    share = 100 * n_missing / seen.size
    percent = f"{share:.0f}" if share >= 1 else f"{share:.1g}"
    noun = "position" if n_missing == 1 else "positions"
    return f"{n_missing} of {seen.size} {noun} without data ({percent} %), hatched"
