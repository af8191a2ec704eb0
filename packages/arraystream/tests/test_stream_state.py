"""The stream's state table: every entry is taken, everything else is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from arraystream import (
    STREAM_TABLE,
    Ack,
    Begin,
    Bye,
    Chunk,
    Credit,
    Describe,
    End,
    Error,
    ErrorCode,
    Gap,
    Heartbeat,
    Hello,
    Mark,
    ProtocolError,
    StreamState,
    Sync,
    Welcome,
)
from arraystream._protocol.framing import LOSSY, REPLAYED
from arraystream._protocol.stream_state import StreamBooks

VALUES = {"values": np.zeros((1, 2), "|u1")}
MESSAGES = {
    "HELLO": Hello((1, 1)),
    "WELCOME": Welcome(1),
    "ERROR": Error(6, fatal=False),
    "ERROR fatal": Error(6),
    "HEARTBEAT": Heartbeat(0),
    "CREDIT": Credit(1, 1),
    "ACK": Ack(1),
    "BYE": Bye(),
    "BEGIN": Begin("b", parent="a"),
    "DESCRIBE": Describe(1, "|u1", (2,)),
    "CHUNK": Chunk(0, 0, 1, buffers=VALUES),
    "MARK": Mark("comment", channel=0),
    "GAP": Gap(0, 0, 1, "overrun"),
    "END nested": End("b", "complete"),
    "END": End("a", "complete"),
    "SYNC": Sync(0, 0, "arraystream-SYNC"),
}
EVENTS = [*MESSAGES, "eof", "silence"]
REACHED = ("CONNECTING", "READY", "OPEN", "CLOSED", "LOST")


def books_in(state, sender, event):
    books = StreamBooks(sender, greeted=state != "CONNECTING")
    if state == "OPEN":
        for message in (Begin("a"), Describe(0, "|u1", (2,))):
            books.take(message, 0, 0, 0)
        if event == "END nested":
            books.take(Begin("b", parent="a"), 0, 0, 0)
    elif state == "CLOSED":
        books.take(Bye(), 0, 0, 0)
    elif state == "LOST":
        books.note("silence")
    assert books.state.name == state
    return books


def apply(books, event):
    if event in ("eof", "silence"):
        books.note(event)
        return
    message = MESSAGES[event]
    if event == "BEGIN" and books.state is not StreamState.OPEN:
        message = Begin("a")
    books.take(message, 0, 0, 64 if event == "CHUNK" else 0)


ENTRIES = [(sender, old, event) for sender, table in STREAM_TABLE.items() for old, event in table]
OTHERS = [
    (sender, StreamState[state], event)
    for sender, state, event in itertools.product(STREAM_TABLE, REACHED, EVENTS)
    if (StreamState[state], event) not in STREAM_TABLE[sender]
    # What is nested is for the books to know, not for the sender to say.
    and event != "END nested"
    and StreamState[state] in {old for old, _ in STREAM_TABLE[sender]}
]


@pytest.mark.parametrize(("sender", "old", "event"), ENTRIES)
def test_every_entry_of_the_table_can_be_taken(sender, old, event):
    books = books_in(old.name, sender, event)
    apply(books, event)
    assert books.state is STREAM_TABLE[sender][old, event]


@pytest.mark.parametrize(("sender", "old", "event"), OTHERS)
def test_anything_else_is_refused(sender, old, event):
    books = books_in(old.name, sender, event)
    with pytest.raises(ProtocolError, match=old.name) as caught:
        apply(books, event)
    assert caught.value.code == ErrorCode.STATE
    assert books.state is StreamState.FAILED


def open_books(delivery):
    books = StreamBooks("producer", greeted=True, delivery=delivery)
    for message in (Begin("a"), Describe(0, "|u1", (2,))):
        books.take(message, 0, 0, 0)
    return books


def chunk(at, n=1):
    return Chunk(0, at, n)


@pytest.mark.parametrize("delivery", ["lossless", "latest", "sample", "group"])
def test_items_in_order_are_fine_everywhere(delivery):
    books = open_books(delivery)
    books.take(chunk(0, 5), 0, 0, 0)
    books.take(Gap(0, 5, 7, "detector"), 0, 0, 0)
    books.take(chunk(7), 0, 0, 0)
    assert books.counts() == (0, 6, 2, 0)


def test_a_silent_hole_is_refused_only_if_lossless():
    for delivery in ("latest", "sample", "group"):
        open_books(delivery).take(chunk(3), 0, 0, 0)
    open_books("lossless").take(chunk(3), 0, LOSSY, 0)
    with pytest.raises(ProtocolError, match="0 was next"):
        open_books("lossless").take(chunk(3), 0, 0, 0)


def test_only_a_group_may_go_back_and_only_if_it_says_so():
    for delivery, flags in [("lossless", 0), ("lossless", REPLAYED), ("latest", REPLAYED), ("group", 0)]:
        books = open_books(delivery)
        books.take(chunk(0, 5), 0, 0, 0)
        with pytest.raises(ProtocolError, match="5 was next"):
            books.take(chunk(4), 0, flags, 0)
    books = open_books("group")
    books.take(chunk(0, 5), 0, 0, 0)
    books.take(chunk(2), 0, REPLAYED, 0)
    assert books.channel(0).next == 5


def test_a_description_may_be_repeated_and_revised_but_not_changed():
    books = open_books("lossless")
    books.take(Describe(0, "|u1", (2,)), 0, 0, 0)
    books.take(Describe(0, "|u1", (3,), rev=1), 0, 0, 0)
    with pytest.raises(ProtocolError, match="not described"):
        books.channel(0, rev=0)
    with pytest.raises(ProtocolError, match="needs a new rev"):
        books.take(Describe(0, "|u1", (4,), rev=1), 0, 0, 0)


def test_channels_end_with_their_section():
    books = StreamBooks("producer", greeted=True)
    for message in (Begin("a"), Begin("b", parent="a"), Describe(0, "|u1", ()), End("b", "complete")):
        books.take(message, 0, 0, 0)
    with pytest.raises(ProtocolError, match="not described"):
        books.channel(0)
