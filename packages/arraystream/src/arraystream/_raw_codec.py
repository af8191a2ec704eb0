"""Codec "raw": items are plain arrays in C order, in any byte order, anywhere in the payload.

Items that lie equally spaced, the usual case, are cast by one strided NumPy operation; small others are
gathered by one, large ones cast run by run.  NumPy releases the GIL.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ._chunk import ItemDescriptor
from ._errors import CodecError

_Bytes = npt.NDArray[np.uint8]
_Offsets = npt.NDArray[np.uint64]

# From here on a copy takes longer than a step of Python.
_LARGE_BYTES = 16 << 10


def _even_runs(offsets: _Offsets) -> Iterator[tuple[int, int]]:
    """Cut items into runs of equal distance, most of which are long if most distances are alike."""
    steps = np.diff(offsets.astype(np.int64))
    usual = int(np.median(steps))
    breaks = np.arange(1, len(offsets)) if usual <= 0 else np.flatnonzero(steps != usual) + 1
    yield from pairwise((0, *breaks.tolist(), len(offsets)))


class RawCodec:
    """Decode dense items.

    Parameters
    ----------
    descriptor
        ``codec_params["dtype"]`` may name the stored type with its byte order, e.g. ``">u2"``;
        without, items are stored as ``descriptor.dtype``.

    Raises
    ------
    CodecError
        If the stored type is not a plain number type.

    Examples
    --------
    >>> descriptor = ItemDescriptor(np.dtype("u2"), (2, 2), codec_params={"dtype": ">u2"})
    >>> payload = np.frombuffer(bytes([0, 1, 0, 2, 0, 3, 0, 4]), np.uint8)
    >>> out = np.empty((1, 2, 2), np.float32)
    >>> RawCodec(descriptor).decode(payload, np.zeros(1, np.uint64), (0, 2), out)
    >>> out.tolist()
    [[[1.0, 2.0], [3.0, 4.0]]]
    """

    def __init__(self, descriptor: ItemDescriptor) -> None:
        stored = descriptor.codec_params.get("dtype", descriptor.dtype)
        try:
            self._stored = np.dtype(stored)
        except TypeError as error:
            raise CodecError(f"Codec raw: stored type {stored!r} is no NumPy type.") from error
        if self._stored.kind not in "biufc":
            raise CodecError(f"Codec raw: stored type {self._stored} is not a number type; use one of biufc.")
        self._shape = descriptor.item_shape or (1,)
        self._row_shape = self._shape[1:]
        self._row_bytes = math.prod(self._row_shape) * self._stored.itemsize
        self._item_bytes = self._shape[0] * self._row_bytes

    def decode(
        self,
        payload: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.uint64],
        rows: tuple[int, int],
        out: npt.NDArray[Any],
    ) -> None:
        """Decode a band of rows of some items and cast to ``out.dtype``; see `Decoder.decode`."""
        n, (start, stop) = len(offsets), rows
        shape = (n, stop - start, *self._row_shape)
        if not 0 <= start <= stop <= self._shape[0]:
            raise CodecError(f"Codec raw: rows {rows} are outside the item's {self._shape[0]} rows.")
        if out.shape != shape:
            raise CodecError(f"Codec raw: out has shape {out.shape}, the band has {shape}.")
        if self._stored.kind == "c" and out.dtype.kind != "c":
            raise CodecError(f"Codec raw: casting {self._stored} to {out.dtype} would drop imaginary parts.")
        if out.size == 0:
            return
        self._check_bounds(payload, offsets)
        payload = np.ascontiguousarray(payload)
        band = self._spaced_band(payload, offsets, start, shape)
        if band is None and shape[1] * self._row_bytes >= _LARGE_BYTES:
            for first, last in _even_runs(offsets):
                part = self._spaced_band(payload, offsets[first:last], start, (last - first, *shape[1:]))
                assert part is not None
                np.copyto(out[first:last], part, casting="unsafe")
            return
        if band is None:
            band = self._gathered_band(payload, offsets, start, shape)
        np.copyto(out, band, casting="unsafe")

    def _check_bounds(self, payload: _Bytes, offsets: _Offsets) -> None:
        last = int(offsets.max()) + self._item_bytes
        if last > payload.nbytes:
            raise CodecError(
                f"Codec raw: an item ends at byte {last} of a payload of {payload.nbytes} bytes; "
                f"the descriptor (items of {self._item_bytes} bytes) does not fit the data."
            )

    def _spaced_band(
        self,
        payload: _Bytes,
        offsets: _Offsets,
        start: int,
        shape: tuple[int, ...],
    ) -> npt.NDArray[Any] | None:
        """View of equally spaced items, ``None`` if they are not."""
        first = int(offsets[0])
        step = self._item_bytes
        if len(offsets) > 1:
            steps = np.diff(offsets.astype(np.int64))
            step = int(steps[0])
            if step <= 0 or np.any(steps != step):
                return None
        # Strides of a C-ordered item, and the distance of items in front.
        inner = [self._stored.itemsize]
        for extent in reversed(shape[2:]):
            inner.append(inner[-1] * extent)
        return np.ndarray(
            shape,
            self._stored,
            buffer=payload.data,
            offset=first + start * self._row_bytes,
            strides=(step, *reversed(inner)),
        )

    def _gathered_band(
        self,
        payload: _Bytes,
        offsets: _Offsets,
        start: int,
        shape: tuple[int, ...],
    ) -> npt.NDArray[Any]:
        """Copy of the items' bands, wherever they lie."""
        band_bytes = shape[1] * self._row_bytes
        windows: _Bytes = np.ndarray(
            (payload.nbytes - band_bytes + 1, band_bytes), np.uint8, buffer=payload.data, strides=(1, 1)
        )
        picked = windows[offsets.astype(np.intp) + start * self._row_bytes]
        band: npt.NDArray[Any] = picked.view(self._stored).reshape(shape)
        return band
