"""Receiver, codec and sender of detector_dectris, in Rust.  Private: use the package's names."""

from collections.abc import Sequence
from typing import Any, Literal, final

import numpy as np
import numpy.typing as npt

@final
class Decoder:
    """Decodes the images of one format from frame records or files.  Thread-safe; releases the GIL.

    Parameters
    ----------
    compression
        ``bslz4``, ``lz4`` (framing of HDF5 filter 32004), ``lz4-block`` (bare) or ``none``.
    element_bytes
        Of a pixel: 1, 2 or 4, unsigned.
    image_shape
        Rows and columns.
    big_endian
        Byte order of the pixels before they were compressed.
    n_blobs
        Blobs of a record.
    blob
        Which of them to decode; ``None`` for all, along a first axis.
    vectorise
        Use vector instructions where the processor has them.

    Raises
    ------
    CodecError
        If there is no such format.
    """

    def __new__(
        cls,
        compression: str,
        element_bytes: int,
        image_shape: tuple[int, int],
        *,
        big_endian: bool = False,
        n_blobs: int = 1,
        blob: int | None = 0,
        vectorise: bool = True,
    ) -> Decoder: ...
    @property
    def item_shape(self) -> list[int]:
        """``(rows, columns)``, or ``(n_blobs, rows, columns)`` for all blobs."""
    @property
    def dtype(self) -> str:
        """Native type of a pixel: ``u1``, ``u2`` or ``u4``."""
    def decode(
        self,
        payload: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.uint64],
        rows: tuple[int, int],
        out: npt.NDArray[Any],
    ) -> None:
        """Decode a band of rows of some records and cast to ``out.dtype``; see `arraystream.Decoder`.

        Integers that do not fit ``out.dtype`` are cut off, as by ``astype``.

        Raises
        ------
        CodecError
            If a record reaches beyond `payload`, a blob is not what it should be, or shapes do not fit; the
            message says which item of the request, which blob, which block.  `out` may be partly written.
        """
    def decode_blobs(
        self,
        payload: npt.NDArray[np.uint8],
        starts: npt.NDArray[np.uint64],
        lengths: npt.NDArray[np.uint64],
        rows: tuple[int, int],
        out: npt.NDArray[Any],
    ) -> None:
        """Decode blobs without records; `starts` and `lengths`: ``(m,)``, for all blobs ``(m, n_blobs)``.

        Raises
        ------
        CodecError
            As for `decode`.
        """

def encode(images: npt.NDArray[Any], compression: str, block_bytes: int = 8192) -> list[bytes]:
    """Encode images as a detector does.  Releases the GIL.

    Parameters
    ----------
    images
        ``(n, rows, columns)`` of u1, u2 or u4; for big-endian pixels give ``images.byteswap()``.
    compression
        ``bslz4``, ``lz4`` (framing of HDF5 filter 32004), ``lz4-block`` (bare) or ``none``.
    block_bytes
        Size of blocks of ``bslz4`` and ``lz4`` as written in the header; 0 stands for 8192.

    Returns
    -------
    blobs
        One for each image.

    Raises
    ------
    CodecError
        If the array or the size of blocks does not fit.
    """

@final
class Receiver:
    """Receives acquisitions into a ring of shared memory, in a thread of its own.

    It connects by itself, and again whenever the connection breaks, until it is closed.  Stacks are
    tagged with the number of their acquisition; their offsets point at frame records.  Thread-safe; every
    call that waits releases the GIL.

    Parameters
    ----------
    endpoints
        ZeroMQ endpoints of the detector's computer, e.g. ``tcp://host:9999`` and ``tcp://host:31001``; one
        socket is connected to all of them.  Each message tells by itself of which stream it is.
    slot_bytes, n_slots
        Size of the ring.
    flush_interval
        A stack is handed over when its first frame is so old, seconds, even if the slot is not full.
    stall_timeout
        Silence within an acquisition that ends it, seconds; by default 20 frame times, at least 10 s.
    channel
        Name of the channel to keep, ``"all"``, or ``None`` for the first one.  Only what is kept is
        written into frame records.

    Raises
    ------
    ConnectionFailed
        If an endpoint is none.
    StreamError
        If the memory is not there.
    """

    def __new__(
        cls,
        endpoints: Sequence[str],
        *,
        slot_bytes: int,
        n_slots: int,
        flush_interval: float = 0.01,
        stall_timeout: float | None = None,
        channel: str | None = None,
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
            As `arraystream.NativeReceiver` has them.  ``armed``: meta has series, stream_version, channels
            and header, and there are pixel_mask (u4) and flatfield (f4), two-dimensional arrays of the kept
            channel, the first one if all are kept, or ``None``.  ``first_frame``: meta has kept_channels.
        """

    @property
    def is_over(self) -> bool:
        """Whether the thread has ended: no event will come any more."""

    @property
    def last_error(self) -> str:
        """What went wrong last: the connection, or a message that can't be used; empty if nothing did."""

    def attach(self, acquisition: int) -> tuple[int, int]:
        """Admit a consumer to an acquisition; gives its number and its file descriptor."""

    def settle(self, consumer: int, tokens: Sequence[int]) -> bool:
        """Mark stacks as done, all or nothing; ``False`` if the consumer was taken for dead."""

    def abort(self) -> None:
        """End the present acquisition here; the rest of it is received and discarded."""

    def abandon(self, acquisition: int) -> None:
        """Nobody wants this acquisition: what is there of it is dropped, the rest discarded."""

    def counters(self) -> dict[str, Any]:
        """Return the fields of `arraystream.ConnectionStatistics`."""

    def close(self) -> None:
        """End the thread and close the ring.  Idempotent."""

class Sender:
    """The ZeroMQ socket a simulated detector sends with: PUSH, bound.

    One thread sends at a time; any thread may call the rest.  All waits release the GIL.

    Parameters
    ----------
    endpoint
        Where to listen, e.g. ``tcp://127.0.0.1:0`` for a free port.
    hwm
        Messages that may wait per client; each image is one.
    linger
        Seconds that closing may take to get rid of what still waits.

    Raises
    ------
    OSError
        If the endpoint can't be had.
    """

    def __init__(self, endpoint: str, *, hwm: int = 1000, linger: float = 1.0) -> None: ...
    @property
    def endpoint(self) -> str:
        """Where it listens, with the port it has got."""

    @property
    def n_clients(self) -> int:
        """Clients connected now."""

    @property
    def n_sent(self) -> int:
        """Messages handed to ZeroMQ since the beginning."""

    @property
    def n_dropped(self) -> int:
        """Images for which there was no room since the beginning."""

    @property
    def n_bytes(self) -> int:
        """Bytes of the messages handed to ZeroMQ since the beginning."""

    def send(self, parts: Sequence[bytes], timeout: float) -> bool:
        """Send one message of these parts; false if there was no room within `timeout` seconds.

        Raises
        ------
        OSError
            If the sender is closed.
        """

    def send_images(
        self,
        version: Literal[1, 2],
        series: int,
        first: int,
        n: int,
        blobs: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.uint64],
        lengths: npt.NDArray[np.uint64],
        shape: tuple[int, int],
        dtype: str,
        compression: str,
        *,
        channels: Sequence[str] = ("threshold_1",),
        byteorder: Literal["<", ">"] = "<",
        rate: float | None = None,
        delay: float = 0.0,
        skip: Sequence[int] = (),
        hashes: npt.NDArray[np.uint8] | None = None,
        unique_id: str = "",
        series_date: str = "1970-01-01T00:00:00Z",
        start_ns: int = 0,
        period_ns: int = 1_000_000,
        real_ns: int = 1_000_000,
        appendix: bytes | None = None,
        drop_when_full: bool = False,
        drop_without_client: bool = False,
    ) -> tuple[int, int, int]:
        """Send the images ``[first, first + n)`` of a series; return how many were sent, dropped, done.

        Done are also those left out; fewer than `n` if `stop` was called.

        Parameters
        ----------
        version
            1 for JSON multipart, 2 for CBOR.
        blobs
            Bytes of all blobs, contiguous.  Not to be written to meanwhile.
        offsets, lengths
            Where each blob is; with c channels those of image ``i`` are ``c·i … c·i + c``.  Images
            beyond the last begin with the first again.
        shape
            Rows and columns.
        dtype
            ``uint8``, ``uint16``, ``uint32``.
        compression
            ``bslz4``, ``lz4``, ``none``: what the label says.  The blobs of V1 with lz4 must be bare
            blocks, those of V2 framed.
        channels
            Names; V1 sends the first one's blobs only.
        rate
            Images per second; as fast as the client takes them if ``None``.
        delay
            Seconds until the first is due; may be negative if it is late.
        skip
            Numbers of images to leave out.
        hashes
            V1's ``hash``, shape ``(len(offsets), 32)``; zeros if ``None``.
        unique_id, series_date
            V2's name of the series, and its begin (RFC 3339).
        start_ns, period_ns, real_ns
            Start of image 0, distance of images and exposure.
        appendix
            V1: one more part.  V2: a CBOR item, as ``user_data``.
        drop_when_full
            Drop images for which there is no room, as the detector does; otherwise wait.
        drop_without_client
            Drop them if nobody is connected.

        Raises
        ------
        ValueError
            If an argument makes no images.
        OSError
            If the sender is closed.
        """

    def stop(self) -> None:
        """End what is being sent, and all sending from now on at once, until `resume`."""

    def resume(self) -> None:
        """Send again after `stop`."""

    def close(self) -> None:
        """Stop and close, within the linger.  Idempotent."""
