"""The texts a Merlin detector sends: acquisition header (HDR) and frame header (MQ1).

`AcquisitionHeader` is the 2048-byte text of an acquisition.  `FrameHeaders` writes the MQ1 headers of
a whole stack at once: a template, into which frame numbers, time stamps and layers are patched.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ._encode import FrameFormat

HDR_BYTES = 2048
OLD_HDR_BYTES = 2020
_DACS = (0,) * 8 + (100, 255, 100, 125, 100, 100, 66, 100, 69, 30, 128, 4, 255, 145, 128, 199, 191, 511, 511)
_NS_PER_S = 1_000_000_000

GAIN_NAMES = ("SLGM", "LGM", "HGM", "SHGM")
_EDGES = ("Internal", "Rising Edge", "Falling Edge", "Rising Edge LVDS", "Falling Edge LVDS", "Soft Trigger")
_FILL_NAMES = ("None", "Zero Fill", "Distribute", "Interpolate")


@dataclass(frozen=True, slots=True, kw_only=True)
class AcquisitionHeader:
    """What the HDR message says.

    Parameters
    ----------
    n_frames, frames_per_trigger
        0 for a continuous acquisition.
    frame_format
        For depth, layout and number of chips.
    gain, trigger_start, trigger_stop, fill_mode
        Numbers of the variables of these names.
    continuous_rw, charge_summing, colour_mode
        Modes of the readout.
    counters
        0 or 1 for one counter, 2 for both.
    thresholds_kev
        Eight thresholds.
    hv_bias_v
        Sensor bias.
    scan_shape
        ``(ScanY, ScanX)`` if the server has a scan interface.
    threshold_scan
        Whether this is a threshold scan.
    software_version
        Version of the server.
    """

    n_frames: int
    frames_per_trigger: int
    frame_format: FrameFormat
    gain: int = 0
    trigger_start: int = 0
    trigger_stop: int = 0
    fill_mode: int = 0
    continuous_rw: bool = False
    charge_summing: bool = False
    colour_mode: bool = False
    counters: int = 0
    thresholds_kev: tuple[float, ...] = (0.0,) * 8
    hv_bias_v: float = 120.0
    scan_shape: tuple[int, int] | None = None
    threshold_scan: bool = False
    software_version: str = "1.6.1.19"

    def lines(self, started: datetime.datetime) -> list[str]:
        """Return the lines, key and value parted by a colon and a TAB, without line ends."""
        n_chips = self.frame_format.n_chips
        chip_ids = [f"W530_{letter}{row}" for letter, row in zip("JLKBCDEF", "66557788", strict=True)]
        chips = [*chip_ids[:n_chips], *"-" * max(0, 4 - n_chips)]
        mode = ("SPM", "CSM", "CM", "CSCM")[int(self.charge_summing) + 2 * int(self.colour_mode)]
        active = (
            "Both"
            if self.counters == 2
            else "Alternating"
            if self.continuous_rw
            else f"Counter {self.counters}"
        )
        folder = "c:\\MERLIN_Quad_Config" if n_chips > 1 else "c:\\MERLIN_Config"
        rows = [
            ("Time and Date Stamp (day, mnth, yr, hr, min, s)", f"{started:%d/%m/%Y %H:%M:%S}"),
            ("Chip ID", ",".join(chips)),
            ("Chip Type (Medipix 3.0, Medipix 3.1, Medipix 3RX)", "Medipix 3RX"),
            ("Assembly Size (NX1, 2X2)", f"{self.frame_format.layout.rstrip('G'):>6}"),
            ("Chip Mode  (SPM, CSM, CM, CSCM)", mode),
            ("Counter Depth (number)", str(self.frame_format.depth)),
            ("Gain", GAIN_NAMES[self.gain]),
            ("Active Counters", active),
            ("Thresholds (keV)", ",".join(map(scientific, self.thresholds_kev))),
            ("DACs", "; ".join([",".join(f"{dac:03d}" for dac in _dacs(self.thresholds_kev))] * n_chips)),
            ("bpc File", ",".join(f"{folder}\\{chip}\\{chip}.bpc" for chip in chip_ids[:1])),
            ("DAC File", ",".join(f"{folder}\\{chip}\\{chip}.dacs" for chip in chip_ids[:1])),
            ("Gap Fill Mode", _FILL_NAMES[self.fill_mode]),
            ("Flat Field File", "None"),
            ("Dead Time File", "Dummy (C:\\<NUL>\\)"),
            (
                "Acquisition Type (Normal, Th_scan, Config)",
                "Th_scan" if self.threshold_scan else "Normal",
            ),
            ("Frames in Acquisition (Number)", str(self.n_frames)),
            ("Frames per Trigger (Number)", str(self.frames_per_trigger)),
            ("Trigger Start (Positive, Negative, Internal)", _EDGES[self.trigger_start]),
            ("Trigger Stop (Positive, Negative, Internal)", _EDGES[self.trigger_stop]),
            ("Sensor Bias (V)", f"{self.hv_bias_v:g} V"),
            ("Sensor Polarity (Positive, Negative)", "Positive"),
            ("Temperature (C)", "Board Temp 37.400000 Deg C"),
            ("Humidity (%)", "Board Humidity 1.431030 "),
            ("Medipix Clock (MHz)", "120MHz"),
            ("Readout System", "Merlin Quad" if n_chips > 1 else "Merlin"),
            ("Software Version", self.software_version),
        ]
        if self.scan_shape is not None:
            rows += [("ScanX", str(self.scan_shape[1])), ("ScanY", str(self.scan_shape[0]))]
        return [f"{key}:\t{value}" for key, value in rows]

    def encode(self, started: datetime.datetime, *, old: bool = False) -> bytes:
        """Return the body of the HDR message.

        Parameters
        ----------
        started
            Local time of the arming.
        old
            2020 bytes with LF line ends as software before 1.0 sent, instead of 2048 with CRLF.
        """
        return render_hdr(self.lines(started), old=old)


def render_hdr(lines: Sequence[str], *, old: bool = False) -> bytes:
    """Join lines to the body of an HDR message and pad it with spaces.

    Raises
    ------
    ValueError
        If they don't fit.
    """
    end = "\n" if old else "\r\n"
    text = end.join(["HDR,\t", *lines, "End\t"]).encode("latin-1")
    size = OLD_HDR_BYTES if old else HDR_BYTES
    if len(text) > size:
        raise ValueError(f"acquisition header of {len(text)} bytes exceeds {size}")
    return text.ljust(size)


def scientific(value: float) -> str:
    """Write a threshold as the server does, e.g. ``5.110000E+2``."""
    mantissa, exponent = f"{value:.6E}".split("E")
    return f"{mantissa}E{int(exponent):+d}"


def _dacs(thresholds_kev: Sequence[float]) -> tuple[int, ...]:
    # Roughly three DAC steps per keV; the first eight DACs are the thresholds.
    return tuple(min(511, int(3 * kev)) for kev in thresholds_kev) + _DACS[8:]


def digits(values: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.uint8]:
    """Write numbers as zero-padded ASCII, shape ``(n, width)``; higher digits are cut off."""
    out = np.empty((len(values), width), np.uint8)
    rest = values
    for column in range(width - 1, -1, -1):
        rest, digit = np.divmod(rest, 10)
        out[:, column] = digit + ord("0")
    return out


@dataclass(slots=True)
class FrameHeaders:
    """Writes the MQ1 headers of one acquisition.

    Parameters
    ----------
    frame_format
        How the pixels travel.
    shutter_ns
        Exposure time.
    thresholds_kev
        Eight thresholds; ``None`` leaves the field empty and the DACs out, as some software does.
    with_dacs
        False leaves only the DACs out.
    with_extension
        False leaves out ``MQ1A`` and what follows it.
    n_layers
        Frames per exposure, more than 1 if both counters or colours are read.
    colour_mode, gain
        Numbers of the variables of these names.
    counter
        Which counter, if it is one.
    number_wraps
        Whether frame numbers go on at 000000 after 999999; else their field grows.
    """

    frame_format: FrameFormat
    shutter_ns: int = 1_000_000
    thresholds_kev: tuple[float, ...] | None = (0.0,) * 8
    with_dacs: bool = True
    with_extension: bool = True
    n_layers: int = 1
    colour_mode: bool = False
    gain: int = 0
    counter: int = 0
    number_wraps: bool = False
    _templates: dict[int, _Template] = field(default_factory=dict, init=False)

    @property
    def prefix(self) -> bytes:
        """The ``MPX`` prefix of every frame."""
        return b"MPX,%010d," % (self.frame_format.message_bytes - 14)

    def render(
        self,
        numbers: npt.NDArray[np.int64],
        utc_ns: npt.NDArray[np.int64],
        local_offset_s: int = 0,
        out: npt.NDArray[np.uint8] | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Write the headers of a stack.

        Parameters
        ----------
        numbers
            Frame numbers, from 1, ascending.
        utc_ns
            Time of each frame, nanoseconds since 1970, ascending.
        local_offset_s
            Local time minus UTC.
        out
            Where to write, shape ``(n, data_offset)``, any strides; a new array if ``None``.

        Returns
        -------
        headers
            `out`.
        """
        if out is None:
            out = np.empty((len(numbers), self.frame_format.data_offset), np.uint8)
        shown = numbers % 1_000_000 if self.number_wraps else numbers
        layers = (numbers - 1) % self.n_layers if self.n_layers > 1 else None
        for width, rows in self._runs_of_width(shown):
            template = self._template(width)
            template.write(out[rows], shown[rows], utc_ns[rows], local_offset_s)
            if layers is not None:
                out[rows, template.layer] = layers[rows] + ord("0")
        return out

    def _runs_of_width(self, shown: npt.NDArray[np.int64]) -> Iterator[tuple[int, slice]]:
        """Cut ascending numbers where their text grows by a digit."""
        first = max(6, len(str(int(shown[0]))))
        last = first if self.number_wraps else max(6, len(str(int(shown[-1]))))
        start = 0
        for width in range(first, last + 1):
            stop = len(shown) if width == last else int(np.searchsorted(shown, 10**width))
            yield width, slice(start, stop)
            start = stop

    def _template(self, number_width: int) -> _Template:
        if number_width not in self._templates:
            self._templates[number_width] = _Template(self._fields(number_width), self)
        return self._templates[number_width]

    def _fields(self, number_width: int) -> list[str]:
        fmt = self.frame_format
        width, height = fmt.header_size
        fields = [
            "MQ1",
            "0" * number_width,
            f"{fmt.data_offset:05d}",
            f"{fmt.n_chips:02d}",
            f"{width:04d}",
            f"{height:04d}",
            fmt.kind,
            f"{fmt.layout:>6}",
            f"{fmt.chip_select:02X}",
            "2000-01-01 00:00:00.000000",
            f"{self.shutter_ns / _NS_PER_S:.6f}",
            str(self.counter),
            str(int(self.colour_mode)),
            str(self.gain),
        ]
        if self.thresholds_kev is None:
            fields.append("")
        else:
            fields += [scientific(kev) for kev in self.thresholds_kev]
            if self.with_dacs:
                for _ in range(fmt.n_chips):
                    fields += ["3RX", *(f"{dac:03d}" for dac in _dacs(self.thresholds_kev))]
        if self.with_extension:
            fields += ["MQ1A", "2000-01-01T00:00:00.000000000Z", f"{self.shutter_ns}ns", str(fmt.depth)]
        return fields


class _Template:
    """One header text and where in it the changing fields stand."""

    def __init__(self, fields: list[str], headers: FrameHeaders) -> None:
        text = (",".join(fields) + ",").encode("ascii")
        size = headers.frame_format.data_offset
        if len(text) > size:
            raise ValueError(f"frame header of {len(text)} bytes exceeds its data offset {size}")
        starts = np.cumsum([0, *(len(one) + 1 for one in fields)])
        self.bytes = np.frombuffer(text.ljust(size, b"\0"), np.uint8)
        self.number_width = len(fields[1])
        self.local = int(starts[9])
        self.layer = int(starts[11])
        self.utc = int(starts[len(fields) - 3]) if headers.with_extension else None

    def write(
        self,
        out: npt.NDArray[np.uint8],
        numbers: npt.NDArray[np.int64],
        utc_ns: npt.NDArray[np.int64],
        local_offset_s: int,
    ) -> None:
        out[:] = self.bytes
        out[:, 4 : 4 + self.number_width] = digits(numbers, self.number_width)
        seconds, fractions = np.divmod(utc_ns, _NS_PER_S)
        nine_digits = digits(fractions, 9)
        out[:, self.local + 20 : self.local + 26] = nine_digits[:, :6]
        if self.utc is not None:
            out[:, self.utc + 20 : self.utc + 29] = nine_digits
        edges = [0, *(np.flatnonzero(np.diff(seconds)) + 1), len(seconds)]
        for start, stop in itertools.pairwise(edges):
            second = int(seconds[start])
            out[start:stop, self.local : self.local + 19] = _date(second + local_offset_s, " ")
            if self.utc is not None:
                out[start:stop, self.utc : self.utc + 19] = _date(second, "T")


def _date(second: int, separator: str) -> npt.NDArray[np.uint8]:
    """Write ``2021-04-15 14:43:47``."""
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=second)
    return np.frombuffer(moment.isoformat(separator, "seconds").encode("ascii"), np.uint8)
