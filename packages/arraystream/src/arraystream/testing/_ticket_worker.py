"""The other process of the ticket tests: ``python -m arraystream.testing._ticket_worker``.

Reads a pickled ticket from stdin, then writes a line per chunk and waits for a line before it goes on.
"""

from __future__ import annotations

import json
import pickle
import sys

from arraystream import FeedChunk, FeedEnd, StreamError, redeem_ticket


def main() -> None:
    """Receive until stdin is closed or the feed is gone."""
    member = redeem_ticket(pickle.load(sys.stdin.buffer))
    try:
        while True:
            got = member.recv(0.1)
            if isinstance(got, FeedChunk):
                facts = {
                    "first": got.first,
                    "n": got.n,
                    "token": got.lease.token,
                    "attempt": got.attempt,
                    "writable": bool(got.payload.flags.writeable),
                }
            elif isinstance(got, FeedEnd):
                facts = {"end": True}
            else:
                continue
            print(json.dumps(facts), flush=True)
            if not sys.stdin.buffer.readline():
                return
            if isinstance(got, FeedChunk):
                got.lease.release()
            del got
    except StreamError as error:
        print(json.dumps({"error": type(error).__name__}), flush=True)
    finally:
        member.close()


if __name__ == "__main__":
    main()
