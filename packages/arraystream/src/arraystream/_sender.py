"""Send acquisitions: `send` and what it returns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from ._errors import ConnectionClosed, ConnectionFailed, StateError, StreamError
from ._plugins import load_plugin
from ._producer_session import ProducerSession
from ._protocol.limits import Limits
from ._protocol.messages import Begin, Chunk, Describe, Encoded, End, Gap, Mark, Message
from ._protocol.session import new_section_id
from ._transports.link import StreamTransport

_CHUNK_BYTES = 4 << 20


def send(
    url: str,
    *,
    timeout: float = 30.0,
    token: str | None = None,
    limits: Limits | None = None,
    heartbeat_s: float = 1.0,
    sums: bool = False,
) -> Sender:
    """Offer a stream at an address; the first message waits for the consumer.

    Delivery is lossless: a consumer that is slow slows the sender down.

    Parameters
    ----------
    url
        ``tcp://host:port``, ``file:///path`` or ``memory://name``.
    timeout
        Longest wait for the consumer, in seconds: to come, to read, to grant credit.
    token
        What a consumer must know to be served; not used for files.
    limits
        What is sent at most; a consumer may narrow it.
    heartbeat_s
        Longest silence towards the consumer.
    sums
        Send checksums of all data; needs ``google-crc32c`` or ``crc32c``.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> received = ThreadPoolExecutor().submit(lambda: sum(c.n for c in receive("memory://example")))
    >>> with send("memory://example") as stream:
    ...     stream.frames(np.zeros((3, 4, 4), np.uint16), units="counts")
    >>> received.result()
    3
    """
    transport: StreamTransport = load_plugin("arraystream.transports", urlsplit(url).scheme)
    settings = {"limits": limits or Limits(), "heartbeat_s": heartbeat_s, "token": token, "sums": sums}
    return Sender(transport, url, timeout=timeout, settings=settings)


class Sender:
    """The producer's end of a stream for one consumer; from `send`.

    Used by one thread, `abandon` by any.
    """

    def __init__(
        self, transport: StreamTransport, url: str, *, timeout: float, settings: Mapping[str, Any]
    ) -> None:
        self._listener = transport.listen(url)
        self._timeout = timeout
        self._settings = settings
        self._session: ProducerSession | None = None
        self._closed = False

    @property
    def url(self) -> str:
        """Where the stream can be received, with the real port."""
        return self._listener.url

    def wait_for_consumer(self, timeout: float | None = None) -> None:
        """Wait until a consumer has come and been greeted.

        Raises
        ------
        ConnectionFailed
            If none came within `timeout` seconds.
        StreamError
            If one came but could not be served.
        """
        self._connected(self._timeout if timeout is None else timeout)

    def frames(
        self,
        arrays: npt.NDArray[Any] | Iterable[npt.NDArray[Any]],
        *,
        chunk_items: int | None = None,
        n_items: int | None = None,
        **describe: Any,
    ) -> None:
        """Send one acquisition: an array of frames, or frames one by one.

        Parameters
        ----------
        arrays
            Array of shape ``(n_items, *item_shape)``, or an iterable of frames of equal shape and type,
            each sent as it comes.
        chunk_items
            Frames per chunk if `arrays` is one array; by default about 4 MiB.
        n_items
            How many frames there will be, if it is known and `arrays` is an iterable.
        describe
            Further fields of `Describe`, e.g. ``units="counts"``.
        """
        stacks: Iterable[npt.NDArray[Any]]
        if isinstance(arrays, np.ndarray):
            n_items = len(arrays)
            item_bytes = max(1, math.prod(arrays.shape[1:]) * arrays.itemsize)
            step = chunk_items or max(1, _CHUNK_BYTES // item_bytes)
            stacks = (arrays[at : at + step] for at in range(0, n_items, step))
        else:
            stacks = (np.asarray(frame)[np.newaxis] for frame in arrays)
        with self.acquisition(n_items=n_items) as acquisition:
            channel: int | None = None
            for stack in stacks:
                if channel is None:
                    channel = acquisition.channel(stack.dtype, stack.shape[1:], **describe)
                acquisition.stack(stack, channel=channel)

    def acquisition(
        self,
        *,
        n_items: int | None = None,
        kind: str = "acquisition",
        meta: Mapping[str, Any] | None = None,
    ) -> AcquisitionSender:
        """Begin an acquisition; use it in a ``with`` statement, whose end is its end."""
        return AcquisitionSender(self, Begin(new_section_id(), kind, None, n_items, meta=meta or {}))

    def send(self, message: Message) -> None:
        """Send one message as it is."""
        self._connected(self._timeout).send(message)

    def close(self) -> None:
        """Say BYE, wait until all has arrived, and close.  Idempotent.

        Without a consumer there is nobody to wait for.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._session is not None:
                self._session.finish()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close at once; what is under way may be lost, and the consumer will know.  Any thread."""
        self._closed = True
        self._listener.close()
        if self._session is not None:
            self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is not None:
            if self._session is not None:
                self._session.give_up()
            self.abandon()
        elif not self._closed:
            # Without a single message the consumer still gets an empty stream, not a cut one.
            self._connected(self._timeout)
            self.close()

    def _connected(self, timeout: float) -> ProducerSession:
        if self._closed:
            raise ConnectionClosed(f"{self.url} was closed on our side; open a new stream.")
        if self._session is None:
            link = self._listener.accept(timeout)
            if link is None:
                raise ConnectionFailed(f"{self.url}: no consumer came within {timeout} s.")
            self._session = ProducerSession(link, timeout=self._timeout, **self._settings)
        return self._session


class AcquisitionSender:
    """One acquisition being sent; from `Sender.acquisition`.

    Leaving the ``with`` block ends it as complete, by an exception as failed, by Ctrl-C as aborted.
    """

    def __init__(self, sender: Sender, begin: Begin) -> None:
        self._sender = sender
        self._begin = begin
        self._next: dict[int, int] = {}

    def channel(
        self, dtype: npt.DTypeLike, item_shape: Sequence[int], *, channel: int | None = None, **describe: Any
    ) -> int:
        """Describe a channel and return its number.

        Parameters
        ----------
        dtype, item_shape
            Of one item.
        channel
            Its number; by default the next one.
        describe
            Further fields of `Describe`.
        """
        number = len(self._next) if channel is None else channel
        shape = tuple(int(extent) for extent in item_shape)
        self._sender.send(Describe(number, np.dtype(dtype).str, shape, **describe))
        self._next.setdefault(number, 0)
        return number

    def stack(
        self,
        array: npt.NDArray[Any],
        *,
        channel: int = 0,
        at: int | None = None,
        item_time: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Send consecutive items of a dense channel.

        Parameters
        ----------
        array
            Shape ``(n, *item_shape)``.  Sent from where it lies if it is C-contiguous.
        channel
            Its number.
        at
            Index of the first item; by default the one that is next.
        item_time
            Ticks of the clock for each item, shape ``(n,)``.
        """
        buffers: dict[str, npt.NDArray[Any] | Encoded] = {"values": array}
        if item_time is not None:
            buffers["item_time"] = np.asarray(item_time, "<i8")
        self.chunk(buffers, len(array), channel=channel, at=at)

    def chunk(
        self,
        buffers: Mapping[str, npt.NDArray[Any] | Encoded],
        n: int,
        *,
        channel: int = 0,
        at: int | None = None,
    ) -> None:
        """Send `n` consecutive items in any layout, as buffers by role."""
        if channel not in self._next:
            raise StateError(f"Channel {channel} has not been described; call channel() first.")
        at = self._next[channel] if at is None else at
        self._sender.send(Chunk(channel, at, n, buffers=buffers))
        self._next[channel] = at + n

    def gap(self, first: int, stop: int, reason: str, *, channel: int = 0) -> None:
        """Say that items ``[first, stop)`` are missing; reasons are listed in PROTOCOL.md."""
        self._sender.send(Gap(channel, first, stop, reason))
        self._next[channel] = stop

    def mark(self, kind: str, text: str = "", **fields: Any) -> None:
        """Add an annotation; `fields` are those of `Mark`."""
        self._sender.send(Mark(kind, text=text, **fields))

    def end(self, status: str, reason: str = "") -> None:
        """End it as ``complete``, ``aborted`` or ``failed``."""
        self._sender.send(End(self._begin.id, status, reason))

    def __enter__(self) -> Self:
        self._sender.send(self._begin)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            self.end("complete")
            return
        interrupted = issubclass(exc_type, KeyboardInterrupt | GeneratorExit)
        try:
            self.end("aborted" if interrupted else "failed", f"{exc_type.__name__}: {exc_value}"[:1000])
        except StreamError as error:
            if exc_value is not None:
                exc_value.add_note(f"The consumer could not be told: {error}")
