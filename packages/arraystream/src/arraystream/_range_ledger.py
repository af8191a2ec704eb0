"""Who has which range of items: pure bookkeeping, no threads and no I/O.

Invariant: each item below `n_handed` is in exactly one of: a returned range waiting to be lent
again, a loan of a living member, settled.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ._errors import StateError


@dataclass(frozen=True, slots=True)
class Loan:
    """A range of items lent to one member."""

    token: int
    first: int
    n: int
    attempt: int


class RangeLedger:
    """Lends the ranges of ``[0, n_items)`` to members, each range to one at a time.

    Parameters
    ----------
    n_items
        How many items there are.
    chunk_items
        Items per range.
    ends
        Where ranges end, ascending, the last one at `n_items`; instead of `chunk_items`.
    """

    def __init__(self, n_items: int, chunk_items: int, ends: Sequence[int] | None = None) -> None:
        self.n_items = n_items
        self.n_handed = 0
        self._chunk_items = chunk_items
        self._ends = ends
        self._returned: deque[Loan] = deque()
        self._loans: dict[int, dict[int, Loan]] = {}
        self._next_member = 0
        self._next_token = 0

    @property
    def all_handed(self) -> bool:
        """Whether each range has been lent at least once."""
        return self.n_handed == self.n_items

    @property
    def has_work(self) -> bool:
        """Whether there is a range to lend now."""
        return bool(self._returned) or not self.all_handed

    def admit(self) -> int:
        """Return the number of a new member."""
        member = self._next_member
        self._next_member += 1
        self._loans[member] = {}
        return member

    def is_member(self, member: int) -> bool:
        """Whether the member is there and alive."""
        return member in self._loans

    def lend(self, member: int) -> Loan | None:
        """Lend the next range to a living member; ``None`` if there is none now."""
        token = self._next_token
        if self._returned:
            old = self._returned.popleft()
            loan = Loan(token, old.first, old.n, old.attempt + 1)
        elif not self.all_handed:
            end = min(self._next_end(), self.n_items)
            loan = Loan(token, self.n_handed, end - self.n_handed, 0)
            self.n_handed = end
        else:
            return None
        self._next_token += 1
        self._loans[member][token] = loan
        return loan

    def _next_end(self) -> int:
        if self._ends is None:
            return self.n_handed + self._chunk_items
        return int(self._ends[bisect.bisect_right(self._ends, self.n_handed)])

    def settle(self, member: int, tokens: Sequence[int]) -> bool:
        """Mark loans as done, all or nothing; ``False`` if the member has left."""
        loans = self._loans.get(member)
        if loans is None:
            return False
        wrong = [token for token in tokens if token not in loans]
        if wrong or len(set(tokens)) != len(tokens):
            raise StateError(
                f"Member {member} does not hold the chunks {wrong or sorted(tokens)} it wants to settle; "
                "settle each received chunk once. Nothing was settled."
            )
        for token in tokens:
            del loans[token]
        return True

    def leave(self, member: int) -> None:
        """Remove a member; what it had not settled will be lent again, before anything new."""
        loans = self._loans.pop(member, {})
        self._returned.extendleft(reversed(loans.values()))
