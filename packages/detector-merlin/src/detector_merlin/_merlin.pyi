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

@final
class Receiver:
    """Receives acquisitions into a ring of shared memory, in a thread of its own.

    It connects by itself, and again whenever the connection breaks, until it is closed.  Stacks are
    tagged with the number of their acquisition.  Thread-safe; every call that waits releases the GIL.

    Parameters
    ----------
    host, port
        The data port of the detector's computer.
    slot_bytes, n_slots
        Size of the ring.
    flush_interval
        A stack is handed over when its first frame is so old, seconds, even if the slot is not full.
    stall_timeout
        Silence within an acquisition that ends it, seconds; by default 20 shutter times, at least 10 s.

    Raises
    ------
    StreamError
        If the memory is not there.
    """

    def __new__(
        cls,
        host: str,
        port: int,
        *,
        slot_bytes: int,
        n_slots: int,
        flush_interval: float = 0.01,
        stall_timeout: float | None = None,
    ) -> Receiver: ...
    def next_event(self, timeout: float) -> tuple[str, int, dict[str, Any]] | None:
        """Wait for the next event; ``None`` if none came in time or the receiver is over.

        Returns
        -------
        name
            ``connected``, ``disconnected``, ``armed``, ``first_frame`` or ``ended``.
        acquisition
            Its number, counted from 1; 0 for events of the connection.
        details
            As `arraystream.NativeReceiver` has them; meta of ``armed``: frames_per_trigger, header; of
            ``first_frame``: shutter_s, counter.
        """
    @property
    def is_over(self) -> bool:
        """Whether the thread has ended: no event will come any more."""
    @property
    def last_error(self) -> str:
        """Why connecting failed, or the connection broke, the last time; empty if neither did."""
    def attach(self, acquisition: int) -> tuple[int, int]:
        """Admit a consumer to an acquisition; gives its number and its file descriptor."""
    def settle(self, consumer: int, tokens: list[int]) -> bool:
        """Mark stacks as done, all or nothing; ``False`` if the consumer was taken for dead."""
    def abort(self) -> None:
        """End the present acquisition here; the rest of it is received and discarded."""
    def abandon(self, acquisition: int) -> None:
        """Nobody wants this acquisition: what is there of it is dropped, the rest discarded."""
    def counters(self) -> dict[str, Any]:
        """Return the fields of `arraystream.ConnectionStatistics`."""
    def close(self) -> None:
        """End the thread and close the ring.  Idempotent."""

def scan_mib(file: npt.NDArray[np.uint8]) -> dict[str, Any]:
    """Read the headers of all frames of a ``.mib`` file.

    Returns
    -------
    details
        codec_params, item_shape, dtype, shutter_s, counter of the first frame; first_number,
        data_offset, stride, n_frames, n_left_over (bytes); jump: the first place where numbers do not
        follow one another as (index, expected, found), or ``None``.

    Raises
    ------
    ProtocolError
        If a header can't be read or frames differ.
    """

def parse_hdr(text: bytes) -> dict[str, Any]:
    """Read an acquisition header, from a ``.hdr`` file or the stream.

    Returns
    -------
    details
        n_frames, frames_per_trigger, index_shape, header (all lines).

    Raises
    ------
    ProtocolError
        If it lacks the number of frames.
    """
