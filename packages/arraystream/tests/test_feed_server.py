"""A feed served over TCP: it is still a feed, and whoever dies, nothing is lost, doubled or waited for."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arraystream import (
    AuthError,
    Bye,
    ChecksumError,
    ConnectionClosed,
    ConnectionFailed,
    FeedChunk,
    FeedEnd,
    FeedServer,
    ItemDescriptor,
    Lease,
    LimitError,
    ProtocolError,
    StreamDecoder,
    StreamEncoder,
    StreamError,
    Ticket,
    join_feed,
    open_memory,
    open_npy,
    pack_to_travel,
    receive,
    redeem_ticket,
    serve_feed,
)
from arraystream._group_wire import (
    begin_of,
    chunk_of,
    describe_of,
    descriptor_of,
    feed_chunk_of,
    loan_of,
    range_of,
)
from arraystream._protocol.limits import Limits
from arraystream._protocol.session import hello
from arraystream._range_ledger import Loan
from arraystream.testing import FeedConformance

PATIENCE_S = 20.0
DATA = np.random.default_rng(0).integers(0, 1000, (40, 6, 5)).astype("<u2")
CHUNK = 5


@pytest.fixture
def serve() -> Iterator[Callable[..., FeedServer]]:
    with contextlib.ExitStack() as stack:

        def make(data: np.ndarray = DATA, chunk_items: int = CHUNK, **options: object) -> FeedServer:
            feed = open_memory(data).feed(chunk_items=chunk_items)
            return stack.enter_context(serve_feed(feed, **options))

        yield make


class TestServedFeed(FeedConformance):
    """Members in other processes come over TCP, with tickets that hold no file descriptors."""

    n_items = len(DATA)

    def expected_item(self, index: int) -> np.ndarray:
        return DATA[index]

    @pytest.fixture
    def open_feed(self, serve: Callable[..., FeedServer]) -> Callable[..., FeedServer]:
        return serve


def drain(server: FeedServer, member) -> list[FeedChunk]:
    """Take and settle everything."""
    chunks = []
    while not isinstance(got := recv(member), FeedEnd):
        chunks.append(got)
        assert server.settle(member.number, [got.lease.token])
        got.lease.release()
    return chunks


def recv(member):
    got = member.recv(PATIENCE_S)
    assert got is not None, "nothing came before the deadline"
    return got


def exhaust(member) -> None:
    while True:
        recv(member)


def until(condition: Callable[[], bool]) -> None:
    tick = threading.Event()
    for _ in range(int(PATIENCE_S / 0.01)):
        if condition():
            return
        tick.wait(0.01)
    raise AssertionError("nothing happened before the deadline")


def items_of(chunks: list[FeedChunk]) -> np.ndarray:
    ordered = sorted(chunks, key=lambda chunk: chunk.first)
    payload = b"".join(chunk.payload.tobytes() for chunk in ordered)
    return np.frombuffer(payload, DATA.dtype).reshape(-1, *DATA.shape[1:])


def test_all_items_come_over_tcp(serve) -> None:
    server = serve()
    member = join_feed(server.url, token=server.token)
    chunks = drain(server, member)
    assert np.array_equal(items_of(chunks), DATA)
    assert member.descriptor == server.descriptor
    assert chunks[0].payload.flags.writeable is False
    assert server.verdict().status == "complete"
    member.close()
    with pytest.raises(ConnectionClosed):
        member.recv(1.0)


def test_member_with_the_file_gets_ranges_only(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", DATA)
    feed = open_npy(tmp_path / "a.npy").feed(chunk_items=CHUNK)
    with serve_feed(feed) as server:
        packed = pack_to_travel(feed.reader)
        assert packed is not None
        member = join_feed(server.url, token=server.token, reader=pickle.loads(packed))
        assert np.array_equal(items_of(drain(server, member)), DATA)
        (session,) = server._sessions.values()
        assert session._payload_sent == 0
        member.close()


def test_unreadable_file_names_host_and_items(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", DATA)
    feed = open_npy(tmp_path / "a.npy").feed(chunk_items=CHUNK)
    with serve_feed(feed) as server:
        reader = pickle.loads(pack_to_travel(feed.reader))
        (tmp_path / "a.npy").unlink()
        member = join_feed(server.url, token=server.token, reader=reader)
        with pytest.raises(FileNotFoundError, match=r"a\.npy") as caught:
            member.recv(PATIENCE_S)
        assert socket.gethostname() in caught.value.__notes__[0]
        member.close()


def test_bytes_in_memory_do_not_travel() -> None:
    assert pack_to_travel(open_memory(DATA).feed().reader) is None
    assert pack_to_travel(b"0" * 100, most_bytes=50) is None
    assert pack_to_travel(lambda: None) is None


def test_feed_that_can_not_be_read_elsewhere_says_so(serve) -> None:
    class Sealed:
        """A feed that has chunks but no ranges, as a live one."""

        def __init__(self, feed) -> None:
            self._feed = feed

        def __getattr__(self, name: str):
            return getattr(self._feed, name)

        def join(self):
            member = self._feed.join()

            class Member:
                number, recv, close = member.number, member.recv, member.close

            return Member()

    feed = Sealed(open_memory(DATA).feed())
    with serve_feed(feed) as server:
        with pytest.raises(ProtocolError, match="without a reader"):
            join_feed(server.url, token=server.token, reader=feed.reader)
        member = join_feed(server.url, token=server.token)
        assert np.array_equal(items_of(drain(server, member)), DATA)
        member.close()


def test_wrong_token_is_refused(serve) -> None:
    server = serve(token="sesame")
    for token in (None, "", "sesam", "open"):
        with pytest.raises(AuthError):
            join_feed(server.url, token=token)
    join_feed(server.url, token="sesame").close()


def test_ticket_is_good_once(serve) -> None:
    server = serve()
    ticket = server.ticket()
    assert ticket.fds == ()
    member = redeem_ticket(ticket)
    assert member.number == ticket.member
    with pytest.raises(AuthError):
        redeem_ticket(ticket)
    member.close()


def test_ticket_that_nobody_redeems_holds_nothing_back(serve, monkeypatch) -> None:
    monkeypatch.setattr("arraystream._feed_server.TICKET_S", -1.0)
    server = serve()
    ticket = server.ticket()
    until(lambda: not server.settle(ticket.member, []))
    with pytest.raises(AuthError):
        redeem_ticket(ticket)


def test_lossless_consumer_is_no_member(serve) -> None:
    server = serve()
    with pytest.raises(ProtocolError, match="group"):
        receive(server.url, token=server.token)


def test_member_is_sent_few_chunks_ahead(serve) -> None:
    server = serve()
    member = join_feed(server.url, token=server.token, prefetch=2)
    recv(member)
    ledger = server._feed._ledger
    until(lambda: ledger.n_handed == 3 * CHUNK)
    # One in hand and two ahead: it stays at that while nobody asks for more.
    other = join_feed(server.url, token=server.token)
    drain(server, other)
    assert len(ledger._loans[member.number]) == 3
    member.close()
    assert {chunk.attempt for chunk in drain(server, other)} == {1}
    other.close()


def test_chunk_beyond_the_window_is_an_error(serve) -> None:
    server = serve(np.zeros((8, 64, 64)), chunk_items=4)
    member = join_feed(server.url, token=server.token, window_bytes=4096)
    with pytest.raises(LimitError, match="payload_bytes"):
        member.recv(PATIENCE_S)
    member.close()


def test_expelled_member_loses_what_it_had(serve) -> None:
    server = serve()
    member = join_feed(server.url, token=server.token)
    chunk = recv(member)
    server.expel(member.number)
    until(lambda: not server.settle(member.number, []))
    assert not server.settle(member.number, [chunk.lease.token])
    with pytest.raises(ConnectionFailed):
        exhaust(member)
    member.close()
    assert sum(chunk.n for chunk in drain(server, server.join())) == len(DATA)


def test_closing_reaches_members(serve) -> None:
    server = serve()
    member = join_feed(server.url, token=server.token)
    recv(member)
    server.close()
    server.close()
    with pytest.raises(ConnectionClosed, match="owner"):
        exhaust(member)
    assert server.verdict().status == "aborted"
    with pytest.raises(StreamError):
        server.ticket()
    member.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("arraystream-member")]


MEMBER = """
import sys
from arraystream import join_feed
member = join_feed(sys.argv[1], token=sys.argv[2])
print(member.recv(20).first, flush=True)
sys.stdin.read()
"""

SERVER = """
import sys, numpy as np
from arraystream import open_memory, serve_feed
server = serve_feed(open_memory(np.zeros((40, 64, 64))).feed(chunk_items=1))
print(server.url, server.token, flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def python(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_chunks_of_a_killed_member_go_to_another(serve) -> None:
    server = serve()
    with python(MEMBER, server.url, server.token) as process:
        first = int(process.stdout.readline())
        process.kill()
        process.wait()
        until(lambda: not server._sessions)
        member = join_feed(server.url, token=server.token)
        chunks = drain(server, member)
        member.close()
    assert np.array_equal(items_of(chunks), DATA)
    assert {chunk.first: chunk.attempt for chunk in chunks}[first] == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_member_notices_that_the_owner_was_killed(how: int) -> None:
    with python(SERVER) as process:
        url, token = process.stdout.readline().split()
        member = join_feed(url, token=token)
        recv(member)
        os.kill(process.pid, how)
        with pytest.raises(ConnectionFailed, match="gone"):
            exhaust(member)
        member.close()


def connect(server: FeedServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", urlsplit(server.url).port), timeout=PATIENCE_S)


def greeting(token: str) -> tuple[StreamEncoder, bytes]:
    encoder = StreamEncoder("consumer")
    parts = encoder.encode(hello(limits=Limits(), token=token, group="members"))
    return encoder, b"".join(parts)


@pytest.mark.parametrize("cut", [0, 1, 31, 33, 64])
def test_half_a_greeting_holds_nothing_up(serve, cut: int) -> None:
    server = serve()
    with connect(server) as stranger:
        stranger.sendall(greeting(server.token)[1][:cut])
    member = join_feed(server.url, token=server.token)
    assert np.array_equal(items_of(drain(server, member)), DATA)
    member.close()


def test_half_a_message_of_a_member_is_its_end(serve) -> None:
    server = serve()
    encoder, data = greeting(server.token)
    with connect(server) as broken:
        broken.sendall(data)
        until(lambda: server._sessions)
        broken.sendall(bytes(encoder.encode(Bye())[0])[:40])
    until(lambda: not server._sessions)
    assert sum(chunk.n for chunk in drain(server, server.join())) == len(DATA)


def test_garbage_is_answered_and_dropped(serve) -> None:
    server = serve()
    with connect(server) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n" * 4)
        decoder = StreamDecoder("producer")
        decoder.feed(stranger.recv(4096))
        assert [arrival.message.code for arrival in decoder.events()] == [1]
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(1) == b""
    join_feed(server.url, token=server.token).close()


@pytest.mark.parametrize("cut", [10, 200, 1000])
def test_half_a_message_of_the_owner_is_an_error(cut: int) -> None:
    descriptor = ItemDescriptor(DATA.dtype, DATA.shape[1:], n_items=40)
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as stack:

        def answer() -> None:
            connected, _ = listener.accept()
            stack.callback(connected.close)
            from arraystream import Welcome

            encoder = StreamEncoder("producer", delivery="group")
            payload = DATA[:5].reshape(-1).view(np.uint8)
            chunk = FeedChunk(0, 5, payload, np.arange(5, dtype="<u8") * 60, Lease(0, lambda: None))
            messages = [
                Welcome(version=1),
                begin_of(descriptor, 0),
                describe_of(descriptor, by_reference=False),
                chunk_of(descriptor, chunk),
            ]
            data = b"".join(bytes(part) for m in messages for part in encoder.encode(m))
            connected.sendall(data[: len(data) - cut])
            connected.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with (
            pytest.raises(ConnectionFailed),
            contextlib.closing(join_feed(url, token="", timeout=PATIENCE_S)) as member,
        ):
            member.recv(PATIENCE_S)
        thread.join()


def test_ticket_is_plain_data(serve) -> None:
    ticket: Ticket = serve().ticket()
    assert sorted(msgpack.unpackb(ticket.info)) == ["token", "url"]


loans = st.builds(Loan, st.integers(0, 2**63), st.integers(0, 2**40), st.integers(1, 9), st.integers(0, 9))
dtypes = st.sampled_from(["|u1", "<u2", "<i4", "<f4", "<f8", "<c8"])
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


@settings(deadline=None, max_examples=60)
@given(st.lists(loans, max_size=5), dtypes, shapes, st.randoms(), st.data())
def test_whatever_is_sent_arrives_in_whatever_pieces(sent, dtype, shape, random, data) -> None:
    descriptor = ItemDescriptor(np.dtype(dtype), shape, "any", {"bits": 6}, (2, -1), None, {"who": "test"})
    by_reference = data.draw(st.booleans())
    encoder = StreamEncoder("producer", greeted=True, delivery="group", grease=random)
    decoder = StreamDecoder("producer", greeted=True, delivery="group")
    stream = [begin_of(descriptor, 7), describe_of(descriptor, by_reference=by_reference)]
    contents = []
    for loan in sent:
        payload = np.frombuffer(data.draw(st.binary(max_size=90)), np.uint8)
        places = st.lists(st.integers(0, payload.nbytes), min_size=loan.n, max_size=loan.n)
        offsets = np.array(data.draw(places), "<u8")
        contents.append((payload, offsets))
        chunk = FeedChunk(loan.first, loan.n, payload, offsets, Lease(loan.token, print), loan.attempt)
        stream.append(range_of(loan) if by_reference else chunk_of(descriptor, chunk))
    wire = b"".join(bytes(p) for m in stream for p in encoder.encode(m, replayed=hasattr(m, "attempt")))
    while wire:
        n = random.randint(1, 200)
        decoder.feed(wire[:n])
        wire = wire[n:]

    begin, describe, *chunks = [arrival.message for arrival in decoder.events()]
    assert descriptor_of(begin, describe) == descriptor
    assert [loan_of(chunk) for chunk in chunks] == sent
    if not by_reference:
        for message, (payload, offsets) in zip(chunks, contents, strict=True):
            chunk = feed_chunk_of(message, print)
            assert np.array_equal(chunk.payload, payload)
            assert np.array_equal(chunk.offsets, offsets)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_one_wrong_byte_in_a_header_is_found(at: int, change: int) -> None:
    descriptor = ItemDescriptor(np.dtype("<u2"), (2, 3), n_items=4)
    encoder = StreamEncoder("producer", greeted=True, delivery="group")
    parts = [begin_of(descriptor, 1), describe_of(descriptor, by_reference=True), range_of(Loan(3, 0, 4, 1))]
    wire = bytearray(b"".join(bytes(p) for m in parts for p in encoder.encode(m, replayed=True)))
    wire[at % len(wire)] ^= change
    decoder = StreamDecoder("producer", greeted=True, delivery="group")
    with pytest.raises((ProtocolError, ChecksumError, LimitError)):  # noqa: PT012
        decoder.feed(bytes(wire))
        # A length that was changed leaves the decoder waiting for more.
        decoder.feed(bytes(1 << 21))
