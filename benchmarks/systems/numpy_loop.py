"""(d) What one would write in an afternoon: ``recv_into`` one frame after the other, sum with NumPy."""

from __future__ import annotations

import socket

import numpy as np
import numpy.typing as npt
from protocol import Case, serve

PIXELS = 256 * 256


def frame_of(pixels: str, payload: npt.NDArray[np.uint8]) -> npt.NDArray[np.unsignedinteger]:
    """Decode one frame with plain NumPy (single chip, 256×256)."""
    if pixels == "u8":
        return payload
    if pixels == "u16":
        return payload.view(">u2")
    if pixels == "raw1":
        return np.unpackbits(payload.reshape(-1, 8)[:, ::-1], axis=1, bitorder="little").reshape(-1)
    if pixels == "raw6":
        return payload.reshape(-1, 8)[:, ::-1].reshape(-1)
    return payload.view(">u2").reshape(-1, 4)[:, ::-1].reshape(-1)


def main() -> None:
    """Sum every acquisition the driver asks for."""
    case = Case.from_arguments()
    sock = socket.create_connection(("127.0.0.1", case.port))
    message = bytearray(case.message_bytes)
    view = memoryview(message)
    header_bytes = 15 + 384
    payload = np.frombuffer(message, dtype=np.uint8)[header_bytes:]

    def fill(buffer: memoryview) -> None:
        got = 0
        while got < len(buffer):
            n = sock.recv_into(buffer[got:])
            if not n:
                raise EOFError("the sender has gone")
            got += n

    def receive() -> float:
        fill(memoryview(bytearray(15 + 2048)))
        total = np.zeros(PIXELS, dtype=np.float32)
        for _ in range(case.n_frames):
            fill(view)
            total += frame_of(case.pixels, payload)
        return float(total.sum(dtype=np.float64))

    serve(lambda: (receive(), None))


if __name__ == "__main__":
    main()
