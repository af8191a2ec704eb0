"""Pixels from encoded bytes: the interface that detector packages implement."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ._chunk import ItemDescriptor


@runtime_checkable
class Decoder(Protocol):
    """Decodes the items of one feed.  Thread-safe; releases the GIL."""

    def decode(
        self,
        payload: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.uint64],
        rows: tuple[int, int],
        out: npt.NDArray[Any],
    ) -> None:
        """Decode a band of rows of some items and cast to ``out.dtype``.

        Parameters
        ----------
        payload
            The chunk's bytes.
        offsets
            Where each wanted item starts in `payload`, shape ``(m,)``.
        rows
            Band ``[start, stop)`` along the item's first axis.
        out
            C-contiguous, shape ``(m, stop - start, *item_shape[1:])``, any numeric dtype.

        Raises
        ------
        CodecError
            If the bytes are not what the descriptor says.  Nothing outside `payload` is read.
        """
        ...


class Codec(Protocol):
    """Entry point of the group ``arraystream.codecs``: ``Codec(descriptor)`` gives a decoder."""

    def __call__(self, descriptor: ItemDescriptor) -> Decoder:
        """Check the descriptor's parameters once and return a decoder for its items."""
        ...
