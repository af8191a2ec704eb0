"""What the simulator sends, read with json, cbor2 and hdf5plugin's filters."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt
import pytest

_FILTERS = {"bslz4": hdf5plugin.Bitshuffle(), "lz4": hdf5plugin.LZ4(), "none": {}}


def decoded(blob: bytes, compression: str, shape: tuple[int, int], dtype: str) -> npt.NDArray[Any]:
    """Decode a blob with the HDF5 filter it is made for."""
    with h5py.File("blob.h5", "w", driver="core", backing_store=False) as file:
        stack = file.create_dataset("x", shape, dtype, chunks=shape, **dict(_FILTERS[compression]))
        stack.id.write_direct_chunk((0, 0), blob)
        return np.asarray(stack[()])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
@pytest.mark.parametrize("compression", ["bslz4", "none"])
def test_v1_sends_header_images_and_end(
    bench: Callable[..., Any], scan: npt.NDArray[np.uint16], dtype: str, compression: str
) -> None:
    data = scan.astype(dtype)
    one = bench(data=data, compression=compression)
    series = one.acquire()
    start, *images, end = one.series()
    assert json.loads(start[0]) == {"header_detail": "basic", "htype": "dheader-1.0", "series": series}
    config = json.loads(start[1])
    assert (config["nimages"], config["x_pixels_in_detector"], config["compression"]) == (12, 24, compression)
    assert end == [b'{"htype":"dseries_end-1.0","series":%d}' % series]
    bits = 8 * data.itemsize
    encoding = {"bslz4": f"bs{bits}-lz4<", "none": "<"}[compression]
    for number, (image, frame) in enumerate(zip(images, data.reshape(-1, 16, 24), strict=True)):
        first, second, blob, last = image
        digest = hashlib.md5(second).hexdigest()
        assert first == (
            b'{"frame":%d,"hash":"%s","htype":"dimage-1.0","series":%d}' % (number, digest.encode(), series)
        )
        assert (
            second
            == (
                f'{{"encoding":"{encoding}","htype":"dimage_d-1.0","shape":[24,16],'
                f'"size":{len(blob)},"type":"{dtype}"}}'
            ).encode()
        )
        assert set(json.loads(last)) == {"htype", "real_time", "start_time", "stop_time"}
        np.testing.assert_array_equal(decoded(blob, compression, (16, 24), dtype), frame)


def test_v1_with_lz4_is_a_bare_block(bench: Callable[..., Any], scan: npt.NDArray[np.uint16]) -> None:
    one = bench(compression="lz4")
    one.acquire()
    blob = one.series()[1][2]
    framed = struct.pack(">QII", 768, 768, len(blob)) + blob
    np.testing.assert_array_equal(decoded(framed, "lz4", (16, 24), "uint16"), scan[0, 0])


@pytest.mark.parametrize("compression", ["bslz4", "lz4", "none"])
def test_v2_sends_start_images_and_end(
    bench: Callable[..., Any], scan: npt.NDArray[np.uint16], compression: str
) -> None:
    one = bench(stream_format="cbor", compression=compression)
    series = one.acquire()
    start = one.item()
    assert start["type"] == "start"
    assert start["series_id"] == series
    assert (start["image_size_x"], start["image_size_y"], start["number_of_images"]) == (24, 16, 12)
    assert list(start["channels"]) == ["threshold_1"]
    assert start["image_dtype"] == "uint16"
    assert "pixel_mask" not in start
    for number, frame in enumerate(scan.reshape(-1, 16, 24)):
        image = one.item()
        assert (image["type"], image["image_id"], image["series_id"]) == ("image", number, series)
        assert image["series_unique_id"] == start["series_unique_id"]
        assert image["start_time"][1] == 50_000_000
        array = image["data"]["threshold_1"]
        shape, pixels = array.value
        assert (array.tag, tuple(shape), pixels.tag) == (40, (16, 24), 69)
        blob = pixels.value
        if compression != "none":
            assert blob.tag == 56500
            assert blob.value[0] == compression
            blob = blob.value[2]
        np.testing.assert_array_equal(decoded(blob, compression, (16, 24), "uint16"), frame)
    assert one.item() == {
        "type": "end",
        "series_id": series,
        "series_unique_id": start["series_unique_id"],
    }


def test_v2_carries_all_channels_of_an_exposure(
    bench: Callable[..., Any], scan: npt.NDArray[np.uint16]
) -> None:
    enabled = {"threshold/2/mode": "enabled", "threshold/difference/mode": "enabled", "compression": "none"}
    one = bench(model="eiger2-500k", stream_format="cbor", config=enabled, data=scan.astype("u4"))
    one.acquire()
    names = list(one.item()["channels"])
    assert names == ["threshold_1", "threshold_2", "difference"]
    data = one.item()["data"]
    assert list(data) == names
    low, high, between = (np.frombuffer(data[name].value[1].value, "<u4") for name in names)
    np.testing.assert_array_equal(low, scan[0, 0].ravel())
    np.testing.assert_array_equal(low - high, between)


def test_header_detail_decides_what_the_header_holds(bench: Callable[..., Any]) -> None:
    one = bench()
    for detail, n_parts in (("none", 1), ("basic", 2), ("all", 8)):
        one.put("config/header_detail", detail, module="stream")
        one.acquire()
        start = one.series()[0]
        assert len(start) == n_parts
        assert json.loads(start[0])["header_detail"] == detail
    assert json.loads(start[4]) == {"htype": "dpixelmask-1.0", "shape": [24, 16], "type": "uint32"}
    assert len(start[5]) == 4 * 16 * 24


def test_v2_header_of_all_detail_has_masks(bench: Callable[..., Any]) -> None:
    one = bench(stream_format="cbor", header_detail="all")
    one.acquire()
    mask = one.item()["pixel_mask"]["threshold_1"]
    assert (mask.tag, tuple(mask.value[0]), mask.value[1].tag) == (40, (16, 24), 70)


def test_appendices_travel_along(bench: Callable[..., Any]) -> None:
    one = bench(header_detail="all")
    one.put("config/header_appendix", "whole", module="stream")
    one.put("config/image_appendix", '{"k": 1}', module="stream")
    one.acquire()
    start, image, *_ = one.series()
    assert (start[-1], image[-1]) == (b"whole", b'{"k": 1}')


def test_v2_appendices_are_user_data(bench: Callable[..., Any]) -> None:
    one = bench(stream_format="cbor")
    one.put("config/header_appendix", "whole", module="stream")
    one.put("config/image_appendix", '{"k": 1}', module="stream")
    one.acquire()
    assert one.item()["user_data"] == "whole"
    assert one.item()["user_data"] == {"k": 1}


def test_masked_pixels_hold_the_largest_number(
    bench: Callable[..., Any], scan: npt.NDArray[np.uint16]
) -> None:
    mask = np.zeros((16, 24), np.uint32)
    mask[1, 2] = 2
    one = bench(compression="none", config={"pixel_mask": mask})
    one.acquire()
    frame = np.frombuffer(one.series()[1][2], "<u2").reshape(16, 24)
    assert frame[1, 2] == 65535
    assert frame[0, 0] == scan[0, 0, 0, 0]


def test_binned_images_keep_the_counts(bench: Callable[..., Any], scan: npt.NDArray[np.uint16]) -> None:
    one = bench(compression="none", config={"binning_mode": "2x2"})
    one.acquire()
    frame = np.frombuffer(one.series()[1][2], "<u2").reshape(8, 12)
    assert frame.sum() == scan[0, 0].sum()


@pytest.mark.parametrize(
    ("mode", "nimages", "ntrigger", "bursts"),
    [("ints", 4, 3, [4, 4, 4]), ("inte", 1, 3, [1, 1, 1]), ("exts", 5, 2, [5, 5]), ("exte", 1, 7, [3, 4])],
)
def test_triggers_start_their_images(
    bench: Callable[..., Any], mode: str, nimages: int, ntrigger: int, bursts: list[int]
) -> None:
    one = bench(trigger_mode=mode, nimages=nimages, ntrigger=ntrigger)
    one.put("command/arm")
    one.message()
    for n in bursts:
        if mode in ("ints", "inte"):
            one.put("command/trigger", 0.001 if mode == "inte" else None)
        else:
            assert one.simulator.trigger_external(n // nimages)
        for _ in range(n):
            assert b"dimage-1.0" in one.message()[0]
    assert b"dseries_end" in one.message()[0]
    assert one.simulator.wait_for_state("idle")


def test_series_count_up_and_data_begin_again(
    bench: Callable[..., Any], scan: npt.NDArray[np.uint16]
) -> None:
    one = bench(compression="none", nimages=15)
    assert [one.acquire(), one.acquire()] == [1, 2]
    images = one.series()[1:-1]
    assert images[12][2] == scan[0, 0].tobytes()
    assert len(one.series()) == 17


def test_without_room_the_newest_are_dropped_and_counted(bench: Callable[..., Any]) -> None:
    big = np.random.default_rng(0).integers(0, 255, (2, 2048, 2048)).astype(np.uint8)
    one = bench(data=big, compression="none", hwm=1, rate=1e6, nimages=200)
    one.acquire()
    assert one.simulator.n_dropped > 0
    dropped = one.get("/stream/api/1.8.0/status/dropped")["value"]
    assert dropped == one.simulator.n_dropped
    assert one.simulator.n_images_sent + dropped == 200


@pytest.mark.parametrize("compression", ["bslz4", "lz4"])
def test_a_recording_is_sent_as_it_was_written(
    bench: Callable[..., Any], tmp_path: Path, scan: npt.NDArray[np.uint16], compression: str
) -> None:
    path = tmp_path / "series_1_data_000001.h5"
    frames = scan.reshape(-1, 16, 24)
    with h5py.File(path, "w") as file:
        stack = file.create_dataset(
            "entry/data/data", data=frames, chunks=(1, 16, 24), **dict(_FILTERS[compression])
        )
        chunks = [stack.id.read_direct_chunk((n, 0, 0))[1] for n in range(12)]
    one = bench(data=path, stream_format="cbor")
    one.acquire()
    images = one.series()[1:-1]
    for message, chunk in zip(images, chunks, strict=True):
        assert message[0].endswith(chunk)
    assert "not among" in one.refused("config/compression", "none")[1]
