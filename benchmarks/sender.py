"""Send a recorded Merlin stream over TCP with sendfile, on request.

Run as ``python sender.py STREAM FRAMES MESSAGE_BYTES DEPTH``; prints its data and control ports, waits for
one client, then for lines on standard input: ``go RATE`` sends one acquisition (RATE frames/s, 0 = as fast
as it goes) and prints when its first and last byte were handed to the kernel.  The same program feeds every
system.  The control port only answers what LiberTEM-live asks before it receives.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
import time

HEADER_BYTES = 15 + 2048
SLICE_S = 0.002
ACCEPT_S = 120.0
"""A receiver that has not connected by then never will: end instead of staying behind."""


def send_range(sock: socket.socket, fd: int, start: int, stop: int) -> None:
    """Send bytes ``[start, stop)`` of the file."""
    while start < stop:
        start += os.sendfile(sock.fileno(), fd, start, stop - start)


def send_paced(sock: socket.socket, fd: int, n_frames: int, message_bytes: int, rate: float) -> None:
    """Send whole frames in small slices of time so that `rate` is met smoothly."""
    begun, sent = time.monotonic(), 0
    while sent < n_frames:
        due = min(n_frames, int((time.monotonic() - begun) * rate) + 1)
        send_range(sock, fd, HEADER_BYTES + sent * message_bytes, HEADER_BYTES + due * message_bytes)
        sent = due
        time.sleep(SLICE_S)


def answer_questions(listener: socket.socket, variables: dict[str, str]) -> None:
    """Answer ``GET`` requests on the control port, one client after the other."""
    while True:
        client, _ = listener.accept()
        with client:
            while request := client.recv(4096):
                for name in re.findall(rb"GET,(\w+)", request):
                    body = f",GET,{name.decode()},{variables.get(name.decode(), '0')},0"
                    client.sendall(f"MPX,{len(body):010}{body}".encode())


def main() -> None:
    """Serve one client."""
    path, n_frames, message_bytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    fd = os.open(path, os.O_RDONLY)
    listener = socket.create_server(("127.0.0.1", 0))
    control = socket.create_server(("127.0.0.1", 0))
    variables = {"IMAGEX": "256", "IMAGEY": "256", "COUNTERDEPTH": sys.argv[4]}
    threading.Thread(target=answer_questions, args=(control, variables), daemon=True).start()
    print(listener.getsockname()[1], control.getsockname()[1], flush=True)
    listener.settimeout(ACCEPT_S)
    client, _ = listener.accept()
    client.settimeout(None)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for line in sys.stdin:
        rate = float(line.split()[1])
        send_range(client, fd, 0, HEADER_BYTES)
        first = time.monotonic()
        if rate:
            send_paced(client, fd, n_frames, message_bytes, rate)
        else:
            send_range(client, fd, HEADER_BYTES, HEADER_BYTES + n_frames * message_bytes)
        print(json.dumps({"first": first, "last": time.monotonic()}), flush=True)


if __name__ == "__main__":
    main()
