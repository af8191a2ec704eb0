"""A connection whose every answer is given beforehand, for tests of what is built on connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from arraystream import (
    ArraySource,
    Connection,
    ConnectionState,
    ConnectionStatistics,
    Feed,
    ItemDescriptor,
    PendingAcquisition,
    open_memory,
)


class FakeConnection(Connection):
    """Announces acquisitions of the frames it is given, one after the other."""

    def __init__(
        self,
        *scans: np.ndarray[Any, Any],
        n_items: int | str | None = "all",
        index_shape: tuple[int, ...] = (),
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        self._scans = list(scans)
        self._n_items = n_items
        self._index_shape = index_shape
        self._meta = meta or {}
        self._source: ArraySource | None = None
        self.n_begun = 0
        self.calls: list[str] = []
        self.counters = ConnectionStatistics()

    @property
    def state(self) -> ConnectionState:
        return ConnectionState.IDLE

    def wait_for_acquisition(self, timeout: float | None = None) -> PendingAcquisition | None:
        self.calls.append("wait_for_acquisition")
        if not self._scans:
            return None
        frames = self._scans.pop(0)
        self._source = open_memory(frames.reshape(-1, *frames.shape[-2:]))
        self.n_begun += 1
        n_items = self._source.n_items if self._n_items == "all" else self._n_items
        assert n_items is None or isinstance(n_items, int)
        return PendingAcquisition(self.n_begun, n_items, self._index_shape, self._meta)

    def wait_for_first_item(
        self, pending: PendingAcquisition, timeout: float | None = None
    ) -> ItemDescriptor:
        self.calls.append("wait_for_first_item")
        assert self._source is not None
        return self._source.descriptor

    def feed(self, pending: PendingAcquisition) -> Feed:
        self.calls.append("feed")
        assert self._source is not None
        self.counters.n_items += self._source.n_items
        return self._source.feed()

    def get_active_controller(self, **settings: Any) -> FakeController:
        return FakeController(self.calls, settings.get("nav_shape"))

    def abort(self) -> None:
        self.calls.append("abort")

    def statistics(self) -> ConnectionStatistics:
        return self.counters

    def close(self) -> None:
        self.calls.append("close")


class FakeController:
    """Notes what is asked of it."""

    def __init__(self, calls: list[str], nav_shape: tuple[int, ...] | None = None) -> None:
        self._calls = calls
        self.nav_shape = nav_shape

    def determine_nav_shape(self, n_items: int | None) -> tuple[int, ...] | None:
        return self.nav_shape

    def arm(self, *, n_items: int | None) -> None:
        self._calls.append(f"arm {n_items}")

    def trigger(self) -> None:
        self._calls.append("trigger")

    def abort(self) -> None:
        self._calls.append("controller.abort")

    def close(self) -> None:
        pass


@pytest.fixture
def fake_connection() -> type[FakeConnection]:
    """Return what makes connections to a detector that does as it is told."""
    return FakeConnection
