"""A ring as a transport of arraystream."""

import importlib.util
import subprocess
import sys

import pytest

LONG = 60.0

needs_arraystream = pytest.mark.skipif(
    importlib.util.find_spec("arraystream") is None, reason="arraystream is not installed"
)


def member(fd, number):
    from shmring.member import RingMember

    return RingMember(fd, number)


@needs_arraystream
def test_member_brings_chunks_and_the_end(ring, wait_until):
    from arraystream import FeedEnd, Member

    number, fd = ring.attach(1)
    with ring.reserve(LONG) as writer:
        writer.array[:4] = [1, 2, 3, 4]
        writer.commit(4, item_first=6, n_items=2, tag=1, meta=[0, 2])
    ring.end(1)
    end = member(fd, number)
    assert isinstance(end, Member)
    assert end.number == number
    chunk = end.recv(LONG)
    assert (chunk.first, chunk.n, chunk.attempt) == (6, 2, 0)
    assert chunk.payload.tolist() == [1, 2, 3, 4]
    assert chunk.offsets.tolist() == [0, 2]
    assert isinstance(end.recv(LONG), FeedEnd)
    assert end.recv(0) is None
    assert ring.settle(number, [chunk.lease.token])
    chunk.lease.release()
    chunk.lease.release()
    assert ring.stats().n_free == ring.n_slots - 1
    assert chunk.payload.tolist() == [1, 2, 3, 4]
    del chunk
    wait_until(lambda: ring.stats().n_free == ring.n_slots)
    end.close()
    end.close()


@needs_arraystream
def test_ticket_is_redeemed(ring):
    from arraystream import StreamError, Ticket
    from shmring.member import transport

    number, fd = ring.attach(1)
    redeemed = transport.redeem(Ticket(transport="shm", member=number, info=b"", fds=(fd,)))
    assert redeemed.number == number
    with pytest.raises(StreamError, match="one file descriptor"):
        transport.redeem(Ticket(transport="shm", member=number, info=b"", fds=()))


@needs_arraystream
def test_ring_errors_become_stream_errors(ring):
    from arraystream import ConnectionClosed, StreamError

    number, fd = ring.attach(1)
    end = member(fd, number)
    ring.drop_tag(1)
    with pytest.raises(ConnectionClosed, match="detached"):
        end.recv(LONG)
    number, fd = ring.attach(1)
    end = member(fd, number)
    end.close()
    with pytest.raises(ConnectionClosed):
        end.recv(LONG)
    with pytest.raises(StreamError):
        member(0, 0)


def test_shmring_imports_without_arraystream():
    code = "import sys; sys.modules['arraystream'] = None; import shmring; print(shmring.Ring)"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
