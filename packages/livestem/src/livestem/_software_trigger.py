"""Starts a scan by a software trigger, once the detector is armed."""

from __future__ import annotations

from arraystream import Controller

from ._hooks import Hooks, ReadyForDataEnv


class SoftwareTrigger(Hooks):
    """A hook that triggers the detector.

    Parameters
    ----------
    controller
        Of the detector, set up for software triggers.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def on_ready_for_data(self, env: ReadyForDataEnv) -> None:
        """Trigger.

        Parameters
        ----------
        env
            The acquisition.
        """
        self._controller.trigger()
