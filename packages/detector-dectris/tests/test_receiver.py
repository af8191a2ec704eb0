"""The native receiver, from a real socket to frame records in shared memory."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import cbor2
import numpy as np
import numpy.typing as npt
import pytest

from arraystream import FeedChunk, FeedEnd
from detector_dectris._dectris import Receiver, Sender
from shmring.member import RingMember

DEADLINE = 20.0
SHAPE = (4, 8)


@pytest.fixture
def sender() -> Iterator[Sender]:
    sender = Sender("tcp://127.0.0.1:0", linger=0.0)
    yield sender
    sender.close()


@pytest.fixture
def receiver(sender: Sender) -> Iterator[Receiver]:
    receiver = Receiver([sender.endpoint], slot_bytes=1 << 16, n_slots=8)
    assert receiver.next_event(DEADLINE) == ("connected", 0, {})
    yield receiver
    receiver.close()


def part(**values: Any) -> bytes:
    return json.dumps(values).encode()


def send_header(sender: Sender, series: int, n: int, *more: bytes) -> None:
    config = {"nimages": n, "ntrigger": 1, "trigger_mode": "ints", "bit_depth_image": 16, "element": None}
    detail = "all" if more else "basic"
    head = part(header_detail=detail, htype="dheader-1.0", series=series)
    assert sender.send([head, part(**config), *more], DEADLINE)


def send_image(sender: Sender, series: int, index: int, image: npt.NDArray[np.uint16]) -> None:
    rows, columns = image.shape
    layout = {"encoding": "<", "shape": [columns, rows], "size": image.nbytes, "type": "uint16"}
    parts = [
        part(frame=index, hash="", htype="dimage-1.0", series=series),
        part(htype="dimage_d-1.0", **layout),
        image.tobytes(),
        part(htype="dconfig-1.0", real_time=1, start_time=0, stop_time=1),
    ]
    assert sender.send(parts, DEADLINE)


def blobs_of(record: memoryview) -> list[bytes]:
    (n_blobs,) = struct.unpack_from("<I", record)
    lengths = struct.unpack_from(f"<{n_blobs}Q", record, 8)
    found, at = [], 8 + 8 * n_blobs
    for length in lengths:
        found.append(bytes(record[at : at + length]))
        at += (length + 7) // 8 * 8
    return found


def images() -> npt.NDArray[np.uint16]:
    return np.arange(3 * 32, dtype=np.uint16).reshape(3, *SHAPE)


def test_details_and_records_of_an_acquisition_are_as_documented(sender: Sender, receiver: Receiver) -> None:
    send_header(sender, 5, 3)
    for index, image in enumerate(images()):
        send_image(sender, 5, index, image)
    name, number, armed = receiver.next_event(DEADLINE) or pytest.fail("no event")
    assert (name, number, armed["n_items"], armed["index_shape"]) == ("armed", 1, 3, [])
    assert armed["meta"]["series"] == 5
    assert armed["meta"]["header"]["bit_depth_image"] == 16
    assert armed["pixel_mask"] is None
    name, number, first = receiver.next_event(DEADLINE) or pytest.fail("no event")
    assert (name, number, first["item_shape"], first["dtype"]) == ("first_frame", 1, SHAPE, "u2")
    assert first["codec_params"] == {
        "compression": "none",
        "element_bytes": 2,
        "byteorder": "<",
        "n_blobs": 1,
        "blob": 0,
    }
    assert receiver.next_event(DEADLINE) == (
        "ended",
        1,
        {"status": "complete", "n_items": 3, "gaps": [], "reason": "", "cause": None},
    )
    consumer, fd = receiver.attach(1)
    member = RingMember(fd, consumer)
    chunk = member.recv(DEADLINE)
    assert isinstance(chunk, FeedChunk)
    payload = np.asarray(chunk.payload).data
    found = [blobs_of(payload[offset:]) for offset in chunk.offsets.tolist()]
    assert found == [[image.tobytes()] for image in images()]
    payload.release()
    chunk.lease.release()
    del chunk
    member.close()
    assert receiver.counters()["n_items"] == 3


def test_masks_of_the_header_come_as_arrays(sender: Sender, receiver: Receiver) -> None:
    mask = np.arange(32, dtype="<u4").reshape(SHAPE)
    flatfield = np.linspace(0.5, 2, 32, dtype="<f4").reshape(SHAPE)
    send_header(
        sender,
        1,
        3,
        part(htype="dflatfield-1.0", shape=[8, 4], type="float32"),
        flatfield.tobytes(),
        part(htype="dpixelmask-1.0", shape=[8, 4], type="uint32"),
        mask.tobytes(),
        part(htype="dcountrate_table-1.0", shape=[2, 1], type="float32"),
        bytes(8),
        b"an appendix",
    )
    _, _, armed = receiver.next_event(DEADLINE) or pytest.fail("no event")
    np.testing.assert_array_equal(armed["pixel_mask"], mask)
    np.testing.assert_array_equal(armed["flatfield"], flatfield)
    assert armed["meta"]["header"]["header_appendix"] == "an appendix"


def test_stream_v2_of_an_independent_encoder_is_understood(sender: Sender) -> None:
    channels = ["threshold_1", "difference"]
    receiver = Receiver([sender.endpoint], slot_bytes=1 << 16, n_slots=8, channel="all")
    assert (receiver.next_event(DEADLINE) or pytest.fail("no event"))[0] == "connected"

    def array(image: npt.NDArray[Any], tag: int) -> cbor2.CBORTag:
        return cbor2.CBORTag(40, [list(image.shape), cbor2.CBORTag(tag, image.tobytes())])

    def message(**values: Any) -> bytes:
        return cbor2.dumps(cbor2.CBORTag(55799, values))

    mask = np.arange(32, dtype="<u4").reshape(SHAPE)
    start = message(
        user_data={"sample": ["gold", None, 1.5]},
        number_of_images=3,
        arm_date=cbor2.CBORTag(0, "2024-01-01T00:00:00Z"),
        channels=channels,
        pixel_mask={"threshold_1": array(mask, 70)},
        series_id=2**40,
        type="start",
    )
    assert sender.send([start], DEADLINE)
    for index, image in enumerate(images()):
        data = {"difference": array(image + 1, 69), "threshold_1": array(image, 69)}
        whole = message(data=data, start_time=[1, 50_000_000], image_id=index, series_id=2**40, type="image")
        assert sender.send([whole], DEADLINE)
    _, _, armed = receiver.next_event(DEADLINE) or pytest.fail("no event")
    assert (armed["n_items"], armed["meta"]["series"]) == (3, 2**40)
    assert armed["meta"]["channels"] == channels
    assert armed["meta"]["header"]["user_data"] == {"sample": ["gold", None, 1.5]}
    assert armed["meta"]["header"]["arm_date"] == "2024-01-01T00:00:00Z"
    np.testing.assert_array_equal(armed["pixel_mask"], mask)
    _, _, first = receiver.next_event(DEADLINE) or pytest.fail("no event")
    assert first["item_shape"] == (2, *SHAPE)
    assert (first["codec_params"]["n_blobs"], first["codec_params"]["blob"]) == (2, None)
    assert first["meta"]["kept_channels"] == channels
    consumer, fd = receiver.attach(1)
    member = RingMember(fd, consumer)
    found = []
    while not isinstance(chunk := member.recv(DEADLINE), FeedEnd):
        assert isinstance(chunk, FeedChunk)
        payload = np.asarray(chunk.payload).data
        found += [blobs_of(payload[offset:]) for offset in chunk.offsets.tolist()]
        payload.release()
        chunk.lease.release()
        del chunk
    assert found == [[image.tobytes(), (image + 1).tobytes()] for image in images()]
    member.close()
    receiver.close()


def test_an_unknown_channel_fails_the_acquisition_in_words(sender: Sender) -> None:
    receiver = Receiver([sender.endpoint], slot_bytes=1 << 16, n_slots=8, channel="difference")
    assert (receiver.next_event(DEADLINE) or pytest.fail("no event"))[0] == "connected"
    send_header(sender, 1, 3)
    send_image(sender, 1, 0, images()[0])
    assert (receiver.next_event(DEADLINE) or pytest.fail("no event"))[0] == "armed"
    name, _, ended = receiver.next_event(DEADLINE) or pytest.fail("no event")
    assert (name, ended["status"], ended["cause"]) == ("ended", "failed", "protocol")
    assert 'no channel "difference"' in ended["reason"]
    receiver.close()
    assert receiver.is_over
