"""The frames a simulator sends: pixels encoded once in blocks of whole messages, or a recording.

A block is a 2-D uint8 array, one row per message: ``MPX`` prefix, frame header, pixels.  Pixels stay
encoded in memory while they fit; headers are painted into a block just before it is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from detector_merlin._encode import FrameFormat, encode_frames, to_counts
from detector_merlin._headers import FrameHeaders, digits, render_hdr

_PREFIX_BYTES = 15
_BLOCK_BYTES = 4 << 20


class FrameMessages(Protocol):
    """Messages of one acquisition, by index into the data."""

    @property
    def n_frames(self) -> int:
        """Frames in the data; an acquisition that wants more begins again."""
        ...

    def rows(self, first: int, n_most: int) -> npt.NDArray[np.uint8]:
        """Return messages from index `first` on, at least one, shape ``(m, message_bytes)``."""
        ...

    def paint(
        self,
        rows: npt.NDArray[np.uint8],
        numbers: npt.NDArray[np.int64],
        utc_ns: npt.NDArray[np.int64],
        offset_s: int,
    ) -> None:
        """Write frame numbers and times into the headers of `rows`."""
        ...


class EncodedFrames:
    """Pixels of a data set in one format, encoded when first needed.

    Parameters
    ----------
    frames
        Shape ``(n, rows, columns)``; may be memory-mapped.
    frame_format
        How to encode them.
    scale
        Factor that makes counts of real numbers.
    cache_bytes
        How much to keep; what does not fit is encoded each time.
    """

    def __init__(
        self, frames: npt.NDArray[Any], frame_format: FrameFormat, *, scale: float | None, cache_bytes: int
    ) -> None:
        self._frames = frames
        self._scale = scale
        self.frame_format = frame_format
        length = frame_format.message_bytes
        self._n_block = max(1, min(len(frames), _BLOCK_BYTES // length))
        self._n_cached = cache_bytes // (self._n_block * length)
        self._blocks: dict[int, npt.NDArray[np.uint8]] = {}
        self._scratch: npt.NDArray[np.uint8] | None = None
        self._scratch_index = -1

    @property
    def n_frames(self) -> int:
        """Frames in the data."""
        return len(self._frames)

    @property
    def n_blocks(self) -> int:
        """Blocks the data is cut into."""
        return -(-len(self._frames) // self._n_block)

    @property
    def fits(self) -> bool:
        """Whether all blocks can be kept."""
        return self.n_blocks <= self._n_cached

    def rows(self, first: int, n_most: int) -> npt.NDArray[np.uint8]:
        """Return encoded messages from index `first` on, up to the end of a block."""
        index, start = divmod(first, self._n_block)
        return self.block(index)[start : start + n_most]

    def block(self, index: int) -> npt.NDArray[np.uint8]:
        """Return a block, encoding it if need be."""
        if index in self._blocks:
            return self._blocks[index]
        if index < self._n_cached:
            self._blocks[index] = self._encode(index, None)
            return self._blocks[index]
        if self._scratch_index != index:
            self._scratch = self._encode(index, self._scratch)
            self._scratch_index = index
        assert self._scratch is not None
        n = min(self._n_block, len(self._frames) - index * self._n_block)
        return self._scratch[:n]

    def _encode(self, index: int, out: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.uint8]:
        frames = self._frames[index * self._n_block : (index + 1) * self._n_block]
        fmt = self.frame_format
        if out is None:
            n_rows = len(frames) if index < self._n_cached else self._n_block
            out = np.zeros((n_rows, fmt.message_bytes), np.uint8)
            out[:, :_PREFIX_BYTES] = np.frombuffer(FrameHeaders(fmt).prefix, np.uint8)
        counts = to_counts(np.asarray(frames), fmt.depth, scale=self._scale)
        out[: len(frames), _PREFIX_BYTES + fmt.data_offset :] = encode_frames(counts, fmt)
        return out


class PixelMessages:
    """Encoded pixels with the frame headers of one acquisition."""

    def __init__(self, frames: EncodedFrames, headers: FrameHeaders) -> None:
        self._frames = frames
        self._headers = headers
        self.n_frames = frames.n_frames
        self.rows: Callable[[int, int], npt.NDArray[np.uint8]] = frames.rows

    def paint(
        self,
        rows: npt.NDArray[np.uint8],
        numbers: npt.NDArray[np.int64],
        utc_ns: npt.NDArray[np.int64],
        offset_s: int,
    ) -> None:
        """Write the frame headers."""
        stop = _PREFIX_BYTES + self._frames.frame_format.data_offset
        self._headers.render(numbers, utc_ns, offset_s, out=rows[:, _PREFIX_BYTES:stop])


class Recording:
    """A ``.mib`` file to be replayed, with its ``.hdr`` if there is one.

    Only frame numbers change; pixels, thresholds and time stamps stay as recorded.

    Parameters
    ----------
    path
        The ``.mib`` file, or the ``.hdr`` beside it.

    Raises
    ------
    ValueError
        If it is no Merlin recording.
    """

    def __init__(self, path: Path) -> None:
        mib = path.with_suffix(".mib") if path.suffix.lower() == ".hdr" else path
        hdr = mib.with_suffix(".hdr")
        data = np.memmap(mib, np.uint8, mode="r")
        fields = bytes(data[:4096]).split(b"\0", 1)[0].decode("latin-1").split(",")
        if fields[0] != "MQ1" or len(fields) < 8:
            raise ValueError(f"{mib} is no Merlin file: it does not begin with MQ1")
        self.frame_format = _recorded_format(fields, mib)
        fmt = self.frame_format
        stride = int(fields[2]) + fmt.payload_bytes
        self.n_frames = len(data) // stride
        if not self.n_frames or int(fields[2]) != fmt.data_offset:
            raise ValueError(f"{mib} holds no whole frame of {stride} bytes")
        self._data = data[: self.n_frames * stride].reshape(self.n_frames, stride)
        self._n_block = max(1, _BLOCK_BYTES // stride)
        self._prefix = np.frombuffer(FrameHeaders(fmt).prefix, np.uint8)
        self.hdr_text = hdr.read_bytes() if hdr.exists() else None

    def rows(self, first: int, n_most: int) -> npt.NDArray[np.uint8]:
        """Return recorded messages from index `first` on."""
        frames = self._data[first : first + min(n_most, self._n_block)]
        return np.concatenate([np.tile(self._prefix, (len(frames), 1)), frames], axis=1)

    def paint(
        self,
        rows: npt.NDArray[np.uint8],
        numbers: npt.NDArray[np.int64],
        utc_ns: npt.NDArray[np.int64],
        offset_s: int,
    ) -> None:
        """Write the frame numbers; their field has six digits, so they wrap."""
        rows[:, _PREFIX_BYTES + 4 : _PREFIX_BYTES + 10] = digits(numbers, 6)

    def hdr(self, n_frames: int, frames_per_trigger: int, *, old: bool) -> bytes | None:
        """Return the recorded acquisition header with these numbers, if there is one."""
        if self.hdr_text is None:
            return None
        wanted = {
            "Frames in Acquisition (Number)": n_frames,
            "Frames per Trigger (Number)": frames_per_trigger,
        }
        lines = []
        for line in self.hdr_text.decode("latin-1").replace("\r", "").split("\n")[1:]:
            key, _, _ = line.partition("\t")
            if key.strip() == "End":
                break
            number = wanted.get(key.rstrip(":"))
            lines.append(line if number is None else f"{key}\t{number}")
        return render_hdr(lines, old=old)


def _recorded_format(fields: list[str], path: Path) -> FrameFormat:
    """Work out the format from a frame header; without MQ1A from the size of the pixels."""
    n_chips, width, height = int(fields[3]), int(fields[4]), int(fields[5])
    kind, layout = fields[6], fields[7].strip()
    if kind not in ("U08", "U16", "U32", "U64", "R64") or layout not in ("1x1", "2x2", "2x2G", "Nx1", "Nx1G"):
        raise ValueError(f"{path}: pixel type {kind!r} in layout {layout!r} is unknown")
    if "MQ1A" in fields:
        depth = int(fields[fields.index("MQ1A") + 3])
    elif kind == "R64":
        raise ValueError(f"{path}: the frame header has no counter depth (no MQ1A field)")
    else:
        depth = {"U08": 6, "U16": 12}.get(kind, 24)
    if kind == "R64":
        doubled = 2 if depth == 24 else 1
        chip_shape = (height, width // doubled // n_chips)
        return FrameFormat("R64", depth, layout, n_chips, chip_shape)  # type: ignore[arg-type]
    n_across = 2 if layout.startswith("2x2") else n_chips
    gap = 2 if layout.endswith("G") else 0
    columns = (width - gap * (n_across - 1)) // n_across
    rows = (height - gap) // 2 if layout.startswith("2x2") else height
    return FrameFormat(kind, depth, layout, n_chips, (rows, columns))  # type: ignore[arg-type]
