"""Colours of directions: a hue wheel that is even to the eye.

Direction is hue, magnitude is lightness and saturation together.  The colours lie on a cone of the
OKLab space (B. Ottosson, "A perceptual color space for image processing", 2020): all directions of
one magnitude are equally light, and equal steps of angle are equal steps of colour.

Conventions: vectors are (y, x) with y down, as everywhere; a vector that points right on the screen
is red, up is yellow-green, left is cyan-blue, down is violet.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LIGHTNESS = 0.76
CHROMA = 0.12
HUE_OF_RIGHT = 0.44  # radians; the red of OKLab's circle

Colours = npt.NDArray[np.float64]


def _oklab_to_linear_rgb(lightness: Colours, a: Colours, b: Colours) -> Colours:
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return np.stack(
        [
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ],
        axis=-1,
    )


def _linear_to_srgb(linear: Colours) -> Colours:
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def direction_colours(y: npt.ArrayLike, x: npt.ArrayLike) -> Colours:
    """Give vectors of length 0 … 1 their colours.

    Parameters
    ----------
    y, x
        Components, y down; longer vectors than 1 get the colour of length 1.

    Returns
    -------
    colours
        sRGB in 0 … 1, shape ``(*y.shape, 3)``; length 0 is black.
    """
    y, x = np.broadcast_arrays(np.asarray(y, dtype=np.float64), np.asarray(x, dtype=np.float64))
    length = np.clip(np.hypot(y, x), 0.0, 1.0)
    hue = np.arctan2(-y, x) + HUE_OF_RIGHT
    chroma = CHROMA * length
    linear = _oklab_to_linear_rgb(LIGHTNESS * length, chroma * np.cos(hue), chroma * np.sin(hue))
    return _linear_to_srgb(linear)


def wheel(n_pixels: int) -> Colours:
    """Draw the legend: each point has the colour of the vector from the centre to it.

    Parameters
    ----------
    n_pixels
        Diameter of the wheel.

    Returns
    -------
    colours
        sRGB and opacity in 0 … 1, shape ``(n_pixels, n_pixels, 4)``; transparent outside.
    """
    centre = (n_pixels - 1) / 2
    y, x = (np.mgrid[:n_pixels, :n_pixels] - centre) / (n_pixels / 2)
    opacity = np.clip((1.0 - np.hypot(y, x)) * n_pixels / 2 + 0.5, 0.0, 1.0)
    return np.concatenate([direction_colours(y, x), opacity[..., None]], axis=-1)
