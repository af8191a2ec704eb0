"""Where user code is called during an acquisition; names and meaning as in LiberTEM-live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._acquisition import Acquisition


@dataclass(frozen=True, slots=True)
class ReadyForDataEnv:
    """What `Hooks.on_ready_for_data` gets.

    Parameters
    ----------
    aq
        The acquisition whose detector is armed; its `shape.nav` is the scan to start.
    """

    aq: Acquisition


@dataclass(frozen=True, slots=True)
class DetermineNavShapeEnv:
    """What `Hooks.on_determine_nav_shape` gets.

    Parameters
    ----------
    nimages
        Frames that the detector announced; ``None`` if it announced none.
    shape_hint
        Shape passed to `make_acquisition`, possibly with −1; ``None`` if none was passed.
    """

    nimages: int | None
    shape_hint: tuple[int, ...] | None


class Hooks:
    """Override what you need; by default nothing happens.

    Examples
    --------
    >>> class StartScan(Hooks):
    ...     def on_ready_for_data(self, env: ReadyForDataEnv) -> None:
    ...         print("start a scan of", tuple(env.aq.nav_shape))
    """

    def on_ready_for_data(self, env: ReadyForDataEnv) -> None:
        """Start the scan: the detector is armed.  Called in active mode only, before the first frame.

        Parameters
        ----------
        env
            The acquisition.
        """

    def on_determine_nav_shape(self, env: DetermineNavShapeEnv) -> tuple[int, ...] | None:
        """Return the scan's shape, or ``None`` to leave it to others.

        Parameters
        ----------
        env
            What is known.
        """
        return None
