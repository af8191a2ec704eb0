"""Frames of DECTRIS HDF5 files as the detector compressed them: found once, then read without HDF5.

A chunk of these files holds one image, in bytes as the detector's stream has them.  HDF5 is asked where
chunks are; they are mapped and decoded by all workers at once, while HDF5 would let one after the other in.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from arraystream import CodecError, ItemDescriptor, MappedFile, SharedBytes, TruncatedStream

from ._dectris import Decoder
from ._hdf5_layout import Part

_BSHUF, _LZ4 = 32008, 32004
_BSHUF_LZ4 = 2
_MOST_CHUNKS = 1 << 24
_CHUNK = np.dtype([("offset", "<u8"), ("size", "<u8"), ("skipped", "<u4")])
_NOT_WRITTEN = np.iinfo(np.uint64).max
_COMPRESSIONS = ("bslz4", "lz4")


class HDF5BlobCodec:
    """Decode chunks of HDF5 files that hold one image each; codec ``bslz4`` or ``lz4``.

    Items are blobs in the framing of the HDF5 filters 32008 and 32004, which say where they end.
    Thread-safe; releases the GIL.

    Parameters
    ----------
    descriptor
        Its codec says which of them; ``codec_params``: ``byteorder`` ``<`` (default) or ``>``.  Items have
        the shape ``(rows, columns)`` and a type of unsigned integers.

    Raises
    ------
    CodecError
        If there are no such images.

    Examples
    --------
    >>> blob = bytes.fromhex("0000000000000008 00000008 00000008 0100020003000400")
    >>> codec = HDF5BlobCodec(ItemDescriptor(np.dtype("u2"), (2, 2), "lz4"))
    >>> out = np.empty((1, 2, 2), np.float32)
    >>> codec.decode(np.frombuffer(blob, np.uint8), np.zeros(1, np.uint64), (0, 2), out)
    >>> out.tolist()
    [[[1.0, 2.0], [3.0, 4.0]]]
    """

    __slots__ = ("_decoder",)

    def __init__(self, descriptor: ItemDescriptor) -> None:
        compression, shape, dtype = descriptor.codec, descriptor.item_shape, np.dtype(descriptor.dtype)
        byteorder = descriptor.codec_params.get("byteorder", "<")
        if compression not in _COMPRESSIONS or byteorder not in ("<", ">"):
            raise CodecError(f"Codec {compression}: byteorder is {byteorder!r}; use '<' or '>'.")
        if len(shape) != 2 or dtype.kind != "u" or dtype.itemsize > 4:
            raise CodecError(
                f"Codec {compression}: items of {dtype} and shape {shape} can't be; "
                "they are images (rows, columns) of uint8, uint16 or uint32."
            )
        self._decoder = Decoder(
            compression, dtype.itemsize, (int(shape[0]), int(shape[1])), big_endian=byteorder == ">"
        )

    def decode(
        self,
        payload: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.uint64],
        rows: tuple[int, int],
        out: npt.NDArray[Any],
    ) -> None:
        """Decode a band of rows of some images and cast to ``out.dtype``; see `arraystream.Decoder`."""
        offsets = np.ascontiguousarray(offsets, np.uint64)
        if len(offsets) and int(offsets.max()) > payload.nbytes:
            raise CodecError(f"an image starts at byte {offsets.max()} of {payload.nbytes}")
        self._decoder.decode_blobs(payload, offsets, np.uint64(payload.nbytes) - offsets, rows, out)


class ImageChunks:
    """Gives the chunks of any range of frames (implements `arraystream.RangeReader`).

    Parameters
    ----------
    path
        The file with the chunks; it travels to other processes by its absolute path.
    chunks
        Where each frame's chunk lies, shape ``(n,)``, dtype with ``offset`` and ``size``.
    """

    def __init__(self, path: str | os.PathLike[str], chunks: npt.NDArray[Any]) -> None:
        self._file = MappedFile(path)
        places = np.empty((len(chunks), 2), np.uint64)
        places[:, 0], places[:, 1] = chunks["offset"], chunks["offset"] + chunks["size"]
        self._places = SharedBytes(places.reshape(-1).view(np.uint8))

    def read(self, first: int, n: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
        """Return a view of the file from the first to the last chunk, and where chunks start in it.

        Raises
        ------
        TruncatedStream
            If the file was shortened since it was opened.
        """
        places = self._places.array.view(np.uint64).reshape(-1, 2)[first : first + n]
        start, stop = int(places[:, 0].min()), int(places[:, 1].max())
        payload = self._file.view(start, stop, f"frames {first} to {first + n - 1}")
        return payload, places[:, 0] - np.uint64(start)


def compression_of(part: Part) -> str | None:
    """Return how the chunks of a part are compressed, if our decoder takes them; else ``None``."""
    dataset = part.dataset
    if dataset.ndim < 3 or dataset.chunks is None or dataset.is_virtual or dataset.external is not None:
        return None
    chunks, image_shape = dataset.chunks, dataset.shape[-2:]
    if chunks[-2:] != image_shape or math.prod(chunks) != math.prod(image_shape):
        return None
    if dataset.dtype.kind != "u" or dataset.dtype.itemsize > 4 or not _is_plain(dataset):
        return None
    plist = dataset.id.get_create_plist()
    if plist.get_nfilters() != 1:
        return None
    number, _, values, _ = plist.get_filter(0)
    if number == _LZ4:
        return "lz4"
    is_bslz4 = len(values) >= 5 and values[4] == _BSHUF_LZ4 and values[2] == dataset.dtype.itemsize
    return "bslz4" if number == _BSHUF and is_bslz4 else None


def find_chunks(part: Part) -> npt.NDArray[Any] | None:
    """Ask HDF5 where the chunks of a part are.

    Returns
    -------
    chunks
        Shape ``(n_frames,)`` or ``(n_frames, n_channels)``, with ``offset``, ``size`` and ``skipped``
        filters; frames at the end that were never written are left out.  ``None`` if HDF5 can't tell.

    Raises
    ------
    TruncatedStream
        If a chunk ends behind the end of the file, or frames in the middle were never written.
    """
    dataset = part.dataset
    counts = tuple(int(extent) for extent in dataset.shape[:-2])
    if math.prod(counts) > _MOST_CHUNKS or not hasattr(dataset.id, "chunk_iter"):
        return None
    if dataset.file.userblock_size:  # releases of HDF5 differ in whether it counts
        return None
    chunks = np.zeros(counts, _CHUNK)
    chunks["offset"] = _NOT_WRITTEN

    def note(info: Any) -> None:
        chunks[info.chunk_offset[:-2]] = (info.byte_offset, info.size, info.filter_mask)

    dataset.id.chunk_iter(note)
    chunks = chunks[: part.n_frames]
    is_written = (chunks["offset"] != _NOT_WRITTEN).reshape(len(chunks), -1).all(axis=1)
    chunks = chunks[: len(chunks) - int(np.argmax(is_written[::-1])) if is_written.any() else 0]
    holes = np.flatnonzero(~is_written[: len(chunks)])
    if len(holes):
        raise TruncatedStream(
            f"{part}: frame {holes[0]} was never written, nor {len(holes) - 1} others of {len(chunks)}. "
            'The source "hdf5" reads them as zeros.'
        )
    there = part.path.stat().st_size
    if chunks.size and int((chunks["offset"] + chunks["size"]).max()) > there:
        raise TruncatedStream(
            f"{part}: chunks end behind the end of the file ({there} bytes); it has been cut off."
        )
    return chunks


def _is_plain(dataset: Any) -> bool:
    """Whether the stored type is that of the array, byte order apart."""
    import h5py

    return bool(dataset.id.get_type() == h5py.h5t.py_create(dataset.dtype, logical=True))
