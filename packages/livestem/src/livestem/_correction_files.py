"""Dark frames, gain maps and dead pixels from files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arraystream import FeedChunk, load_plugin, open_decoder
from udf_core import CorrectionError, CorrectionSet

SIG_DIMS = 2
_SHOWN = 5
_READ_S = 30.0

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class CorrectionFiles:
    """Where a detector's corrections are.

    Parameters
    ----------
    dark
        One dark frame, or several, which are averaged: ``.npy``, ``.npz`` or ``.mib``.
    gain
        A gain map, or a ``.mib`` with one frame.
    dead_pixels
        An image that is not 0 where a pixel is dead, or coordinates (row, column): an integer array of shape
        ``(n, 2)``, or text with a pixel per line.
    """

    dark: Path | None = None
    gain: Path | None = None
    dead_pixels: Path | None = None

    @property
    def given(self) -> dict[str, str]:
        """Paths by what they are for."""
        named = {"dark": self.dark, "gain": self.gain, "dead_pixels": self.dead_pixels}
        return {name: str(path) for name, path in named.items() if path is not None}

    def load(self) -> CorrectionSet | None:
        """Read all files; ``None`` if there are none.

        Raises
        ------
        CorrectionError
            If a file does not hold what is expected, or files do not belong together; the text names them.
        OSError
            If a file can't be read.
        """
        if not self.given:
            return None
        dark = None if self.dark is None else read_dark(self.dark)
        gain = None if self.gain is None else read_gain(self.gain)
        pixels = None if self.dead_pixels is None else read_dead_pixels(self.dead_pixels)
        if dark is not None and gain is not None and dark.shape != gain.shape:
            raise CorrectionError(
                f"{self.dark} has frames of shape {dark.shape}, but {self.gain} has {gain.shape}; "
                f"both have to be of the same detector, region and binning"
            )
        try:
            corrections = CorrectionSet(dark, gain, pixels)
        except CorrectionError as error:
            raise CorrectionError(f"{', '.join(self.given.values())}: {error}") from error
        for path, image in ((self.dark, dark), (self.gain, gain)):
            if path is not None and image is not None:
                _check_finite(path, image, corrections)
        return corrections

    def explain(self, error: CorrectionError) -> str:
        """Say which files an error is about."""
        files = ", ".join(f"--{name.replace('_', '-')} {path}" for name, path in self.given.items())
        return f"{error} (given: {files})" if files else str(error)


def read_dark(path: Path) -> Array:
    """Read a dark frame; several frames are averaged in float64.

    Raises
    ------
    CorrectionError
        If there is no frame in the file.
    OSError
        If it can't be read.
    """
    frames = _read_frames(path, "dark")
    if frames.ndim < SIG_DIMS or frames.size == 0 or frames.dtype.kind not in "biuf":
        raise _unexpected(path, frames, "a dark frame (rows, columns), or a stack of them (n, rows, columns)")
    stack = frames.reshape(-1, *frames.shape[-SIG_DIMS:])
    return np.asarray(stack.mean(axis=0, dtype=np.float64))


def read_gain(path: Path) -> Array:
    """Read a gain map.

    Raises
    ------
    CorrectionError
        If the file holds anything but one frame.
    OSError
        If it can't be read.
    """
    frames = _read_frames(path, "gain")
    n_frames = int(np.prod(frames.shape[:-SIG_DIMS]))
    if frames.ndim < SIG_DIMS or n_frames != 1 or frames.size == 0 or frames.dtype.kind not in "biuf":
        raise _unexpected(path, frames, "one gain map (rows, columns)")
    return frames.reshape(frames.shape[-SIG_DIMS:])


def read_dead_pixels(path: Path) -> Array:
    """Read an image of dead pixels, as booleans, or their coordinates, shape ``(n, 2)``.

    Raises
    ------
    CorrectionError
        If the file holds neither.
    OSError
        If it can't be read.
    """
    if path.suffix.lower() not in (".npy", ".npz", ".mib"):
        return _read_coordinates(path)
    array = _read_frames(path, "dead_pixels")
    if array.ndim > SIG_DIMS and np.prod(array.shape[:-SIG_DIMS]) == 1:
        array = array.reshape(array.shape[-SIG_DIMS:])
    if array.ndim != SIG_DIMS or array.dtype.kind not in "biuf":
        raise _unexpected(
            path, array, "an image (rows, columns), not 0 where dead, or coordinates of shape (n, 2)"
        )
    if array.shape[1] == SIG_DIMS and array.dtype.kind in "iu":
        return array.astype(np.int64)
    return np.asarray(array != 0)


def _read_coordinates(path: Path) -> Array:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CorrectionError(
            f"{path} is not a text file; dead pixels are read from .npy, .npz, .mib, or text with a row "
            f"and a column per line"
        ) from error
    pixels = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].replace(",", " ").replace(";", " ").split()
        if not words:
            continue
        try:
            row, column = (int(word) for word in words)
        except ValueError as error:
            raise CorrectionError(
                f"{path}, line {number}: {line.strip()!r} is not a pixel; write row and column, e.g. 17 203"
            ) from error
        pixels.append((row, column))
    return np.array(pixels, np.int64).reshape(-1, SIG_DIMS)


def _read_frames(path: Path, name: str) -> Array:
    """Read what is in a file, whatever its format."""
    suffix = path.suffix.lower()
    if suffix == ".mib":
        return _read_mib(path)
    if suffix not in (".npy", ".npz"):
        raise CorrectionError(f"{path} is of no format that is read here; give .npy, .npz or .mib")
    try:
        loaded: Any = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise CorrectionError(f"{path} is not a NumPy file: {error}") from error
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded as file:
        names = list(file.files)
        wanted = name if name in names else names[0] if len(names) == 1 else None
        if wanted is None:
            raise CorrectionError(f"{path} holds {', '.join(names)}; it needs one array, or one named {name}")
        return np.asarray(file[wanted])


def _read_mib(path: Path) -> Array:
    with load_plugin("arraystream.sources", "mib")(path) as source:
        descriptor = source.descriptor
        frames = np.empty((source.n_items, *descriptor.item_shape), descriptor.dtype)
        decoder = open_decoder(descriptor)
        feed = source.feed()
        member = feed.join()
        while isinstance(chunk := member.recv(_READ_S), FeedChunk):
            out = frames[chunk.first : chunk.first + chunk.n]
            decoder.decode(chunk.payload, chunk.offsets, (0, frames.shape[1]), out)
            feed.settle(member.number, [chunk.lease.token])
            chunk.lease.release()
        member.close()
        feed.close()
    if chunk is None:
        raise CorrectionError(f"{path} gave no frames for {_READ_S:g} s; is its disk still there?")
    return frames


def _unexpected(path: Path, array: Array, wanted: str) -> CorrectionError:
    return CorrectionError(f"{path} holds {array.dtype} of shape {array.shape}; expected is {wanted}")


def _check_finite(path: Path, image: Array, corrections: CorrectionSet) -> None:
    bad = ~np.isfinite(image)
    excluded = corrections.get_excluded_pixels()
    if excluded is not None:
        bad &= ~excluded.todense()
    if bad.any():
        shown = ", ".join(str(tuple(int(i) for i in one)) for one in np.argwhere(bad)[:_SHOWN])
        raise CorrectionError(
            f"{path} has {np.count_nonzero(bad)} values that are no finite numbers, at {shown}; "
            f"give these pixels as dead pixels"
        )
