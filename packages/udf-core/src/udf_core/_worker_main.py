"""Main program of a worker process: ``python -m udf_core._worker_main FD NUMBER STACK_FD``.

Takes jobs over the socket FD, one after the other.  When the main process goes away, for whatever reason, it
ends at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import socket
import sys
import threading

import cloudpickle

from arraystream import Member, StreamError, Ticket, redeem_ticket

from ._channel import Channel, ChannelClosed
from ._commit import Commit, Ended, Event, Job
from ._devices import Device
from ._error_parcel import pack_error
from ._errors import WorkerHung
from ._feed_pass import FeedPass
from ._hang import HangWatch
from ._stuck_process import StackPad
from ._worker import Worker


class WorkerMain:
    """Serves one main process.

    Parameters
    ----------
    channel
        To the main process.
    number
        Of this worker.
    stack_pad
        Where its stack is written if the interpreter is stuck; ``None`` if the process is not ours alone.
    """

    def __init__(self, channel: Channel, number: int, stack_pad: StackPad | None = None) -> None:
        self._channel = channel
        self._stack_pad = stack_pad
        self._number = number
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)
        self._job_number = -1
        self._device = Device()
        self._leave = False
        self._quit = False

    def serve(self) -> None:
        """Work until told to quit."""
        while not self._quit:
            kind, value, fds = self._channel.recv()
            if kind == "job":
                self._work(value, fds)
            elif kind == "device":
                self._device = cloudpickle.loads(value)
            elif kind == "leave":
                self._channel.send("left", value)
            elif kind == "quit":
                return

    def _work(self, value: tuple[int, bytes, Ticket | FeedPass], fds: list[int]) -> None:
        self._job_number, packed, ticket = value
        self._leave = False
        worker: Worker | None = None
        watch: HangWatch | None = None
        try:
            member = self._join(ticket, fds)
            try:
                job: Job = cloudpickle.loads(packed)
                worker = Worker(
                    job,
                    member,
                    self._number,
                    self._post,
                    hold_leases=True,
                    stopped=lambda: self._leave,
                    device=self._device,
                )
            except BaseException:
                member.close()
                raise
            watch = self._watch_over(worker, job)
            while not self._leave:
                self._read_mail(worker)
                while worker.is_careful and worker.waits_for_answers and not self._leave:
                    self._poll.poll(100)
                    self._read_mail(worker)
                worker.step(0.01 if worker.waits_for_answers else 0.1)
        except ChannelClosed:
            raise
        except BaseException as error:
            from_feed = isinstance(error, StreamError) and (worker is None or worker.receiving)
            self._channel.send("failure", (self._job_number, pack_error(error), from_feed))
        finally:
            if watch is not None:
                watch.close()
            if self._stack_pad is not None:
                self._stack_pad.close()
            if worker is not None:
                worker.close()
        self._channel.send("left", self._job_number)

    def _join(self, admission: Ticket | FeedPass, fds: list[int]) -> Member:
        if isinstance(admission, Ticket):
            return redeem_ticket(dataclasses.replace(admission, fds=tuple(fds)))
        member, note = admission.redeem()
        if note:
            self._channel.send("note", (self._job_number, note))
        return member

    def _watch_over(self, worker: Worker, job: Job) -> HangWatch:
        def report(hung: WorkerHung) -> None:
            with contextlib.suppress(ChannelClosed):
                self._channel.send("hung", (self._job_number, hung))

        def tick() -> None:
            if self._stack_pad is not None:
                self._stack_pad.renew(job.hang_s)

        return HangWatch(lambda: [worker], report, job.hang_s, job.hang_limit_s, tick)

    def _post(self, event: Event) -> None:
        if isinstance(event, Commit):
            recycle, event.recycle = event.recycle, None
            self._channel.send("commit", (self._job_number, event))
            if recycle is not None:
                recycle()
        elif isinstance(event, Ended):
            self._channel.send("ended", (self._job_number, event))

    def _read_mail(self, worker: Worker) -> None:
        while self._poll.poll(0):
            kind, value, _ = self._channel.recv()
            if kind == "ack":
                worker.acknowledge(value)
            elif kind == "update":
                worker.update(cloudpickle.loads(value))
            elif kind in ("leave", "quit"):
                self._leave = True
                self._quit = kind == "quit"


def end_with_main(fd: int) -> None:
    """End this process as soon as the other end of the socket is closed."""
    poll = select.poll()
    poll.register(fd, select.POLLRDHUP)
    poll.poll()
    os._exit(1)


def main(arguments: list[str]) -> None:
    """Serve the socket named on the command line."""
    fd, number, stack_fd = (int(argument) for argument in arguments)
    threading.Thread(target=end_with_main, args=(fd,), daemon=True).start()
    channel = Channel(socket.socket(fileno=fd))
    try:
        WorkerMain(channel, number, StackPad(stack_fd)).serve()
    except ChannelClosed:
        os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
