"""Receiver, codec and file scanner of detector_merlin, in Rust.  Private: use the package's names."""

from typing import Any, final

import numpy as np
import numpy.typing as npt

@final
class Decoder:
    """Decodes the frames of one format.  Thread-safe; releases the GIL.

    Parameters
    ----------
    kind
        Pixel type of the frame header: ``U08``, ``U16``, ``U32``, ``U64`` or ``R64``.
    depth
        Counter depth in bits: 1, 6, 12 or 24; only needed for ``R64``.
    layout
        Arrangement of the chips: ``1x1``, ``2x2``, ``2x2G``, ``Nx1`` or ``Nx1G``.
    n_chips, header_width, header_height
        As in the frame header, which for ``R64`` does not give the size of the assembled image.
    flip_y
        Turn images upside down, as the vendor's own display does.
    vectorise
        Use vector instructions where the processor has them.

    Raises
    ------
    CodecError
        If there is no such format.
    """

    def __new__(
        cls,
        kind: str,
        depth: int,
        layout: str,
        n_chips: int,
        header_width: int,
        header_height: int,
        *,
        flip_y: bool = False,
        vectorise: bool = True,
    ) -> Decoder: ...
    @property
    def item_shape(self) -> tuple[int, int]:
        """Rows and columns of the assembled image."""
    @property
    def dtype(self) -> str:
        """Native type of a pixel: ``u1``, ``u2``, ``u4`` or ``u8``."""
    @property
    def payload_bytes(self) -> int:
        """Encoded bytes of one frame, without its header."""
    def decode(
        self,
        payload: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.uint64],
        rows: tuple[int, int],
        out: npt.NDArray[Any],
    ) -> None:
        """Decode a band of rows of some frames and cast to ``out.dtype``; see `arraystream.Decoder`.

        Integers that do not fit ``out.dtype`` are cut off, as by ``astype``.

        Raises
        ------
        CodecError
            If a frame reaches beyond `payload`, or shapes do not fit.
        """
