"""What can go wrong with a stream, by name.

Every error says what happened, on which object, with which value, and what to do.  Each is also the
built-in exception a caller would expect (`TruncatedStream` is an `EOFError`).
"""

# Errors are named after what happened, not "...Error": a reader of a traceback wants that word.
# ruff: noqa: N818

from __future__ import annotations


class StreamError(Exception):
    """Base of all errors of a stream.

    Parameters
    ----------
    message
        What happened, with which value, and what to do.
    code
        Number of the error in the wire protocol (PROTOCOL.md, section "Errors"), 0 if it has none.
    seq
        Sequence number of the offending message, where one is known.
    channel
        Channel the error is about, where one is known.
    """

    code: int = 0

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        seq: int | None = None,
        channel: int | None = None,
    ) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.seq = seq
        self.channel = channel


class ProtocolError(StreamError, ValueError):
    """The peer sent bytes that its protocol does not allow."""

    code = 5


class ChecksumError(ProtocolError):
    """Received bytes do not match their checksum."""

    code = 3


class LimitError(ProtocolError):
    """A length, count or shape from the wire exceeds the agreed limit."""

    code = 6


class CodecError(StreamError, ValueError):
    """Encoded bytes can't be decoded, or no codec of that name is installed."""

    code = 11


class SourceError(StreamError, ValueError):
    """A file or an array can't be read as items: wrong kind, wrong shape, damaged, or not unique."""


class AuthError(StreamError, PermissionError):
    """The peer does not let us in, or we don't let it in."""

    code = 14


class TruncatedStream(StreamError, EOFError):
    """The stream stopped in the middle of an acquisition."""


class ConnectionFailed(StreamError, ConnectionError):
    """The other side can't be reached, refused, or went away."""


class ConnectionClosed(StreamError, ConnectionError):
    """The connection was closed on our side; every pending wait ends with this error."""


class Stalled(StreamError, TimeoutError):
    """Data stopped arriving in the middle of an acquisition."""

    code = 16


class AcquisitionAborted(StreamError):
    """The acquisition was ended before all its items had arrived."""


class StateError(StreamError, RuntimeError):
    """The call does not fit the state the connection is in."""

    code = 13


class PluginError(StreamError, LookupError):
    """No plug-in of that name, or it is broken; the text lists those that exist."""
