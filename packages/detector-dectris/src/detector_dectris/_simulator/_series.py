"""The thread that sends one series: header, images of each trigger, end, with the faults in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from detector_dectris._dectris import Sender

from ._faults import Faults
from ._messages import Series

# The header waits this long for a client that is just about to connect.
_START_TIMEOUT_S = 0.5
# The end message waits this long for a client that is slow.
_END_TIMEOUT_S = 10.0
_GLANCE_S = 0.02


class SeriesRun(threading.Thread):
    """Send a series; other threads give triggers and end it.

    Parameters
    ----------
    series
        What was armed.
    sender
        Where to send; ``None`` if the stream is off: then images are only counted.
    rate
        Images per second; ``None`` for as fast as the client takes them.
    faults
        Looked at before each burst.
    previous
        Number of the series before, for stale messages.
    on_change
        Called with the state, ``ready`` or ``acquire``, when it changes.
    on_over
        Called when it is over, with whether the control unit restarted.
    """

    def __init__(
        self,
        series: Series,
        sender: Sender | None,
        *,
        rate: float | None,
        faults: Faults,
        previous: int,
        on_change: Callable[[str], None],
        on_over: Callable[[bool], None],
    ) -> None:
        super().__init__(name="dectris-series", daemon=True)
        self.series = series
        self.n_sent = 0
        self.n_dropped = 0
        self.n_done = 0
        self.failure: BaseException | None = None
        self._sender = sender
        self._rate = rate if faults.images_per_s is None else min(rate or np.inf, faults.images_per_s)
        self._faults = faults
        self._previous = previous
        self._on_change = on_change
        self._on_over = on_over
        self._changed = threading.Condition()
        self._n_triggered = 0
        self._ending = False
        self._finishing = False
        self._giving_up = False
        self.is_over = False
        self._restarted = False
        self._n_messages = 0
        kind = faults.hash
        texts = {n: series.image_part(n) for n in np.unique(series.blobs.lengths).tolist()}
        self._hashes = None
        if series.version == 1 and sender is not None:
            self._hashes = series.blobs.hashes(texts if kind == "part2" else None)
            if kind == "wrong":
                self._hashes = self._hashes[:, ::-1].copy()

    # ---- asked by other threads -------------------------------------------------------------

    def send_start(self) -> None:
        """Send the header; before the thread is started."""
        faults = self._faults
        if faults.early_end:
            self._send(self.series.end(), _START_TIMEOUT_S)
        for _ in range(0 if faults.missing_start else 1 + faults.double_start):
            for parts in self.series.start(split=faults.split_header):
                self._send(parts, _START_TIMEOUT_S)
        if faults.stale_end:
            self._send(self.series.end(self._previous), _START_TIMEOUT_S)
        if faults.stale_images:
            self._images(0, faults.stale_images, series=self._previous)

    def trigger(self, n: int = 1) -> int:
        """Give triggers; return how many images are to be done then, at most all of the series."""
        with self._changed:
            n_images = self._n_triggered + n * self.series.n_per_trigger
            self._n_triggered = min(n_images, self.series.n_images)
            self._changed.notify_all()
            return self._n_triggered

    def wait_until_done(self, n_images: int, timeout: float) -> bool:
        """Wait until that many images are done or the series is over."""
        with self._changed:
            return self._changed.wait_for(lambda: self.n_done >= n_images or self.is_over, timeout)

    def finish(self, timeout: float) -> None:
        """End the series once the images of the triggers given are out, or at the end of `timeout`."""
        with self._changed:
            n = self._n_triggered
        self.wait_until_done(n, timeout)
        self.end()

    def end(self) -> None:
        """End the series after the image being sent."""
        with self._changed:
            if self._finishing:
                return
            self._ending = True
            self._changed.notify_all()
            if self._sender is not None:
                self._sender.stop()

    def give_up(self) -> None:
        """End the series without waiting for anybody."""
        self._giving_up = True
        self.end()

    # ---- the thread -------------------------------------------------------------------------

    def run(self) -> None:
        """Send bursts until all is sent or something ends it."""
        try:
            while self.n_done < self.series.n_images and self._wait_for_trigger():
                self._send_burst(self._n_triggered)
                if not self._ending and self.n_done < self.series.n_images:
                    self._on_change("ready")
            with self._changed:
                # From here on nobody stops the sender: the end message has to get through.
                self._finishing = True
                if self._sender is not None:
                    self._sender.resume()
            if not (self._restarted or self._faults.missing_end):
                self._send_end()
        except BaseException as error:
            self.failure = error
        finally:
            self._on_over(self._restarted)
            with self._changed:
                self.is_over = True
                self._changed.notify_all()

    def _wait_for_trigger(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._ending or self._n_triggered > self.n_done)
            if self._ending:
                return False
        self._on_change("acquire")
        return True

    def _send_burst(self, stop: int) -> None:
        """Send up to image `stop`, in one go between those that have something special about them."""
        begun, first = time.monotonic(), self.n_done
        for special in [*self._faults.special(first, stop), stop]:
            while self.n_done < special and not self._ending:
                delay = 0.0
                if self._rate is not None:
                    delay = begun + (self.n_done - first) / self._rate - time.monotonic()
                self._images(self.n_done, special - self.n_done, delay=delay, counted=True)
            if special < stop and not self._ending:
                self._send_special(special)
            if self._ending:
                return

    def _send_special(self, number: int) -> None:
        faults = self._faults
        if number == faults.restart_at:
            self._restarted = True
            self.end()
            return
        if number == faults.stall_at and not self._stalled():
            return
        if number - 1 in faults.swapped:
            order = [number, number - 1]
        elif number in faults.swapped and number + 1 < self.series.n_images:
            order = []
        else:
            order = [number] * (1 + (number in faults.duplicated))
        for one in order:
            self._images(one, 1, damage=_damage(faults, one))
        with self._changed:
            self.n_done += 1

    def _stalled(self) -> bool:
        """Wait for `resume`; false if the series is ended instead."""
        while not self._faults.resumed and not self._ending:
            with self._changed:
                self._changed.wait_for(lambda: self._ending, _GLANCE_S)
        self._faults.end_stall()
        return not self._ending

    def _images(
        self,
        first: int,
        n: int,
        *,
        series: int | None = None,
        delay: float = 0.0,
        counted: bool = False,
        damage: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """Send images; `counted` ones advance the series."""
        one, blobs = self.series, self.series.blobs
        data, offsets, lengths, hashes = blobs.data, blobs.offsets, blobs.lengths, self._hashes
        if damage is not None:
            damaged = [damage(blob) for blob in blobs.of(first)]
            lengths = np.array([len(blob) for blob in damaged], np.uint64)
            offsets = np.concatenate([np.zeros(1, np.uint64), np.cumsum(lengths)[:-1]])
            data, hashes = np.frombuffer(b"".join(damaged), np.uint8), None
        if self._sender is None:
            self._count(n, 0, n, counted)
            return
        period = float(one.config["frame_time"])
        sent, dropped, done = self._sender.send_images(
            1 if one.version == 1 else 2,
            one.number if series is None else series,
            first,
            n,
            data,
            offsets,
            lengths,
            one.shape,
            one.dtype,
            one.compression,
            channels=one.channels,
            rate=self._rate,
            delay=delay,
            skip=self._left_out(first, n),
            hashes=hashes,
            unique_id=one.unique_id,
            series_date=one.date,
            period_ns=round(period * 1e9),
            real_ns=round(float(one.config["count_time"]) * 1e9),
            appendix=one.image_user_data(),
            drop_when_full=self._rate is not None,
            drop_without_client=True,
        )
        self._n_messages += n
        self._count(sent, dropped, done, counted)

    def _count(self, sent: int, dropped: int, done: int, counted: bool) -> None:
        with self._changed:
            self.n_sent += sent
            self.n_dropped += dropped
            if counted:
                self.n_done += done
            self._changed.notify_all()

    def _left_out(self, first: int, n: int) -> list[int]:
        lost = {number for number in self._faults.lost if first <= number < first + n}
        if self._faults.second_client:
            # Every message of an odd number is the other client's.
            lost |= set(range(first + 1 - self._n_messages % 2, first + n, 2))
        return sorted(lost)

    def _send(self, parts: list[bytes], timeout: float) -> None:
        stolen = self._faults.second_client and self._n_messages % 2
        self._n_messages += 1
        if self._sender is not None and not stolen:
            self._sender.send(parts, timeout)

    def _send_end(self) -> None:
        """Send the end message; also to a slow client, but not to one that is gone."""
        stolen = self._faults.second_client and self._n_messages % 2
        if self._sender is None or stolen:
            return
        deadline = time.monotonic() + _END_TIMEOUT_S
        while not self._sender.send(self.series.end(), 10 * _GLANCE_S):
            if self._giving_up or not self._sender.n_clients or time.monotonic() > deadline:
                return


def _damage(faults: Faults, number: int) -> Callable[[bytes], bytes] | None:
    if number in faults.corrupted:
        return lambda blob: blob[: len(blob) // 2] + b"\xff" * (len(blob) - len(blob) // 2)
    if number in faults.truncated:
        return lambda blob: blob[: len(blob) // 2]
    return None
