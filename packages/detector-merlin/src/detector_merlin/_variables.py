"""The command port's vocabulary: every variable and command with type, range, unit and default.

One table serves both sides: the controller checks and compares with it, the simulator answers from
it.  Source: Merlin manual v0.7 (2015), EPICS interface specification v2.0, and working clients.
Names are matched without regard to case and sent as spelled here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

Value = int | float | str


class DetectorStatus(IntEnum):
    """Value of ``DETECTORSTATUS``."""

    IDLE = 0
    BUSY = 1
    STANDBY = 2
    ERROR = 3
    ARMED = 4
    INIT = 5


class TriggerStart(IntEnum):
    """Value of ``TRIGGERSTART``: what starts a burst of frames."""

    INTERNAL = 0
    RISING_TTL = 1
    FALLING_TTL = 2
    RISING_LVDS = 3
    FALLING_LVDS = 4
    SOFT = 5


class Gain(IntEnum):
    """Value of ``GAIN``: super low, low, high, super high gain mode."""

    SLGM = 0
    LGM = 1
    HGM = 2
    SHGM = 3


class FileFormat(IntEnum):
    """Value of ``FILEFORMAT``; raw binary also makes the pixels on the data port R64."""

    BINARY = 0
    ASCII = 1
    RAW_BINARY = 2


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of the command port.

    Parameters
    ----------
    name
        As sent on the wire.
    kind
        ``"int"``, ``"real"`` (six decimals on the wire) or ``"text"``.
    default
        Value after start and after ``RESET``.
    low, high
        Inclusive range of numbers.
    choices
        Allowed values, if they are few; empty for all in range.
    writable
        Whether ``SET`` is allowed.
    tolerance
        How far a real may read back from what was set, in the variable's unit.
    """

    name: str
    kind: Literal["int", "real", "text"]
    default: Value
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[int, ...] = ()
    writable: bool = True
    tolerance: float = 1e-6

    def parse(self, text: str) -> Value:
        """Read a value as it stands on the wire.

        Raises
        ------
        ValueError
            If it is not a number where one is wanted, or out of range.
        """
        if self.kind == "text":
            return text
        number = float(text)
        if not math.isfinite(number) or not self.low <= number <= self.high:
            raise ValueError(f"{self.name}: {text!r} is not in {self.describe_range()}")
        if self.kind == "real":
            return number
        if number != int(number) or (self.choices and int(number) not in self.choices):
            raise ValueError(f"{self.name}: {text!r} is not in {self.describe_range()}")
        return int(number)

    def format(self, value: Value) -> str:
        """Write a value as the server does: integers plain, reals with six decimals."""
        if self.kind == "text":
            return str(value)
        return f"{float(value):.6f}" if self.kind == "real" else str(int(value))

    def matches(self, wanted: Value, found: Value) -> bool:
        """Tell whether a value read back is the one that was set."""
        if self.kind != "real":
            return wanted == found
        return math.isclose(float(wanted), float(found), rel_tol=1e-6, abs_tol=self.tolerance)

    def describe_range(self) -> str:
        """Say in words which values are allowed."""
        if self.choices:
            return "{" + ", ".join(map(str, self.choices)) + "}"
        return f"{self.low:g} … {self.high:g}"


# Newer server software counts up to this many frames; the 2015 manual says 100 000.
MAX_FRAMES = 42_949_672_950
_MAX_TIME_MS = 1e9
_MAX_DELAY_NS = 68_719_476_720


def _flag(name: str, default: int = 0) -> Variable:
    return Variable(name, "int", default, 0, 1)


def _choice(name: str, default: int, *choices: int) -> Variable:
    return Variable(name, "int", default, min(choices), max(choices), choices)


def _count(name: str, default: int, low: int, high: float) -> Variable:
    return Variable(name, "int", default, low, high)


def _real(name: str, default: float, low: float, high: float, tolerance: float = 1e-6) -> Variable:
    return Variable(name, "real", default, low, high, tolerance=tolerance)


def _text(name: str, default: str = "") -> Variable:
    return Variable(name, "text", default)


def _read_only(name: str, kind: Literal["int", "real", "text"], default: Value) -> Variable:
    return Variable(name, kind, default, writable=False)


def _table() -> list[Variable]:
    rows = [
        _count("NUMFRAMESTOACQUIRE", 1, 0, MAX_FRAMES),
        _count("NUMFRAMESPERTRIGGER", 1, 1, MAX_FRAMES),
        _real("ACQUISITIONTIME", 1.0, 0, _MAX_TIME_MS, 1e-4),
        _real("ACQUISITIONPERIOD", 1.0, 0, _MAX_TIME_MS, 1e-4),
        _choice("COUNTERDEPTH", 12, 1, 6, 12, 24),
        _flag("CONTINUOUSRW"),
        _choice("ENABLECOUNTER1", 0, 0, 1, 2),
        _flag("COLOURMODE"),
        _flag("CHARGESUMMING"),
        _choice("GAIN", 0, 0, 1, 2, 3),
        *(_real(f"THRESHOLD{i}", 511.0 if i == 1 else 0.0, 0, 1000, 0.01) for i in range(8)),
        _real("OPERATINGENERGY", 0.0, 0, 1000, 0.01),
        _real("HVBIAS", 120.0, -500, 500, 1.0),
        _choice("TRIGGERSTART", 0, 0, 1, 2, 3, 4, 5),
        _choice("TRIGGERSTOP", 0, 0, 1, 2, 3, 4),
    ]
    for kind in ("TTL", "LVDS"):
        rows += [
            _choice(f"TriggerOut{kind}", 0, 0, 1, 2, 3, 4, 5, 6, 7),
            _flag(f"TriggerOut{kind}Invert"),
            _count(f"TriggerIn{kind}Delay", 0, 0, _MAX_DELAY_NS),
            _count(f"TriggerOut{kind}Delay", 0, 0, _MAX_DELAY_NS),
        ]
    rows += [
        _flag("TriggerUseDelay"),
        _count("SCANX", 0, 0, 65535),
        _count("SCANY", 0, 0, 65535),
        _count("SCANTRIGGERMODE", 0, 0, 255),
        _count("ROIROWS", 256, 1, 256),
        _choice("FILLMODE", 0, 0, 1, 2, 3),
        _flag("FILEENABLE"),
        _text("FILEDIRECTORY", "C:\\MERLIN\\DATA"),
        _text("FILENAME", "default"),
        _choice("FILEFORMAT", 0, 0, 1, 2),
        _count("FILECOUNTER", 0, 0, 10**9),
        _count("IMAGESPERFILE", 1, 0, MAX_FRAMES),
        _flag("USETIMESTAMPING"),
        _flag("RUNHEADLESS"),
        _count("SELECTCHIPS", 1, 0, 255),
        _flag("DEADTIMECORRECTION"),
        _count("MASKINDATA", 0, 0, 255),
        _text("PIXELMATRIXLOADFILE"),
        _text("DACFILE"),
        _choice("THSCAN", 0, *range(8)),
        _real("THSTART", 0.0, 0, 1000),
        _real("THSTOP", 10.0, 0, 1000),
        _real("THSTEP", 1.0, 0, 1000),
        _count("THNUMSTEPS", 11, 0, 100_000),
        _flag("THWINDOWMODE"),
        _real("THWINDOWSIZE", 0.0, 0, 1000),
        _read_only("SOFTWAREVERSION", "text", "1.6.1.19"),
        _read_only("DETECTORSTATUS", "int", int(DetectorStatus.IDLE)),
        _read_only("ERRORCODE", "int", 0),
        _read_only("TCPCONNECTED", "int", 0),
        _read_only("TEMPERATURE", "real", 37.4),
        _read_only("IMAGEX", "int", 256),
        _read_only("IMAGEY", "int", 256),
    ]
    return rows


#: All variables by upper-case name.
VARIABLES: dict[str, Variable] = {row.name.upper(): row for row in _table()}

#: Commands of a MerlinEM.  ``SWTRIGGER`` is another name of ``SOFTTRIGGER``.
COMMANDS: frozenset[str] = frozenset(
    {
        "STARTACQUISITION",
        "STOPACQUISITION",
        "ABORT",
        "SOFTTRIGGER",
        "SWTRIGGER",
        "THSCAN",
        "RESET",
        "CLEARERROR",
        "SELFTEST",
        "NOISEEQUALISATION",
        "FLATFIELDCORRECTION",
    }
)
