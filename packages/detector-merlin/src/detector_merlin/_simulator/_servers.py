"""The threads of the command port and of the trigger port."""

from __future__ import annotations

import threading

from arraystream import ProtocolError
from detector_merlin._control import MessageReader, Reply, Request

from ._detector import OUT_OF_RANGE, UNKNOWN, Detector
from ._port import ClientPort
from ._sender import FrameSender


class LineServer(threading.Thread):
    """A port on which one client after the other sends short messages."""

    timeout_s: float | None = None  # after so long without bytes `handle` is called all the same

    def __init__(self, port: ClientPort, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.port = port
        self.failure: BaseException | None = None
        self._closing = threading.Event()

    def run(self) -> None:
        """Serve until `close`."""
        try:
            while not self._closing.is_set():
                n_before = self.port.n_connections
                data = self.port.wait(self.timeout_s)
                if self.port.n_connections != n_before:
                    self.begin()
                self.handle(data)
        except BaseException as error:
            self.failure = error
        finally:
            self.port.close()

    def close(self) -> None:
        """End the thread; the caller joins it."""
        self._closing.set()
        self.port.wake()

    def begin(self) -> None:
        """A new client is there."""

    def handle(self, data: bytes) -> None:
        """Take what came, perhaps nothing."""

    def send(self, data: bytes) -> None:
        """Send to the client; one that does not take it within a second is dropped."""
        client = self.port.client
        if client is None:
            return
        try:
            client.settimeout(1.0)
            client.sendall(data)
        except OSError:
            self.port.drop()


class CommandServer(LineServer):
    """The command port: one reply per request."""

    def __init__(self, port: ClientPort, detector: Detector, sender: FrameSender, reset_s: float) -> None:
        super().__init__(port, "merlin-control")
        self._detector = detector
        self._sender = sender
        self._reset_s = reset_s
        self._reader = MessageReader(replies=False)

    def begin(self) -> None:
        """Forget what the client before has left."""
        self._reader = MessageReader(replies=False)
        self.timeout_s = None

    def handle(self, data: bytes) -> None:
        """Execute each whole request and reply."""
        self._reader.feed(data)
        while not self._closing.is_set():
            try:
                body = self._reader.next_message()
                if body is None and not data:
                    body = self._reader.take_unfinished()
                if body is None:
                    break
                request = Request.parse(body)
            except ProtocolError:
                self.send(Reply("CMD", "UNKNOWN", UNKNOWN).encode())
                continue
            self._execute(request)
        # A length that claims one byte too many is believed for a moment only.
        self.timeout_s = 0.2 if self._reader.n_pending else None

    def _execute(self, request: Request) -> None:
        if request.verb in ("SET", "CMD"):
            self._sender.cancel_autostart()
        try:
            reply = self._detector.answer(request)
        except ValueError:  # e.g. headers that do not fit
            reply = Reply(request.verb, request.name, OUT_OF_RANGE)
        self.send(reply.encode())
        if request.verb == "CMD" and request.name.upper() == "RESET":
            self._reset()

    def _reset(self) -> None:
        self._detector.initialising = True
        self._sender.suspend()
        self.port.stop_listening()
        self._closing.wait(self._reset_s)
        self._detector.reset()
        self._detector.initialising = False
        if not self._closing.is_set():
            self.port.listen()
            self._sender.resume()


class TriggerServer(LineServer):
    """External triggers over TCP: ``TRIGGER``, answered by ``FINISH`` when the burst is out."""

    def __init__(self, port: ClientPort, sender: FrameSender) -> None:
        super().__init__(port, "merlin-trigger")
        self._sender = sender
        self._buffer = b""

    def begin(self) -> None:
        """Forget what the client before has left."""
        self._buffer = b""

    def handle(self, data: bytes) -> None:
        """Trigger once per line."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            if line.strip() == b"TRIGGER" and self._sender.trigger(soft=False):
                while not self._closing.is_set() and not self._sender.burst_ended(timeout=0.1):
                    pass
                self.send(b"FINISH\n")
