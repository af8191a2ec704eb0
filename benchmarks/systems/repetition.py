"""A source that goes over another one several times, to have more data than memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from arraystream import ArraySource, RangeReader


class RepeatingReader:
    """Reads item ``i % n_items`` of another reader; a range must not go over the end."""

    def __init__(self, reader: RangeReader, n_items: int) -> None:
        self.reader, self.n_items = reader, n_items

    def read(self, first: int, n: int) -> Any:
        """Read a range, see `RangeReader.read`."""
        first %= self.n_items
        if first + n > self.n_items:
            raise ValueError(f"items {first} to {first + n - 1} go over the end at {self.n_items}")
        return self.reader.read(first, n)


def repeated(source: ArraySource, times: int) -> ArraySource:
    """Return a source with the items of `source`, `times` times."""
    assert source._reader is not None
    reader = RepeatingReader(source._reader, source.n_items)
    n_items = times * source.n_items
    return ArraySource(replace(source.descriptor, n_items=n_items, index_shape=()), reader, n_items=n_items)
