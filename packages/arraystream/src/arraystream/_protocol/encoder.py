"""Messages to bytes, without any I/O and without copying arrays."""

from __future__ import annotations

import dataclasses
import random

from arraystream._errors import StreamError

from .buffers import TABLE_KEY, pack_buffers, parse_table
from .crc32c import crc32c_fast
from .fields import to_header
from .framing import (
    CRITICAL,
    HAS_PAYLOAD_SUMS,
    LOSSY,
    PADDING,
    REPLAYED,
    pack_prefix,
    unpack_prefix,
)
from .headers import pack_header, unpack_header
from .layouts import check_chunk
from .limits import ErrorCode, Limits, wire_error
from .messages import CRITICAL_TYPES, Chunk, Describe, End, Message
from .stream_state import Delivery, Side, StreamBooks


class StreamEncoder:
    r"""Encodes one direction of a stream.

    Parameters
    ----------
    sender
        Who this is.
    greeted
        Whether HELLO and WELCOME are not part of this stream, as in a file.
    delivery
        What the consumer asked for.
    limits
        What the other side accepts.
    first_seq
        Sequence number of the first message.
    sums
        Add a checksum to each buffer; needs ``google-crc32c`` or ``crc32c``.
    grease
        Now and then adds a key that nobody knows, so that receivers stay used to it.

    Examples
    --------
    >>> encoder = StreamEncoder("producer", greeted=True)
    >>> parts = encoder.encode(Begin(id="a"))
    >>> bytes(parts[0][:4])
    b'\x89AS\n'
    """

    def __init__(
        self,
        sender: Side,
        *,
        greeted: bool = False,
        delivery: Delivery = "lossless",
        limits: Limits | None = None,
        first_seq: int = 0,
        sums: bool = False,
        grease: random.Random | None = None,
    ) -> None:
        if sums and crc32c_fast is None:
            raise wire_error(
                ErrorCode.INTERNAL, "Checksums of buffers need google-crc32c; pip install google-crc32c."
            )
        self.limits = limits or Limits()
        self.books = StreamBooks(sender, greeted=greeted, delivery=delivery, limits=self.limits)
        self.next_seq = first_seq
        self._sums = sums
        self._grease = grease

    def narrow(self, limits: Limits) -> None:
        """Keep to the limits that were agreed with the other side."""
        self.limits = self.books.limits = limits

    def encode(self, message: Message, *, replayed: bool = False, lossy: bool = False) -> list[memoryview]:
        """Return the bytes of a message, for ``sendmsg`` or ``writev``; arrays are not copied.

        An END gets the counts and the digest of its section if it has none.

        Raises
        ------
        StreamError
            If the receiver would refuse the message.  It is as if it had never been asked for then.
        """
        buffers = message.buffers if isinstance(message, Describe | Chunk) else {}
        if isinstance(message, Chunk):
            check_chunk(message, self.books.channel(message.channel, message.rev).describe, structure=False)
        if isinstance(message, End) and not message.counts and not message.digest:
            message = dataclasses.replace(message, counts=self.books.counts(), digest=self.books.digest())
        header = to_header(message)
        sums = self._sums and bool(buffers)
        table, parts = pack_buffers(buffers, sums=sums)
        if table:
            header[TABLE_KEY] = table
        if self._grease is not None and self._grease.random() < 0.125:
            header[f"grease-{self._grease.getrandbits(16):04x}"] = self._grease.getrandbits(16)
        flags = REPLAYED * replayed | LOSSY * lossy | HAS_PAYLOAD_SUMS * sums
        flags |= CRITICAL * (message.TYPE in CRITICAL_TYPES)
        payload_bytes = sum(part.nbytes for part in parts)
        parse_table(header, payload_bytes, self.limits, sums=sums)
        return [self._seal(message, pack_header(header), flags, payload_bytes), *parts]

    def _seal(self, message: Message, header: bytes, flags: int, payload_bytes: int) -> memoryview:
        packed, crc = pack_prefix(message.TYPE, flags, header, payload_bytes, self.next_seq)
        prefix = unpack_prefix(packed, self.limits)
        if not isinstance(message, Chunk):
            # Free text and maps of users: what the receiver will check.
            unpack_header(header, self.limits)
        state = self.books.state
        try:
            self.books.take(message, crc, flags, payload_bytes)
        except StreamError:
            self.books.state = state
            raise
        self.next_seq += 1
        return memoryview(packed + header + PADDING[: prefix.padded_header_bytes - len(header)])
