"""A bare socket that speaks just enough ZMTP 3.0 to be sent an acquisition, and throws its bytes away."""

from __future__ import annotations

import socket

from dectris_case import DectrisCase
from protocol import serve

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x1a\x05READY\x0bSocket-Type\x00\x00\x00\x04PULL"
LAST_WORDS = b"dseries_end"


def main() -> None:
    """Read every acquisition the driver asks for; it is over when the last bytes are an end message."""
    case = DectrisCase.from_arguments()
    sock = socket.create_connection(("127.0.0.1", case.port))
    sock.sendall(GREETING + READY)
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)

    def receive() -> float:
        n_bytes, tail = 0, b""
        while LAST_WORDS not in tail:
            got = sock.recv_into(view)
            if not got:
                raise EOFError("the sender has gone")
            n_bytes += got
            tail = (tail + bytes(view[max(0, got - 64) : got]))[-64:]
        return float(n_bytes)

    serve(lambda: (receive(), None))


if __name__ == "__main__":
    main()
