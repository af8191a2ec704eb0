"""Results of a scan that is scanned again and again: each pass adds up by itself, the newest values show.

Partial results of neighbouring passes may come in any order, since workers are at different places.  Each
pass in flight has accumulators of its own, so a UDF's `merge` sees one pass only, as in any other run.  What
users get is put together from them: navigation buffers show the newest value of each position, buffers of
kind ``"sig"`` and ``"single"`` those of one pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._buffer import BufferWrapper
from ._commit import PartialResult
from ._errors import UDFException
from ._merge import Buffers, Merger, UDFResults
from ._merge_all import merges_all_at_once
from ._udf import UDF

PATIENCE_S = 2.0
"""Longer than workers hold what they have finished, see `Job.commit_s`."""

_NO_PASS = -1
_MOST_PASSES = 64


class RollingResults(UDFResults):
    """Results of an endless scan.

    `UDF.get_results` sees navigation buffers with the newest value of each position, whichever pass it is of,
    and buffers of kind ``"sig"`` and ``"single"`` of the newest pass that is over, or of the one in progress
    as long as none is.  The valid map of navigation results is True where any pass has come along.

    Attributes
    ----------
    damage
        Which positions the pass in progress has reached.
    """

    _numbers: tuple[int, int]

    @property
    def scan_pass(self) -> int:
        """Number of the newest pass that has begun; `damage` is about it."""
        self._look()
        return self._numbers[0]

    @property
    def shown_pass(self) -> int:
        """Number of the pass that buffers of kind ``"sig"`` and ``"single"`` belong to."""
        self._look()
        return self._numbers[1]

    @property
    def covered(self) -> BufferWrapper:
        """Which positions have a value, of any pass; like `damage`."""
        self._look()
        return self._covered

    @classmethod
    def rolling(
        cls, make: Callable[[], tuple[Buffers, BufferWrapper, BufferWrapper, tuple[int, int]]]
    ) -> RollingResults:
        """Return results that `make` makes when somebody looks."""
        results: RollingResults

        def make_and_note() -> tuple[Buffers, BufferWrapper]:
            buffers, damage, results._covered, results._numbers = make()
            return buffers, damage

        results = cls.when_looked_at(make_and_note)
        return results

    _covered: BufferWrapper


class RollingMerger:
    """Adds up partial results of an endless scan; used like a `Merger`.

    A pass is over when it is complete.  One that lost frames never is: it counts as over when nothing came
    for it for a while and the next but one has begun.  Memory is bounded however long the scan runs: passes
    older than the newest that is over are dropped, and so are the oldest ones if too many are in flight.

    Parameters
    ----------
    make_merger
        Makes a `Merger` for some UDFs.
    udfs
        The user's objects; they get the results that are shown.
    n_expected
        Tells for a pass how many (compressed) positions will get a value if no frame is lost.
    patience_s
        How long workers may hold frames of a pass while later ones go on.
    """

    def __init__(
        self,
        make_merger: Callable[[Sequence[UDF]], Merger],
        udfs: Sequence[UDF],
        n_expected: Callable[[int], int],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._make_merger = make_merger
        self._udfs = tuple(udfs)
        self._shown = make_merger(self._udfs)
        for udf in self._udfs:
            if merges_all_at_once(type(udf), udf.results._buffers):
                raise UDFException(
                    f"{type(udf).__name__} has merge_all() but no merge(), and an endless scan is never all "
                    f"there; implement merge(dest, src), or scan with repeats"
                )
        self.lock = self._shown.lock
        self._n_expected = n_expected
        # The first passes may lack positions (sync offset), later ones are all alike.
        self._expected = [n_expected(0), n_expected(1)]
        self._newest = np.full(len(self._shown.damage), _NO_PASS, np.int64)
        self._passes: dict[int, Merger] = {}
        self._n_merged: dict[int, int] = {}
        self._heard_of: dict[int, float] = {}
        self._patience_s = patience_s
        self._over = _NO_PASS

    @property
    def damage(self) -> npt.NDArray[np.bool_]:
        """Which (compressed) positions the pass in progress has reached."""
        with self.lock:
            current = self._passes.get(self.scan_pass)
            return np.zeros(len(self._newest), bool) if current is None else current.damage

    def at_work(self) -> list[Merger]:
        """Return the accumulators that are being merged into; one at most."""
        mergers = [self._shown, *list(self._passes.values())]
        return [merger for merger in mergers if merger.thread is not None][:1]

    @property
    def scan_pass(self) -> int:
        """Number of the newest pass that has begun."""
        return max(self._passes, default=0)

    @property
    def shown_pass(self) -> int:
        """Number of the pass that buffers without positions show."""
        return self.scan_pass if self._over == _NO_PASS else self._over

    @property
    def passes_in_memory(self) -> tuple[int, ...]:
        """Numbers of the passes that are kept."""
        return tuple(sorted(self._passes))

    def merge(self, partial: PartialResult) -> None:
        """Merge the results of one partition, which is of one pass.

        Raises
        ------
        Exception
            What a UDF's `merge` raises.
        """
        number = partial.scan_pass
        with self.lock:
            merger = self._passes.get(number)
            if merger is None:
                # One that is dropped already may get a late part: its values count where nothing newer is.
                copies = [type(udf).new_with(udf._kwargs) for udf in self._udfs]
                merger = self._passes[number] = self._make_merger(copies)
                self._n_merged[number] = 0
            merger.merge(partial)
            self._n_merged[number] += len(partial.positions)
            self._heard_of[number] = time.monotonic()
            self._show(merger, number, partial.positions)
            self._look_back()

    def finish(self) -> None:
        """Nothing will be merged any more."""

    def results(self) -> UDFResults:
        """Return the results, to be made when looked at."""
        return RollingResults.rolling(self._make_results)

    def update_params(self, patches: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Change parameters of the UDFs; return their new arguments."""
        with self.lock:
            for merger in self._passes.values():
                merger.update_params(patches)
            return self._shown.update_params(patches)

    # ---------------------------------------------------------------------------------------------

    def _show(self, merger: Merger, number: int, positions: npt.NDArray[np.int64]) -> None:
        """Take over navigation values that are newer than what is there."""
        newer = positions[self._newest[positions] <= number]
        self._newest[newer] = number
        self._shown.damage[newer] = True
        for shown, part in zip(self._udfs, merger.udfs, strict=True):
            for name, memory in part.results.items():
                if memory is not None and shown.results.get_buffer(name).kind == "nav":
                    shown.results.__dict__[name][newer] = memory[newer]

    def _look_back(self) -> None:
        """Find the newest pass that is over; forget the older ones."""
        latest, silent_since = self.scan_pass, time.monotonic() - self._patience_s
        crowded = sorted(self._passes)[:-_MOST_PASSES]
        for number in sorted(self._passes, reverse=True):
            if number <= self._over:
                break
            complete = self._n_merged[number] >= self._expected[min(number, 1)]
            given_up = number <= latest - 2 and self._heard_of[number] <= silent_since
            if complete or given_up or number in crowded:
                self._over = number
        for number in [n for n in self._passes if n < self._over]:
            del self._passes[number], self._n_merged[number], self._heard_of[number]

    def _make_results(self) -> tuple[Buffers, BufferWrapper, BufferWrapper, tuple[int, int]]:
        with self.lock:
            numbers = (self.scan_pass, self.shown_pass)
            source = self._passes.get(self.shown_pass)
            if source is not None:
                for shown, part in zip(self._udfs, source.udfs, strict=True):
                    for name, memory in part.results.items():
                        if memory is not None and shown.results.get_buffer(name).kind != "nav":
                            shown.results.__dict__[name][...] = memory
            results = self._shown.results()
            buffers, covered = results.buffers, results.damage
            damage = self._shown.map_of(self.damage.copy())
            return buffers, damage, covered, numbers
