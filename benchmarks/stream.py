"""Record the byte stream of a Merlin acquisition from the simulator: what every system will be fed."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detector_merlin import MerlinSimulator

FRAME_SHAPE = (256, 256)
HDR_MESSAGE_BYTES = 15 + 2048
HEADER_BYTES = 15 + 384
COLUMNS = 128
DISTINCT_FRAMES = 512


@dataclass(frozen=True)
class PixelFormat:
    """One row of the table: how pixels travel, and how many bytes they have when decoded."""

    name: str
    depth: int
    raw: bool
    payload_bytes: int
    pixel_bytes: int

    @property
    def message_bytes(self) -> int:
        """Bytes of one frame on the wire."""
        return HEADER_BYTES + self.payload_bytes


FORMATS = {
    one.name: one
    for one in (
        PixelFormat("u8", 6, False, 65536, 65536),
        PixelFormat("u16", 12, False, 131072, 131072),
        PixelFormat("raw1", 1, True, 8192, 65536),
        PixelFormat("raw6", 6, True, 65536, 65536),
        PixelFormat("raw12", 12, True, 131072, 131072),
    )
}


def specimen(n_frames: int, depth: int) -> np.ndarray:
    """Make counts: a bright disk that wanders with the scan on a weak background."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[: FRAME_SHAPE[0], : FRAME_SHAPE[1]]
    frames = np.empty((n_frames, *FRAME_SHAPE), dtype=np.uint16)
    for index in range(n_frames):
        cy, cx = 127.5 + 4 * np.sin(index / 40), 127.5 + 4 * np.cos(index / 23)
        disk = (y - cy) ** 2 + (x - cx) ** 2 < 40**2
        frames[index] = rng.poisson(np.where(disk, 12.0, 0.2))
    return np.minimum(frames, 2**depth - 1).astype(np.uint16)


def write_stream(path: Path, pixels: PixelFormat, n_frames: int) -> None:
    """Write the acquisition header and `n_frames` frame messages to `path`."""
    data = specimen(DISTINCT_FRAMES, pixels.depth)
    simulator = MerlinSimulator(
        data,
        depth=pixels.depth,
        raw=pixels.raw,
        frames=n_frames,
        scan_shape=(n_frames // COLUMNS, COLUMNS),
        rate="max",
        autostart=True,
    )
    left = HDR_MESSAGE_BYTES + n_frames * pixels.message_bytes
    with (
        simulator,
        path.open("wb") as file,
        socket.create_connection(("127.0.0.1", simulator.data_port)) as client,
    ):
        while left:
            block = client.recv(min(left, 1 << 20))
            if not block:
                raise EOFError(f"the simulator stopped {left} bytes early")
            file.write(block)
            left -= len(block)
