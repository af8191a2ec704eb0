"""Images that DECTRIS detectors compressed, through the whole live path: ZeroMQ → receiver → ring → worker.

The chunks of the vendor's HDF5 files are what its detectors stream; they are sent as they are, in both
versions of the stream.  The sums are those that independent readers give; pixels are compared with those of
hdf5plugin.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2
import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt
import pytest

from detector_dectris._dectris import Sender
from livestem import LiveContext
from udf_4dstem import PickUDF, SumSigUDF

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("LIVESTEM_TEST_DATA", ROOT.parent / "shared" / "data"))
PATIENCE_S = 20.0
SERIES = 34

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the real detector files are not here; name their folder in LIVESTEM_TEST_DATA"
)

E2 = "e2/eiger2_simread7_2datafiles_4images_{}_data_000001.h5"
SUMS = {
    "e1/eiger1_testmode10_2datafiles_4images_bslz4_data_000001.h5": 2511479273,
    E2.format("bslz4"): 3648540,
    E2.format("lz4"): 3648540,
    E2.format("bslz4_uint32"): 21891240,
}


# Version 1 sends lz4 as one block without framing: chunks of lz4 in many blocks can't be of version 1.
CASES = [(name, version) for name in SUMS for version in (1, 2) if version == 2 or "bslz4" in name]


@dataclass(frozen=True)
class Recording:
    """Compressed images of a file, and what they decode to."""

    frames: npt.NDArray[Any]
    blobs: list[bytes]
    compression: str

    @classmethod
    def of(cls, path: Path) -> Recording:
        assert hdf5plugin.PLUGIN_PATH
        with h5py.File(path) as file:
            dataset = file["entry/data/data"]
            blobs = [bytes(dataset.id.read_direct_chunk((n, 0, 0))[1]) for n in range(len(dataset))]
            return cls(dataset[()], blobs, "bslz4" if "bslz4" in path.name else "lz4")

    def send(self, sender: Sender, version: int, n: int) -> None:
        """Send `n` images as a series; those of the file again and again."""
        rows, columns = self.frames.shape[1:]
        lengths = np.array([len(blob) for blob in self.blobs], np.uint64)
        offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.uint64)
        for message in self._header(version, n):
            assert sender.send(message, PATIENCE_S)
        sent = sender.send_images(
            version, SERIES, 0, n, np.frombuffer(b"".join(self.blobs), np.uint8), offsets, lengths,
            (rows, columns), self.frames.dtype.name, self.compression,
        )  # fmt: skip
        assert sent[0] == n
        assert sender.send([_end(version)], PATIENCE_S)

    def _header(self, version: int, n: int) -> list[list[bytes]]:
        rows, columns = self.frames.shape[1:]
        if version == 1:
            config = {"nimages": 1, "ntrigger": n, "trigger_mode": "exte", "count_time": 0.001}
            config |= {"x_pixels_in_detector": columns, "y_pixels_in_detector": rows}
            first = {"header_detail": "basic", "htype": "dheader-1.0", "series": SERIES}
            return [[json.dumps(first).encode(), json.dumps(config).encode()]]
        start = {"type": "start", "series_id": SERIES, "channels": ["threshold_1"], "number_of_images": n}
        start |= {"image_size_x": columns, "image_size_y": rows, "image_dtype": self.frames.dtype.name}
        return [[cbor2.dumps(cbor2.CBORTag(55799, start))]]


def _end(version: int) -> bytes:
    if version == 1:
        return json.dumps({"htype": "dseries_end-1.0", "series": SERIES}).encode()
    return cbor2.dumps(cbor2.CBORTag(55799, {"type": "end", "series_id": SERIES}))


@pytest.fixture
def sender() -> Iterator[Sender]:
    """The data port of a detector."""
    made = Sender("tcp://127.0.0.1:0")
    yield made
    made.close()


def scan_live(sender: Sender, send: Callable[[], None], nav_shape: tuple[int, ...]) -> Any:
    """Run UDFs over what is sent; return the intensity of each frame and the frames."""
    port = int(sender.endpoint.rpartition(":")[2])
    with (
        LiveContext.make_with("threads") as ctx,
        ctx.make_connection("dectris").open(api_host="127.0.0.1", data_port=port) as connection,
    ):
        send()
        pending = connection.wait_for_acquisition(timeout=PATIENCE_S)
        assert pending is not None
        aq = ctx.make_acquisition(conn=connection, pending_aq=pending, nav_shape=nav_shape)
        intensity, frames = ctx.run_udf(dataset=aq, udf=[SumSigUDF(), PickUDF()])
    return intensity["intensity"].data, frames["intensity"].data


@pytest.mark.parametrize(("name", "version"), CASES)
def test_vendor_images_arrive_with_the_sum_an_independent_reader_gives(
    name: str, version: int, sender: Sender
) -> None:
    recording = Recording.of(DATA / "dectris_h5" / name)

    intensity, frames = scan_live(sender, lambda: recording.send(sender, version, 6), (2, 3))

    expected = np.concatenate([recording.frames] * 3)
    assert int(intensity[0, 0]) == SUMS[name]
    assert intensity.reshape(-1).tolist() == expected.sum(axis=(1, 2), dtype=np.uint64).tolist()
    np.testing.assert_array_equal(frames, expected)


def test_recorded_messages_of_an_eiger2_give_the_pixels_it_saw(sender: Sender) -> None:
    folder = DATA / "dectris_stream2_tickit"

    def replay() -> None:
        for name in ("start", "image", "end"):
            assert sender.send([(folder / f"{name}.cbor").read_bytes()], PATIENCE_S)

    intensity, frames = scan_live(sender, replay, (1,))

    assert int(intensity.sum()) == 82120283837
    assert frames.shape == (1, 4362, 4148)
    assert int(np.count_nonzero(frames)) == 1253093
    assert int(np.count_nonzero(frames == 65535)) == 1253075
