"""The command port: requests and replies as pure functions of bytes, and a socket client.

Framing, on both ports: ``MPX,`` + ten digits L + ``,`` + body, where L counts the comma and the body.
One reply per request.  Nothing here waits without a limit.
"""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from arraystream import ConnectionClosed, ConnectionFailed, ProtocolError, Stalled, StateError, StreamError

Verb = Literal["SET", "GET", "CMD"]

MAX_BODY_BYTES = 65536
_PREFIX = re.compile(rb"MPX,(\d{1,20}),")
_LONGEST_PREFIX = 4 + 20 + 1


class MerlinCommandError(StreamError):
    """The Merlin server refused a request.

    Parameters
    ----------
    message
        What happened and what to do.
    request
        The request's body, e.g. ``SET,COUNTERDEPTH,13``.
    parameter
        Name of the variable or command.
    value
        The value that was to be set, if any.
    reply_code
        The server's error digit.
    """

    def __init__(
        self,
        message: str,
        *,
        request: str,
        parameter: str,
        value: str | None = None,
        reply_code: int = 0,
    ) -> None:
        super().__init__(message)
        self.request = request
        self.parameter = parameter
        self.value = value
        self.reply_code = reply_code


class MerlinBusyError(MerlinCommandError, StateError):
    """The detector is acquiring, or reports an unspecified error (both are digit 1)."""


class MerlinUnknownCommandError(MerlinCommandError, LookupError):
    """The server's software does not know the variable or command."""


class MerlinOutOfRangeError(MerlinCommandError, ValueError):
    """The server does not allow the value."""


class MerlinSettingError(MerlinCommandError, ValueError):
    """A variable reads back differently from what was set."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks.

    Parameters
    ----------
    verb
        ``SET``, ``GET`` or ``CMD``.
    name
        Variable or command, spelled as sent.
    value
        Only for ``SET``.
    """

    verb: Verb
    name: str
    value: str | None = None

    @property
    def body(self) -> str:
        """The request without its frame."""
        return f"{self.verb},{self.name}" + ("" if self.value is None else f",{self.value}")

    def encode(self) -> bytes:
        """Return the bytes to send."""
        return frame_message(self.body.encode("latin-1"))

    @classmethod
    def parse(cls, body: bytes) -> Request:
        """Read a request's body; the useless ``,0`` that clients add to GET and CMD is dropped.

        Raises
        ------
        ProtocolError
            If it is not SET, GET or CMD with a name.
        """
        verb, *rest = body.decode("latin-1").strip("\0\r\n ").split(",", 2)
        verb = verb.upper()
        name = rest[0].strip() if rest else ""
        if not name or (verb == "SET" and len(rest) < 2):
            raise ProtocolError(f"request {body[:80]!r} lacks a name or value, as in SET,NAME,VALUE")
        match verb:
            case "SET":
                return cls("SET", name, rest[1].strip())
            case "GET" | "CMD":
                return cls("GET" if verb == "GET" else "CMD", name)
            case _:
                raise ProtocolError(f"request {body[:80]!r} does not begin with SET, GET or CMD")


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answers; `value` only to ``GET``, `error` 0 if all is well."""

    verb: str
    name: str
    error: int
    value: str | None = None

    def encode(self) -> bytes:
        """Return the bytes to send."""
        fields = [self.verb, self.name]
        if self.value is not None:
            fields.append(self.value)
        fields.append(str(self.error))
        return frame_message(",".join(fields).encode("latin-1"))

    @classmethod
    def parse(cls, body: bytes) -> Reply:
        """Read a reply's body.  A GET's value may itself contain commas.

        Raises
        ------
        ProtocolError
            If it is no reply.
        """
        fields = body.decode("latin-1").rstrip("\0\r\n ").split(",")
        n_least = 4 if fields[0] == "GET" else 3
        if fields[0] not in ("SET", "GET", "CMD") or len(fields) < n_least:
            raise ProtocolError(f"{body[:80]!r} is not a reply of a Merlin command server")
        try:
            error = int(fields[-1])
        except ValueError:
            raise ProtocolError(f"reply {body[:80]!r} does not end with an error digit") from None
        value = ",".join(fields[2:-1]) if fields[0] == "GET" else None
        return cls(fields[0], fields[1], error, value)


def frame_message(body: bytes) -> bytes:
    """Put a body into its frame.

    Examples
    --------
    >>> frame_message(b"SET,NUMFRAMESTOACQUIRE,1")
    b'MPX,0000000025,SET,NUMFRAMESTOACQUIRE,1'
    """
    return b"MPX,%010d,%b" % (len(body) + 1, body)


class MessageReader:
    """Cuts a byte stream of the command port into bodies, in whatever pieces it arrives.

    Stray NUL, CR and LF between messages are skipped.  Wrong lengths seen in the wild are repaired
    where the text decides: more than ten digits; a reply whose length forgot the comma (`replies`:
    its error digit follows); a request whose rest is already there (`replies` false).

    Parameters
    ----------
    replies
        True to read a server's replies, False to read clients' requests.
    """

    def __init__(self, *, replies: bool) -> None:
        self._replies = replies
        self._buffer = bytearray()

    @property
    def n_pending(self) -> int:
        """Bytes that are not yet a whole message."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take bytes from the wire."""
        self._buffer += data

    def next_message(self) -> bytes | None:
        """Return the next body, or ``None`` if more bytes are needed.

        Raises
        ------
        ProtocolError
            If the bytes are no message; they are dropped up to the next ``MPX,``.
        """
        self._skip_stray()
        match = _PREFIX.match(self._buffer)
        if match is None:
            self._check_beginning()
            return None
        length = int(match[1])
        if not 1 <= length <= MAX_BODY_BYTES:
            del self._buffer[: match.end()]
            raise ProtocolError(f"message length {length} is not in 1 … {MAX_BODY_BYTES}")
        stated_end = match.end() + length - 1
        end = self._repaired_end(stated_end) if len(self._buffer) >= stated_end else None
        if end is None:
            return None
        body = bytes(self._buffer[match.end() : end])
        del self._buffer[:end]
        return body

    def take_unfinished(self) -> bytes | None:
        """Return a body whose length claims one byte more than came, once no more bytes will come."""
        match = _PREFIX.match(self._buffer)
        if match is None or match.end() + int(match[1]) - 1 != len(self._buffer) + 1:
            return None
        body = bytes(self._buffer[match.end() :])
        self._buffer.clear()
        return body

    def _skip_stray(self) -> None:
        rest = self._buffer.lstrip(b"\0\r\n")
        del self._buffer[: len(self._buffer) - len(rest)]

    def _check_beginning(self) -> None:
        head = bytes(self._buffer[:_LONGEST_PREFIX])
        good = b"MPX,".startswith(head[:4]) and (head[4:] == b"" or head[4:].isdigit())
        if good and len(head) < _LONGEST_PREFIX:
            return
        following = self._buffer.find(b"MPX,", 1)
        del self._buffer[: following if following >= 0 else len(self._buffer)]
        raise ProtocolError(f"expected a message beginning with MPX, and ten digits, got {head!r}")

    def _repaired_end(self, end: int) -> int | None:
        if self._replies:
            if self._buffer[end - 1 : end] != b",":
                return end
            return end + 1 if len(self._buffer) > end else None
        following = bytes(self._buffer[end : end + 4])
        if b"MPX,".startswith(following) or following[0] in b"\0\r\n":
            return end
        return end + 1


class MerlinControl:
    """Talk to the command port of a Merlin server.

    Method names are those of LiberTEM-live's class of this name; here `get` returns ``str``, every
    wait ends after `timeout`, and the server's error digits are typed errors.

    Parameters
    ----------
    host, port
        Where the Merlin software runs.
    timeout
        Seconds to wait for connecting and for each reply.
    settle_s
        Seconds to wait after connecting, before the first request.  Old servers want 1 s.

    Examples
    --------
    >>> from detector_merlin._simulator import MerlinSimulator
    >>> import numpy as np
    >>> with MerlinSimulator(np.zeros((4, 16, 16), "u2")) as simulator:
    ...     with MerlinControl("127.0.0.1", simulator.control_port) as control:
    ...         control.set("ACQUISITIONTIME", 1)
    ...         control.get("ACQUISITIONTIME")
    '1.000000'
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = 6341, timeout: float = 5.0, *, settle_s: float = 0.0
    ) -> None:
        self._host = host
        self._port = port
        self._timeout = timeout
        self._settle_s = settle_s
        self._socket: socket.socket | None = None
        self._reader = MessageReader(replies=True)

    def connect(self) -> None:
        """Connect, unless connected.

        Raises
        ------
        ConnectionFailed
            If nothing listens there, or it does not answer in time.
        """
        if self._socket is not None:
            return
        try:
            self._socket = socket.create_connection((self._host, self._port), timeout=self._timeout)
        except OSError as error:
            raise ConnectionFailed(
                f"can't reach the Merlin command port at {self._host}:{self._port} ({error}); "
                "is the Merlin software running, and is no other client connected?"
            ) from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = MessageReader(replies=True)
        if self._settle_s > 0:
            time.sleep(self._settle_s)

    def close(self) -> None:
        """Disconnect.  Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def set(self, param: str, value: object) -> None:
        """Set a variable.

        Raises
        ------
        MerlinCommandError
            By the error digit `MerlinBusyError`, `MerlinUnknownCommandError`, `MerlinOutOfRangeError`,
            or this one.
        Stalled
            If no reply came in time.
        """
        self._ask(Request("SET", param, str(int(value)) if isinstance(value, bool) else str(value)))

    def get(self, param: str) -> str:
        """Return a variable's value as the server writes it.  Raises as `set`."""
        return self._ask(Request("GET", param)).value or ""

    def cmd(self, cmd: str) -> None:
        """Have a command executed.  Raises as `set`."""
        self._ask(Request("CMD", cmd))

    def send_command_file(self, filename: str | PathLike[str]) -> None:
        """Send each line of a file (``SET,NAME,VALUE`` …); empty lines are skipped.  Raises as `set`."""
        for line in Path(filename).read_text(encoding="latin-1").splitlines():
            if line.strip():
                self._ask(Request.parse(line.encode("latin-1")))

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: Request) -> Reply:
        if self._socket is None:
            raise ConnectionClosed("the Merlin command port is not connected; call connect() first")
        try:
            self._socket.sendall(request.encode())
            reply = self._receive(self._socket, request)
        except BaseException as error:
            self.close()  # a late reply must not answer the next request
            if not isinstance(error, OSError) or isinstance(error, StreamError):
                raise
            raise ConnectionFailed(
                f"the Merlin command port at {self._host}:{self._port} failed during {request.body}: {error}"
            ) from error
        raise_for_error(request, reply)
        return reply

    def _receive(self, connection: socket.socket, request: Request) -> Reply:
        deadline = time.monotonic() + self._timeout
        while (body := self._reader.next_message()) is None:
            remaining = deadline - time.monotonic()
            try:
                connection.settimeout(max(remaining, 1e-3))
                data = connection.recv(4096)
            except TimeoutError as error:
                raise Stalled(
                    f"no reply to {request.body} from {self._host}:{self._port} within {self._timeout:g} s"
                ) from error
            finally:
                connection.settimeout(self._timeout)
            if not data:
                raise ConnectionFailed(
                    f"the Merlin server at {self._host}:{self._port} disconnected during {request.body}"
                )
            self._reader.feed(data)
        reply = Reply.parse(body)
        if reply.verb != request.verb or reply.name.upper() != request.name.upper():
            raise ProtocolError(f"asked {request.body}, got the reply to {reply.verb},{reply.name}")
        return reply


_ERRORS: dict[int, tuple[type[MerlinCommandError], str]] = {
    1: (MerlinBusyError, "the detector is busy; stop or abort the acquisition first"),
    2: (MerlinUnknownCommandError, "the server does not know this name"),
    3: (MerlinOutOfRangeError, "the value is out of range"),
    4: (MerlinBusyError, "the detector is busy; stop or abort the acquisition first"),
}


def raise_for_error(request: Request, reply: Reply) -> None:
    """Turn a reply's error digit into a typed error.

    Raises
    ------
    MerlinCommandError
        If the digit is not 0.
    """
    if reply.error == 0:
        return
    kind, meaning = _ERRORS.get(reply.error, (MerlinCommandError, "unknown error digit"))
    raise kind(
        f"{request.body} was refused with error {reply.error}: {meaning}",
        request=request.body,
        parameter=request.name,
        value=request.value,
        reply_code=reply.error,
    )
