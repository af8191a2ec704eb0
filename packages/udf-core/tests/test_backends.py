"""UDFs on all array types: what they are shown, once per tile, and that the results are those of NumPy."""

from __future__ import annotations

from typing import Any

import array_api_strict
import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse
import sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from udf_core import UDF, Context
from udf_core import _conversion as conversion
from udf_core._backends import CPU_NAMES, D2

STRICT = "array-api:array_api_strict"
TYPES: dict[str, Any] = {
    "numpy": np.ndarray,
    "numpy.matrix": np.matrix,
    "sparse.COO": sparse.COO,
    "sparse.GCXS": sparse.GCXS,
    "sparse.DOK": sparse.DOK,
    STRICT: type(array_api_strict.asarray(0)),
    **{name: getattr(scipy.sparse, name.rsplit(".", 1)[1]) for name in CPU_NAMES if name.startswith("scipy")},
}
METHODS = ("tile", "frame", "partition")


class Checking(UDF):
    """Sums that look at the type and the shape of what they are shown."""

    def __init__(self, backend: str, method: str, depth: int = 3) -> None:
        super().__init__(backend=backend, method=method, depth=depth)

    def get_backends(self) -> str:
        return self.params.backend

    def get_method(self) -> Any:
        return self.UDF_METHOD(self.params.method)

    def get_tiling_preferences(self) -> dict[str, Any]:
        return {"depth": self.params.depth, "total_size": 300}

    def get_result_buffers(self) -> dict[str, Any]:
        return {
            "frames": self.buffer("nav", dtype="f8"),
            "pixels": self.buffer("sig", dtype="f8"),
            "n": self.buffer("nav", dtype="i4"),
        }

    def see(self, array: Any, n: int) -> None:
        backend, shape = self.params.backend, self.meta.slice.shape.to_tuple()
        assert self.meta.array_backend == backend
        assert self.meta.device_class == "cpu"
        assert type(array) is TYPES[backend]
        assert self.xp.__name__ == ("array_api_strict" if backend == STRICT else "numpy")
        assert self.meta.slice.shape.nav.size == n
        if backend in D2:
            assert array.shape == (n, int(np.prod(shape[1:])))
            return
        assert array.shape == (shape[1:] if self.params.method == "frame" else shape)

    def add(self, stack: Any, n: int) -> None:
        flat = self.dense(stack).reshape((n, -1))
        self.results.frames += flat.sum(axis=1)
        self.results.pixels += flat.sum(axis=0).reshape(self.results.pixels.shape)

    def dense(self, array: Any) -> npt.NDArray[Any]:
        like = np.empty(array.shape)
        made = self.forbuf(array, like)
        assert type(made) is np.ndarray
        return made

    def process_tile(self, tile: Any) -> None:
        self.see(tile, tile.shape[0])
        self.add(tile, tile.shape[0])

    def process_frame(self, frame: Any) -> None:
        self.see(frame, 1)
        self.add(frame, 1)
        self.results.n += 1

    def process_partition(self, partition: Any) -> None:
        self.process_tile(partition)

    def postprocess(self) -> None:
        assert self.meta.array_backend == self.params.backend

    def merge(self, dest: Any, src: Any) -> None:
        dest.frames[:] = src.frames
        dest.n[:] = src.n
        dest.pixels += src.pixels


@pytest.fixture(scope="module")
def data() -> npt.NDArray[Any]:
    rng = np.random.default_rng(5)
    return (rng.integers(0, 9, (4, 5, 6, 7)) * (rng.random((4, 5, 6, 7)) < 0.3)).astype("u2")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", sorted(TYPES))
def test_result_is_numpys(inline: Context, data: Any, backend: str, method: str) -> None:
    roi = np.zeros((4, 5), bool)
    roi.flat[[0, 1, 3, 7, 8, 9, 10, 19]] = True
    for mask in (None, roi):
        result = inline.run_udf(inline.load("memory", data), Checking(backend, method), roi=mask)
        chosen = data if mask is None else data[mask]
        want = chosen.reshape(-1, 6, 7)
        assert np.array_equal(result["frames"].raw_data, want.sum(axis=(1, 2)))
        assert np.array_equal(result["pixels"].data, want.sum(axis=0))
        assert (result["n"].raw_data == (method == "frame")).all()


@settings(max_examples=15, deadline=None)
@given(
    backends=st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=4),
    methods=st.lists(st.sampled_from(METHODS), min_size=4, max_size=4),
    dtype=st.sampled_from(["u1", "u2", "f4", "?"]),
    bits=st.integers(0, 2**20 - 1),
    depth=st.integers(1, 20),
    as_sparse=st.booleans(),
)
def test_any_mix_of_types(
    data: Any, backends: list[str], methods: list[str], dtype: str, bits: int, depth: int, as_sparse: bool
) -> None:
    stored = data.astype(dtype)
    roi = np.array([bits >> i & 1 for i in range(20)], bool).reshape(4, 5)
    udfs = [Checking(b, m, depth) for b, m in zip(backends, methods, strict=False)]
    with Context.make_with("inline") as context:
        given_data: Any = scipy.sparse.csr_array(stored.reshape(20, -1)) if as_sparse else stored
        extra = {"nav_shape": (4, 5), "sig_shape": (6, 7)} if as_sparse else {}
        results = context.run_udf(context.load("memory", given_data, **extra), udfs, roi=roi)
    for result in results:
        want = stored[roi].astype("f8")
        assert np.array_equal(result["frames"].raw_data, want.sum(axis=(1, 2)))
        assert np.array_equal(result["pixels"].data, want.sum(axis=0))


def test_tile_is_converted_once_per_type(inline: Context, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real = conversion.converter

    def counting(origin: str, target: str, shape: Any) -> Any:
        convert = real(origin, target, shape)

        def counted(tile: Any) -> Any:
            calls.append(target)
            return convert(tile)

        return counted

    monkeypatch.setattr(conversion, "converter", counting)
    csr = "scipy.sparse.csr_matrix"
    udfs = [Checking(b, "tile", 20) for b in (csr, "numpy", "sparse.COO", csr, csr)]
    inline.run_udf(inline.load("memory", data, chunk_items=20), udfs)
    # 20 frames of 6 rows in tiles of 300 bytes: every UDF counts its tiles by itself.
    n_tiles = calls.count("sparse.COO")
    assert n_tiles > 1
    assert calls.count(csr) == n_tiles
    assert "numpy" not in calls


class Order(Checking):
    """Notes when it was called."""

    seen: list[tuple[int, str]] = []  # noqa: RUF012

    def process_tile(self, tile: Any) -> None:
        self.seen.append((self.meta.slice.origin[0], self.params.backend))
        super().process_tile(tile)


def test_udfs_run_in_the_order_of_the_plan(inline: Context, data: Any) -> None:
    Order.seen.clear()
    backends = ("sparse.COO", "numpy", "sparse.COO")
    results = inline.run_udf(inline.load("memory", data), [Order(b, "tile") for b in backends])
    assert [b for _, b in Order.seen[:3]] == ["numpy", "sparse.COO", "sparse.COO"]
    for result in results:  # results come in the order in which the UDFs were given
        assert np.array_equal(result["pixels"].data, data.sum(axis=(0, 1)))


class OnDevice(UDF):
    """Keeps its sums in the arrays of the library it computes with."""

    def get_backends(self) -> str:
        return STRICT

    def get_result_buffers(self) -> dict[str, Any]:
        return {
            "pixels": self.buffer("sig", dtype="f4", where="device"),
            "frames": self.buffer("nav", dtype="f8", where="device"),
            "count": self.buffer("single", dtype="i8"),
        }

    def process_tile(self, tile: Any) -> None:
        xp = self.xp
        assert type(self.results.pixels) is TYPES[STRICT]
        self.results.pixels += xp.sum(tile, axis=0)
        self.results.frames += xp.astype(xp.sum(tile, axis=(1, 2)), xp.float64)
        self.results.count += self.forbuf(xp.asarray([tile.shape[0]]), self.results.count)

    def merge(self, dest: Any, src: Any) -> None:
        assert all(type(array) is np.ndarray for view in (dest, src) for array in view.values())
        dest.pixels += src.pixels
        dest.frames[:] = src.frames
        dest.count += src.count


def test_device_buffers_are_exported_before_merging(context: Context, data: Any) -> None:
    result = context.run_udf(context.load("memory", data), OnDevice())
    assert np.array_equal(result["pixels"].data, data.sum(axis=(0, 1)))
    assert np.array_equal(result["frames"].data, data.sum(axis=(2, 3)))
    assert result["count"].data.tolist() == [20]


@pytest.mark.parametrize("backend", sorted(TYPES))
def test_forbuf(backend: str) -> None:
    array = np.arange(12.0).reshape(3, 4)
    if backend == STRICT:
        made: Any = array_api_strict.asarray(array)
    elif backend == "numpy.matrix":
        made = array.view(np.matrix)
    else:
        made = array if backend == "numpy" else TYPES[backend](array)
    udf = OnDevice()
    for shape in ((3, 4), (3, 2, 2), (12,)):
        target = np.zeros(shape)
        target[:] = udf.forbuf(made, target)
        assert np.array_equal(target, array.reshape(shape))
    assert udf.forbuf(3, np.zeros(1)) == 3
    assert udf.forbuf([3], np.zeros(1)) == [3]


class Failing(Checking):
    """Raises."""

    def process_tile(self, tile: Any) -> None:
        raise KeyError("no")


def test_errors_name_the_udf_and_the_place(inline: Context, data: Any) -> None:
    with pytest.raises(KeyError) as caught:
        inline.run_udf(inline.load("memory", data), Failing("sparse.COO", "tile"))
    assert any("Failing.process_tile()" in note for note in caught.value.__notes__)
