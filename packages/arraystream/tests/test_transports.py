"""Streams end to end over memory, TCP and files, and what happens when one side misbehaves."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest

from arraystream import (
    AcquisitionAborted,
    AuthError,
    Begin,
    Bye,
    ChecksumError,
    Chunk,
    ConnectionClosed,
    ConnectionFailed,
    Credit,
    Describe,
    End,
    ErrorCode,
    Gap,
    Hello,
    Limits,
    Mark,
    PluginError,
    ProtocolError,
    Stalled,
    StateError,
    StreamDecoder,
    StreamEncoder,
    StreamError,
    TruncatedStream,
    Welcome,
    receive,
    send,
)
from arraystream._protocol.crc32c import crc32c_plain
from arraystream._protocol.session import CreditWindow
from arraystream._transports import tcp

FRAMES = np.arange(20 * 4 * 6, dtype=">u2").reshape(20, 4, 6)
DEADLINE_S = 30


class Background:
    """Run something in a thread; `result` gives what it returned or raises what it raised."""

    def __init__(self, run):
        self._outcome = queue.Queue()
        self._thread = threading.Thread(target=self._run, args=(run,))
        self._thread.start()

    def _run(self, run):
        try:
            self._outcome.put((run(), None))
        except BaseException as error:
            self._outcome.put((None, error))

    def result(self):
        self._thread.join(DEADLINE_S)
        value, error = self._outcome.get(timeout=DEADLINE_S)
        if error is not None:
            raise error
        return value


@pytest.fixture(params=["memory", "tcp", "file"])
def url(request, tmp_path):
    return {
        "memory": "memory://stream",
        "tcp": "tcp://127.0.0.1:0",
        "file": (tmp_path / "stream.as").as_uri(),
    }[request.param]


@contextlib.contextmanager
def consumer(sender, run, **settings):
    """Run a consumer beside the block; for a file, after it."""
    if sender.url.startswith("file"):
        later = queue.Queue()
        yield later
        with receive(sender.url, **settings) as stream:
            later.put(run(stream))
        return

    def consume():
        with receive(sender.url, **settings) as stream:
            return run(stream)

    background, later = Background(consume), queue.Queue()
    try:
        yield later
    finally:
        later.put(background.result())


def collect(stream):
    return [(chunk.at, np.array(chunk.array)) for chunk in stream]


def test_frames_arrive_as_they_were_sent(url):
    sender = send(url)
    with consumer(sender, collect) as outcome, sender:
        sender.frames(FRAMES, chunk_items=7, units="counts")
    chunks = outcome.get()
    assert [at for at, _ in chunks] == [0, 7, 14]
    arrived = np.concatenate([array for _, array in chunks])
    assert all(array.dtype == FRAMES.dtype for _, array in chunks)
    assert np.array_equal(arrived, FRAMES)


def test_frames_may_come_one_by_one(url):
    sender = send(url)
    with consumer(sender, collect) as outcome, sender:
        sender.frames((frame * 2 for frame in FRAMES[:3]), n_items=3)
    assert np.array_equal(np.concatenate([array for _, array in outcome.get()]), FRAMES[:3] * 2)


def test_all_kinds_of_messages_arrive(url):
    sender = send(url)
    with (
        consumer(sender, lambda stream: list(stream.messages())) as outcome,
        sender,
        sender.acquisition(n_items=5, meta={"sample": "gold"}) as acquisition,
    ):
        channel = acquisition.channel(
            "<f4", (30,), layout="csr", name="hits", dims=("pixel",), units="counts"
        )
        acquisition.chunk(
            {
                "indptr": np.array([0, 1, 3], "<u4"),
                "indices": np.array([29, 0, 2], "<u4"),
                "values": np.ones(3, "<f4"),
            },
            2,
            channel=channel,
        )
        acquisition.gap(2, 4, "detector")
        acquisition.mark("comment", "here", at=4)
        dense = acquisition.channel("<u2", (2,))
        acquisition.stack(np.ones((1, 2), "<u2"), channel=dense, item_time=np.array([17]))
    begin, describe, chunk, gap, mark, other, timed, end = outcome.get()
    assert isinstance(begin, Begin)
    assert begin.meta == {"sample": "gold"}
    assert isinstance(describe, Describe)
    assert isinstance(chunk, Chunk)
    assert chunk.buffers["indices"].tolist() == [29, 0, 2]
    assert gap == Gap(0, 2, 4, "detector")
    assert isinstance(mark, Mark)
    assert isinstance(other, Describe)
    assert timed.time.tolist() == [17]
    assert isinstance(end, End)
    assert end.counts == (0, 2, 2, 192, 1, 1, 0, 128)


def test_several_acquisitions_follow_one_another(url):
    def run(stream):
        return [(stream.begin.meta["run"], chunk.at) for chunk in stream]

    sender = send(url)
    with consumer(sender, run) as outcome, sender:
        for number in range(3):
            with sender.acquisition(meta={"run": number}) as acquisition:
                acquisition.channel("u1", (2,))
                acquisition.stack(np.zeros((4, 2), "u1"))
    assert outcome.get() == [(0, 0), (1, 0), (2, 0)]


def test_an_empty_stream_ends_cleanly(url):
    sender = send(url)
    with consumer(sender, collect) as outcome, sender:
        pass
    assert outcome.get() == []


def test_a_failed_acquisition_raises_and_a_later_one_can_be_read(url):
    def run(stream):
        verdicts = []
        while True:
            try:
                verdicts.append([chunk.at for chunk in stream])
                return verdicts
            except AcquisitionAborted as error:
                verdicts.append(str(error))

    sender = send(url)
    with consumer(sender, run) as outcome, sender:
        with contextlib.suppress(KeyboardInterrupt), sender.acquisition():
            raise KeyboardInterrupt
        sender.frames(FRAMES)
    aborted, rest = outcome.get()
    assert "aborted: KeyboardInterrupt" in aborted
    assert rest == [0]


def test_an_exception_in_the_producer_reaches_the_consumer_as_failed(url):
    sender = send(url)

    def run(stream):
        with pytest.raises(StreamError, match="failed: ZeroDivisionError: oops"):
            collect(stream)
        return stream.end.status

    def produce():
        with sender, sender.acquisition() as acquisition:
            acquisition.channel("u1", (2,))
            raise ZeroDivisionError("oops")

    with consumer(sender, run) as outcome, pytest.raises(ZeroDivisionError):
        produce()
    assert outcome.get() == "failed"


def test_a_file_cut_anywhere_is_truncated(tmp_path):
    whole = tmp_path / "whole.as"
    with send(whole.as_uri()) as stream:
        stream.frames(FRAMES[:3], chunk_items=2)
    data = whole.read_bytes()
    for cut in [*range(0, len(data), 7), len(data) - 1]:
        path = tmp_path / "cut.as"
        path.write_bytes(data[:cut])
        with receive(path.as_uri()) as stream, pytest.raises(TruncatedStream):
            collect(stream)


def test_a_file_has_marks_where_reading_can_start(tmp_path, monkeypatch):
    monkeypatch.setattr("arraystream._producer_session.SYNC_EVERY_BYTES", 4096)
    path = tmp_path / "marked.as"
    with send(path.as_uri()) as stream:
        stream.frames(np.zeros((50, 1000), "u1"), chunk_items=1)
    data = path.read_bytes()
    places = [at for at in range(0, len(data), 64) if data[at : at + 6] == b"\x89AS\n\x01\x16"]
    assert len(places) > 5
    assert all(b"arraystream-SYNC" in data[at : at + 128] for at in places)
    with receive(path.as_uri()) as stream:
        assert sum(chunk.n for chunk in stream) == 50


def test_a_file_is_never_overwritten(tmp_path):
    path = tmp_path / "data.as"
    path.write_bytes(b"precious")
    with pytest.raises(ConnectionFailed, match="not overwritten"):
        send(path.as_uri())
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize(
    "wrong", ["tcp://localhost", "tcp://localhost:x", "file://elsewhere/x", "file:///x?y=1"]
)
def test_an_address_that_makes_no_sense_is_an_error(wrong):
    with pytest.raises(ValueError, match="write it as"):
        send(wrong)


def test_an_unknown_scheme_lists_the_known_ones():
    with pytest.raises(PluginError, match=r"installed: .*file, .*memory.*tcp"):
        receive("carrier-pigeon://x")


def test_nobody_there_is_an_error_in_time(tmp_path):
    with pytest.raises(ConnectionFailed, match="nobody answered"):
        receive("tcp://127.0.0.1:9", timeout=0.05)
    with pytest.raises(ConnectionFailed, match="nobody of that name"):
        receive("memory://nobody", timeout=0.05)
    with pytest.raises(ConnectionFailed, match="can't be read"):
        receive((tmp_path / "none").as_uri())
    sender = send("tcp://127.0.0.1:0")
    with pytest.raises(ConnectionFailed, match="no consumer came"):
        sender.wait_for_consumer(0.05)
    sender.abandon()


def test_the_consumer_may_be_first():
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        url = f"tcp://127.0.0.1:{reserved.getsockname()[1]}"
    background = Background(lambda: collect(receive(url)))
    with send(url) as sender:
        sender.frames(FRAMES)
    assert len(background.result()) == 1


TWO_WAY = pytest.mark.parametrize("address", ["tcp://127.0.0.1:0", "memory://two-way"])


@TWO_WAY
def test_a_slow_consumer_slows_the_producer_down_and_loses_nothing(address):
    sender = send(address)
    sent, may_read = [], threading.Event()

    def run(stream):
        may_read.wait(DEADLINE_S)
        return [chunk.at for chunk in stream]

    def produce():
        with sender, sender.acquisition() as acquisition:
            acquisition.channel("u1", (2048,))
            for number in range(40):
                acquisition.stack(np.zeros((1, 2048), "u1"))
                sent.append(number)

    background = Background(produce)
    # Room for eight chunks.
    with receive(sender.url, window_bytes=8 * 2048) as stream:
        reader = Background(lambda: run(stream))
        deadline = threading.Event()
        while len(sent) < 8:
            assert not deadline.wait(0.001)
        assert len(sent) == 8
        may_read.set()
        assert reader.result() == list(range(40))
        background.result()


@TWO_WAY
def test_a_consumer_that_leaves_early_is_noticed(address):
    sender = send(address, timeout=DEADLINE_S)
    gone = threading.Event()

    def run(stream):
        next(stream)

    def consume():
        with receive(sender.url) as stream:
            run(stream)
        gone.set()

    def produce():
        with sender:
            sender.frames(FRAMES[:1])
            gone.wait(DEADLINE_S)
            while True:
                sender.frames(FRAMES)

    background = Background(consume)
    with pytest.raises(ConnectionFailed):
        produce()
    background.result()


@TWO_WAY
def test_a_producer_that_goes_away_is_noticed(address):
    sender = send(address)

    def consume():
        with receive(sender.url) as stream, pytest.raises(TruncatedStream):
            collect(stream)
        return True

    background = Background(consume)
    acquisition = sender.acquisition()
    acquisition.__enter__()
    sender.abandon()
    assert background.result()


def test_a_killed_producer_is_noticed(tmp_path):
    program = (
        "import sys, numpy as np, arraystream, time\n"
        "s = arraystream.send('tcp://127.0.0.1:0'); print(s.url, flush=True)\n"
        "with s, s.acquisition() as a:\n"
        "    a.channel('u1', (100,)); a.stack(np.zeros((3, 100), 'u1')); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process, receive(process.stdout.readline().strip()) as stream:
        assert next(stream).n == 3
        process.send_signal(signal.SIGKILL)
        with pytest.raises(TruncatedStream):
            next(stream)


def test_a_wrong_token_is_refused_on_both_sides():
    sender = send("tcp://127.0.0.1:0", token="open sesame")
    background = Background(lambda: receive(sender.url, token="open barley"))
    with pytest.raises(AuthError):
        sender.wait_for_consumer()
    with pytest.raises(AuthError, match="token"):
        background.result()
    right = Background(lambda: collect(receive(sender.url, token="open sesame")))
    with sender:
        sender.frames(FRAMES)
    assert len(right.result()) == 1


def test_agreed_limits_bind_the_producer():
    sender = send("tcp://127.0.0.1:0")
    narrow = Limits(payload_bytes=1024)

    def consume():
        with receive(sender.url, limits=narrow) as stream, contextlib.suppress(StreamError):
            collect(stream)

    def produce():
        with sender:
            sender.frames(np.zeros((1, 2000), "u1"))

    background = Background(consume)
    with pytest.raises(ProtocolError, match="2048, at most 1024"):
        produce()
    background.result()


def test_closing_from_another_thread_interrupts_the_consumer():
    sender = send("memory://interrupted")
    background = Background(lambda: receive(sender.url))
    sender.wait_for_consumer()
    stream = background.result()
    reader = Background(lambda: next(stream))
    stream.close()
    stream.close()
    with pytest.raises(ConnectionClosed):
        reader.result()
    sender.abandon()


def test_closing_from_another_thread_interrupts_the_producer():
    sender = send("tcp://127.0.0.1:0")
    waiting = Background(sender.wait_for_consumer)
    sender.abandon()
    with pytest.raises(ConnectionClosed):
        waiting.result()
    with pytest.raises(ConnectionClosed):
        sender.send(Begin("a"))
    sender.close()


def test_a_reset_connection_is_a_cut_stream(producer):
    with connect(producer) as stream:
        producer.say(Begin("a"))
        assert stream.recv(DEADLINE_S).message == Begin("a")
        # Closing at once, without lingering, makes TCP send a reset.
        producer.link._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        producer.link._socket.close()
        with pytest.raises(TruncatedStream, match="OPEN"):
            next(stream)


class RawProducer:
    """A producer that says whatever a test wants it to."""

    def __init__(self, heartbeat_s=0.05):
        self._listener = tcp.transport.listen("tcp://127.0.0.1:0")
        self.url = self._listener.url
        self._heartbeat_s = heartbeat_s
        self.encoder = StreamEncoder("producer")
        self.decoder = StreamDecoder("consumer")

    def greet(self):
        self.link = self._listener.accept(DEADLINE_S)
        assert isinstance(self.hear(), Hello)
        self.say(Welcome(1, heartbeat_s=self._heartbeat_s))

    def say(self, message):
        self.link.send(self.encoder.encode(message), DEADLINE_S)

    def hear(self):
        while True:
            for arrival in self.decoder.events():
                return arrival.message
            self.decoder.advance(self.link.receive_into(self.decoder.want(), DEADLINE_S))

    def close(self):
        self.link.close()
        self._listener.close()


@pytest.fixture
def producer():
    producer = RawProducer()
    yield producer
    producer.close()


def connect(producer, **settings):
    background = Background(lambda: receive(producer.url, **settings))
    producer.greet()
    return background.result()


def test_silence_is_noticed(producer):
    with connect(producer) as stream, pytest.raises(Stalled, match="three heartbeat"):
        next(stream)


def test_a_receiver_may_wait_with_a_timeout(producer):
    with connect(producer) as stream:
        assert stream.recv(0.01) is None


def test_more_than_was_granted_is_a_violation():
    window = CreditWindow(1000)
    assert window.grant() == Credit(4096, 1000)
    window.received(600, seq=5)
    assert window.grant() is None
    window.consumed(600, seq=5)
    assert window.grant() == Credit(4101, 1600)
    with pytest.raises(ProtocolError, match="granted were 1600") as caught:
        window.received(1001, seq=6)
    assert caught.value.code == ErrorCode.CREDIT_VIOLATION
    with pytest.raises(ProtocolError):
        CreditWindow(1000).received(0, seq=1)


def test_the_producer_is_told_what_it_did_wrong(producer):
    with connect(producer) as stream:
        assert isinstance(producer.hear(), Credit)
        producer.link.send([memoryview(b"this is not the protocol at all!")], DEADLINE_S)
        with pytest.raises(ProtocolError):
            next(stream)
        complaint = producer.hear()
    assert (complaint.code, complaint.fatal) == (1, True)


def test_a_reported_error_is_raised_with_its_type(producer):
    from arraystream import Error

    with connect(producer) as stream:
        producer.say(Error(code=14, text="your time is up"))
        with pytest.raises(AuthError, match="your time is up"):
            next(stream)


def test_an_orderly_end_before_the_end_of_a_section_is_refused(producer):
    with connect(producer) as stream:
        producer.say(Begin("a"))
        parts = StreamEncoder("producer", greeted=True, first_seq=2).encode(Bye())
        producer.link.send(parts, DEADLINE_S)
        with pytest.raises(ProtocolError, match="OPEN"):
            next(stream)


def test_a_stranger_on_the_port_is_turned_away_and_the_next_one_served():
    sender = send("tcp://127.0.0.1:0")
    host, port = sender.url.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port))) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with pytest.raises(ProtocolError, match="starts with 47455420"):
            sender.wait_for_consumer()
    background = Background(lambda: collect(receive(sender.url)))
    with sender:
        sender.frames(FRAMES)
    assert len(background.result()) == 1


def test_a_stranger_that_says_nothing_is_given_up():
    sender = send("tcp://127.0.0.1:0", timeout=0.05)
    host, port = sender.url.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port))), pytest.raises(Stalled, match="HELLO"):
        sender.wait_for_consumer()
    sender.abandon()


def test_a_consumer_without_credit_stalls_the_producer():
    sender = send("tcp://127.0.0.1:0", timeout=0.2)

    def consume():
        link = tcp.transport.connect(sender.url, DEADLINE_S)
        link.send(StreamEncoder("consumer").encode(Hello((1, 1))), DEADLINE_S)
        return link

    def produce():
        with sender:
            sender.frames(FRAMES)

    background = Background(consume)
    with pytest.raises(Stalled, match="no credit"):
        produce()
    background.result().close()


def test_a_port_that_is_taken_is_an_error():
    sender = send("tcp://127.0.0.1:0")
    with pytest.raises(ConnectionFailed, match="can't be listened on"):
        send(sender.url)
    sender.abandon()


def test_ipv6_works_where_the_machine_has_it():
    try:
        sender = send("tcp://[::1]:0")
    except ConnectionFailed:
        pytest.skip("no IPv6 here")
    background = Background(lambda: collect(receive(sender.url)))
    with sender:
        sender.frames(FRAMES)
    assert len(background.result()) == 1


def test_chunks_need_a_described_channel():
    with send("memory://undescribed") as sender:
        background = Background(lambda: list(receive(sender.url).messages()))
        with sender.acquisition() as acquisition, pytest.raises(StateError, match="not been described"):
            acquisition.stack(FRAMES)
    background.result()


def test_a_mistake_in_the_producer_is_told_as_a_failure_not_as_a_cut():
    sender = send("memory://mistake")

    def consume():
        with receive(sender.url) as stream, pytest.raises(StreamError, match="failed: ProtocolError"):
            collect(stream)

    def produce():
        with sender, sender.acquisition() as acquisition:
            acquisition.channel("u1", (4,))
            acquisition.stack(np.zeros((1, 5), "u1"))

    background = Background(consume)
    with pytest.raises(ProtocolError, match="4 were described"):
        produce()
    background.result()


def test_an_interrupt_within_a_message_leaves_a_cut_stream(tmp_path, monkeypatch):
    path = tmp_path / "interrupted.as"

    def writev(fd, parts):
        os.write(fd, parts[0][:100])
        raise KeyboardInterrupt

    def produce():
        with send(path.as_uri()) as sender, sender.acquisition() as acquisition:
            acquisition.channel("u1", (4,))
            monkeypatch.setattr("os.writev", writev)
            acquisition.stack(np.zeros((1, 4), "u1"))

    with pytest.raises(KeyboardInterrupt):
        produce()
    with receive(path.as_uri()) as stream, pytest.raises(TruncatedStream):
        collect(stream)


def test_a_full_disk_is_an_error_with_the_files_name(tmp_path, monkeypatch):
    def writev(fd, parts):
        raise OSError(errno.ENOSPC, "No space left on device")

    sender = send((tmp_path / "full.as").as_uri())
    monkeypatch.setattr("os.writev", writev)
    with pytest.raises(ConnectionFailed, match=r"full.as can't be written on.*No space left"):
        sender.send(Begin("a"))
    sender.abandon()


def test_after_the_end_receiving_says_so(url):
    def run(stream):
        collect(stream)
        assert list(stream) == []
        with pytest.raises(EOFError, match="said BYE"):
            stream.recv(0)

    sender = send(url)
    with consumer(sender, run), sender:
        sender.frames(FRAMES)


def test_checksums_of_all_data_are_sent_and_verified(url, monkeypatch):
    # As if a C implementation were installed.
    for module in ("encoder", "decoder", "buffers"):
        monkeypatch.setattr(f"arraystream._protocol.{module}.crc32c_fast", crc32c_plain)
    sender = send(url, sums=True)
    with consumer(sender, collect) as outcome, sender:
        sender.frames(FRAMES)
    assert np.array_equal(outcome.get()[0][1], FRAMES)
    if url.startswith("file"):
        path = pathlib.Path(sender.url.removeprefix("file://"))
        data = path.read_bytes()
        place = data.index(FRAMES[5].tobytes())
        path.write_bytes(data[:place] + b"!" + data[place + 1 :])
        with receive(sender.url) as stream, pytest.raises(ChecksumError, match="values"):
            collect(stream)


def test_checksums_without_an_implementation_are_refused(monkeypatch):
    monkeypatch.setattr("arraystream._protocol.encoder.crc32c_fast", None)
    with pytest.raises(StreamError, match="pip install google-crc32c"):
        StreamEncoder("producer", sums=True)
