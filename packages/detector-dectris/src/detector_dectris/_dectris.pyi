"""Receiver, codec and sender of detector_dectris, in Rust.  Private: use the package's names."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

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
