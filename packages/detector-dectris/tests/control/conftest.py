"""A bare HTTP server in the place of a control unit, for what no simulator does of its own accord."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from detector_dectris._simplon import SimplonClient

DEADLINE_S = 20.0
Reply = tuple[int, bytes] | Callable[[], tuple[int, bytes]]


class BareUnit(ThreadingHTTPServer):
    """Answers by a table of paths; remembers what it was asked.

    Parameters set by `hold` can be set and read back; everything else is what a test says.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies: dict[str, Reply] = {}
        self.held: dict[str, Any] = {}
        self.requests: list[tuple[str, str, bytes]] = []
        self.headers_seen: list[dict[str, str]] = []
        self.asked = threading.Event()
        self.release = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def answer(self, path: str, value: Any = None, *, status: int = 200, **metadata: Any) -> None:
        """Answer this path with a value, whatever is asked."""
        self.replies[path] = (status, json.dumps({"value": value, **metadata}).encode())

    def hold(self, prefix: str, **values: Any) -> None:
        """Keep parameters: they can be read and set."""
        self.held.update({prefix + key: value for key, value in values.items()})

    def hang(self, path: str) -> None:
        """Let requests of this path wait until `release` is set."""

        def reply() -> tuple[int, bytes]:
            self.asked.set()
            assert self.release.wait(DEADLINE_S)
            return 200, b"{}"

        self.replies[path] = reply

    def reply_to(self, verb: str, path: str, body: bytes) -> tuple[int, bytes]:
        reply = self.replies.get(path)
        if reply is not None:
            return reply() if callable(reply) else reply
        if path not in self.held:
            return 404, b"no such thing"
        if verb == "GET":
            return 200, json.dumps({"value": self.held[path]}).encode()
        self.held[path] = json.loads(body)["value"]
        return 200, b"[]"


class _Handler(BaseHTTPRequestHandler):
    server: BareUnit

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path, body))
        self.server.headers_seen.append(dict(self.headers))
        status, data = self.server.reply_to(self.command, self.path, body)
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            pass  # the client has gone

    do_PUT = do_GET  # noqa: N815

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def unit() -> Iterator[BareUnit]:
    """A server that answers what the test says."""
    with BareUnit() as unit:
        thread = threading.Thread(target=unit.serve_forever, args=(0.01,))
        thread.start()
        yield unit
        unit.release.set()
        unit.shutdown()
        thread.join()


@pytest.fixture
def client(unit: BareUnit) -> Iterator[SimplonClient]:
    """A client of that server."""
    with SimplonClient("127.0.0.1", unit.port, api_version="1.8.0", timeout=DEADLINE_S) as client:
        yield client
