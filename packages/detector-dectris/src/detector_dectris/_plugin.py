"""What the entry points name, except the codec, which workers load alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ._connection import DectrisConnection
from ._dectris import Receiver

__all__ = ["DectrisConnectionBuilder"]

_MIB = 1 << 20
_MIN_SLOTS = 4
_DATA_PORTS = (9999, 31001)
_URL_OPTIONS = {
    "api_port": int,
    "data_host": str,
    "data_port": int,
    "channel": str,
    "timeout": float,
    "buffer_mb": float,
    "slot_mb": float,
    "stall_timeout": float,
}


class DectrisConnectionBuilder:
    """Opens connections to DECTRIS detectors (implements `arraystream.ConnectionBuilder`)."""

    def open(
        self,
        api_host: str = "localhost",
        api_port: int = 80,
        data_host: str | None = None,
        data_port: int | Sequence[int] | None = None,
        channel: str | None = None,
        timeout: float = 5.0,
        buffer_mb: float | None = None,
        slot_mb: float = 2,
        stall_timeout: float | None = None,
        corrections: bool | None = None,
        buffer_size: float | None = None,
        bytes_per_frame: int | None = None,
        frame_stack_size: int = 24,
        num_slots: int | None = None,
        huge_pages: bool = False,
    ) -> DectrisConnection:
        """Open a connection to the data stream.  The REST interface is only used by a controller.

        Parameters
        ----------
        api_host, api_port
            The detector's control unit, and its REST interface.
        data_host
            Where the stream comes from; `api_host` if not given.
        data_port
            Port of the stream, or several to wait on.  By default both usual ones: 9999 (stream version 1)
            and 31001 (version 2).
        channel
            The threshold channel to receive, e.g. ``"threshold_2"`` or ``"difference"``; by default the
            first.  ``"all"``: frames have an axis more in front, the channels.
        timeout
            Seconds until the attempt ends with `ConnectionFailed`; attempts are repeated meanwhile.
        buffer_mb
            MiB of shared memory for frames on their way to the workers; 128 by default.
        slot_mb
            MiB that are handed to a worker at once; an encoded frame must fit in.
        stall_timeout
            Seconds of silence that end a running acquisition as failed; by default 20 frame times, at
            least 10 s.
        corrections
            ``True``: ask the detector for its pixel mask and flat field where the header of a series has
            none.  ``False``: use none at all.  By default those of the header, and the detector is asked
            with a controller's ``enable_corrections=True``.
        buffer_size
            LiberTEM-live's name of `buffer_mb`.
        bytes_per_frame, frame_stack_size, num_slots, huge_pages
            Accepted for scripts written for LiberTEM-live, without effect: frames of any size are put
            into slots as they come.

        Raises
        ------
        ConnectionFailed
            If there is no connection within `timeout`.
        ValueError
            If an option makes no sense.
        StreamError
            If there is not enough memory.
        """
        del bytes_per_frame, frame_stack_size, num_slots, huge_pages
        if buffer_mb is None:
            buffer_mb = 128 if buffer_size is None else buffer_size
        slot_bytes = int(slot_mb * _MIB)
        n_slots = int(buffer_mb * _MIB) // slot_bytes if slot_bytes > 0 else 0
        if n_slots < _MIN_SLOTS:
            raise ValueError(
                f"buffer_mb={buffer_mb} holds {n_slots} slots of slot_mb={slot_mb}; it takes {_MIN_SLOTS}."
            )
        endpoints = _endpoints(data_host or api_host, data_port)
        receiver = Receiver(
            endpoints, slot_bytes=slot_bytes, n_slots=n_slots, stall_timeout=stall_timeout, channel=channel
        )
        connection = DectrisConnection(
            receiver, endpoints, (api_host, api_port), channel=channel, corrections=corrections
        )
        try:
            connection.wait_until_connected(timeout)
        except BaseException:
            connection.close()
            raise
        return connection

    def from_url(self, url: str, **kwargs: Any) -> DectrisConnection:
        """Open the connection that ``dectris://host[:data_port][?option=value…]`` names.

        Parameters
        ----------
        url
            Options are those of `open`.
        **kwargs
            As for `open`; they win over the URL.

        Raises
        ------
        ValueError
            If the URL is no DECTRIS detector's, or has an unknown option.
        """
        parts = urlsplit(url)
        if parts.scheme != "dectris":
            raise ValueError(f"{url!r} is no URL of a DECTRIS detector; write dectris://host[:data_port].")
        options: dict[str, Any] = {}
        if parts.hostname:
            options["api_host"] = parts.hostname
        if parts.port is not None:
            options["data_port"] = parts.port
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if name not in _URL_OPTIONS:
                raise ValueError(f"{url!r}: unknown option {name!r}; known: {', '.join(_URL_OPTIONS)}.")
            options[name] = _URL_OPTIONS[name](value)
        return self.open(**(options | kwargs))


def _endpoints(host: str, port: int | Sequence[int] | None) -> list[str]:
    ports = _DATA_PORTS if port is None else (port,) if isinstance(port, int) else tuple(port)
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return [f"tcp://{host}:{number}" for number in ports]
