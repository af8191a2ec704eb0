"""The connection to a Merlin: its acquisitions one after the other, passive or active."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from arraystream import ReceivedAcquisition, ReceiverConnection
from shmring.feed import RingFeed

from ._controller import MerlinController
from ._merlin import Receiver


class MerlinConnection(ReceiverConnection):
    """A connection to the data port of a Merlin.  Open it with `MerlinConnectionBuilder`.

    Acquisitions are handed out in the order in which they were armed, none is skipped; asking for the
    next one gives up those that were handed out before and never fed.  When the connection breaks, or
    the detector sends what can't be understood, the acquisition ends with that error, and the
    connection is made anew by itself.  ``get_active_controller`` takes the settings of
    `MerlinController`.

    Parameters
    ----------
    receiver
        Connects and receives; belongs to the connection from now on.
    address
        Host and data port, for messages.
    api_address
        Host and command port, for ``get_active_controller``.
    """

    codec = "merlin"

    def __init__(self, receiver: Receiver, address: tuple[str, int], api_address: tuple[str, int]) -> None:
        self._address = address
        self._api_address = api_address
        super().__init__(receiver, f"merlin://{address[0]}:{address[1]}")

    def _make_feed(self, acquisition: ReceivedAcquisition, on_close: Callable[[int], None]) -> RingFeed:
        return RingFeed(self._receiver, acquisition, on_close)

    def _make_controller(self, **settings: Any) -> MerlinController:
        host, port = self._api_address
        return MerlinController(host, port, **settings)

    def _describe_unreachable(self, what: str, reason: str) -> str:
        host, port = self._address
        return (
            f"Merlin data port {port} on {host}: {what} ({reason}). Is the Merlin software running there, "
            "is the port right (default 6342), and is no other client connected? It serves only one."
        )
