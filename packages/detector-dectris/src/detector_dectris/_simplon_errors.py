"""What a DECTRIS control unit refuses, by name.

Each error carries the address, the parameter, the value and the unit's own words, and says what to do.
"""

from __future__ import annotations

from typing import Any

from arraystream import StateError, StreamError

#: What to do about a command or setting that was refused in this state of the detector.
ADVICE = {
    "na": "the detector is not initialised; call initialize() first, it takes up to two minutes",
    "initialize": "the detector is being initialised; wait until it is idle",
    "configure": "the detector is taking a setting; try again",
    "ready": "the detector is armed; disarm() or abort() first",
    "acquire": "the detector is acquiring; abort() first, or wait for the end",
    "error": "the detector is in its error state; look at status/error, then initialize()",
    "test": "the detector is testing itself; wait until it is idle",
}


class SimplonError(StreamError):
    """The control unit refused a request.

    Parameters
    ----------
    message
        What happened and what to do.
    url
        Address of the request.
    parameter
        Name of the parameter or command.
    value
        What was to be set, if anything.
    http_status
        The reply's status code, 0 if there was no refusal on the wire.
    reply
        The server's words.
    """

    def __init__(
        self,
        message: str,
        *,
        url: str,
        parameter: str,
        value: Any = None,
        http_status: int = 0,
        reply: str = "",
    ) -> None:
        super().__init__(message)
        self.url = url
        self.parameter = parameter
        self.value = value
        self.http_status = http_status
        self.reply = reply


class SimplonStateError(SimplonError, StateError):
    """The detector does not take this in the state it is in."""


class SimplonUnknownKeyError(SimplonError, LookupError):
    """The detector, its firmware or its interface version has no such parameter or command."""


class SimplonValueError(SimplonError, ValueError):
    """The detector does not allow the value, or the parameter is read-only."""


class SimplonSettingError(SimplonError, ValueError):
    """A parameter reads back differently from what was set."""


class DetectorWarning(UserWarning):
    """The detector will measure, but perhaps not what is wanted: its high voltage is not on."""
