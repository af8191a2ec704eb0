"""(a) A bare socket reader: receives an acquisition and throws its bytes away."""

from __future__ import annotations

import socket

from protocol import Case, serve

HEADER_BYTES = 15 + 2048


def main() -> None:
    """Read every acquisition the driver asks for."""
    case = Case.from_arguments()
    sock = socket.create_connection(("127.0.0.1", case.port))
    buffer = memoryview(bytearray(1 << 20))

    def receive() -> float:
        left = HEADER_BYTES + case.n_frames * case.message_bytes
        while left:
            got = sock.recv_into(buffer, min(left, len(buffer)))
            if not got:
                raise EOFError("the sender has gone")
            left -= got
        return 0.0

    serve(lambda: (receive(), None))


if __name__ == "__main__":
    main()
