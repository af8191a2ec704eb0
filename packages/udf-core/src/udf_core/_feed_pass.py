"""What admits a worker on any host to a feed: it reads files itself if it sees the same ones there."""

from __future__ import annotations

import hashlib
import pickle
import socket
from dataclasses import dataclass
from typing import Any

from arraystream import Member, RangeReader, Ticket, join_feed, pack_to_travel


@dataclass(frozen=True, slots=True)
class FeedPass:
    """Admits one worker.

    Parameters
    ----------
    ticket
        Of an `arraystream.FeedServer`.
    reader
        Pickled reader of the data, or ``None`` if the worker must be sent the data.
    n_items, sample
        To see whether the reader finds the same data elsewhere.
    """

    ticket: Ticket
    reader: bytes | None = None
    n_items: int = 0
    sample: bytes = b""

    def redeem(self) -> tuple[Member, str]:
        """Join the feed; also says, in words, why the data can't be read here, if they should be."""
        reader, note = self._reader_here()
        return join_feed(self.ticket, reader=reader), note

    def _reader_here(self) -> tuple[RangeReader | None, str]:
        if self.reader is None:
            return None, ""
        try:
            # By way of a channel whose both ends have proved who they are.
            reader: RangeReader = pickle.loads(self.reader)
            found = sample_of(reader, self.n_items)
        except Exception as error:  # whatever a reader of somebody else raises
            problem = f"{type(error).__name__}: {error}"
        else:
            if found == self.sample:
                return reader, ""
            problem = "other data are there under the same name"
        return (
            None,
            f"host {socket.gethostname()} can't read the data itself ({problem}); they are sent to it",
        )


def reader_to_travel(feed: Any, n_items: int | None) -> tuple[bytes | None, int, bytes]:
    """Return the pickled reader of a feed, if it has one that can travel, the items and a sample of them."""
    reader = getattr(feed, "reader", None)
    packed = None if reader is None or not n_items else pack_to_travel(reader)
    if reader is None or packed is None or not n_items:
        return None, 0, b""
    return packed, n_items, sample_of(reader, n_items)


def sample_of(reader: RangeReader, n_items: int) -> bytes:
    """Return a digest of the first and the last item."""
    digest = hashlib.sha256()
    for index in {0, n_items - 1}:
        payload, offsets = reader.read(index, 1)
        digest.update(payload[int(offsets[0]) :].tobytes())
    return digest.digest()
