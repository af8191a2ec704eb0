"""The REST interface over HTTP: paths, bodies and status codes; what they mean is the detector's."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ._detector import Detector, RefusedCommandError, UnknownNameError
from ._parameters import RefusedValueError

_VERSIONS = ("1.6.0", "1.8.0")
_MODULES = ("detector", "stream", "filewriter", "monitor", "system")
_MAX_BODY_BYTES = 256 << 20
_PATH = re.compile(r"/(?P<module>\w+)/api/(?P<rest>.*)")


class RestServer(ThreadingHTTPServer):
    """Serves one detector until closed.

    Parameters
    ----------
    address
        Host and port; port 0 for any free one.
    detector
        Who answers.

    Raises
    ------
    OSError
        If the port can't be had.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], detector: Detector) -> None:
        self.detector = detector
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.05,), name="dectris-rest", daemon=True
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Serve in a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """Stop, cut the connections.  Idempotent."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()
        with self._lock:
            connections, self._connections = self._connections, set()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may go when they like."""

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection."""
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection."""
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RestServer

    def setup(self) -> None:
        super().setup()
        # Answers are small: they must not wait for more.
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_PUT(self) -> None:
        self._answer(self._put)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def log_message(self, *args: Any) -> None:
        """Be quiet: the detector reports what matters."""

    def _answer(self, method: Any) -> None:
        try:
            body = self._body()
            status, answer = 200, method(*self._parts(), body)
        except UnknownNameError as error:
            status, answer = 404, {"error": str(error.args[0])}
        except (RefusedValueError, RefusedCommandError) as error:
            status, answer = 400, {"error": str(error)}
        data = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _parts(self) -> tuple[str, list[str]]:
        path = re.sub("/+", "/", self.path.split("?")[0])
        found = _PATH.fullmatch(path)
        if found is None or found["module"] not in _MODULES:
            raise UnknownNameError(f"there is no {self.path}; paths are /MODULE/api/1.8.0/config/PARAMETER")
        return found["module"], [part for part in found["rest"].split("/") if part]

    def _body(self) -> Any:
        """Return what the body says; ``None`` if nothing."""
        length = self.headers.get("Content-Length") or "0"
        if not length.isdigit() or int(length) > _MAX_BODY_BYTES:
            self.close_connection = True
            raise RefusedValueError(f"a body of {length} bytes is too long")
        raw = self.rfile.read(int(length))
        if not raw.strip():
            return None
        try:
            return json.loads(raw)
        except ValueError as error:
            raise RefusedValueError(f"the body is no JSON: {error}") from error

    def _get(self, module: str, parts: list[str], body: Any) -> Any:
        detector = self.server.detector
        if parts == ["version"]:
            return {"value": _VERSIONS[-1], "value_type": "string"}
        task, key = _task(parts)
        if module == "filewriter" and task == "files":
            return {"value": [], "value_type": "string[]"}
        if not key or key == "keys":
            return detector.keys(module, task)
        if task == "command":
            raise UnknownNameError(f"{module}/command/{key} takes a PUT")
        return detector.describe(module, task, key)

    def _put(self, module: str, parts: list[str], body: Any) -> Any:
        task, key = _task(parts)
        value = body.get("value") if isinstance(body, dict) else body
        if module == "detector":
            # Passive clients, too, switch the stream on.
            self.server.detector.last_command_s = time.monotonic()
        if task == "command":
            return self.server.detector.command(module, key, value)
        if task != "config":
            raise UnknownNameError(f"{module}/{task} can't be set")
        if value is None:
            raise RefusedValueError(f'setting {key} takes a body {{"value": …}}')
        return self.server.detector.put(module, key, value)

    def _delete(self, module: str, parts: list[str], body: Any) -> Any:
        _, key = _task(parts)
        self.server.detector.reset_table(module, key)


def _task(parts: list[str]) -> tuple[str, str]:
    """Return task and parameter of a path behind ``api/``."""
    if not parts or parts[0] not in _VERSIONS:
        given = parts[0] if parts else "none"
        raise UnknownNameError(f"version {given} is not served; use {' or '.join(_VERSIONS)}")
    if len(parts) < 2:
        raise UnknownNameError("the path names no task: config, status or command")
    # …/api/1.8.0/keys are those of the configuration.
    if parts[1] == "keys" and len(parts) == 2:
        return "config", ""
    return parts[1], "/".join(parts[2:])
