"""The images a simulated detector sends: encoded once, or the chunks of a recording as they are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from detector_dectris._dectris import encode

_BLOCK_BYTES = 16 << 20
_FILTERS = {32008: "bslz4", 32004: "lz4"}


@dataclass(frozen=True, slots=True)
class ImageKind:
    """How images are to be encoded.

    Parameters
    ----------
    compression
        ``bslz4``, ``lz4``, ``none``.
    version
        Of the stream: it decides the framing of lz4.
    channels
        ``threshold_1``, ``threshold_2``, ``difference``.
    binned
        2 × 2 pixels are one.
    mask
        Bytes of a boolean array: pixels that hold no data.
    no_data
        What they hold.
    """

    compression: str
    version: int
    channels: tuple[str, ...]
    binned: bool = False
    mask: bytes | None = None
    no_data: int = 0


@dataclass(frozen=True, slots=True)
class Blobs:
    """Blobs of all images, `n_channels` each, in one array of bytes."""

    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.uint64]
    n_channels: int

    @property
    def n_images(self) -> int:
        """Images there are; a series of more begins again."""
        return len(self.offsets) // self.n_channels

    def of(self, number: int) -> list[bytes]:
        """Return the blobs of one image."""
        first = number % self.n_images * self.n_channels
        row = slice(first, first + self.n_channels)
        places = zip(self.offsets[row].tolist(), self.lengths[row].tolist(), strict=True)
        return [self.data[o : o + n].tobytes() for o, n in places]

    def hashes(self, texts: dict[int, bytes] | None) -> npt.NDArray[np.uint8]:
        """Return MD5 sums in hexadecimal: of the text that goes with a blob's length, or of the blobs."""
        if texts is not None:
            found = {length: hashlib.md5(text).hexdigest() for length, text in texts.items()}
            sums = [found[int(length)] for length in self.lengths]
        else:
            places = zip(self.offsets.tolist(), self.lengths.tolist(), strict=True)
            sums = [hashlib.md5(self.data[o : o + n].tobytes()).hexdigest() for o, n in places]
        return np.frombuffer("".join(sums).encode("ascii"), np.uint8).reshape(-1, 32)


class Frames(Protocol):
    """Where images come from."""

    shape: tuple[int, int]
    dtype: str
    n_images: int
    compressions: tuple[str, ...]

    def blobs(self, kind: ImageKind) -> Blobs:
        """Return the images, encoded."""
        ...


class ArrayFrames:
    """Images of an array, encoded when first needed.

    Parameters
    ----------
    data
        Shape ``(nav…, y, x)``; may be memory-mapped.  Unsigned, 8, 16 or 32 bit, or whole numbers that
        fit; ``uint64`` and signed ones become ``uint32``.

    Raises
    ------
    ValueError
        If it is no stack of images of counts.
    """

    compressions: tuple[str, ...] = ("bslz4", "lz4", "none")

    def __init__(self, data: npt.NDArray[Any]) -> None:
        if data.ndim < 3 or 0 in data.shape:
            raise ValueError(f"data of shape {data.shape} are no images (nav…, y, x)")
        if data.dtype.kind not in "ui":
            raise ValueError(f"data of type {data.dtype} are no counts; convert them to whole numbers")
        self.shape = (int(data.shape[-2]), int(data.shape[-1]))
        self.dtype = data.dtype.name if data.dtype.name in ("uint8", "uint16") else "uint32"
        self._frames = data.reshape(-1, *self.shape)
        self.n_images = len(self._frames)
        self._cache: dict[ImageKind, Blobs] = {}

    def blobs(self, kind: ImageKind) -> Blobs:
        """Return the images, encoded."""
        if kind not in self._cache:
            # One kind at a time: encoded images may be large.
            self._cache = {kind: self._encode(kind)}
        return self._cache[kind]

    def _encode(self, kind: ImageKind) -> Blobs:
        n_block = max(1, _BLOCK_BYTES // (self.shape[0] * self.shape[1] * 4))
        compression = "lz4-block" if kind.compression == "lz4" and kind.version == 1 else kind.compression
        found: list[bytes] = []
        for start in range(0, self.n_images, n_block):
            channels = self._channels(self._frames[start : start + n_block], kind)
            encoded = [encode(np.ascontiguousarray(one), compression) for one in channels]
            for row in zip(*encoded, strict=True):
                found += row
        lengths = np.array([len(blob) for blob in found], np.uint64)
        offsets = np.concatenate([np.zeros(1, np.uint64), np.cumsum(lengths)[:-1]])
        return Blobs(np.frombuffer(b"".join(found), np.uint8), offsets, lengths, len(kind.channels))

    def _channels(self, frames: npt.NDArray[Any], kind: ImageKind) -> list[npt.NDArray[Any]]:
        if kind.binned:
            n, rows, columns = frames.shape
            cells = frames.reshape(n, rows // 2, 2, columns // 2, 2)
            frames = np.minimum(cells.sum((2, 4), dtype=np.uint64), np.iinfo(self.dtype).max - 1)
        found = []
        for name in kind.channels:
            # The upper threshold sees half of the counts, so that channels can be told apart.
            part = {"threshold_2": frames // 2, "difference": frames - frames // 2}.get(name, frames)
            pixels = np.array(part, self.dtype)
            if kind.mask is not None:
                pixels[:, np.frombuffer(kind.mask, bool).reshape(pixels.shape[1:])] = kind.no_data
            found.append(pixels)
        return found


class RecordedFrames:
    """Images of a DECTRIS HDF5 file, blob by blob as the detector wrote them.

    Parameters
    ----------
    path
        A master or data file; the data sets in ``/entry/data`` are taken in order.

    Raises
    ------
    ValueError
        If there are no images in it, or h5py is missing.
    """

    def __init__(self, path: Path) -> None:
        try:
            import h5py
        except ImportError as error:
            raise ValueError(f"{path}: reading it takes h5py; pip install detector-dectris[hdf5]") from error
        found: list[bytes] = []
        with h5py.File(path, "r") as file:
            group = file.get("entry/data")
            names = sorted(group) if isinstance(group, h5py.Group) else []
            # A master file names data files that may have been left behind.
            sets = [group[name] for name in names if group.get(name) is not None]
            stacks = [one for one in sets if isinstance(one, h5py.Dataset) and one.ndim == 3]
            if not stacks:
                raise ValueError(f"{path} has no images in /entry/data")
            first = stacks[0]
            self.shape = (int(first.shape[1]), int(first.shape[2]))
            self.dtype = first.dtype.name
            self._compression = _compression(first, path)
            for stack in stacks:
                if stack.shape[1:] != self.shape or stack.chunks != (1, *self.shape):
                    raise ValueError(f"{path}: {stack.name} is not one chunk per image of {self.shape}")
                found += [stack.id.read_direct_chunk((n, 0, 0))[1] for n in range(len(stack))]
        self.n_images = len(found)
        self.compressions: tuple[str, ...] = (self._compression,)
        lengths = np.array([len(blob) for blob in found], np.uint64)
        offsets = np.concatenate([np.zeros(1, np.uint64), np.cumsum(lengths)[:-1]])
        self._blobs = Blobs(np.frombuffer(b"".join(found), np.uint8), offsets, lengths, 1)

    def blobs(self, kind: ImageKind) -> Blobs:
        """Return the images as recorded.

        Raises
        ------
        ValueError
            If they can't be sent that way without encoding them anew.
        """
        if kind.channels != ("threshold_1",) or kind.binned or kind.mask is not None:
            raise ValueError("recorded images can't be masked or binned and have one threshold")
        if kind.version == 1 and kind.compression == "lz4":
            raise ValueError("images recorded with lz4 are framed as in stream V2; set its format to cbor")
        return self._blobs


def _compression(stack: Any, path: Path) -> str:
    plist = stack.id.get_create_plist()
    filters = [plist.get_filter(n)[0] for n in range(plist.get_nfilters())]
    if not filters:
        return "none"
    if len(filters) == 1 and filters[0] in _FILTERS:
        return _FILTERS[filters[0]]
    raise ValueError(f"{path}: {stack.name} is compressed with filters {filters}, not as DECTRIS does")


def open_frames(data: npt.NDArray[Any] | str | Path) -> Frames:
    """Open an array, a ``.npy`` file (memory-mapped) or a DECTRIS HDF5 file.

    Raises
    ------
    ValueError
        If it holds no images.
    OSError
        If it can't be read.
    """
    if isinstance(data, np.ndarray):
        return ArrayFrames(data)
    path = Path(data)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if path.suffix.lower() in (".h5", ".hdf5", ".nxs"):
        return RecordedFrames(path)
    return ArrayFrames(np.load(path, mmap_mode="r", allow_pickle=False))
