"""Memory of payloads is used again, but never while anything looks at it."""

from __future__ import annotations

import numpy as np

from arraystream._protocol.payload_pool import PayloadPool


def test_memory_is_used_again():
    pool = PayloadPool()
    first = pool.allocate(1000)
    place = first.ctypes.data
    del first
    assert pool.allocate(900).ctypes.data == place


def test_every_kind_of_view_keeps_the_memory():
    pool = PayloadPool()
    views = {
        "slice": lambda a: a[16:32],
        "cast": lambda a: a[16:32].view("<u4"),
        "reshaped": lambda a: a.view("<u2").reshape(2, -1)[1],
        "memoryview": lambda a: memoryview(a)[3:],
        "from a memoryview": lambda a: np.frombuffer(a.data, "<f4"),
        "asarray": lambda a: np.asarray(a[1:]),
        "strided": lambda a: np.lib.stride_tricks.sliding_window_view(a, 3),
        "subclass": lambda a: a.view(np.recarray),
    }
    kept = {name: make(pool.allocate(64)) for name, make in views.items()}
    places = [np.asarray(view).ctypes.data // 4096 for view in kept.values()]
    assert len(set(places)) == len(views)
    assert pool.allocate(64).ctypes.data // 4096 not in places


def test_memory_is_aligned():
    pool = PayloadPool()
    assert all(pool.allocate(n).ctypes.data % 64 == 0 for n in (1, 63, 64, 5000))


def test_only_a_few_blocks_are_kept():
    pool = PayloadPool(n_blocks=2)
    leases = [pool.allocate(100) for _ in range(5)]
    del leases
    assert len(pool._free) == 2


def test_a_much_larger_block_is_not_wasted_on_little():
    pool = PayloadPool()
    large = pool.allocate(1 << 20)
    place = large.ctypes.data
    del large
    assert pool.allocate(100).ctypes.data != place
