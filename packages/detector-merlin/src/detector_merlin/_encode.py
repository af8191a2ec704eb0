"""Bytes from pixels: what a Merlin detector sends for a stack of frames, vectorised.

`FrameFormat` says how the pixels of one frame travel (pixel type, depth, chip layout, rows read);
`encode_frames` writes whole stacks.  The inverse, from bytes to pixels, is native code elsewhere.
Layouts and byte orders follow the Merlin manual and real files; all arrays are C-contiguous.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Layout = Literal["1x1", "2x2", "2x2G", "Nx1", "Nx1G"]
Kind = Literal["U08", "U16", "U32", "U64", "R64"]

LAYOUTS: tuple[Layout, ...] = ("1x1", "2x2", "2x2G", "Nx1", "Nx1G")
DEPTHS = (1, 6, 12, 24)
GAP_PIXELS = 2  # width of the cross of zeros between chips in the layouts with G

_PLAIN_KIND: dict[int, Kind] = {1: "U08", 6: "U08", 12: "U16", 24: "U32"}
_WIRE_DTYPE: dict[str, np.dtype[Any]] = {
    "U08": np.dtype(">u1"),
    "U16": np.dtype(">u2"),
    "U32": np.dtype(">u4"),
    "U64": np.dtype(">u8"),
}
# Pixels that share one 64-bit word of the raw format; 24 bit travels as two 12-bit images.
_PIXELS_PER_WORD = {1: 64, 6: 8, 12: 4, 24: 4}


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """How the pixels of one frame travel.

    Parameters
    ----------
    kind
        Pixel type of the frame header: ``U08``, ``U16``, ``U32``, ``U64``, or ``R64`` for raw.
    depth
        Counter depth in bits: 1, 6, 12 or 24.
    layout
        How chips are arranged; ``G`` means that the gaps between chips are part of the picture.
    n_chips
        Number of chips.
    chip_shape
        Rows and columns of one chip as read, ``(256, 256)`` without row ROI.

    Raises
    ------
    ValueError
        If these do not fit together.
    """

    kind: Kind
    depth: int
    layout: Layout
    n_chips: int
    chip_shape: tuple[int, int]

    def __post_init__(self) -> None:
        if self.depth not in DEPTHS:
            raise ValueError(f"counter depth {self.depth} is not one of {DEPTHS}")
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout {self.layout!r} is not one of {LAYOUTS}")
        rows, columns = self.chip_shape
        if rows < 1 or columns < 1 or max(self.header_size) > 9999:
            raise ValueError(f"chips of {rows} x {columns} pixels do not fit the header's four digits")
        if self.kind == "R64" and columns % self.pixels_per_word:
            raise ValueError(
                f"raw {self.depth} bit packs {self.pixels_per_word} pixels into a word: the chip width "
                f"{columns} is no multiple of it; use a plain pixel type or crop the frames"
            )

    @classmethod
    def for_frames(
        cls,
        frame_shape: tuple[int, int],
        *,
        depth: int = 12,
        raw: bool = False,
        layout: Layout = "1x1",
        n_chips: int | None = None,
        roi_rows: int | None = None,
        kind: Kind | None = None,
    ) -> FrameFormat:
        """Choose the format for frames of a shape.

        Parameters
        ----------
        frame_shape
            Rows and columns of the frames to send.  For the layouts with G, with or without gap.
        depth
            Counter depth in bits.
        raw
            R64 instead of the plain type of the depth.
        layout
            Chip layout; any chip size is allowed, real chips have 256 × 256 pixels.
        n_chips
            Only for ``Nx1``; default 4.
        roi_rows
            Rows read of each chip; all if ``None`` or more than there are.
        kind
            A plain pixel type other than the depth's own.
        """
        if layout not in LAYOUTS:
            raise ValueError(f"layout {layout!r} is not one of {LAYOUTS}")
        if depth not in DEPTHS:
            raise ValueError(f"counter depth {depth} is not one of {DEPTHS}")
        n_across, n_down = _chips_across_and_down(layout, n_chips)
        rows, columns = _without_gap(frame_shape, layout, n_across)
        if rows % n_down or columns % n_across:
            raise ValueError(f"frames of {frame_shape} pixels can't be cut into chips for layout {layout}")
        chip_rows = rows // n_down
        if roi_rows is not None:
            chip_rows = min(chip_rows, roi_rows)
        chosen: Kind = "R64" if raw else kind or _PLAIN_KIND[depth]
        return cls(chosen, depth, layout, n_across * n_down, (chip_rows, columns // n_across))

    @property
    def raw(self) -> bool:
        """Whether pixels travel as R64."""
        return self.kind == "R64"

    @property
    def pixels_per_word(self) -> int:
        """Pixels that share a 64-bit word of the raw format."""
        return _PIXELS_PER_WORD[self.depth]

    @property
    def item_shape(self) -> tuple[int, int]:
        """Shape of the assembled frame."""
        rows, columns = self.chip_shape
        gap = GAP_PIXELS if self.layout.endswith("G") else 0
        if self.layout.startswith("2x2"):
            return 2 * rows + gap, 2 * columns + gap
        return rows, self.n_chips * columns + (self.n_chips - 1) * gap

    @property
    def dtype(self) -> np.dtype[Any]:
        """Native type that holds every value of the depth."""
        if self.kind == "R64":
            return np.dtype({1: "u1", 6: "u1", 12: "u2", 24: "u4"}[self.depth])
        return _WIRE_DTYPE[self.kind].newbyteorder("=")

    @property
    def header_size(self) -> tuple[int, int]:
        """Width and height as the frame header says; raw frames put all chips side by side."""
        if not self.raw:
            return self.item_shape[1], self.item_shape[0]
        doubled = 2 if self.depth == 24 else 1
        return self.n_chips * self.chip_shape[1] * doubled, self.chip_shape[0]

    @property
    def chip_select(self) -> int:
        """Bit mask of the chips."""
        return (1 << self.n_chips) - 1

    @property
    def data_offset(self) -> int:
        """Bytes from ``MQ1`` to the first pixel."""
        return 256 + 128 * self.n_chips

    @property
    def payload_bytes(self) -> int:
        """Bytes of the pixels of one frame."""
        if not self.raw:
            return self.item_shape[0] * self.item_shape[1] * _WIRE_DTYPE[self.kind].itemsize
        rows, columns = self.chip_shape
        n_words = self.n_chips * rows * columns // self.pixels_per_word
        return n_words * 8 * (2 if self.depth == 24 else 1)

    @property
    def message_bytes(self) -> int:
        """Bytes of a whole frame message on the wire, ``MPX`` prefix included."""
        return 15 + self.data_offset + self.payload_bytes


def _chips_across_and_down(layout: Layout, n_chips: int | None) -> tuple[int, int]:
    wanted = {"1x1": 1, "2x2": 4, "2x2G": 4}.get(layout)
    if wanted is None:
        return (4 if n_chips is None else n_chips), 1
    if n_chips not in (None, wanted):
        raise ValueError(f"layout {layout} has {wanted} chips, not {n_chips}")
    return (2, 2) if wanted == 4 else (1, 1)


def _without_gap(frame_shape: tuple[int, int], layout: Layout, n_across: int) -> tuple[int, int]:
    """Take the gap off a frame's shape, where it has one; a chip's width is a multiple of 4."""
    rows, columns = frame_shape
    gap = GAP_PIXELS * (n_across - 1)
    if not layout.endswith("G") or (columns - gap) % (4 * n_across):
        return rows, columns
    return (rows - GAP_PIXELS if layout == "2x2G" else rows), columns - gap


def to_counts(frames: npt.NDArray[Any], depth: int, *, scale: float | None = None) -> npt.NDArray[Any]:
    """Turn numbers into what a counter of a depth holds: whole, not negative, saturated at the top.

    Parameters
    ----------
    frames
        Any shape.  Integers or booleans; real numbers only with `scale`.
    depth
        Counter depth in bits.
    scale
        Factor; the product is rounded.

    Returns
    -------
    counts
        Same shape, the smallest of u1, u2, u4 that holds the depth.

    Raises
    ------
    ValueError
        For real numbers without `scale`, or other types.
    """
    target = np.dtype({1: "u1", 6: "u1", 12: "u2", 24: "u4"}[depth])
    top = (1 << depth) - 1
    if scale is not None and frames.dtype.kind in "biuf":
        frames = np.rint(np.nan_to_num(frames.astype(np.float64)) * scale)
    elif frames.dtype.kind not in "biu":
        raise ValueError(f"pixels of type {frames.dtype} are no counts; give a scale to round them to counts")
    if frames.dtype.kind == "b" or (frames.dtype.kind == "u" and np.iinfo(frames.dtype).max <= top):
        return frames.astype(target, copy=False)
    if frames.dtype.kind in "iu":
        top = min(top, int(np.iinfo(frames.dtype).max))
    counts: npt.NDArray[Any] = np.clip(frames, 0, top).astype(target)
    return counts


def encode_frames(frames: npt.NDArray[Any], frame_format: FrameFormat) -> npt.NDArray[np.uint8]:
    """Encode the pixels of a stack of frames.

    Parameters
    ----------
    frames
        Counts, shape ``(n, rows, columns)``; with or without gap, before the row ROI is cut.
    frame_format
        How they travel.

    Returns
    -------
    payloads
        Shape ``(n, payload_bytes)``.

    Raises
    ------
    ValueError
        If the frames don't fit the format.
    """
    chips = _cut_into_chips(frames, frame_format)
    if frame_format.raw:
        return _encode_raw(chips, frame_format)
    pixels = _assemble(chips, frame_format).astype(_WIRE_DTYPE[frame_format.kind])
    return pixels.reshape(len(frames), -1).view(np.uint8)


def _cut_into_chips(frames: npt.NDArray[Any], frame_format: FrameFormat) -> list[npt.NDArray[Any]]:
    """Return chips 1 … N as they stand in the picture, cut to the rows that are read."""
    rows, columns = frame_format.chip_shape
    n_across = 2 if frame_format.layout.startswith("2x2") else frame_format.n_chips
    n_down = 2 if frame_format.layout.startswith("2x2") else 1
    _, width = _without_gap((frames.shape[1], frames.shape[2]), frame_format.layout, n_across)
    if width != n_across * columns or frames.shape[1] < n_down * rows:
        raise ValueError(f"frames of {frames.shape[1:]} pixels do not fit {frame_format}")
    step = columns + (frames.shape[2] - width) // max(n_across - 1, 1)
    across = [slice(i * step, i * step + columns) for i in range(n_across)]
    top = [frames[:, :rows, part] for part in across]
    # With a row ROI the outermost rows of the sensor are read, above and below.
    bottom = [frames[:, frames.shape[1] - rows :, part] for part in across] if n_down == 2 else []
    return top + bottom


def _assemble(chips: list[npt.NDArray[Any]], frame_format: FrameFormat) -> npt.NDArray[Any]:
    n = len(chips[0])
    rows, columns = frame_format.chip_shape
    out = np.zeros((n, *frame_format.item_shape), chips[0].dtype)
    n_across = 2 if frame_format.layout.startswith("2x2") else frame_format.n_chips
    gap = GAP_PIXELS if frame_format.layout.endswith("G") else 0
    for number, chip in enumerate(chips):
        y = (number // n_across) * (rows + gap)
        x = (number % n_across) * (columns + gap)
        out[:, y : y + rows, x : x + columns] = chip
    return out


def _encode_raw(chips: list[npt.NDArray[Any]], frame_format: FrameFormat) -> npt.NDArray[np.uint8]:
    """Rows of all chips side by side, last chip first; the lower chips of a quad are upside down."""
    if frame_format.layout.startswith("2x2"):
        chips = [*chips[:2], *(chip[:, ::-1, ::-1] for chip in chips[2:])]
    side_by_side = np.concatenate(chips[::-1], axis=2)
    n = len(side_by_side)
    if frame_format.depth != 24:
        return pack_words(side_by_side, frame_format.depth).reshape(n, -1)
    upper = pack_words(side_by_side >> 12, 12).reshape(n, -1)
    lower = pack_words(side_by_side & 0xFFF, 12).reshape(n, -1)
    return np.concatenate([upper, lower], axis=1)


def pack_words(pixels: npt.NDArray[Any], depth: int) -> npt.NDArray[np.uint8]:
    """Pack rows of pixels into 64-bit words in which the last pixel comes first.

    Parameters
    ----------
    pixels
        Any shape; the last axis is a multiple of 64 (1 bit), 8 (6 bit) or 4 (12 bit) pixels.
    depth
        1, 6 or 12.

    Returns
    -------
    packed
        Last axis in bytes.

    Examples
    --------
    >>> pack_words(np.array([0x001, 0x002, 0xABC, 0xFFF]), 12).tobytes().hex(" ")
    '0f ff 0a bc 00 02 00 01'
    """
    if depth == 1:
        octets = np.packbits(pixels != 0, axis=-1, bitorder="little")
    else:
        octets = np.ascontiguousarray(pixels, np.dtype("<u2" if depth == 12 else "u1"))
    # A word with its pixels in ascending order is a little-endian number; on the wire it is big-endian.
    words = octets.view(np.dtype("<u8")).byteswap()
    packed: npt.NDArray[np.uint8] = words.view(np.uint8)
    return packed
