"""Reading whole sources, and recorded data."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from arraystream import ArraySource, FeedEnd, open_decoder


def _decode_all(source: ArraySource, chunk_items: int | None = None) -> np.ndarray:
    feed = source.feed(chunk_items)
    decoder, shape = open_decoder(feed.descriptor), feed.descriptor.item_shape
    out = np.zeros((source.n_items, *shape), feed.descriptor.dtype)
    member = feed.join()
    for chunk in iter(lambda: member.recv(5), FeedEnd()):
        decoder.decode(chunk.payload, chunk.offsets, (0, shape[0]), out[chunk.first : chunk.first + chunk.n])
        chunk.lease.release()
    feed.close()
    return out.reshape(*source.index_shape, *shape)


@pytest.fixture(scope="session")
def decode_all() -> Callable[..., np.ndarray]:
    """Return a function that decodes all items of a source."""
    return _decode_all


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Return the folder of recorded data, which is kept apart from the repository."""
    beside = Path(__file__).parents[4] / "shared" / "data"
    folder = Path(os.environ.get("LIVESTEM_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no recorded data: LIVESTEM_TEST_DATA is not set and {folder} does not exist")
    return folder
