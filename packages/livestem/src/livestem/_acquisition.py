"""One scan of a live detector, as the data set that `LiveContext.run_udf` reads.

Passive: somebody else arms the detector; `start` waits for the acquisition, or takes the one that was
waited for.  Active: `start` arms through a controller, then calls the user's hook to start the scan.
Either way the shape of the scan is settled, and compared with what the detector announced, before the
first frame.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from arraystream import (
    Connection,
    Controller,
    Feed,
    FeedVerdict,
    ItemDescriptor,
    KnowsItemShape,
    PendingAcquisition,
    StateError,
    StreamError,
)
from udf_core import CorrectionSet, RoiBuilder, Scan, ScanError, Shape

from ._errors import AcquisitionTimeout, ShapeMismatch
from ._hooks import DetermineNavShapeEnv, Hooks, ReadyForDataEnv
from ._nav_shape import NavShape, check_lengths, shape_text

MOST_SHAPES = 3


class Acquisition:
    """A scan that is being or will be acquired.  Made by `LiveContext.make_acquisition`.

    Parameters
    ----------
    connection
        Where the frames come from.
    nav_shape
        Shape of the scan; −1 is filled in from the number of frames.
    frames_per_partition
        Accepted for scripts written for LiberTEM-live; a hint that is not needed here, as chunks are
        cut by bytes and time.
    controller
        Arms the detector (active mode); ``None`` waits for somebody else to do so (passive mode).
    pending
        An acquisition that has been waited for already (passive mode).
    hooks
        The user's code.
    scan
        Shape, offset, flyback, snake …; wins over `nav_shape`.
    scan_options
        Arguments of `Scan` but the shape, which is found out as usual.
    timeout
        Seconds to wait for an acquisition and for its first frame; ``None`` waits.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        nav_shape: tuple[int, ...] | None = None,
        frames_per_partition: int | None = None,
        controller: Controller | None = None,
        pending: PendingAcquisition | None = None,
        hooks: Hooks | None = None,
        scan: Scan | None = None,
        scan_options: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> None:
        if scan is not None and scan_options:
            raise ValueError(
                f"pass either scan, with everything in it, or {', '.join(scan_options)} beside nav_shape"
            )
        if controller is not None and pending is not None:
            raise ValueError(
                "pass either a controller (active mode: we arm) or pending_aq (passive mode: it is armed)"
            )
        if frames_per_partition is not None and frames_per_partition < 1:
            raise ValueError(f"frames_per_partition is {frames_per_partition}; it has to be at least 1")
        self._connection = connection
        self._controller = controller
        self._pending = pending
        self._given = pending is not None
        self._hooks = hooks if hooks is not None else Hooks()
        self._timeout = timeout
        self._hint = None if nav_shape is None else check_lengths(nav_shape)
        self._wanted = scan
        self._options = dict(scan_options or {})
        self._scan: Scan | None = None
        self._descriptor: ItemDescriptor | None = None
        self._feed: Feed | None = None
        self._running = False
        if pending is not None:
            self._settle_scan(pending)
        elif controller is not None:
            self._settle_scan(None)

    # What udf_core.StreamDataset asks for

    @property
    def shape(self) -> Shape:
        """Shape of scan and frames; waits for the first frame if it has to.

        While `Hooks.on_ready_for_data` runs, no frame can have come: then it has the scan's axes only.

        Raises
        ------
        StateError
            In active mode before the run: the detector tells the frames' shape with the first one.
        """
        if self._controller is not None and self._pending is not None and self._descriptor is None:
            return Shape(self.nav_shape, sig_dims=0)
        frame = self.descriptor.item_shape
        return Shape((*self.nav_shape, *frame), sig_dims=len(frame))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Native type of the pixels; known like `shape`."""
        return self.descriptor.dtype

    @property
    def scan(self) -> Scan:
        """Which position each frame belongs to.

        Raises
        ------
        StateError
            Before its shape is known: passive mode without a pending acquisition, before the run.
        """
        if self._scan is None:
            raise StateError("the scan's shape is known once the detector has announced an acquisition")
        return self._scan

    @property
    def known_sig_shape(self) -> tuple[int, ...] | None:
        """Shape of a frame if it is certain by now; never waits for a frame.

        It is once the first frame has come; in active mode before arming, if the controller can tell.
        """
        if self._descriptor is not None:
            return self._descriptor.item_shape
        controller: object = self._controller
        if isinstance(controller, KnowsItemShape):
            return controller.determine_item_shape()
        return None

    def get_correction_data(self) -> CorrectionSet | None:
        """Return what the detector itself says is wrong with its pixels; known once a frame has come.

        A run uses it unless it is given other corrections.
        """
        if self._pending is None or self._descriptor is None:
            return None
        return CorrectionSet.from_mapping(self._connection.correction_data(self._pending))

    def start(self) -> Feed:
        """Arm or wait as needed, check the shape, and return the frames.  Once per run.

        Raises
        ------
        ShapeMismatch
            If the scan does not fit the frames announced.
        AcquisitionTimeout
            If no acquisition began in time.
        Stalled
            If it began, but no frame came in time.
        StateError
            If the acquisition that was waited for has been read already.
        """
        if self._running:
            raise StateError("this acquisition is being read already; a second run has to wait for the first")
        if self._feed is not None:
            self._forget()
        try:
            pending = self._begin()
            if self._descriptor is None:
                self._descriptor = self._connection.wait_for_first_item(pending, self._timeout)
            self._feed = self._connection.feed(pending)
        except BaseException:
            self._abort_detector()
            if not self._given:
                self._pending = self._descriptor = None
            raise
        self._running = True
        return self._feed

    def finish(self, error: BaseException | None = None) -> None:
        """Let go of the frames.  In active mode a scan that is left early or stalled is aborted.

        Parameters
        ----------
        error
            What ended the run early, if anything did.
        """
        running, self._running = self._running, False
        if self._feed is None or not running:
            return
        ended = self._feed.verdict()
        self._feed.close()
        # One that ended by itself is over, and perhaps somebody has armed the next one already.
        if ended is None or ended.status in ("failed", "truncated"):
            self._abort_detector()

    # What users ask for

    @property
    def nav_shape(self) -> NavShape:
        """Shape of the results: the scan's, repeats in front; known like `scan`."""
        return self.scan.nav_shape

    @property
    def roi(self) -> RoiBuilder:
        """Makes regions of interest by indexing: ``aq.roi[2:4]``; known like `scan`."""
        return RoiBuilder(self.nav_shape)

    @property
    def descriptor(self) -> ItemDescriptor:
        """What the frames look like; in passive mode this waits for the first one."""
        if self._descriptor is None:
            if self._pending is None:
                raise StateError(
                    "the frames' shape is known once the first one has come: run first, or pass pending_aq"
                )
            self._descriptor = self._connection.wait_for_first_item(self._pending, self._timeout)
        return self._descriptor

    @property
    def connection(self) -> Connection:
        """Where the frames come from; see its `statistics`."""
        return self._connection

    @property
    def pending(self) -> PendingAcquisition | None:
        """What the detector announced, ``None`` before it did."""
        return self._pending

    @property
    def verdict(self) -> FeedVerdict | None:
        """How the acquisition ended, ``None`` before its end."""
        return None if self._feed is None else self._feed.verdict()

    # How it works

    def _forget(self) -> None:
        if self._given:
            assert self._pending is not None
            raise StateError(
                f"acquisition {self._pending.number} has been read; frames are sent once only. "
                "Wait for the next one and make a new acquisition object"
            )
        self._pending = self._descriptor = self._feed = self._scan = None

    def _begin(self) -> PendingAcquisition:
        """Arm or wait, unless that has been done, and settle the scan."""
        if self._pending is not None:
            return self._pending
        if self._controller is not None:
            self._settle_scan(None)
            endless = self.scan.endless
            self._controller.arm(n_items=None if endless else self.scan.n_items + self.scan.offset)
        self._pending = self._await_acquisition()
        self._settle_scan(self._pending)
        if self._controller is not None:
            self._hooks.on_ready_for_data(ReadyForDataEnv(aq=self))
        return self._pending

    def _await_acquisition(self) -> PendingAcquisition:
        pending = self._connection.wait_for_acquisition(self._timeout)
        if pending is None:
            raise AcquisitionTimeout(
                f"no acquisition began within {self._timeout:g} s; "
                "is the detector armed, and is its data port connected to this program?"
            )
        return pending

    def _abort_detector(self) -> None:
        # The run already ends with the error that matters; a detector that is gone must not hide it.
        if self._controller is not None:
            with contextlib.suppress(StreamError, OSError):
                self._controller.abort()
            with contextlib.suppress(StreamError, OSError):
                self._connection.abort()

    def _settle_scan(self, pending: PendingAcquisition | None) -> None:
        """Find out the scan, from what is known by now, and compare it with what was announced."""
        n_frames = None if pending is None else pending.n_items
        scan = self._wanted or Scan(self._find_shape(pending), **self._options)
        try:
            self._scan = scan.resolve(n_frames)
        except ScanError as error:
            raise _misfit(scan, n_frames) from error

    def _find_shape(self, pending: PendingAcquisition | None) -> NavShape:
        n_frames = None if pending is None else pending.n_items
        if self._hint is not None and -1 not in self._hint:
            return self._hint
        answer = self._hooks.on_determine_nav_shape(DetermineNavShapeEnv(n_frames, self._hint)) or self._hint
        if answer is None and self._controller is not None:
            answer = self._controller.determine_nav_shape(n_frames)
        if answer is None and pending is not None:
            answer = pending.index_shape or None
        answer = answer or self._square(n_frames)
        if answer is None:
            known = "an unknown number of frames" if n_frames is None else f"{n_frames} frames"
            raise ShapeMismatch(
                f"the shape of the scan can't be found out from {known}; pass nav_shape, "
                "e.g. nav_shape=(128, 128)",
                nav_shape=None,
                n_frames=n_frames,
            )
        return check_lengths(answer)

    def _square(self, n_frames: int | None) -> NavShape | None:
        """Return the square scan of that many frames, flyback and all, or ``None`` if there is none."""
        try:
            shape = Scan((-1, -1), **self._options).resolve(n_frames).shape
        except ScanError:
            return None
        return shape if all(shape) else None


def _misfit(scan: Scan, n_frames: int | None) -> ShapeMismatch:
    shape = shape_text(scan.shape)
    if n_frames is None or (scan.endless and -1 in scan.shape):
        why = "the detector announces no number of frames" if n_frames is None else "the scan is endless"
        text = f"the scan's shape {shape} can't be filled in: {why}"
        advice = "pass nav_shape without −1"
    elif -1 in scan.shape:
        text = f"no whole number makes a scan of {shape} hold the {n_frames} frames announced"
        advice = "pass nav_shape without −1"
    elif scan.endless:
        text = (
            f"one pass of an endless scan of {shape} needs {scan.items_per_pass} frames, but the detector "
            f"announced {n_frames} in all"
        )
        advice = "arm it for more, or without end"
    else:
        text = f"a scan of {shape}{_extras(scan)} needs {scan.n_items} frames, "
        text += f"but the detector announced {n_frames}"
        advice = "pass the shape that was scanned, or a Scan with its offset and flyback"
        fits = [] if scan.offset else scan.fitting_shapes(n_frames)[:MOST_SHAPES]
        if fits:
            before = f"{scan.repeats} × " if scan.repeats > 1 else ""
            after = " and flyback" if scan.flyback or scan.flyback_lines else ""
            text += f" ({n_frames} = {before}{' or '.join(map(shape_text, fits))}{after})"
    return ShapeMismatch(f"{text}; {advice}", nav_shape=scan.shape, n_frames=n_frames)


def _extras(scan: Scan) -> str:
    parts = [
        f"{scan.repeats} repeats" if scan.repeats > 1 else "",
        f"an offset of {scan.offset}" if scan.offset else "",
        f"{scan.flyback} flyback frames per line" if scan.flyback else "",
        f"{scan.flyback_lines} flyback lines" if scan.flyback_lines else "",
    ]
    words = [part for part in parts if part]
    return f" with {', '.join(words)}" if words else ""
