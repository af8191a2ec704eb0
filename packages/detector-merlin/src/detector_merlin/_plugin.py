"""What the entry points name: the connection's builder, the file opener, the codec, the simulator."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ._codec import MerlinCodec
from ._connection import MerlinConnection
from ._merlin import Receiver
from ._mib import open_mib

__all__ = ["MerlinCodec", "MerlinConnectionBuilder", "open_mib"]

_MIB = 1 << 20
_MIN_SLOTS = 4
_RECOVERY_STRATEGIES = ("immediate_reconnect", "drain_then_reconnect")
_URL_OPTIONS = {
    "api_host": str,
    "api_port": int,
    "timeout": float,
    "buffer_mb": float,
    "slot_mb": float,
    "stall_timeout": float,
}


def __getattr__(name: str) -> Any:
    """Import the simulator only where it is asked for: workers load the codec from here."""
    if name == "simulator_command":
        from ._simulate_cli import simulator_command

        return simulator_command
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class MerlinConnectionBuilder:
    """Opens connections to a Merlin (implements `arraystream.ConnectionBuilder`)."""

    def open(
        self,
        data_host: str = "127.0.0.1",
        data_port: int = 6342,
        api_host: str | None = None,
        api_port: int = 6341,
        timeout: float = 5.0,
        buffer_mb: float = 128,
        slot_mb: float = 2,
        stall_timeout: float | None = None,
        drain: bool = False,
        recovery_strategy: str = "immediate_reconnect",
    ) -> MerlinConnection:
        """Open a connection to the data port.  The command port is only used by a controller.

        Parameters
        ----------
        data_host, data_port
            Where the Merlin software sends its data.
        api_host, api_port
            Its command port; `api_host` is `data_host` if not given.
        timeout
            Seconds until the attempt ends with `ConnectionFailed`; attempts are repeated meanwhile.
        buffer_mb
            MiB of shared memory for frames on their way to the workers.
        slot_mb
            MiB that are handed to a worker at once; a frame must fit in.
        stall_timeout
            Seconds of silence that end a running acquisition as failed; by default 20 shutter times,
            at least 10 s.
        drain, recovery_strategy
            Accepted for scripts written for LiberTEM-live, without effect: what is left over from an
            earlier acquisition is always discarded, and a lost connection is made anew at once.

        Raises
        ------
        ConnectionFailed
            If there is no connection within `timeout`.
        ValueError
            If an option makes no sense.
        StreamError
            If there is not enough memory.
        """
        del drain
        if recovery_strategy not in _RECOVERY_STRATEGIES:
            known = " or ".join(repr(name) for name in _RECOVERY_STRATEGIES)
            raise ValueError(f"recovery_strategy is {recovery_strategy!r}; use {known}.")
        slot_bytes = int(slot_mb * _MIB)
        n_slots = int(buffer_mb * _MIB) // slot_bytes if slot_bytes > 0 else 0
        if n_slots < _MIN_SLOTS:
            raise ValueError(
                f"buffer_mb={buffer_mb} holds {n_slots} slots of slot_mb={slot_mb}; it takes {_MIN_SLOTS}."
            )
        receiver = Receiver(
            data_host, data_port, slot_bytes=slot_bytes, n_slots=n_slots, stall_timeout=stall_timeout
        )
        connection = MerlinConnection(receiver, (data_host, data_port), (api_host or data_host, api_port))
        try:
            connection.wait_until_connected(timeout)
        except BaseException:
            connection.close()
            raise
        return connection

    def from_url(self, url: str, **kwargs: Any) -> MerlinConnection:
        """Open the connection that ``merlin://host[:port][?option=value…]`` names.

        Parameters
        ----------
        url
            Options are those of `open`.
        **kwargs
            As for `open`; they win over the URL.

        Raises
        ------
        ValueError
            If the URL is no Merlin's, or has an unknown option.
        """
        parts = urlsplit(url)
        if parts.scheme != "merlin":
            raise ValueError(f"{url!r} is no URL of a Merlin; write merlin://host[:port].")
        options: dict[str, Any] = {}
        if parts.hostname:
            options["data_host"] = parts.hostname
        if parts.port is not None:
            options["data_port"] = parts.port
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if name not in _URL_OPTIONS:
                raise ValueError(f"{url!r}: unknown option {name!r}; known: {', '.join(_URL_OPTIONS)}.")
            options[name] = _URL_OPTIONS[name](value)
        return self.open(**(options | kwargs))
