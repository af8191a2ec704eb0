"""The codec "dectris": pixels from the images of DECTRIS detectors, as streamed or from a file.

What the codec needs to know is in the descriptor's `codec_params`; how blobs are unpacked is decided in the
Rust decoder.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from arraystream import CodecError, ItemDescriptor

from ._dectris import Decoder

_REQUIRED = ("compression", "element_bytes")
_BYTE_ORDERS = {"<": False, ">": True}


class DectrisCodec:
    """Decode the images that a descriptor describes.  Thread-safe; releases the GIL.

    A payload holds *frame records*, 8-byte aligned: number of blobs (u4), zero (u4), length of each blob
    (u8), all little-endian, then the blobs as the detector sent them, each at the next multiple of 8 from the
    record's start.

    Parameters
    ----------
    descriptor
        Its ``codec_params``: ``compression`` is ``bslz4``, ``lz4`` (in the framing of HDF5 filter 32004),
        ``lz4-block`` (a bare block) or ``none``; ``element_bytes`` 1, 2 or 4; ``byteorder`` ``<`` (default)
        or ``>``; ``n_blobs`` of a record (default 1) and ``blob``: which one of them (default 0), or ``None``
        for all; items then have a first axis for them.

    Raises
    ------
    CodecError
        If a parameter is missing or makes no sense, or if the descriptor does not fit.

    Examples
    --------
    >>> blob = np.frombuffer(bytes(4) + bytes.fromhex("00000010 00002000 00000012 f001 55667880")
    ...                      + bytes(12), np.uint8)
    >>> record = np.concatenate([np.array([1, 0], "<u4").view("u1"), np.array([34], "<u8").view("u1"), blob])
    >>> codec = DectrisCodec(ItemDescriptor(np.dtype("u2"), (2, 4), "dectris",
    ...                                     {"compression": "bslz4", "element_bytes": 2}))
    >>> out = np.empty((1, 2, 4), np.float32)
    >>> codec.decode(record, np.zeros(1, np.uint64), (0, 2), out)
    >>> out[0].tolist()
    [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]
    """

    __slots__ = ("_decoder",)

    def __init__(self, descriptor: ItemDescriptor) -> None:
        params = descriptor.codec_params
        missing = [name for name in _REQUIRED if name not in params]
        if missing:
            raise CodecError(f"Codec dectris: codec_params lack {', '.join(missing)}; got {dict(params)}.")
        byteorder, blob = params.get("byteorder", "<"), params.get("blob", 0)
        if byteorder not in _BYTE_ORDERS:
            raise CodecError(f"Codec dectris: byteorder is {byteorder!r}; use '<' or '>'.")
        shape = descriptor.item_shape
        if len(shape) != (3 if blob is None else 2):
            raise CodecError(
                f"Codec dectris: items of shape {shape} can't be; blob {blob} gives "
                f"{'(channels, rows, columns)' if blob is None else '(rows, columns)'}."
            )
        try:
            self._decoder = Decoder(
                str(params["compression"]),
                int(params["element_bytes"]),
                (int(shape[-2]), int(shape[-1])),
                big_endian=_BYTE_ORDERS[byteorder],
                n_blobs=int(params.get("n_blobs", 1)),
                blob=None if blob is None else int(blob),
            )
        except (TypeError, ValueError, OverflowError) as error:
            if isinstance(error, CodecError):
                raise
            raise CodecError(f"Codec dectris: codec_params {dict(params)}: {error}.") from error
        found = (tuple(self._decoder.item_shape), np.dtype(self._decoder.dtype))
        if found != (shape, descriptor.dtype):
            raise CodecError(
                f"Codec dectris: these images have shape {found[0]} and type {found[1]}, the descriptor says "
                f"{shape} and {descriptor.dtype}."
            )

    def decode(
        self,
        payload: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.uint64],
        rows: tuple[int, int],
        out: npt.NDArray[Any],
    ) -> None:
        """Decode a band of rows of some images and cast to ``out.dtype``; see `arraystream.Decoder`.

        Rows are counted along the item's first axis: for ``blob=None`` they are channels.
        """
        self._decoder.decode(payload, offsets, rows, out)

    def decode_blobs(
        self,
        payload: npt.NDArray[np.uint8],
        starts: npt.NDArray[np.uint64],
        lengths: npt.NDArray[np.uint64],
        rows: tuple[int, int],
        out: npt.NDArray[Any],
    ) -> None:
        """Decode blobs that are in no record, e.g. the chunks of an HDF5 file.

        Parameters
        ----------
        payload
            Bytes that hold them.
        starts, lengths
            Where each blob starts and how long it is: shape ``(m,)``, for ``blob=None`` ``(m, n_blobs)``.
        rows, out
            As for `decode`.

        Raises
        ------
        CodecError
            If a blob is not what the descriptor says.  Nothing outside `payload` is read.
        """
        self._decoder.decode_blobs(payload, starts, lengths, rows, out)

    def __repr__(self) -> str:
        return f"DectrisCodec({self._decoder!r})"
