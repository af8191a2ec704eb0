"""Our client of a DECTRIS detector against the EIGER of tickit-devices, an independent simulation.

It runs in a subprocess with an interpreter of its own, named by LIVESTEM_LIBERTEM_PYTHON.  It deviates from
real detectors where the comments here say so; our side is lenient about all of these.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from numpy.testing import assert_allclose

from arraystream import ConnectionFailed, Controller, Stalled, StateError
from detector_dectris._controller import DectrisController
from detector_dectris._simplon_errors import SimplonUnknownKeyError
from livestem import Hooks, LiveContext, ReadyForDataEnv
from udf_4dstem import SumSigUDF, SumUDF

PEER = os.environ.get("LIVESTEM_LIBERTEM_PYTHON", "")
pytestmark = pytest.mark.skipif(
    not PEER, reason="LIVESTEM_LIBERTEM_PYTHON does not name an interpreter with tickit-devices"
)
DEADLINE_S = 60.0

CONFIGURATION = """
- type: tickit_devices.eiger.Eiger
  name: eiger
  inputs: {{}}
  host: 127.0.0.1
  port: {api}
  stream_host: 127.0.0.1
  stream_legacy_port: {legacy}
  stream_cbor_port: {cbor}
"""

# Their sockets are connected to their own address as well as bound to it: a part of the messages, often the
# header, goes there and is lost.  A real detector's are bound only; nothing else is changed.
LAUNCH = """
import sys, aiozmq, zmq
from tickit.adapters.io.zeromq_push_io import ZeroMqPushIo
async def bound(host, port):
    return await aiozmq.create_zmq_stream(zmq.PUSH, bind=f"tcp://{host}:{port}")
ZeroMqPushIo.__init__.__defaults__ = ("127.0.0.1", 5555, bound)
from tickit.cli import main
main(["all", sys.argv[1]])
"""


@dataclass(frozen=True)
class Eiger:
    """Ports of their simulation."""

    api: int
    legacy: int
    cbor: int


def free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(n)]
        return [listener.getsockname()[1] for listener in listeners]


@pytest.fixture(scope="module")
def eiger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Eiger]:
    """Their EIGER, serving; what nobody receives waits in its sockets."""
    with serving(tmp_path_factory.mktemp("tickit")) as ports:
        yield ports


@pytest.fixture(scope="module")
def streaming_eiger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Eiger]:
    """Another one, whose messages are all received."""
    with serving(tmp_path_factory.mktemp("tickit-stream")) as ports:
        yield ports


@contextmanager
def serving(folder: Path) -> Iterator[Eiger]:
    ports = Eiger(*free_ports(3))
    config = folder / "eiger.yaml"
    config.write_text(CONFIGURATION.format(api=ports.api, legacy=ports.legacy, cbor=ports.cbor))
    with (folder / "tickit.log").open("wb") as log:
        process = subprocess.Popen([PEER, "-c", LAUNCH, str(config)], stdout=log, stderr=log)
        try:
            wait_until_serving(ports, process, folder / "tickit.log")
            yield ports
        finally:
            process.kill()
            process.wait(DEADLINE_S)


def wait_until_serving(ports: Eiger, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    with DectrisController("127.0.0.1", ports.api) as controller:
        while True:
            try:
                assert controller.status().state == "na"
                return
            except (ConnectionFailed, Stalled):
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < deadline, log.read_text()[-3000:]
                time.sleep(0.02)


def test_configure_arm_trigger_and_abort(eiger: Eiger) -> None:
    settings = {"trigger_mode": "ints", "count_time": 0.001, "frame_time": 0.002, "nimages": 2}
    with DectrisController(
        "127.0.0.1",
        eiger.api,
        **settings,
        photon_energy=12000.0,
        threshold_energies=[6000.0, 9000.0],
        compression="bslz4",
        stream_format="cbor",
        extra={"sample_name": "gold", "stream/config/image_appendix": "x"},
    ) as controller:
        # It does not tell its version; ours is found by trying.
        assert controller.client.version == "1.8.0"
        controller.arm(n_items=6)
        assert controller.status().state == "ready"
        # Its arm command always answers 2, whatever the series.
        assert controller.series == 2
        client = controller.client
        assert (client.get_config("nimages"), client.get_config("ntrigger")) == (2, 3)
        assert client.get_config("threshold/2/energy") == 9000
        assert client.get_config("sample_name") == "gold"
        assert client.get_config("image_appendix", "stream") == "x"
        controller.trigger(n_triggers=1)
        controller.wait_for_triggers(DEADLINE_S)
        assert controller.status().state == "ready"
        controller.trigger()
        controller.wait_for_triggers(DEADLINE_S)
        assert controller.status().state == "idle"
        with pytest.raises(StateError, match="0 left"):
            controller.trigger()


def test_abort_while_a_trigger_blocks(eiger: Eiger) -> None:
    with DectrisController("127.0.0.1", eiger.api, trigger_mode="ints", frame_time=0.05) as controller:
        controller.arm(n_items=1_000_000)
        controller.trigger()
        # Its trigger command is never answered after an abort: ours lets go of it.
        controller.abort()
        assert controller.status().state == "idle"
        controller.arm(n_items=1)
        controller.trigger()
        controller.wait_for_triggers(DEADLINE_S)


def test_what_it_does_not_know_and_does_not_do(eiger: Eiger) -> None:
    with (
        DectrisController("127.0.0.1", eiger.api, extra={"count_tim": 1.0}) as controller,
        pytest.raises(SimplonUnknownKeyError, match=r"count_tim = 1\.0.*404.*count_time"),
    ):
        controller.arm(n_items=1)
    with DectrisController("127.0.0.1", eiger.api, trigger_mode="exts") as controller:
        controller.arm(n_items=1)
        with pytest.raises(StateError, match="outside"):
            controller.trigger()
    # It can be armed in mode 'inte' too, but ignores the triggers: nothing to test.


def test_corrections_are_empty(eiger: Eiger) -> None:
    """It sends its mask and flat field as [[]], not as a real detector's __darray__."""
    with DectrisController("127.0.0.1", eiger.api) as controller:
        found = controller.corrections()
        assert found.pixel_mask is None
        assert found.flatfield is None
        assert found.correction_data == {}
        assert found.count_cutoff == 1000
        controller.initialize()
        assert controller.determine_item_shape() == (4362, 4148)


@pytest.fixture(scope="module")
def their_images() -> dict[str, np.ndarray]:
    """The one image that each stream version repeats, decoded by HDF5's own filter."""
    folder = Path(run_peer("import tickit_devices.eiger as e; print(e.__path__[0])").strip()) / "data"
    message = (folder / "stream2" / "image.cbor").read_bytes()
    header = (4148 * 4362 * 2).to_bytes(8, "big") + (8192).to_bytes(4, "big")
    return {
        "legacy": decode((folder / "frame_sample").read_bytes()),
        # In the message, the blob begins with its size and block size.
        "cbor": decode(message[message.index(header) :]),
    }


def decode(blob: bytes) -> np.ndarray:
    with h5py.File("one-image", "w", driver="core", backing_store=False) as file:
        shape = (4362, 4148)
        dataset = file.create_dataset("d", shape, "u2", chunks=shape, **hdf5plugin.Bitshuffle(cname="lz4"))
        dataset.id.write_direct_chunk((0, 0), blob)
        return dataset[:]


def run_peer(script: str) -> str:
    found = subprocess.run([PEER, "-c", script], capture_output=True, text=True, timeout=DEADLINE_S)
    assert found.returncode == 0, found.stderr[-3000:]
    return found.stdout


class StartByTrigger(Hooks):
    """Gives the software trigger once the detector is armed."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def on_ready_for_data(self, env: ReadyForDataEnv) -> None:
        self._controller.trigger()


@pytest.mark.parametrize("stream_format", ["legacy", "cbor"])
def test_a_whole_acquisition_armed_triggered_and_received(
    streaming_eiger: Eiger, stream_format: str, their_images: dict[str, np.ndarray]
) -> None:
    image = their_images[stream_format].astype(np.float64)
    ports = streaming_eiger
    address = {"api_host": "127.0.0.1", "api_port": ports.api, "data_port": getattr(ports, stream_format)}
    with (
        LiveContext.make_with("inline") as ctx,
        ctx.make_connection("dectris").open(**address) as connection,
    ):
        controller = connection.get_active_controller(
            trigger_mode="ints",
            nimages=2,
            count_time=0.001,
            frame_time=0.002,
            stream_format=stream_format,
        )
        aq = ctx.make_acquisition(
            conn=connection, controller=controller, hooks=StartByTrigger(controller), nav_shape=(2, 2)
        )
        total, per_image = ctx.run_udf(dataset=aq, udf=[SumUDF(), SumSigUDF()])
        assert_allclose(total["intensity"].data, 4 * image, rtol=1e-6)
        assert_allclose(per_image["intensity"].data, np.full((2, 2), image.sum()), rtol=1e-6)
        controller.wait_for_triggers(DEADLINE_S)
