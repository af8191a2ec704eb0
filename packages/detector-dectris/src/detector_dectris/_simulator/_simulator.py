"""The simulator as others see it: settings, life, what tests need."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from detector_dectris._dectris import Sender

from ._detector import Detector
from ._faults import Faults
from ._frames import Frames, open_frames
from ._models import MODELS, Model
from ._server import RestServer

_POLL_S = 0.05
# A control client that was active this recently is in charge: nothing starts by itself.
_CONTROL_HOLD_S = 10.0


class DectrisSimulator:
    """A DECTRIS control unit that sends your data: REST interface, streams V1 and V2, triggers, faults.

    Use it as a context manager.

    Parameters
    ----------
    data
        Array of counts, shape ``(nav…, y, x)``, or path of a ``.npy`` file or of a DECTRIS HDF5 file whose
        blobs are sent as they are.  A series of more images begins with the first one again.
    model
        ``arina``, ``quadro``, ``eiger2-500k``: names and limits; the shape is that of the data.
    stream_format
        ``legacy`` (V1) or ``cbor`` (V2) at start.
    stream_mode
        ``enabled`` or, as after power-up, ``disabled``.
    header_detail
        ``all``, ``basic``, ``none`` at start.
    compression
        ``bslz4``, ``lz4``, ``none``; that of the recording if ``None``.
    config
        Further parameters of the detector, as after every ``initialize``.
    trigger_mode, nimages, ntrigger
        At start; by default one software trigger for all of the data, or as many triggers as it takes.
    rate
        Images per second; ``"max"`` for as fast as the client takes them; ``"period"`` for one every
        ``frame_time``.  With a rate, images for which there is no room are dropped, as in the detector.
    host
        Where to listen.
    api_port, legacy_port, cbor_port
        0 for any free one; see the attributes of the same names.
    hwm
        Messages that wait per client.
    initialized
        Whether ``initialize`` was called already.
    auto_trigger
        External triggers come as soon as the detector is armed.
    autostart
        Acquire by itself when a data client connects, unless a control client set the detector
        within the last ten seconds.
    autostart_delay_s, repeat, pause_s
        From connecting to the first such series; again and again while the client stays, or once; and
        the time between.
    faults
        Faults to inject; also changeable later through the attribute.
    report
        Called with a line of text whenever something happens.

    Raises
    ------
    ValueError
        If an option makes no sense or the data are no images.

    Examples
    --------
    >>> import numpy as np
    >>> with DectrisSimulator(np.zeros((8, 8, 32, 32), "u2")) as simulator:
    ...     simulator.state
    'idle'
    """

    def __init__(
        self,
        data: npt.NDArray[Any] | str | Path,
        *,
        model: str = "arina",
        stream_format: Literal["legacy", "cbor"] = "legacy",
        stream_mode: Literal["enabled", "disabled"] = "disabled",
        header_detail: Literal["all", "basic", "none"] = "basic",
        compression: Literal["bslz4", "lz4", "none"] | None = None,
        config: Mapping[str, Any] | None = None,
        trigger_mode: str = "ints",
        nimages: int | None = None,
        ntrigger: int | None = None,
        rate: float | Literal["max", "period"] = "max",
        host: str = "127.0.0.1",
        api_port: int = 0,
        legacy_port: int = 0,
        cbor_port: int = 0,
        hwm: int = 1000,
        initialized: bool = True,
        auto_trigger: bool = False,
        autostart: bool = False,
        autostart_delay_s: float = 0.0,
        repeat: bool = False,
        pause_s: float = 0.0,
        faults: Faults | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        if model not in MODELS:
            raise ValueError(f"model {model!r} is unknown; known: {', '.join(MODELS)}")
        if isinstance(rate, str) and rate not in ("max", "period"):
            raise ValueError(f"rate {rate!r} is neither a number nor 'max' nor 'period'")
        if not isinstance(rate, str) and not rate > 0:
            raise ValueError(f"rate {rate} is not positive")
        self.faults = Faults() if faults is None else faults
        self._report = report or (lambda text: None)
        self._frames: Frames = open_frames(data)
        if ntrigger is None:
            ntrigger = self._frames.n_images if trigger_mode in ("inte", "exte") else 1
        if nimages is None:
            nimages = 1 if trigger_mode in ("inte", "exte") else self._frames.n_images
        self._initial = {"trigger_mode": trigger_mode, "nimages": nimages, "ntrigger": ntrigger}
        if compression is not None:
            self._initial["compression"] = compression
        self._initial |= dict(config or {})
        self._stream = {"format": stream_format, "mode": stream_mode, "header_detail": header_detail}
        self._model: Model = MODELS[model]
        self._options: dict[str, Any] = {
            "rate": None if rate == "max" else rate,
            "auto_trigger": auto_trigger,
            "initialized": initialized,
        }
        self._addresses = (host, api_port, {1: legacy_port, 2: cbor_port})
        self._hwm = hwm
        self._autostart = (autostart_delay_s, repeat, pause_s) if autostart else None
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._senders: dict[int, Sender] = {}
        self._server: RestServer | None = None
        # Bad options are told now rather than when started.
        self._detector = self._make_detector({})

    # ---- life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen on all ports and start the threads.

        Raises
        ------
        OSError
            If a port can't be had.
        """
        if self._server is not None:
            return
        host, api_port, ports = self._addresses
        try:
            for version, port in ports.items():
                self._senders[version] = Sender(f"tcp://{host}:{port}", hwm=self._hwm)
            self._detector = self._make_detector(self._senders)
            self._server = RestServer((host, api_port), self._detector)
        except OSError:
            self.close()
            raise
        self._server.start()
        if self._autostart is not None:
            thread = threading.Thread(target=self._start_by_itself, name="dectris-autostart", daemon=True)
            self._threads.append(thread)
            thread.start()

    def encode_all(self) -> None:
        """Encode the images now rather than when first armed.

        Raises
        ------
        RuntimeError
            If they can't be sent with the present settings.
        """
        self._detector.make_series()

    def close(self) -> None:
        """End everything within a moment.  Idempotent.

        Raises
        ------
        RuntimeError
            If a series had failed.
        """
        self._closing.set()
        if self._server is not None:
            self._server.close()
        try:
            self._detector.close()
        finally:
            for thread in self._threads:
                thread.join()
            for sender in self._senders.values():
                sender.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- what tests use ---------------------------------------------------------------------

    @property
    def api_port(self) -> int:
        """Port of the REST interface."""
        if self._server is None:
            raise RuntimeError("the simulator is not running; call start() or use it in a with statement")
        return self._server.port

    @property
    def legacy_port(self) -> int:
        """Port of stream V1."""
        return self._port(1)

    @property
    def cbor_port(self) -> int:
        """Port of stream V2."""
        return self._port(2)

    @property
    def data_port(self) -> int:
        """Port of the stream in the present format."""
        return self._port(2 if self._detector.value("format", "stream") == "cbor" else 1)

    @property
    def state(self) -> str:
        """State of the detector: ``na``, ``idle``, ``ready``, ``acquire``."""
        return self._detector.state

    @property
    def n_images(self) -> int:
        """Images in the data."""
        return self._frames.n_images

    @property
    def image_text(self) -> str:
        """Size, type and encoding of the images, in words."""
        rows, columns = self._frames.shape
        return f"{columns} x {rows} pixels, {self._frames.dtype}, {self._detector.value('compression')}"

    @property
    def n_clients(self) -> int:
        """Data clients connected, on the port that has most."""
        return max((sender.n_clients for sender in self._senders.values()), default=0)

    @property
    def n_images_sent(self) -> int:
        """Images sent of the series that is running, or ran last."""
        run = self._detector.run
        return 0 if run is None else run.n_sent

    @property
    def n_dropped(self) -> int:
        """Images dropped of the series that is running, or ran last."""
        run = self._detector.run
        return 0 if run is None else run.n_dropped

    @property
    def n_series(self) -> int:
        """Series that are over."""
        return self._detector.n_series

    def arm(self) -> int:
        """Arm as if a client had; return the series."""
        return self._detector.arm()

    def trigger(self) -> None:
        """Give a software trigger as if a client had; return when its images are out."""
        self._detector.trigger()

    def trigger_external(self, n: int = 1) -> bool:
        """Give external triggers; false if the detector isn't armed for them."""
        return self._detector.trigger_external(n)

    def abort(self) -> None:
        """Abort as if a client had."""
        self._detector.command("detector", "abort")

    def restart(self) -> None:
        """Restart the control unit: state ``na``, series numbers begin again."""
        self._detector.restart()

    def wait_for_state(self, state: str, timeout: float = 10.0) -> bool:
        """Wait until the detector has a state; false if it has not in time."""
        return self._detector.wait_for(lambda: self._detector.state == state, timeout)

    def wait_for_series(self, n: int, timeout: float = 10.0) -> bool:
        """Wait until `n` series are over since the start; false if not in time."""
        return self._detector.wait_for(lambda: self._detector.n_series >= n, timeout)

    def wait_for_client(self, n: int = 1, timeout: float = 10.0) -> bool:
        """Wait until `n` data clients are connected to a port; false if not in time."""
        deadline = time.monotonic() + timeout
        while self.n_clients < n:
            if time.monotonic() > deadline or self._closing.wait(0.005):
                return False
        return True

    def wait(self, timeout: float) -> None:
        """Wait `timeout` seconds, or until closed."""
        self._closing.wait(timeout)

    # ---- inside -----------------------------------------------------------------------------

    def _port(self, version: int) -> int:
        if version not in self._senders:
            raise RuntimeError("the simulator is not running; call start() or use it in a with statement")
        return int(self._senders[version].endpoint.rpartition(":")[2])

    def _make_detector(self, senders: Mapping[int, Sender]) -> Detector:
        return Detector(
            self._model,
            self._frames,
            initial=self._initial,
            stream=self._stream,
            senders=senders,
            faults=self.faults,
            report=self._report,
            **self._options,
        )

    def _start_by_itself(self) -> None:
        assert self._autostart is not None
        delay_s, repeat, pause_s = self._autostart
        n_seen, due = 0, np.inf
        while not self._closing.wait(_POLL_S):
            n = self.n_clients
            if n != n_seen:
                self._report(f"{n} data client{'s' * (n != 1)} connected")
                due = time.monotonic() + delay_s if n > n_seen else np.inf if n == 0 else due
                n_seen = n
            if time.monotonic() < due:
                continue
            due = np.inf
            if self._acquire_by_itself() and repeat:
                due = time.monotonic() + pause_s

    def _acquire_by_itself(self) -> bool:
        """Run a series; false if a control client is in charge."""
        detector = self._detector
        quiet_s = time.monotonic() - detector.last_command_s
        if quiet_s < _CONTROL_HOLD_S or detector.state != "idle":
            return False
        detector.put("stream", "mode", "enabled")
        detector.arm()
        detector.trigger_all()
        run = detector.run
        while run is not None and not run.is_over and not self._closing.is_set():
            run.wait_until_done(run.series.n_images + 1, _POLL_S)
        return True
