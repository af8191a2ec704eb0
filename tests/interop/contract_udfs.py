"""UDFs over the whole contract, written once and run by LiberTEM and by us.

Nothing of either engine is imported here: `contract_cases` takes the names it needs, so that the very same
class bodies run in both.  See `libertem_contract.py` and `test_contract_against_libertem.py`.
"""

# ruff: noqa: N801, N806  (the classes are named after what they show)

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

NAV = (5, 7)
SIG = (8, 9)


@dataclass
class Case:
    """One run: which UDFs, on which data, with which options of `run_udf` and `load`."""

    make: Callable[[], list[Any]]
    data: str = "u2"
    roi: tuple[Any, ...] = (None, "some")
    load: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)


def datasets() -> dict[str, np.ndarray]:
    """Return the data, by name."""
    rng = np.random.default_rng(5)
    counts = rng.integers(0, 200, (*NAV, *SIG))
    return {
        "u2": counts.astype("u2"),
        "i1": (counts - 100).astype("i1"),
        "u1": counts.astype("u1"),
        "i4": (counts - 70).astype("i4"),
        "u4": counts.astype("u4"),
        "f4": (counts / 7).astype("f4"),
        "f8": counts / 7,
        "bool": counts > 100,
        "c8": (counts + 1j * counts[::-1]).astype("c8"),
        "line scan": counts.reshape((35, *SIG)).astype("u2"),
        "stack": counts.reshape((5, 1, 7, *SIG)).astype("u2"),
        "spectra": counts.reshape((*NAV, 72)).astype("u2"),
        "volumes": counts.reshape((*NAV, 2, 4, 9)).astype("u2"),
    }


def rois() -> dict[str, Any]:
    """Return regions of interest, by name."""
    some = np.random.default_rng(6).random(NAV) < 0.4
    some[2] = False
    return {
        "some": some,
        "flat": some.reshape(-1),
        "empty": np.zeros(NAV, bool),
        "full": np.ones(NAV, bool),
        "row": np.arange(NAV[0])[:, None] * np.ones(NAV[1]) == 3,
        "one": (1, 2),
        "chosen": [((0, 1), True), ((4, 6), True)],
    }


def contract_cases(names: SimpleNamespace) -> dict[str, Case]:
    """Return all cases.

    Parameters
    ----------
    names
        Has ``UDF`` and ``MaskContainer`` of the engine.
    """
    cases: dict[str, Case] = {}
    for group in (process_methods, kinds_and_types, results, inputs, merging, facts, several, errors):
        group(names, cases)
    return cases


def adder(cases: dict[str, Case]) -> Callable[..., Callable[[type], type]]:
    """Return a class decorator that makes a case of a UDF class."""

    def case(params: Callable[[], dict[str, Any]] = dict, **options: Any) -> Callable[[type], type]:
        def add(cls: type) -> type:
            cases[cls.__name__] = Case(lambda: [cls(**params())], **options)
            return cls

        return add

    return case


def process_methods(names: SimpleNamespace, cases: dict[str, Case]) -> None:
    """Frames, tiles and partitions, and how they are chosen."""
    UDF, case = names.UDF, adder(cases)

    @case(roi=(None, "some", "flat", "empty", "full", "row", "one", "chosen"))
    class frame_to_nav(UDF):
        def get_result_buffers(self):
            return {"total": self.buffer(kind="nav")}

        def process_frame(self, frame):
            self.results.total[:] = np.sum(frame)

    @case()
    class frame_to_nav_with_extra_axes(UDF):
        def get_result_buffers(self):
            return {"moments": self.buffer(kind="nav", extra_shape=(2, 3), dtype="float64")}

        def process_frame(self, frame):
            assert self.results.moments.shape == (2, 3)
            self.results.moments[0] = frame.sum(), frame.max(), frame.min()
            self.results.moments[1, 2] = frame.std()

    @case(roi=(None, "some", "empty"))
    class frame_to_sig(UDF):
        def get_result_buffers(self):
            return {"total": self.buffer(kind="sig", dtype="float64")}

        def process_frame(self, frame):
            assert self.results.total.shape == frame.shape
            self.results.total += frame

        def merge(self, dest, src):
            dest.total += src.total

    @case()
    class frame_to_single(UDF):
        def get_result_buffers(self):
            return {"histogram": self.buffer(kind="single", extra_shape=(10,), dtype="int64")}

        def process_frame(self, frame):
            self.results.histogram += np.histogram(frame, bins=10, range=(0, 200))[0]

        def merge(self, dest, src):
            dest.histogram += src.histogram

    @case(roi=(None, "some", "empty"))
    class tile_to_nav(UDF):
        def get_result_buffers(self):
            return {"total": self.buffer(kind="nav", dtype="float64")}

        def process_tile(self, tile):
            assert self.results.total.shape == (tile.shape[0],)
            self.results.total += np.sum(tile, axis=(1, 2))

    @case()
    class tile_to_nav_with_extra_axes(UDF):
        def get_result_buffers(self):
            return {"rows": self.buffer(kind="nav", extra_shape=(8,), dtype="float64")}

        def process_tile(self, tile):
            part = self.meta.sig_slice.get()
            self.results.rows[:, part[0]] += tile.sum(axis=2)

    @case()
    class tile_to_sig(UDF):
        def get_result_buffers(self):
            return {"total": self.buffer(kind="sig", dtype="float64")}

        def process_tile(self, tile):
            assert self.results.total.shape == tile.shape[1:]
            self.results.total.reshape((-1,))[:] += tile.reshape((tile.shape[0], -1)).sum(axis=0)

        def merge(self, dest, src):
            dest.total += src.total

    @case()
    class tile_to_sig_with_extra_axes(UDF):
        def get_result_buffers(self):
            return {"powers": self.buffer(kind="sig", extra_shape=(3,), dtype="float64")}

        def process_tile(self, tile):
            for power in range(3):
                self.results.powers[..., power] += (tile.astype("f8") ** power).sum(axis=0)

        def merge(self, dest, src):
            dest.powers += src.powers

    @case()
    class tile_to_single(UDF):
        def get_result_buffers(self):
            return {"n_pixels": self.buffer(kind="single", dtype="int64")}

        def process_tile(self, tile):
            assert self.results.n_pixels.shape == (1,)
            self.results.n_pixels[:] += tile.size

        def merge(self, dest, src):
            dest.n_pixels += src.n_pixels

    @case(roi=(None, "some", "row"))
    class partition_to_nav(UDF):
        def get_result_buffers(self):
            return {"total": self.buffer(kind="nav", dtype="float64")}

        def process_partition(self, partition):
            assert partition.shape[0] == self.results.total.shape[0] == self.meta.partition_shape[0]
            assert tuple(self.meta.slice.shape) == partition.shape
            self.results.total[:] = partition.sum(axis=(1, 2))

    @case()
    class partition_to_sig_and_single(UDF):
        def get_result_buffers(self):
            return {
                "highest": self.buffer(kind="sig", dtype="float32"),
                "n_frames": self.buffer(kind="single", dtype="int32"),
            }

        def process_partition(self, partition):
            self.results.highest[:] = partition.max(axis=0)
            self.results.n_frames[:] = len(partition)

        def merge(self, dest, src):
            dest.highest[:] = np.maximum(dest.highest, src.highest)
            dest.n_frames += src.n_frames

    @case()
    class frames_chosen_by_get_method(UDF):
        def get_method(self):
            return UDF.UDF_METHOD.FRAME

        def get_result_buffers(self):
            return {"way": self.buffer(kind="nav", dtype="int8")}

        def process_tile(self, tile):
            self.results.way[:] = 1

        def process_frame(self, frame):
            self.results.way[:] = 2

    @case()
    class tiles_go_before_frames_and_partitions(UDF):
        def get_result_buffers(self):
            return {"way": self.buffer(kind="nav", dtype="int8")}

        def process_partition(self, partition):
            self.results.way[:] = 3

        def process_frame(self, frame):
            self.results.way[:] = 2

        def process_tile(self, tile):
            self.results.way[:] = 1

    for label, depth, size in (("flat", 1, 1 << 10), ("deep", 16, np.inf), ("small", 4, 300)):

        class preferred(UDF):
            def get_result_buffers(self):
                return {
                    "nav": self.buffer(kind="nav", dtype="float64"),
                    "sig": self.buffer(kind="sig", dtype="float64"),
                }

            def get_tiling_preferences(self):
                return {"depth": self.params.depth, "total_size": self.params.size}

            def process_tile(self, tile):
                self.results.nav += tile.sum(axis=(1, 2))
                self.results.sig += tile.sum(axis=0)

            def merge(self, dest, src):
                dest.nav[:] = src.nav
                dest.sig += src.sig

        cases[f"{label}_tiles_preferred"] = Case(
            lambda cls=preferred, depth=depth, size=size: [cls(depth=depth, size=size)]
        )

    @case()
    class best_fitting_tiles(UDF):
        def get_tiling_preferences(self):
            return {"depth": UDF.TILE_DEPTH_DEFAULT, "total_size": UDF.TILE_SIZE_BEST_FIT}

        def get_result_buffers(self):
            return {"total": self.buffer(kind="nav", dtype="float64")}

        def process_tile(self, tile):
            self.results.total += tile.sum(axis=(1, 2))


def kinds_and_types(names: SimpleNamespace, cases: dict[str, Case]) -> None:
    """Buffers of all kinds and data types."""
    UDF, case = names.UDF, adder(cases)

    @case()
    class all_kinds_at_once(UDF):
        def get_result_buffers(self):
            return {
                "nav": self.buffer(kind="nav", dtype="float64"),
                "sig": self.buffer(kind="sig", dtype="float64"),
                "single": self.buffer(kind="single", dtype="float64"),
            }

        def process_tile(self, tile):
            self.results.nav += tile.sum(axis=(1, 2))
            self.results.sig += tile.sum(axis=0)
            self.results.single += tile.sum()

        def merge(self, dest, src):
            dest.nav = src.nav
            dest.sig += src.sig
            dest.single += src.single

    @case()
    class values_without_elements(UDF):
        def get_result_buffers(self):
            return {"none": self.buffer(kind="single", extra_shape=(0, 3)), "nav": self.buffer(kind="nav")}

        def process_frame(self, frame):
            self.results.nav[:] = self.results.none.size

        def merge(self, dest, src):
            dest.nav[:] = src.nav

    @case()
    class untouched_text(UDF):
        def get_result_buffers(self):
            return {"bytes": self.buffer(kind="nav", dtype="S4"), "text": self.buffer(kind="nav", dtype="U4")}

        def process_frame(self, frame):
            pass

    @case()
    class untouched_buffers(UDF):
        def get_result_buffers(self):
            types = ("f4", "f8", "c8", "i2", "u8", "bool", "M8[s]", "m8[s]", "O")
            return {f"b_{t.strip('[]s')}": self.buffer(kind="nav", dtype=t) for t in types}

        def process_frame(self, frame):
            pass

    @case()
    class complex_results(UDF):
        def get_result_buffers(self):
            return {
                "phasor": self.buffer(kind="nav", dtype="complex64"),
                "image": self.buffer(kind="sig", dtype="complex128"),
            }

        def process_frame(self, frame):
            self.results.phasor[:] = frame.sum() * (1 + 2j)
            self.results.image += frame * 1j

        def merge(self, dest, src):
            dest.phasor[:] = src.phasor
            dest.image += src.image

    @case()
    class boolean_results(UDF):
        def get_result_buffers(self):
            return {
                "bright": self.buffer(kind="nav", dtype=bool),
                "ever": self.buffer(kind="sig", dtype=bool),
            }

        def process_frame(self, frame):
            self.results.bright[:] = frame.mean() > 100
            self.results.ever[:] |= frame > 195

        def merge(self, dest, src):
            dest.bright[:] = src.bright
            dest.ever[:] |= src.ever

    @case()
    class integer_results(UDF):
        def get_result_buffers(self):
            return {"where": self.buffer(kind="nav", extra_shape=(2,), dtype="uint8")}

        def process_frame(self, frame):
            self.results.where[:] = np.unravel_index(np.argmax(frame), frame.shape)

    @case()
    class structured_results(UDF):
        def get_result_buffers(self):
            return {"peak": self.buffer(kind="nav", dtype=[("y", "i4"), ("x", "i4"), ("height", "f8")])}

        def process_frame(self, frame):
            y, x = np.unravel_index(np.argmax(frame), frame.shape)
            self.results.peak["y"] = y
            self.results.peak["x"] = x
            self.results.peak["height"] = frame[y, x]

    @case()
    class object_results(UDF):
        def get_result_buffers(self):
            return {"peaks": self.buffer(kind="nav", dtype="object")}

        def process_frame(self, frame):
            self.results.peaks[0] = {"high": np.flatnonzero(frame > 190).tolist(), "name": "peaks"}

    @case()
    class text_results(UDF):
        def get_result_buffers(self):
            return {"word": self.buffer(kind="nav", dtype="U4"), "bytes": self.buffer(kind="nav", dtype="S8")}

        def process_frame(self, frame):
            self.results.word[:] = "odd" if int(frame.sum()) % 2 else "even"
            self.results.bytes[:] = str(int(frame.sum())).encode()

    @case()
    class time_results(UDF):
        def get_result_buffers(self):
            return {"when": self.buffer(kind="nav", dtype="datetime64[s]")}

        def process_frame(self, frame):
            self.results.when[:] = np.datetime64("2020-01-01T00:00:00") + np.timedelta64(
                int(frame.sum()), "s"
            )

    @case()
    class objects_merged_from_preprocessed_lists(UDF):
        def get_result_buffers(self):
            return {"sums": self.buffer(kind="single", dtype="object")}

        def preprocess(self):
            self.results.sums[0] = []

        def process_frame(self, frame):
            self.results.sums[0].append(int(frame.sum()))

        def merge(self, dest, src):
            dest.sums[0] = dest.sums[0] + src.sums[0]

        def get_results(self):
            sums = self.results.sums.copy()
            sums[0] = sorted(sums[0])
            return {"sums": sums}

    class total(UDF):
        def get_result_buffers(self):
            dtype = np.result_type(self.meta.input_dtype, np.float32)
            return {
                "total": self.buffer(kind="nav", dtype=dtype),
                "sig": self.buffer(kind="sig", dtype=dtype),
            }

        def process_tile(self, tile):
            assert tile.dtype == self.meta.input_dtype
            self.results.total += tile.sum(axis=(1, 2)).astype(self.results.total.dtype)
            self.results.sig += tile.sum(axis=0).astype(self.results.sig.dtype)

        def merge(self, dest, src):
            dest.total[:] = src.total
            dest.sig += src.sig

    for data in ("u1", "i1", "i4", "u4", "f4", "f8", "bool", "c8"):
        cases[f"data_of_type_{data}"] = Case(lambda: [total()], data=data, roi=(None,))

    class sums(UDF):
        def get_result_buffers(self):
            return {
                "total": self.buffer(kind="nav", dtype="float64"),
                "sig": self.buffer(kind="sig", dtype="float64"),
            }

        def process_frame(self, frame):
            assert frame.shape == tuple(self.meta.dataset_shape.sig)
            self.results.total[:] = frame.sum()
            self.results.sig += frame

        def merge(self, dest, src):
            dest.total[:] = src.total
            dest.sig += src.sig

    for data, dims in (("line scan", 2), ("stack", 2), ("spectra", 1), ("volumes", 3)):
        cases[f"shape_of_{data.replace(' ', '_')}"] = Case(
            lambda: [sums()], data=data, roi=(None,), load={"sig_dims": dims}
        )


def results(names: SimpleNamespace, cases: dict[str, Case]) -> None:
    """What `get_results` may do."""
    UDF, case = names.UDF, adder(cases)

    @case()
    class private_buffers_are_not_shown(UDF):
        def get_result_buffers(self):
            return {
                "sum": self.buffer(kind="nav", dtype="float64", use="private"),
                "n": self.buffer(kind="nav", dtype="float64", use="private"),
                "mean": self.buffer(kind="nav", dtype="float64", use="result_only"),
            }

        def process_tile(self, tile):
            assert self.results.mean is None
            self.results.sum += tile.sum(axis=(1, 2))
            self.results.n += tile[0].size

        def get_results(self):
            return {"mean": self.results.sum / self.results.n}

    @case()
    class derived_channels_beside_the_rest(UDF):
        def get_result_buffers(self):
            return {
                "plain": self.buffer(kind="nav", dtype="float64"),
                "changed": self.buffer(kind="sig", dtype="float64"),
                "root": self.buffer(kind="sig", dtype="float64", use="result_only"),
                "total": self.buffer(kind="single", dtype="float64", use="result_only"),
            }

        def process_tile(self, tile):
            self.results.plain += tile.sum(axis=(1, 2))
            self.results.changed += tile.sum(axis=0)

        def merge(self, dest, src):
            assert set(dest) == {"plain", "changed"}
            assert "root" not in dest
            assert "plain" in src
            dest.plain[:] = src.plain
            dest.changed += src.changed

        def get_results(self):
            return {
                "root": np.sqrt(self.results.changed),
                "total": np.array([self.results.changed.sum()]),
                "changed": self.results.changed * 2,
            }

    @case()
    class other_type_of_the_same_kind(UDF):
        def get_result_buffers(self):
            return {
                "total": self.buffer(kind="nav", dtype="float32"),
                "n": self.buffer(kind="nav", dtype="i4"),
            }

        def process_frame(self, frame):
            self.results.total[:] = frame.sum()
            self.results.n[:] = frame.size

        def get_results(self):
            return {"total": self.results.total.astype("f8") / 3, "n": self.results.n.astype("i8")}

    @case()
    class masked_results(UDF):
        def get_result_buffers(self):
            return {
                "nav": self.buffer(kind="nav", dtype="float64"),
                "sig": self.buffer(kind="sig", dtype="float64"),
                "all": self.buffer(kind="sig", dtype="float64", use="result_only"),
                "none": self.buffer(kind="single", dtype="float64", use="result_only"),
            }

        def process_tile(self, tile):
            self.results.nav += tile.sum(axis=(1, 2))
            self.results.sig += tile.sum(axis=0)

        def merge(self, dest, src):
            dest.nav[:] = src.nav
            dest.sig += src.sig

        def get_results(self):
            nav, sig = self.results.nav, self.results.sig
            return {
                "nav": self.with_mask(nav, mask=nav > np.median(nav)),
                "sig": self.with_mask(sig, mask=np.arange(9) % 2 == 0),
                "all": self.with_mask(sig, mask=True),
                "none": self.with_mask(np.zeros(1), mask=False),
            }

    @case()
    class results_in_full_navigation_shape(UDF):
        def get_result_buffers(self):
            return {"total": self.buffer(kind="nav", dtype="float64", use="result_only"),
                    "raw": self.buffer(kind="nav", dtype="float64", use="private")}  # fmt: skip

        def process_tile(self, tile):
            self.results.raw += tile.sum(axis=(1, 2))

        def get_results(self):
            full = np.zeros(self.meta.dataset_shape.nav)
            roi = np.ones(full.shape, bool) if self.meta.roi is None else self.meta.roi
            full[roi] = self.results.raw
            return {"total": full + 1}

    @case()
    class get_results_knows_what_is_merged(UDF):
        def get_result_buffers(self):
            return {"x": self.buffer(kind="nav", dtype="float64"),
                    "n": self.buffer(kind="single", dtype="int64", use="result_only"),
                    "n_full": self.buffer(kind="single", dtype="int64", use="result_only")}  # fmt: skip

        def process_frame(self, frame):
            assert self.meta.get_valid_nav_mask() is None
            self.results.x[:] = frame[0, 0]

        def get_results(self):
            flat, full = self.meta.get_valid_nav_mask(), self.meta.get_valid_nav_mask(full_nav=True)
            return {"n": np.array([flat.sum()]), "n_full": np.array([full.sum() * 1000 + full.size])}

    @case(data="u2")
    class result_buffers_that_depend_on_the_run(UDF):
        def get_result_buffers(self):
            roi = self.meta.roi
            n = np.prod(self.meta.dataset_shape.nav) if roi is None else np.count_nonzero(roi)
            shape = (int(n), *self.meta.dataset_shape.sig)
            return {"frames": self.buffer(kind="single", extra_shape=shape, dtype=self.meta.input_dtype)}

        def get_preferred_input_dtype(self):
            return self.USE_NATIVE_DTYPE

        def process_frame(self, frame):
            self.results.frames[self.meta.slice.origin[0]] = frame

        def merge(self, dest, src):
            dest.frames += src.frames

    @case(roi=(None, "some", "empty"))
    class nothing_at_all(UDF):
        def get_result_buffers(self):
            return {}

        def process_tile(self, tile):
            pass


def inputs(names: SimpleNamespace, cases: dict[str, Case]) -> None:
    """Parameters, aux data, task data, and the type of the data."""
    UDF, case = names.UDF, adder(cases)
    numbers = np.arange(35, dtype="float32").reshape(NAV)
    vectors = np.arange(70, dtype="float64").reshape((*NAV, 2))

    @case(lambda: {"factor": 3, "names": {"a": 1}})
    class parameters(UDF):
        def get_result_buffers(self):
            return {"x": self.buffer(kind="nav", extra_shape=(4,), dtype="float64")}

        def process_frame(self, frame):
            params = self.params
            self.results.x[:] = (
                params.factor * frame[0, 0],
                params.names["a"],
                params.get("absent", 7),
                ("factor" in params) + 2 * ("absent" in params),
            )

    @case(lambda: {"a": UDF.aux_data(numbers, kind="nav", dtype="float32")}, roi=(None, "some", "row"))
    class aux_data_for_frames(UDF):
        def get_result_buffers(self):
            return {"x": self.buffer(kind="nav", dtype="float32")}

        def process_frame(self, frame):
            assert self.params.a.shape == (1,)
            self.results.x[:] = frame.sum() * self.params.a[0]

    @case(lambda: {"a": UDF.aux_data(vectors, kind="nav", extra_shape=(2,), dtype="float64")})
    class aux_data_for_tiles(UDF):
        def get_result_buffers(self):
            return {"x": self.buffer(kind="nav", extra_shape=(2,), dtype="float64")}

        def process_tile(self, tile):
            assert self.params.a.shape == (len(tile), 2)
            self.results.x += tile.sum(axis=(1, 2))[:, np.newaxis] * self.params.a

    @case(lambda: {"a": UDF.aux_data(vectors, kind="nav", extra_shape=(2,), dtype="float64")})
    class aux_data_for_partitions(UDF):
        def get_result_buffers(self):
            return {"x": self.buffer(kind="nav", extra_shape=(2,), dtype="float64")}

        def process_partition(self, partition):
            self.results.x[:] = partition.sum(axis=(1, 2))[:, np.newaxis] + self.params.a

    @case(lambda: {"a": UDF.aux_data(numbers, kind="nav", dtype="float32")})
    class aux_data_elsewhere(UDF):
        def get_result_buffers(self):
            return {
                "pre": self.buffer(kind="nav", dtype="float64"),
                "task": self.buffer(kind="nav", dtype="float64"),
                "post": self.buffer(kind="nav", dtype="float64"),
                "merged": self.buffer(kind="nav", dtype="float64"),
                "final": self.buffer(kind="single", dtype="float64", use="result_only"),
            }

        def get_task_data(self):
            return {"a": self.params.a.copy()}

        def preprocess(self):
            self.results.pre[:] = self.params.a

        def process_frame(self, frame):
            pass

        def postprocess(self):
            self.results.task[:] = self.task_data.a
            self.results.post[:] = self.params.a

        def merge(self, dest, src):
            for name in ("pre", "task", "post"):
                getattr(dest, name)[:] = getattr(src, name)
            dest.merged[:] = self.params.a * 2

        def get_results(self):
            return {"final": np.array([np.sum(self.params.a)])}

    @case()
    class task_data(UDF):
        def get_task_data(self):
            return {"weights": np.arange(72.0).reshape(SIG), "state": {"n": 0}}

        def get_result_buffers(self):
            return {
                "x": self.buffer(kind="nav", dtype="float64"),
                "n": self.buffer(kind="single", dtype="i8"),
            }

        def process_frame(self, frame):
            self.task_data.state["n"] += 1
            self.results.x[:] = (frame * self.task_data.weights).sum()

        def postprocess(self):
            self.results.n[:] = self.task_data.state["n"]

        def merge(self, dest, src):
            dest.x[:] = src.x
            dest.n += src.n

    @case()
    class masks_from_a_container(UDF):
        def get_task_data(self):
            return {
                "masks": names.MaskContainer(
                    [lambda: np.ones(SIG), lambda: np.eye(*SIG), lambda: np.arange(72.0).reshape(SIG)]
                )
            }

        def get_result_buffers(self):
            return {"x": self.buffer(kind="nav", extra_shape=(3,), dtype="float64")}

        def process_tile(self, tile):
            masks = self.task_data.masks.get(self.meta.slice)
            self.results.x += tile.reshape((tile.shape[0], -1)) @ masks

    @case()
    class sparse_masks_from_a_container(UDF):
        def get_task_data(self):
            return {"masks": names.MaskContainer(lambda: np.stack([np.eye(*SIG)] * 2), use_sparse=True)}

        def get_result_buffers(self):
            return {"x": self.buffer(kind="nav", extra_shape=(2,), dtype="float64")}

        def process_tile(self, tile):
            masks = self.task_data.masks.get(self.meta.slice, transpose=False)
            self.results.x += (masks @ tile.reshape((tile.shape[0], -1)).T).T

    @case()
    class the_array_library(UDF):
        def get_result_buffers(self):
            return {
                "x": self.buffer(kind="nav", dtype="float64"),
                "y": self.buffer(kind="sig", dtype="float64"),
            }

        def get_backends(self):
            return (self.BACKEND_NUMPY, self.BACKEND_CUPY)

        def process_tile(self, tile):
            self.results.x[:] += self.forbuf(self.xp.sum(tile, axis=(1, 2)), self.results.x)
            self.results.y[:] += self.forbuf(self.xp.sum(tile, axis=0).reshape(-1), self.results.y)

        def merge(self, dest, src):
            dest.x[:] = src.x
            dest.y += src.y

    class typed(UDF):
        def get_preferred_input_dtype(self):
            return self.params.dtype

        def get_result_buffers(self):
            return {
                "dtype": self.buffer(kind="nav", dtype="U16"),
                "meta": self.buffer(kind="nav", dtype="U16"),
            }

        def process_frame(self, frame):
            self.results.dtype[:] = str(frame.dtype)
            self.results.meta[:] = f"{self.meta.input_dtype} {self.meta.dataset_dtype}"

    native = UDF.USE_NATIVE_DTYPE
    for data in ("u2", "i1", "bool", "c8"):
        for label, dtype in (("native", native), ("f4", "f4"), ("i2", "i2")):
            cases[f"type_{label}_of_{data}"] = Case(
                lambda dtype=dtype: [typed(dtype=dtype)], data=data, roi=(None,)
            )
    cases["type_that_suits_two"] = Case(lambda: [typed(dtype="i2"), typed(dtype="f4")], roi=(None,))
    cases["type_that_suits_native_and_int"] = Case(
        lambda: [typed(dtype=native), typed(dtype="i4")], data="u1", roi=(None,)
    )


def merging(names: SimpleNamespace, cases: dict[str, Case]) -> None:
    """Neutral elements, ways to merge, and what comes before and after."""
    UDF, case = names.UDF, adder(cases)

    @case(roi=(None, "some", "empty"))
    class neutral_elements_from_preprocess(UDF):
        def get_result_buffers(self):
            return {
                "low": self.buffer(kind="sig", dtype="float64"),
                "high": self.buffer(kind="sig", dtype="float64"),
            }

        def preprocess(self):
            self.results.low[:] = np.inf
            self.results.high[:] = -np.inf

        def process_tile(self, tile):
            self.results.low[:] = np.minimum(self.results.low, tile.min(axis=0))
            self.results.high[:] = np.maximum(self.results.high, tile.max(axis=0))

        def merge(self, dest, src):
            dest.low[:] = np.minimum(dest.low, src.low)
            dest.high[:] = np.maximum(dest.high, src.high)

    @case()
    class postprocess_of_nav_results(UDF):
        def get_result_buffers(self):
            return {"m": self.buffer(kind="nav", extra_shape=(2,), dtype="float64")}

        def process_tile(self, tile):
            self.results.m[:, 0] += tile.sum(axis=(1, 2))

        def postprocess(self):
            self.results.m[:, 1] = np.sqrt(self.results.m[:, 0])

    @case()
    class postprocess_sees_all_of_sig(UDF):
        def get_result_buffers(self):
            return {
                "s": self.buffer(kind="sig", dtype="float64"),
                "t": self.buffer(kind="single", dtype="f8"),
            }

        def process_tile(self, tile):
            self.results.s += tile.sum(axis=0)

        def postprocess(self):
            assert self.results.s.shape == SIG
            self.results.t[:] = self.results.s.sum()

        def merge(self, dest, src):
            dest.s += src.s
            dest.t += src.t

    @case()
    class merge_by_assignment(UDF):
        def get_result_buffers(self):
            return {
                "x": self.buffer(kind="nav", dtype="float64"),
                "y": self.buffer(kind="nav", dtype="float64"),
            }

        def process_frame(self, frame):
            self.results.x = frame.sum()
            self.results.y = [frame.max()]

        def merge(self, dest, src):
            dest.x = src.x + 1
            dest.y = 5

    @case()
    class merge_that_counts_what_came_before(UDF):
        def get_result_buffers(self):
            return {"n": self.buffer(kind="single", dtype="int64"), "x": self.buffer(kind="nav", dtype="f4")}

        def process_frame(self, frame):
            self.results.x[:] = 1
            self.results.n += 1

        def merge(self, dest, src):
            before = self.meta.get_valid_nav_mask()
            assert before.sum() == dest.n[0]
            assert dest.x.shape == src.x.shape
            assert not before.all()
            dest.x[:] = src.x
            dest.n += src.n

    @case()
    class welford(UDF):
        """Mean and variance: a merge that is not a plain sum."""

        def get_result_buffers(self):
            return {
                "n": self.buffer(kind="single", dtype="float64"),
                "mean": self.buffer(kind="sig", dtype="float64"),
                "m2": self.buffer(kind="sig", dtype="float64"),
            }

        def process_frame(self, frame):
            self.results.n += 1
            delta = frame - self.results.mean
            self.results.mean += delta / self.results.n[0]
            self.results.m2 += delta * (frame - self.results.mean)

        def merge(self, dest, src):
            n = dest.n + src.n
            if n[0] == 0:
                return
            delta = src.mean - dest.mean
            dest.m2[:] = dest.m2 + src.m2 + delta**2 * dest.n * src.n / n
            dest.mean[:] = dest.mean + delta * src.n / n
            dest.n[:] = n

    @case()
    class default_merge_into_a_wider_type(UDF):
        def get_result_buffers(self):
            dtype = "float64" if self.meta.array_backend is None else "float32"
            return {"x": self.buffer(kind="nav", dtype=dtype)}

        def process_frame(self, frame):
            self.results.x[:] = frame.sum()


def facts(names: SimpleNamespace, cases: dict[str, Case]) -> None:
    """What `meta` says, and where frames belong."""
    UDF, case = names.UDF, adder(cases)

    @case(roi=(None, "some", "row"))
    class coordinates_of_frames(UDF):
        def get_result_buffers(self):
            return {"at": self.buffer(kind="nav", extra_shape=(2,), dtype="int64"),
                    "first": self.buffer(kind="nav", dtype="int64")}  # fmt: skip

        def process_frame(self, frame):
            assert self.meta.coordinates.shape == (1, 2)
            self.results.at[:] = self.meta.coordinates[0]
            self.results.first[:] = self.meta.slice.origin[0]

    @case()
    class coordinates_of_tiles(UDF):
        def get_result_buffers(self):
            return {"at": self.buffer(kind="nav", extra_shape=(2,), dtype="int64")}

        def process_tile(self, tile):
            assert self.meta.slice.shape[0] == len(tile) == len(self.meta.coordinates)
            self.results.at[:] = self.meta.coordinates

    @case()
    class coordinates_of_partitions_in_task_data(UDF):
        def get_task_data(self):
            return {"at": self.meta.coordinates, "first": self.meta.slice.origin[0]}

        def get_result_buffers(self):
            return {"at": self.buffer(kind="nav", extra_shape=(2,), dtype="int64")}

        def process_frame(self, frame):
            k = self.meta.slice.origin[0] - self.task_data.first
            self.results.at[:] = self.task_data.at[k]

    for offset in (0, 4, -4, 30, -30):

        class placed(UDF):
            def get_result_buffers(self):
                return {
                    "total": self.buffer(kind="nav", dtype="float64"),
                    "at": self.buffer(kind="nav", extra_shape=(2,), dtype="int64"),
                }

            def process_frame(self, frame):
                self.results.total[:] = frame.sum()
                self.results.at[:] = self.meta.coordinates[0] + 1

        cases[f"sync_offset_{offset}".replace("-", "minus_")] = Case(
            lambda cls=placed: [cls()], load={"sync_offset": offset}
        )

    @case()
    class facts_about_the_run(UDF):
        def get_result_buffers(self):
            return {"facts": self.buffer(kind="single", dtype="object"), "x": self.buffer(kind="nav")}

        def process_frame(self, frame):
            meta = self.meta
            self.results.facts[0] = (
                tuple(meta.dataset_shape), tuple(meta.dataset_shape.nav), tuple(meta.dataset_shape.sig),
                None if meta.roi is None else int(meta.roi.sum()), str(meta.dataset_dtype),
                str(meta.input_dtype), meta.device_class, meta.array_backend, meta.tiling_scheme_idx,
                tuple(meta.sig_slice.origin), tuple(meta.sig_slice.shape), len(meta.tiling_scheme),
                tuple(meta.slice.shape), str(meta.tiling_scheme.intent),
                meta.corrections is None or meta.corrections.have_corrections(),
            )  # fmt: skip

        def merge(self, dest, src):
            dest.facts[:] = src.facts

    @case()
    class every_pixel_once(UDF):
        def get_result_buffers(self):
            return {
                "seen": self.buffer(kind="nav", extra_shape=SIG, dtype="int8"),
                "sig": self.buffer(kind="sig", dtype="int64"),
            }

        def process_tile(self, tile):
            assert self.meta.slice.sig.get() == self.meta.sig_slice.get()
            assert self.meta.sig_slice == self.meta.tiling_scheme[self.meta.tiling_scheme_idx]
            assert tile.flags.c_contiguous
            self.results.seen[(slice(None), *self.meta.sig_slice.get())] += 1
            self.results.sig += len(tile)

        def merge(self, dest, src):
            dest.seen[:] = src.seen
            dest.sig += src.sig


def several(names: SimpleNamespace, cases: dict[str, Case]) -> None:
    """Several UDFs that share a pass over the data."""
    UDF = names.UDF

    class frames(UDF):
        def get_result_buffers(self):
            return {"x": self.buffer(kind="nav", dtype="float64")}

        def process_frame(self, frame):
            self.results.x[:] = frame.sum() * self.params.get("factor", 1)

    class tiles(UDF):
        def get_result_buffers(self):
            return {"y": self.buffer(kind="sig", dtype="float64")}

        def get_tiling_preferences(self):
            return {"depth": 2, "total_size": 700}

        def process_tile(self, tile):
            self.results.y += tile.sum(axis=0)

        def merge(self, dest, src):
            dest.y += src.y

    class partitions(UDF):
        def get_result_buffers(self):
            return {"z": self.buffer(kind="single", dtype="float64")}

        def process_partition(self, partition):
            self.results.z[:] = partition.sum()

        def merge(self, dest, src):
            dest.z += src.z

    cases["frames_and_tiles"] = Case(lambda: [frames(), tiles()])
    cases["tiles_and_partitions"] = Case(lambda: [tiles(), partitions()])
    cases["all_methods_at_once"] = Case(lambda: [partitions(), frames(), tiles(), frames(factor=2)])


def errors(names: SimpleNamespace, cases: dict[str, Case]) -> None:
    """Wrong UDFs: the type of the error is the result."""
    UDF = names.UDF

    def wrong(name: str, methods: dict[str, Any], base: type | None = None, **options: Any) -> None:
        class Sums(UDF):
            def get_result_buffers(self):
                return {"x": self.buffer(kind="nav", dtype="float64")}

            def process_frame(self, frame):
                self.results.x[:] = frame.sum()

        class NoMethod(UDF):
            def get_result_buffers(self):
                return {"x": self.buffer(kind="nav", dtype="float64")}

        cls = type(name, (NoMethod if base is UDF else Sums,), methods)
        cases[f"error_{name}"] = Case(lambda: [cls()], roi=(None,), **options)

    def fail(self, *_: Any) -> None:
        raise ZeroDivisionError("on purpose")

    def declare(**buffers: dict[str, Any]) -> Callable[[Any], dict[str, Any]]:
        return lambda self: {n: self.buffer(**{"dtype": "f8", **b}) for n, b in buffers.items()}

    wrong("in_process_frame", {"process_frame": fail})
    wrong("in_merge", {"merge": lambda self, dest, src: fail(self)})
    wrong("in_preprocess", {"preprocess": fail})
    wrong("in_postprocess", {"postprocess": fail})
    wrong("in_get_results", {"get_results": fail})
    wrong("in_get_task_data", {"get_task_data": fail})
    wrong("in_get_result_buffers", {"get_result_buffers": fail})
    wrong("no_process_method", {}, UDF)
    wrong("no_result_buffers", {"get_result_buffers": UDF.get_result_buffers})
    wrong("unknown_kind", {"get_result_buffers": declare(x={"kind": "time"})})
    wrong("default_merge_of_sig", {"get_result_buffers": declare(x={"kind": "sig"})})
    wrong("undeclared_result", {"get_results": lambda self: {"y": np.zeros(35)}})
    wrong("wrong_type_of_result", {"get_results": lambda self: {"x": np.zeros(35, "c8")}})
    wrong("unknown_name", {"process_frame": lambda self, frame: self.results.y})
    wrong("unknown_parameter", {"process_frame": lambda self, frame: self.params.y})
    wrong("unknown_name_in_merge", {"merge": lambda self, dest, src: src.y})
    wrong("merge_with_other_names", {"merge": lambda self, a, b: None})
    wrong("method_that_is_none", {"get_method": lambda self: "frame"})
    wrong("method_that_is_missing", {"get_method": lambda self: UDF.UDF_METHOD.TILE})
    wrong("unknown_backend", {"get_backends": lambda self: ("abacus",)})
    private = declare(x={"kind": "nav"}, y={"kind": "nav", "use": "private"})
    wrong(
        "private_result_returned",
        {"get_result_buffers": private, "get_results": lambda self: {"y": self.results.y}},
    )
    wrong(
        "result_only_without_get_results",
        {"get_result_buffers": declare(x={"kind": "nav"}, y={"kind": "nav", "use": "result_only"})},
    )
    mask = np.ones((3, 3), bool)
    wrong(
        "mask_that_does_not_fit",
        {"get_results": lambda self: {"x": self.with_mask(self.results.x, mask=mask)}},
    )
    wrong(
        "mask_that_is_no_bool",
        {"get_results": lambda self: {"x": self.with_mask(self.results.x, mask=np.ones(35))}},
    )
