"""Corrections of live scans: the bits of the same frames from a file; files on the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import numpy.typing as npt
import pytest

from arraystream import PendingAcquisition
from livestem import LiveContext
from livestem._correction_files import CorrectionFiles
from udf_4dstem import CoMUDF, RingUDF, SumUDF
from udf_core import UDF, CorrectionError, CorrectionSet

detector_merlin = pytest.importorskip("detector_merlin")
cloudpickle.register_pickle_by_value(sys.modules[__name__])

NAV, SIG = (12, 10), (64, 64)
PATIENCE_S = 30.0


class FramesUDF(UDF):
    """Keeps all frames as it sees them."""

    def get_preferred_input_dtype(self) -> Any:
        return self.USE_NATIVE_DTYPE

    def get_result_buffers(self) -> dict[str, Any]:
        return {"frames": self.buffer("nav", SIG, dtype=self.meta.input_dtype)}

    def process_tile(self, tile: npt.NDArray[Any]) -> None:
        self.results.frames[(slice(None), *self.meta.sig_slice.get())] = tile


@pytest.fixture(scope="module")
def data() -> npt.NDArray[np.uint16]:
    return np.random.default_rng(3).poisson(40.0, (*NAV, *SIG)).astype("u2")


@pytest.fixture(scope="module")
def maps() -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.bool_]]:
    rng = np.random.default_rng(4)
    return rng.random(SIG) * 3, rng.random(SIG) + 0.5, rng.random(SIG) < 0.01


def write_mib(path: Path, data: npt.NDArray[np.uint16]) -> Path:
    """Write frames as the detector's own software does: a header, big-endian counts, and so on."""
    with path.open("wb") as file:
        for number, frame in enumerate(data.reshape(-1, *SIG), 1):
            header = (
                f"MQ1,{number:06d},00384,01,{SIG[1]:04d},{SIG[0]:04d},U16,   1x1,01,"
                f"2024-01-01 12:00:00.000000,0.001000,0,0,0,,MQ1A,2024-01-01T12:00:00.0Z,1000000ns,12,"
            )
            file.write(header.encode().ljust(384, b"\0") + frame.astype(">u2").tobytes())
    return path


def connect(context: LiveContext, simulator: Any) -> Any:
    return context.make_connection("merlin").open(
        data_host="127.0.0.1",
        data_port=simulator.data_port,
        api_port=simulator.control_port,
        timeout=PATIENCE_S,
        stall_timeout=PATIENCE_S,
    )


@pytest.fixture(scope="module", params=["threads", "processes"])
def context(request: pytest.FixtureRequest) -> Iterator[LiveContext]:
    with LiveContext.make_with(request.param, cpus=2) as context:
        yield context


@pytest.mark.parametrize(("depth", "raw", "share"), [(12, False, 1.0), (12, True, 0.5), (24, False, 0.5)])
def test_live_scan_has_the_bits_of_the_same_frames_from_files(
    context: LiveContext, depth: int, raw: bool, share: float, data: Any, maps: Any, tmp_path: Path
) -> None:
    corrections = CorrectionSet(*maps)
    roi = None if share == 1 else np.random.default_rng(5).random(NAV) < share
    udfs = [FramesUDF(), SumUDF(), RingUDF(inner=5, outer=20), CoMUDF()]
    # Counts of 24 bit are stored as u4, which makes float64 of them, in a file as well.
    np.save(tmp_path / "scan.npy", data.astype("u2" if depth == 12 else ">u4"))
    files = [context.load("npy", tmp_path / "scan.npy")]
    if depth == 12:
        files.append(context.load("mib", write_mib(tmp_path / "scan.mib", data), nav_shape=NAV))
    with (
        detector_merlin.MerlinSimulator(data, depth=depth, raw=raw, autostart=True) as simulator,
        connect(context, simulator) as connection,
    ):
        pending = connection.wait_for_acquisition(PATIENCE_S)
        aq = context.make_acquisition(conn=connection, pending_aq=pending, nav_shape=NAV)
        live = context.run_udf(dataset=aq, udf=udfs, roi=roi, corrections=corrections)

    frames = live[0]["frames"].raw_data
    dark, gain, dead = maps
    model = (data if roi is None else data[roi]).astype(frames.dtype)
    model = (model - dark.astype(frames.dtype)) * gain.astype(frames.dtype)
    np.testing.assert_array_equal(frames.reshape(-1, *SIG)[:, ~dead], model.reshape(-1, *SIG)[:, ~dead])
    assert np.isfinite(frames).all()
    for file in files:
        offline = context.run_udf(file, udfs, roi=roi, corrections=corrections)
        assert offline[0]["frames"].raw_data.tobytes() == frames.tobytes()
        # Sums over frames are added up in the order in which they come.
        for one, other in zip(live[1:], offline[1:], strict=True):
            for name in one:
                np.testing.assert_allclose(one[name].data, other[name].data, rtol=1e-6, err_msg=name)


def test_corrections_of_another_shape_end_a_live_run_before_its_first_frame(data: Any) -> None:
    with (
        LiveContext.make_with("threads", cpus=1) as context,
        detector_merlin.MerlinSimulator(data, autostart=True) as simulator,
        connect(context, simulator) as connection,
    ):
        pending = connection.wait_for_acquisition(PATIENCE_S)
        aq = context.make_acquisition(conn=connection, pending_aq=pending, nav_shape=NAV)
        with pytest.raises(CorrectionError, match=r"\(64, 65\).*\(64, 64\)"):
            context.run_udf(dataset=aq, udf=SumUDF(), corrections=CorrectionSet(np.ones((64, 65))))
        assert context.last_run is not None
        assert context.last_run.n_items == 0


def test_corrections_of_another_shape_are_refused_before_arming_if_the_controller_knows(
    fake_connection: Any, data: Any
) -> None:
    connection = fake_connection(data)
    controller = connection.get_active_controller(nav_shape=NAV)
    controller.determine_item_shape = lambda: SIG
    with LiveContext.make_with("inline") as context:
        aq = context.make_acquisition(connection, NAV, controller=controller)
        with pytest.raises(CorrectionError, match=r"\(3, 3\).*\(64, 64\)"):
            context.run_udf(dataset=aq, udf=SumUDF(), corrections=CorrectionSet(np.ones((3, 3))))
        assert connection.calls == []


def test_a_detector_may_supply_its_own_corrections(fake_connection: Any, data: Any, maps: Any) -> None:
    dark, gain, dead = maps

    class Knowing(fake_connection):  # type: ignore[misc]
        def correction_data(self, pending: PendingAcquisition) -> dict[str, Any]:
            assert pending.number == 1
            return {"dark": dark, "gain": gain, "excluded_pixels": dead}

    def run(context: LiveContext, connection: Any, corrections: CorrectionSet | None) -> Any:
        pending = connection.wait_for_acquisition()
        aq = context.make_acquisition(connection, NAV, pending_aq=pending)
        return context.run_udf(dataset=aq, udf=FramesUDF(), corrections=corrections)["frames"].data

    with LiveContext.make_with("inline") as context:
        expected = context.run_udf(
            dataset=context.load("memory", data), udf=FramesUDF(), corrections=CorrectionSet(dark, gain, dead)
        )
        np.testing.assert_array_equal(run(context, Knowing(data), None), expected["frames"].data)
        np.testing.assert_array_equal(run(context, Knowing(data), CorrectionSet()), data)
        np.testing.assert_array_equal(run(context, fake_connection(data), None), data)


# Files


def saved(path: Path, array: npt.ArrayLike) -> Path:
    np.save(path, array)
    return path


def test_files_become_corrections(tmp_path: Path, maps: Any) -> None:
    dark, gain, dead = maps
    np.savez(tmp_path / "gain.npz", gain=gain, made="today")
    (tmp_path / "dead.txt").write_text(
        "# row, column\n" + "".join(f"{y}, {x}\n" for y, x in np.argwhere(dead)) + "\n"
    )
    files = CorrectionFiles(
        saved(tmp_path / "dark.npy", np.stack([dark - 1, dark + 1])),
        tmp_path / "gain.npz",
        tmp_path / "dead.txt",
    )
    corrections = files.load()
    assert corrections is not None
    np.testing.assert_allclose(corrections.get_dark_frame(), dark)
    np.testing.assert_array_equal(corrections.get_gain_map(), gain)
    np.testing.assert_array_equal(corrections.get_excluded_pixels().todense(), dead)
    assert list(files.given) == ["dark", "gain", "dead_pixels"]
    assert CorrectionFiles().load() is None


def test_a_dark_scan_of_the_detector_is_averaged(tmp_path: Path, data: Any) -> None:
    write_mib(tmp_path / "dark.mib", data)
    corrections = CorrectionFiles(dark=tmp_path / "dark.mib").load()
    assert corrections is not None
    np.testing.assert_allclose(corrections.get_dark_frame(), data.mean(axis=(0, 1)), rtol=1e-12)


@pytest.mark.parametrize("kind", ["bool", "u1", "coordinates"])
def test_dead_pixels_may_be_an_image_or_coordinates(tmp_path: Path, maps: Any, kind: str) -> None:
    dead = maps[2]
    path = saved(tmp_path / "dead.npy", np.argwhere(dead) if kind == "coordinates" else dead.astype(kind))
    corrections = CorrectionFiles(dead_pixels=path).load()
    assert corrections is not None
    found = corrections.for_frames(SIG).get_excluded_pixels()
    np.testing.assert_array_equal(found.todense(), dead)


WRONG: dict[str, tuple[Callable[[Path], CorrectionFiles], str]] = {
    "line": (
        lambda p: CorrectionFiles(dark=saved(p / "a.npy", np.ones(5))),
        r"a\.npy holds float64 of shape \(5,\); expected is a dark frame",
    ),
    "stack as gain": (
        lambda p: CorrectionFiles(gain=saved(p / "a.npy", np.ones((2, 4, 4)))),
        r"a\.npy holds float64 of shape \(2, 4, 4\); expected is one gain map",
    ),
    "two shapes": (
        lambda p: CorrectionFiles(saved(p / "a.npy", np.ones((4, 4))), saved(p / "b.npy", np.ones((4, 5)))),
        r"a\.npy has frames of shape \(4, 4\), but .*b\.npy has \(4, 5\)",
    ),
    "infinite gain": (
        lambda p: CorrectionFiles(gain=saved(p / "a.npy", [[1.0, np.inf], [1, 1]])),
        r"a\.npy has 1 values that are no finite numbers, at \(0, 1\); give these pixels as dead pixels",
    ),
    "pixel outside": (
        lambda p: CorrectionFiles(
            dark=saved(p / "a.npy", np.ones((4, 4))), dead_pixels=saved(p / "b.npy", [[4, 0]])
        ),
        r"b\.npy: excluded pixel \(4, 0\) is outside",
    ),
    "format": (
        lambda p: CorrectionFiles(dark=saved(p / "a.npy", np.ones((4, 4))).rename(p / "a.tif")),
        r"a\.tif is of no format that is read here; give \.npy, \.npz or \.mib",
    ),
    "not what it is called": (lambda p: CorrectionFiles(dark=text(p / "a.npy", "hello")), "not a NumPy file"),
    "words": (
        lambda p: CorrectionFiles(dead_pixels=text(p / "a.txt", "3 4\nfive 6")),
        r"a\.txt, line 2: 'five 6' is not a pixel; write row and column",
    ),
    "three numbers": (lambda p: CorrectionFiles(dead_pixels=text(p / "a.txt", "3 4 5")), "line 1"),
}


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_named_with_what_was_expected(tmp_path: Path, case: str) -> None:
    make, message = WRONG[case]
    with pytest.raises(CorrectionError, match=message):
        make(tmp_path).load()


def test_an_infinite_gain_of_a_dead_pixel_is_fine(tmp_path: Path) -> None:
    gain = np.ones((4, 4))
    gain[1, 2] = np.inf
    files = CorrectionFiles(
        gain=saved(tmp_path / "gain.npy", gain), dead_pixels=text(tmp_path / "dead.txt", "1 2")
    )
    assert files.load() is not None
