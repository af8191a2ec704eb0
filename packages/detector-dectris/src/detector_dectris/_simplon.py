"""Typed access to the SIMPLON interface of a DECTRIS control unit: configuration, status, commands.

Each request has a connection of its own and an end: a time limit, or `SimplonClient.close` from any
thread.  So a command that blocks for a whole series never stands in the way of another one.
Source: SIMPLON API reference 1.8, version 3.2.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Self

import httpx
import numpy as np
from numpy.typing import NDArray

from arraystream import ConnectionClosed, ConnectionFailed, LimitError, ProtocolError, Stalled

from ._simplon_errors import (
    ADVICE,
    SimplonError,
    SimplonStateError,
    SimplonUnknownKeyError,
    SimplonValueError,
)
from ._simplon_values import MAX_ARRAY_BYTES, Parameter, decode_array, encode_array

Module = Literal["detector", "stream", "monitor", "filewriter", "system"]
_Task = Literal["config", "status", "command"]

NEWEST_VERSION = "1.8.0"
OLDEST_VERSION = "1.6.0"

_MAX_REPLY_BYTES = 4 << 20
_MAX_ARRAY_REPLY_BYTES = MAX_ARRAY_BYTES * 4 // 3 + (1 << 20)
_MAX_WORDS = 300
_INITIALIZE_TIMEOUT_S = 180.0
_ARM_TIMEOUT_S = 60.0
_TRIGGER_TIMEOUT_S = 3600.0
# A peer that has lost its power sends nothing, not even an end: ask every few seconds whether it is there.
_KEEPALIVE = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] + [
    (socket.IPPROTO_TCP, getattr(socket, name), value)
    for name, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
]


class SimplonClient:
    """Talks to a DECTRIS control unit.  Thread-safe; nothing is sent before the first call.

    Parameters
    ----------
    host, port
        Where the control unit serves HTTP.  Proxies of the environment are not used.
    api_version
        E.g. ``"1.8.0"``; if not given, what the unit says, else 1.8.0 or 1.6.0, whichever it answers.
    timeout
        Seconds to wait for connecting and for ordinary replies.  ``initialize`` may take 180 s, ``arm``
        60 s, ``trigger`` what its caller says.

    Examples
    --------
    >>> client = SimplonClient("127.0.0.1", 8910)
    >>> client.url("detector", "config", "count_time", version="1.8.0")
    'http://127.0.0.1:8910/detector/api/1.8.0/config/count_time'
    >>> client.close()
    """

    def __init__(
        self, host: str, port: int = 80, *, api_version: str | None = None, timeout: float = 10.0
    ) -> None:
        if not host or "/" in host:
            raise ValueError(f"host={host!r} is not a host name or address, such as '192.168.1.10'")
        if not 1 <= port <= 65535:
            raise ValueError(f"port={port} is not in 1 … 65535")
        if not timeout > 0:
            raise ValueError(f"timeout={timeout} is not a positive number of seconds")
        self.timeout = timeout
        self._base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._version = api_version
        self._lock = threading.Lock()
        self._calls: set[_Call] = set()
        self._is_closed = False
        transport = httpx.HTTPTransport(
            verify=False,  # plain HTTP: there are no certificates to load
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            socket_options=_KEEPALIVE,
        )
        self._http = httpx.Client(transport=transport, trust_env=False, timeout=timeout)

    # ---- parameters -----------------------------------------------------------------------------

    @property
    def version(self) -> str:
        """The interface version in use; asks the unit at first.

        Raises
        ------
        ConnectionFailed, Stalled
            If the unit can't be reached or does not answer.
        ProtocolError
            If what answers there is no DECTRIS control unit.
        """
        if self._version is None:
            self._version = self._detect_version()
        return self._version

    def get_config(self, key: str, module: Module = "detector") -> Any:
        """Return the value of a configuration parameter.

        Raises
        ------
        SimplonUnknownKeyError
            If the unit does not know the parameter.
        SimplonError
            If it refuses for another reason.
        ConnectionFailed, ConnectionClosed, Stalled
            If it can't be reached, this client was closed, or no reply came in time.
        ProtocolError
            If the reply can't be understood.
        """
        return self.describe_config(key, module).value

    def describe_config(self, key: str, module: Module = "detector") -> Parameter:
        """Return a configuration parameter with unit, range and access.  Raises as `get_config`."""
        return Parameter.parse(self._get(module, "config", key))

    def set_config(self, key: str, value: Any, module: Module = "detector") -> list[str]:
        """Set a configuration parameter.

        Returns
        -------
        names
            All parameters that have changed with it, or may have.

        Raises
        ------
        SimplonValueError
            If the value is not allowed, or the parameter can't be written.
        SimplonStateError
            If the detector does not take settings now.
        SimplonUnknownKeyError, ConnectionFailed, ConnectionClosed, Stalled, ProtocolError
            As `get_config`.
        """
        reply = self._put(module, "config", key, {"value": _plain(value)}, self.timeout)
        return [name for name in reply if isinstance(name, str)] if isinstance(reply, list) else []

    def get_status(self, key: str, module: Module = "detector") -> Any:
        """Return the value of a status parameter.  Raises as `get_config`."""
        return self.describe_status(key, module).value

    def describe_status(self, key: str, module: Module = "detector") -> Parameter:
        """Return a status parameter with its unit and condition.  Raises as `get_config`."""
        return Parameter.parse(self._get(module, "status", key))

    def keys(self, task: Literal["config", "status", "command"], module: Module = "detector") -> list[str]:
        """Return the names of all parameters or commands.  Raises as `get_config`."""
        names = Parameter.parse(self._get(module, task, "keys")).value
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ProtocolError(f"{self.url(module, task, 'keys')} is not a list of names")
        return names

    def get_array(self, key: str, module: Module = "detector") -> NDArray[Any] | None:
        """Return a two-dimensional parameter such as ``pixel_mask``.

        Returns
        -------
        array or None
            Shape (rows, columns), native byte order; ``None`` if the unit has an empty one.

        Raises
        ------
        LimitError
            If it is larger than any detector.
        ProtocolError
            If it can't be understood.
        SimplonUnknownKeyError, ConnectionFailed, ConnectionClosed, Stalled
            As `get_config`.
        """
        reply = self._get(module, "config", key, n_max=_MAX_ARRAY_REPLY_BYTES, timeout=6 * self.timeout)
        return decode_array(Parameter.parse(reply).value)

    def set_array(self, key: str, array: NDArray[Any], module: Module = "detector") -> list[str]:
        """Upload a two-dimensional parameter of shape (rows, columns).  Raises as `set_config`."""
        body = {"value": encode_array(array)}
        reply = self._put(module, "config", key, body, 6 * self.timeout)
        return [name for name in reply if isinstance(name, str)] if isinstance(reply, list) else []

    # ---- commands -------------------------------------------------------------------------------

    def command(
        self,
        name: str,
        module: Module = "detector",
        *,
        value: Any = None,
        timeout: float | None = None,
    ) -> int | None:
        """Have a command executed and wait until it is.

        Parameters
        ----------
        value
            Sent along, for the few commands that take one.
        timeout
            Seconds; by default as for ordinary replies.

        Returns
        -------
        sequence_id
            Number of the series, if the command tells.

        Raises
        ------
        SimplonStateError
            If the detector does not take the command in its state.
        SimplonUnknownKeyError, ConnectionFailed, ConnectionClosed, Stalled, ProtocolError
            As `get_config`.
        """
        body = {} if value is None else {"value": _plain(value)}
        reply = self._put(module, "command", name, body, self.timeout if timeout is None else timeout)
        series = reply.get("sequence id") if isinstance(reply, Mapping) else None
        return series if isinstance(series, int) and not isinstance(series, bool) else None

    def initialize(self) -> None:
        """Make the detector ready; resets most of its configuration.  Raises as `command`."""
        self.command("initialize", timeout=max(self.timeout, _INITIALIZE_TIMEOUT_S))

    def arm(self) -> int:
        """Arm the detector, which sends the header on the stream.

        Returns
        -------
        series
            Number of the new series.

        Raises
        ------
        ProtocolError
            If the reply has no number.
        SimplonError, ConnectionFailed, ConnectionClosed, Stalled
            As `command`.
        """
        series = self.command("arm", timeout=max(self.timeout, _ARM_TIMEOUT_S))
        if series is None:
            raise ProtocolError(f"the reply to {self.url('detector', 'command', 'arm')} has no 'sequence id'")
        return series

    def trigger(self, count_time: float | None = None, *, timeout: float = _TRIGGER_TIMEOUT_S) -> None:
        """Give a software trigger and wait until its images are done.  Raises as `command`.

        Parameters
        ----------
        count_time
            Exposure in seconds, only in trigger mode ``inte``; by default as configured.
        timeout
            Seconds until the images must be done.
        """
        self.command("trigger", value=count_time, timeout=timeout)

    def disarm(self) -> None:
        """End the series and send what is still on its way.  Raises as `command`."""
        self.command("disarm", timeout=max(self.timeout, _ARM_TIMEOUT_S))

    def cancel(self) -> None:
        """End the series after the present image.  Raises as `command`."""
        self.command("cancel", timeout=max(self.timeout, _ARM_TIMEOUT_S))

    def abort(self) -> None:
        """End the series at once and drop what is on its way.  Any thread.  Raises as `command`."""
        self.command("abort", timeout=max(self.timeout, _ARM_TIMEOUT_S))

    # ---- life -----------------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    def interrupt(self, command: str) -> None:
        """Let go of calls of this command that are waiting; they raise `ConnectionClosed`.  Any thread."""
        with self._lock:
            calls = [call for call in self._calls if call.parameter == command]
        for call in calls:
            call.cut()

    def close(self) -> None:
        """End all calls that are waiting with `ConnectionClosed`; the detector goes on.  Idempotent."""
        with self._lock:
            self._is_closed = True
            calls = list(self._calls)
        for call in calls:
            call.cut()
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def url(self, module: str, task: str, parameter: str, *, version: str | None = None) -> str:
        """Return the address of a parameter or command."""
        return f"{self._base}/{module}/api/{version or self.version}/{task}/{parameter}"

    def __repr__(self) -> str:
        return f"SimplonClient({self._base}, {self._version or 'version unknown'})"

    # ---- requests -------------------------------------------------------------------------------

    def _detect_version(self) -> str:
        status, body = self._send(_Call("GET", f"{self._base}/detector/api/version", "version"), self.timeout)
        if status == 200:
            found = Parameter.parse(_parse_json(body, "version")).value
            if isinstance(found, str) and all(part.isdigit() for part in found.split(".")):
                return found
        # Not every server tells its version; each has a state.
        for version in (NEWEST_VERSION, OLDEST_VERSION):
            url = self.url("detector", "status", "state", version=version)
            status, _ = self._send(_Call("GET", url, "state"), self.timeout)
            if status == 200:
                return version
        raise ProtocolError(
            f"{self._base} answers, but not as a DECTRIS control unit does (no /detector/api/version, no "
            "detector state); is this the unit's address, and the port that of its REST interface?"
        )

    def _get(
        self,
        module: Module,
        task: _Task,
        parameter: str,
        *,
        n_max: int = _MAX_REPLY_BYTES,
        timeout: float | None = None,
    ) -> Any:
        call = _Call("GET", self.url(module, task, parameter), parameter, n_max=n_max)
        status, body = self._send(call, timeout or self.timeout)
        if status != 200:
            raise self._refusal(call, module, task, status, body)
        return _parse_json(body, call.url)

    def _put(
        self, module: Module, task: _Task, parameter: str, body: Mapping[str, Any], timeout: float
    ) -> Any:
        call = _Call("PUT", self.url(module, task, parameter), parameter, body)
        status, reply = self._send(call, timeout)
        if status != 200:
            raise self._refusal(call, module, task, status, reply)
        return _parse_json(reply, call.url) if reply.strip() else None

    def _send(self, call: _Call, timeout: float) -> tuple[int, bytes]:
        """Send a request; return status code and body of the reply, whatever they are."""
        with self._lock:
            if self._is_closed:
                raise ConnectionClosed(f"the client of {self._base} is closed; make a new one")
            self._calls.add(call)
        try:
            return call.run(self._http, timeout, min(timeout, self.timeout))
        except httpx.TimeoutException as error:
            if call.is_cut:
                raise self._was_cut(call) from error
            if isinstance(error, httpx.ConnectTimeout):
                raise self._unreachable(call, f"no connection within {self.timeout:g} s") from error
            raise Stalled(f"no reply to {call} within {timeout:g} s; is the control unit busy?") from error
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:
            if call.is_cut or self._is_closed:
                raise self._was_cut(call) from error
            if isinstance(error, RuntimeError):
                raise
            raise self._unreachable(call, str(error) or type(error).__name__) from error
        finally:
            with self._lock:
                self._calls.discard(call)

    def _was_cut(self, call: _Call) -> ConnectionClosed:
        return ConnectionClosed(f"{call} was given up on our side before its reply")

    def _unreachable(self, call: _Call, reason: str) -> ConnectionFailed:
        return ConnectionFailed(
            f"{call} failed: {reason}. Is the control unit on, is this its address, and is this computer in "
            "the detector's network?"
        )

    def _refusal(self, call: _Call, module: Module, task: _Task, status: int, body: bytes) -> SimplonError:
        """Find out why a request was refused, and what to do."""
        words = _words(body)
        text = f"{call} was refused (HTTP {status}{': ' + words if words else ''})"
        value = None if call.body is None else call.body.get("value")

        def error(kind: type[SimplonError], advice: str) -> SimplonError:
            return kind(
                f"{text}: {advice}",
                url=call.url,
                parameter=call.parameter,
                value=value,
                http_status=status,
                reply=words,
            )

        if status in (404, 405, 410):
            return error(SimplonUnknownKeyError, f"this {module} has no such {task} parameter or command")
        if call.body is None:
            return error(SimplonError, "look at the control unit")
        with suppress(Exception):  # the state and the range only help to explain
            state = self.get_status("state")
            if task == "command" or state in ("initialize", "acquire", "ready", "error", "na", "test"):
                return error(SimplonStateError, ADVICE.get(state, f"the detector's state is {state!r}"))
            allowed = self.describe_config(call.parameter, module).describe_range()
            return error(SimplonValueError, allowed or "the value is not allowed")
        return error(SimplonStateError if task == "command" else SimplonValueError, "no reason was found")


class _Call:
    """One request on its way, with a connection of its own that another thread may cut."""

    def __init__(
        self,
        method: Literal["GET", "PUT"],
        url: str,
        parameter: str,
        body: Mapping[str, Any] | None = None,
        *,
        n_max: int = _MAX_REPLY_BYTES,
    ) -> None:
        self.method = method
        self.url = url
        self.parameter = parameter
        self.body = body
        self.n_max = n_max
        self.is_cut = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def run(self, http: httpx.Client, timeout: float, connect_timeout: float) -> tuple[int, bytes]:
        deadline = time.monotonic() + timeout
        request = http.build_request(
            self.method,
            self.url,
            content=None if self.body is None else json.dumps(self.body).encode("utf-8"),
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "Connection": "close",
                **({"Content-Type": "application/json"} if self.body is not None else {}),
            },
            timeout=httpx.Timeout(timeout, connect=connect_timeout),
            extensions={"trace": self._trace},
        )
        response = http.send(request, stream=True)
        try:
            body = bytearray()
            for piece in response.iter_raw():
                body += piece
                if len(body) > self.n_max:
                    raise LimitError(f"the reply to {self} is longer than {self.n_max} bytes")
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("the reply takes too long", request=request)
            return response.status_code, bytes(body)
        finally:
            response.close()

    def cut(self) -> None:
        """End the call; its thread gets an error at once."""
        with self._lock:
            self.is_cut = True
            self._shut()

    def _trace(self, event: str, details: Mapping[str, Any]) -> None:
        if event != "connection.connect_tcp.complete":
            return
        with self._lock:
            found = details["return_value"].get_extra_info("socket")
            self._socket = found if isinstance(found, socket.socket) else None
            if self.is_cut:
                self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # it may be closed already
                self._socket.shutdown(socket.SHUT_RDWR)

    def __str__(self) -> str:
        value = "" if not self.body else f" = {json.dumps(self.body.get('value'))[:80]}"
        return f"{self.method} {self.url}{value}"


def _plain(value: Any) -> Any:
    """Turn NumPy's numbers into those that JSON knows."""
    return value.item() if isinstance(value, np.generic) else value


def _parse_json(body: bytes, what: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        shown = body[:80].decode("utf-8", "replace")
        raise ProtocolError(f"the reply to {what} is not JSON: {shown!r} ({error})") from None


def _words(body: bytes) -> str:
    """Return what a server says about a refusal, as one line of text."""
    text = body[: 4 * _MAX_WORDS].decode("utf-8", "replace")
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        text = found if isinstance(found, str) else json.dumps(found)
    line = " ".join(text.split())
    return line if len(line) <= _MAX_WORDS else line[:_MAX_WORDS] + "…"
