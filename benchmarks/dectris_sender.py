"""Send compressed frames as a DECTRIS detector does, on request.

Run as ``python dectris_sender.py FOLDER FRAMES VERSION`` with a folder from `dectris_stream.write_frames`;
prints its data and REST ports, then waits for lines on standard input: ``go RATE`` sends one acquisition
(RATE frames/s, 0 = as fast as it goes) and prints when its first frame and its end were handed to ZeroMQ.
The same program feeds every system.  The REST interface only answers what LiberTEM-live asks before it
receives.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cbor2
import numpy as np

from detector_dectris._dectris import Sender

BITS = {"u1": 8, "u2": 16, "u4": 32}
HWM = 1000
"""Messages ZeroMQ may queue: some ten milliseconds of them."""

ARMED_S = 0.05
"""Between the header and the first frame."""

PATIENCE_S = 120.0
"""A receiver that takes nothing for so long has gone."""

CONFIG: dict[str, Any] = {
    "auto_summation": True,
    "beam_center_x": 0.0,
    "beam_center_y": 0.0,
    "chi_increment": 0.0,
    "chi_start": 0.0,
    "compression": "bslz4",
    "count_time": 0.00001,
    "countrate_correction_applied": True,
    "countrate_correction_count_cutoff": 3825,
    "data_collection_date": "2026-01-01T12:00:00.000+01:00",
    "description": "Benchmark",
    "detector_distance": 0.0,
    "detector_number": "B-01-0001",
    "detector_readout_time": 1e-7,
    "detector_translation": [0.0, 0.0, 0.0],
    "eiger_fw_version": "release-2022.1.0",
    "element": "",
    "flatfield_correction_applied": True,
    "frame_count_time": 0.00001,
    "frame_period": 0.00001,
    "frame_time": 0.00001,
    "kappa_increment": 0.0,
    "kappa_start": 0.0,
    "nimages": 1,
    "number_of_excluded_pixels": 0,
    "pixel_mask_applied": True,
    "roi_mode": "",
    "sensor_material": "Si",
    "sensor_thickness": 0.00045,
    "software_version": "1.8.0",
    "threshold_energy": 4020.5,
    "trigger_mode": "exte",
    "wavelength": 1.54,
    "x_pixel_size": 0.0001,
    "y_pixel_size": 0.0001,
}
"""Parts of the header, and answers of the REST interface: all that LiberTEM-live insists on."""


class Frames:
    """Compressed frames and how they are sent.

    Parameters
    ----------
    folder
        Where they are.
    n_frames
        Of an acquisition.
    version
        Of the stream, 1 or 2.
    """

    def __init__(self, folder: Path, n_frames: int, version: int) -> None:
        about = json.loads((folder / "frames.json").read_text())
        self._blobs = np.fromfile(folder / "blobs.bin", np.uint8)
        lengths = np.array(about["lengths"], np.uint64)
        offsets = np.concatenate([np.zeros(1, np.uint64), np.cumsum(lengths)[:-1]])
        shown = np.arange(n_frames) % len(lengths)
        self._offsets, self._lengths = offsets[shown], lengths[shown]
        self._n, self._version = n_frames, version
        self._size, self._bits = about["size"], BITS[about["dtype"]]
        self._series = 0
        self.config = {
            **CONFIG,
            "ntrigger": n_frames,
            "bit_depth_image": self._bits,
            "bit_depth_readout": self._bits,
            "x_pixels_in_detector": self._size,
            "y_pixels_in_detector": self._size,
        }

    def send(self, sender: Sender, rate: float) -> tuple[float, float]:
        """Send an acquisition; return when its first frame and its end were handed over."""
        self._series += 1
        self._tell(sender, self._header())
        time.sleep(ARMED_S)
        first = time.monotonic()
        sender.send_images(
            self._version,
            self._series,
            0,
            self._n,
            self._blobs,
            self._offsets,
            self._lengths,
            (self._size, self._size),
            f"uint{self._bits}",
            "bslz4",
            rate=rate or None,
        )
        self._tell(sender, self._end())
        return first, time.monotonic()

    def _tell(self, sender: Sender, parts: list[bytes]) -> None:
        if not sender.send(parts, PATIENCE_S):
            raise TimeoutError("the receiver takes nothing")

    def _header(self) -> list[bytes]:
        if self._version == 1:
            about = {"header_detail": "basic", "htype": "dheader-1.0", "series": self._series}
            return [json.dumps(about).encode(), json.dumps(self.config).encode()]
        start = {
            "type": "start",
            "series_id": self._series,
            "series_unique_id": "01BENCHMARK",
            "channels": ["threshold_1"],
            "number_of_images": self._n,
            "image_dtype": f"uint{self._bits}",
            "image_size_x": self._size,
            "image_size_y": self._size,
            "count_time": self.config["count_time"],
            "frame_time": self.config["frame_time"],
        }
        return [cbor2.dumps(cbor2.CBORTag(55799, start))]

    def _end(self) -> list[bytes]:
        if self._version == 1:
            return [json.dumps({"htype": "dseries_end-1.0", "series": self._series}).encode()]
        end = {"type": "end", "series_id": self._series, "series_unique_id": "01BENCHMARK"}
        return [cbor2.dumps(cbor2.CBORTag(55799, end))]


def answer_questions(config: dict[str, Any]) -> int:
    """Answer the REST interface in a thread of its own; return its port."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = self.path.rstrip("/").rsplit("/", 1)[-1]
            self._say({"value": config.get(name, "idle" if name == "state" else "enabled")})

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._say([])

        def _say(self, answer: Any) -> None:
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_address[1])


def main() -> None:
    """Serve one client."""
    frames = Frames(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    sender = Sender("tcp://127.0.0.1:*", hwm=HWM)
    print(sender.endpoint.rsplit(":", 1)[1], answer_questions(frames.config), flush=True)
    for line in sys.stdin:
        first, last = frames.send(sender, float(line.split()[1]))
        print(json.dumps({"first": first, "last": last}), flush=True)
    sender.close()


if __name__ == "__main__":
    main()
