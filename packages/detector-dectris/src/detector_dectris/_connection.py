"""The connection to a DECTRIS detector: its series one after the other, passive or active."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from arraystream import PendingAcquisition, ReceivedAcquisition, ReceiverConnection
from shmring.feed import RingFeed

from ._controller import DectrisController
from ._corrections import PixelCorrections, read_corrections
from ._dectris import Receiver
from ._metadata import describe_series
from ._simplon import SimplonClient


class DectrisConnection(ReceiverConnection):
    """A connection to the data stream of a DECTRIS detector.  Open it with `DectrisConnectionBuilder`.

    Series are handed out in the order in which they were armed, none is skipped; asking for the next one
    gives up those that were handed out before and never fed.  ``get_active_controller`` takes the settings
    of `DectrisController`.

    Parameters
    ----------
    receiver
        Connects and receives; belongs to the connection from now on.
    endpoints
        Where it connects to, for messages.
    api_address
        Host and port of the detector's REST interface.
    channel
        The threshold channel that is received; ``"all"`` for all of them.
    corrections
        Whether `correction_data` asks the detector if the header of a series has none; by default if the
        controller was made with ``enable_corrections=True``.  ``False``: no corrections at all.
    """

    codec = "dectris"
    reconnects_after = frozenset({"disconnected"})

    def __init__(
        self,
        receiver: Receiver,
        endpoints: Sequence[str],
        api_address: tuple[str, int],
        *,
        channel: str | None = None,
        corrections: bool | None = None,
    ) -> None:
        self._endpoints = tuple(endpoints)
        self._api_address = api_address
        self._channel = channel
        self._wants_corrections = corrections
        self._asks_for_corrections = bool(corrections)
        super().__init__(receiver, f"dectris://{api_address[0]}")

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where the stream is expected, as ZeroMQ writes addresses."""
        return self._endpoints

    def correction_data(self, pending: PendingAcquisition) -> Mapping[str, Any]:
        """Return which pixels hold no data, and the flat field unless the detector has applied it.

        From the header of the series (``header_detail`` ``all``), else from the detector's REST interface
        if that is wanted.

        Raises
        ------
        StateError
            If the acquisition is gone.
        StreamError
            If the detector was asked, and does not answer.
        """
        acquisition = self._find(pending)
        if self._wants_corrections is False:
            return {}
        found = self._header_corrections(acquisition)
        if found is None and self._asks_for_corrections:
            with SimplonClient(*self._api_address) as client:
                found = read_corrections(client, self._channel)
        return {} if found is None else found.correction_data

    def _header_corrections(self, acquisition: ReceivedAcquisition) -> PixelCorrections | None:
        mask = acquisition.announced.get("pixel_mask")
        flatfield = acquisition.announced.get("flatfield")
        if mask is None and flatfield is None:
            return None
        if self._channel == "all" and acquisition.descriptor is not None:
            shape = acquisition.descriptor.item_shape
            mask = None if mask is None else np.broadcast_to(mask, shape)
            flatfield = None if flatfield is None else np.broadcast_to(flatfield, shape)
        return PixelCorrections(
            pixel_mask=mask,
            flatfield=flatfield,
            is_flatfield_applied=bool(acquisition.pending.meta.get("flatfield_applied")),
        )

    def _make_feed(self, acquisition: ReceivedAcquisition, on_close: Callable[[int], None]) -> RingFeed:
        return RingFeed(self._receiver, acquisition, on_close)

    def _make_controller(self, **settings: Any) -> DectrisController:
        host, port = self._api_address
        if self._wants_corrections is None:
            self._asks_for_corrections = bool(settings.get("enable_corrections"))
        return DectrisController(host, port, **({"channel": self._channel} | settings))

    def _make_pending(self, number: int, details: Mapping[str, Any]) -> PendingAcquisition:
        return super()._make_pending(number, {**details, "meta": describe_series(details["meta"])})

    def _describe_unreachable(self, what: str, reason: str) -> str:
        return (
            f"DECTRIS stream: {what} to {' or '.join(self._endpoints)} ({reason}). Is the detector's control "
            "unit on, is this its address, and is the stream enabled (stream/config/mode; 'initialize' "
            "disables it)?  Stream version 1 is on port 9999, version 2 on 31001, unless a firewall or "
            "data_port= says otherwise."
        )

    def _describe_silence(self, pending: PendingAcquisition, timeout: float | None) -> str:
        return (
            f"{self.name}: series {pending.meta.get('series', pending.number)} is armed, but no image came "
            f"within {timeout:g} s. Is it triggered? Is another client connected to the same stream? "
            "They would share the images."
        )
