"""Software triggers: each blocks until its images are done, so a thread gives them."""

from __future__ import annotations

import threading

from arraystream import ConnectionClosed, StreamError

from ._simplon import SimplonClient


class TriggerRun:
    """Gives some triggers, one after the other, in a thread of its own.

    Parameters
    ----------
    client
        Sends the commands.
    n_triggers
        How many.
    count_time
        Exposure in seconds sent with each, only in trigger mode ``inte``.
    timeout
        Seconds that one trigger may take.
    """

    def __init__(
        self, client: SimplonClient, n_triggers: int, *, count_time: float | None, timeout: float
    ) -> None:
        self._client = client
        self._n_triggers = n_triggers
        self._count_time = count_time
        self._timeout = timeout
        self._is_stopped = False
        self._over = threading.Event()
        self.n_done = 0
        self.error: StreamError | None = None
        self._thread = threading.Thread(target=self._run, name="dectris-trigger", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether all triggers are done, or one has failed."""
        return self._over.is_set()

    def wait(self, timeout: float | None) -> bool:
        """Wait until it is over; false if it is not within `timeout` seconds."""
        return self._over.wait(timeout)

    def stop(self) -> None:
        """Give no more triggers after the present one."""
        self._is_stopped = True

    def finish(self, grace_s: float) -> None:
        """Stop; let go of the present trigger if it does not end by itself; return when it is over."""
        self.stop()
        if not self.wait(grace_s):
            self._client.interrupt("trigger")
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        try:
            while self.n_done < self._n_triggers and not self._is_stopped:
                self._client.trigger(self._count_time, timeout=self._timeout)
                self.n_done += 1
        except ConnectionClosed as error:
            self.error = None if self._is_stopped else error
        except StreamError as error:
            self.error = error
        except BaseException as error:
            self.error = StreamError(f"the thread that gives triggers failed: {error!r}")
            raise
        finally:
            self._over.set()
