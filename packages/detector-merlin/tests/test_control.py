"""The command port's codec and client, against bytes and against small hand-made servers."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arraystream import ConnectionClosed, ConnectionFailed, ProtocolError, Stalled
from detector_merlin._control import (
    MerlinBusyError,
    MerlinCommandError,
    MerlinControl,
    MerlinOutOfRangeError,
    MerlinUnknownCommandError,
    MessageReader,
    Reply,
    Request,
    frame_message,
)

NAMES = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=20)
VALUES = st.text("abcXYZ0123456789.-\\:", min_size=1, max_size=300)


def test_frame_of_a_request_is_the_references_example() -> None:
    expected = "4d50582c303030303030303032352c5345542c4e554d4652414d4553544f414351554952452c31"
    assert Request("SET", "NUMFRAMESTOACQUIRE", "1").encode().hex() == expected


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    yield from (data[a:b] for a, b in itertools.pairwise(edges))


@given(st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=5), st.lists(st.integers(0, 9999)))
def test_requests_survive_any_segmentation(requests: list[tuple[str, str]], cuts: list[int]) -> None:
    wanted = [Request("SET", name, value) for name, value in requests]
    wire = b"\r\n".join(one.encode() for one in wanted) + b"\0"
    reader = MessageReader(replies=False)
    found = []
    for piece in pieces(wire, cuts):
        reader.feed(piece)
        while (body := reader.next_message()) is not None:
            found.append(Request.parse(body))
    assert found == wanted


@given(NAMES, VALUES, st.integers(0, 9), st.booleans(), st.lists(st.integers(0, 9999)))
def test_replies_survive_any_segmentation_and_a_forgotten_comma(
    name: str, value: str, error: int, short: bool, cuts: list[int]
) -> None:
    reply = Reply("GET", name, error, value + ",and more")
    wire = reply.encode()
    if short:  # as LiberTEM-live's simulator counts
        wire = b"MPX,%010d," % (len(wire) - 15) + wire[15:]
    reader = MessageReader(replies=True)
    found = None
    for piece in pieces(wire, cuts):
        reader.feed(piece)
        found = found or reader.next_message()
    assert found is not None
    assert Reply.parse(found) == reply
    assert reader.n_pending == 0


@pytest.mark.parametrize(
    "wire",
    [
        b"MPX,0000000017,SET,HVBIAS,-120.5",  # length without the comma
        b"MPX,00000000018,SET,HVBIAS,-120.5",  # eleven digits
        b"\n\r\0MPX,0000000018,SET,HVBIAS,-120.5\0",
    ],
)
def test_odd_requests_seen_in_the_wild_are_understood(wire: bytes) -> None:
    reader = MessageReader(replies=False)
    reader.feed(wire + Request("GET", "HVBIAS").encode())
    bodies = [reader.next_message(), reader.next_message()]
    assert bodies == [b"SET,HVBIAS,-120.5", b"GET,HVBIAS"]


def test_request_that_is_shorter_than_it_claims_is_taken_when_no_more_comes() -> None:
    reader = MessageReader(replies=False)
    reader.feed(b"MPX,0000000012,GET,HVBIAS")
    assert reader.next_message() is None
    assert reader.take_unfinished() == b"GET,HVBIAS"


def test_useless_zero_of_get_and_cmd_is_dropped() -> None:
    assert Request.parse(b"GET,HVBIAS,0") == Request("GET", "HVBIAS")
    assert Request.parse(b"cmd,ABORT,0\0") == Request("CMD", "ABORT")


@pytest.mark.parametrize("body", [b"", b"SET", b"SET,X", b"PUT,X,1", b"GET,", b"\xff\xfe"])
def test_nonsense_request_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        Request.parse(body)


@pytest.mark.parametrize("body", [b"", b"SET", b"GET,X,0", b"SET,X,zero", b"HDR,\t,0"])
def test_nonsense_reply_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        Reply.parse(body)


def test_reader_finds_the_next_message_after_garbage() -> None:
    reader = MessageReader(replies=False)
    reader.feed(b"hello there, this is no Merlin client" + Request("GET", "HVBIAS").encode())
    with pytest.raises(ProtocolError, match="MPX"):
        reader.next_message()
    assert reader.next_message() == b"GET,HVBIAS"


def test_length_from_the_wire_is_bounded() -> None:
    reader = MessageReader(replies=False)
    reader.feed(b"MPX,9999999999,")
    with pytest.raises(ProtocolError, match="length"):
        reader.next_message()


@pytest.fixture
def scripted_server() -> Iterator[Callable[[list[bytes | None]], int]]:
    """Gives the port of a server that answers each request with the next bytes, ``None`` for silence."""
    sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(answers: list[bytes | None]) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        sockets.append(listener)

        def run() -> None:
            client, _ = listener.accept()
            with client:
                for answer in answers:
                    if not client.recv(4096):
                        return
                    if answer is None:
                        client.recv(4096)  # until the other side closes
                        return
                    client.sendall(answer)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        threads.append(thread)
        return int(listener.getsockname()[1])

    yield serve
    for thread in threads:
        thread.join(5)
    for one in sockets:
        one.close()


def test_get_returns_the_text_between_name_and_error(scripted_server: Callable[..., int]) -> None:
    port = scripted_server([frame_message(b"GET,FILEDIRECTORY,C:\\a,b,0")])
    with MerlinControl("127.0.0.1", port) as control:
        assert control.get("FILEDIRECTORY") == "C:\\a,b"


@pytest.mark.parametrize(
    ("digit", "kind"),
    [
        (1, MerlinBusyError),
        (2, MerlinUnknownCommandError),
        (3, MerlinOutOfRangeError),
        (4, MerlinBusyError),
        (7, MerlinCommandError),
    ],
)
def test_error_digit_becomes_a_typed_error(
    scripted_server: Callable[..., int], digit: int, kind: type[MerlinCommandError]
) -> None:
    port = scripted_server([frame_message(b"SET,COUNTERDEPTH,%d" % digit)])
    with MerlinControl("127.0.0.1", port) as control, pytest.raises(kind, match="COUNTERDEPTH,13") as caught:
        control.set("COUNTERDEPTH", 13)
    assert (caught.value.parameter, caught.value.value, caught.value.reply_code) == (
        "COUNTERDEPTH",
        "13",
        digit,
    )


def test_silent_server_is_a_timeout_and_the_connection_is_closed(scripted_server: Callable[..., int]) -> None:
    port = scripted_server([None])
    control = MerlinControl("127.0.0.1", port, timeout=0.05)
    control.connect()
    with pytest.raises(Stalled, match="GET,HVBIAS"):
        control.get("HVBIAS")
    with pytest.raises(ConnectionClosed):
        control.get("HVBIAS")


def test_server_that_disconnects_is_a_connection_error(scripted_server: Callable[..., int]) -> None:
    port = scripted_server([b"MPX,00000"])
    with MerlinControl("127.0.0.1", port) as control, pytest.raises(ConnectionFailed):
        control.cmd("ABORT")


def test_reply_to_another_request_is_a_protocol_error(scripted_server: Callable[..., int]) -> None:
    port = scripted_server([frame_message(b"GET,GAIN,0,0")])
    with MerlinControl("127.0.0.1", port) as control, pytest.raises(ProtocolError, match="GAIN"):
        control.get("HVBIAS")


def test_nobody_listening_says_where() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionFailed, match=str(port)):
        MerlinControl("127.0.0.1", port).connect()


def test_close_is_idempotent() -> None:
    control = MerlinControl()
    control.close()
    control.close()


def test_command_file_is_sent_line_by_line(scripted_server: Callable[..., int], tmp_path: Path) -> None:
    path = tmp_path / "setup.txt"
    path.write_text("SET,HVBIAS,120\n\nCMD,ABORT\n")
    port = scripted_server([frame_message(b"SET,HVBIAS,0"), frame_message(b"CMD,ABORT,3")])
    with MerlinControl("127.0.0.1", port) as control, pytest.raises(MerlinOutOfRangeError, match="ABORT"):
        control.send_command_file(path)
