"""A controller that makes room before it arms: what was received before is not what is armed now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._connection import Controller, KnowsItemShape


class ArmingController:
    """Calls a function before it arms the source (implements `Controller` and `KnowsItemShape`).

    Other attributes are those of the controller inside.

    Parameters
    ----------
    controller
        Talks to the source.
    before_arming
        Gives up acquisitions that are waiting, so that the next one is that which is armed here.
    """

    def __init__(self, controller: Controller, before_arming: Callable[[], None]) -> None:
        self._controller = controller
        self._before_arming = before_arming

    def determine_nav_shape(self, n_items: int | None) -> tuple[int, ...] | None:
        """Return the index space the source is set to, ``None`` if it can't tell."""
        return self._controller.determine_nav_shape(n_items)

    def determine_item_shape(self) -> tuple[int, ...] | None:
        """Return the shape that items will have once armed, ``None`` unless that is certain."""
        controller: object = self._controller
        return controller.determine_item_shape() if isinstance(controller, KnowsItemShape) else None

    def arm(self, *, n_items: int | None) -> None:
        """Set the parameters, then arm.  Returns when the source is armed."""
        self._before_arming()
        self._controller.arm(n_items=n_items)

    def trigger(self) -> None:
        """Start the armed acquisition by software."""
        self._controller.trigger()

    def abort(self) -> None:
        """End the acquisition at the source; from any thread."""
        self._controller.abort()

    def close(self) -> None:
        """Let go of the control connection.  Idempotent."""
        self._controller.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._controller, name)
