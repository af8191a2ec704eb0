"""The codec "merlin": pixels from the frames of a Merlin detector, as received or from a file.

What the codec needs to know is what a frame's header says (`codec_params` of the descriptor); where
the pixels of each chip are and how they are packed is decided in the Rust decoder.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from arraystream import CodecError, ItemDescriptor

from ._merlin import Decoder

_REQUIRED = ("kind", "depth", "layout", "n_chips", "header_width", "header_height")


class MerlinCodec:
    """Decode the frames that a descriptor describes.  Thread-safe; releases the GIL.

    Parameters
    ----------
    descriptor
        Its ``codec_params`` hold ``kind``, ``depth``, ``layout``, ``n_chips``, ``header_width`` and
        ``header_height`` as the frame header gives them, and optionally ``flip_y`` to turn images
        upside down as the vendor's own display does.

    Raises
    ------
    CodecError
        If a parameter is missing, if there is no such format, or if its image has another shape.

    Examples
    --------
    >>> params = dict(kind="R64", depth=6, layout="1x1", n_chips=1, header_width=256, header_height=1)
    >>> codec = MerlinCodec(ItemDescriptor(np.dtype("u1"), (1, 256), "merlin", params))
    >>> payload = np.zeros(256, np.uint8)
    >>> payload[:8] = [8, 7, 6, 5, 4, 3, 2, 1]
    >>> out = np.empty((1, 1, 256), np.float32)
    >>> codec.decode(payload, np.zeros(1, np.uint64), (0, 1), out)
    >>> out[0, 0, :9].tolist()
    [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 0.0]
    """

    __slots__ = ("_decoder",)

    def __init__(self, descriptor: ItemDescriptor) -> None:
        params = descriptor.codec_params
        missing = [name for name in _REQUIRED if name not in params]
        if missing:
            raise CodecError(f"Codec merlin: codec_params lack {', '.join(missing)}; got {dict(params)}.")
        try:
            self._decoder = Decoder(
                str(params["kind"]),
                int(params["depth"]),
                str(params["layout"]),
                int(params["n_chips"]),
                int(params["header_width"]),
                int(params["header_height"]),
                flip_y=bool(params.get("flip_y", False)),
            )
        except (TypeError, ValueError, OverflowError) as error:
            if isinstance(error, CodecError):
                raise
            raise CodecError(f"Codec merlin: codec_params {dict(params)}: {error}.") from error
        if self._decoder.item_shape != descriptor.item_shape:
            raise CodecError(
                f"Codec merlin: frames of this format are {self._decoder.item_shape}, "
                f"the descriptor says {descriptor.item_shape}."
            )

    def decode(
        self,
        payload: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.uint64],
        rows: tuple[int, int],
        out: npt.NDArray[Any],
    ) -> None:
        """Decode a band of rows of some frames and cast to ``out.dtype``; see `arraystream.Decoder`."""
        self._decoder.decode(payload, offsets, rows, out)

    def __repr__(self) -> str:
        return f"MerlinCodec({self._decoder!r})"
