"""The command line, in this process, with a detector that does as it is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from arraystream import ConnectionFailed, PluginError
from livestem import read_results
from livestem.cli import COMMANDS, main
from livestem.cli._display import WaitingLine

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Return what calls the command line; errors that escape are raised."""

    def call(*arguments: str) -> Result:
        result = CliRunner().invoke(main, list(arguments))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def detector(fake_connection: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return what puts a detector at fake://…"""
    import livestem._context

    original = livestem._context.load_plugin

    def install(*scans: Any, **wishes: Any) -> Any:
        connection = fake_connection(*scans, **wishes)

        class Builder:
            def open(self, **kwargs: Any) -> Any:
                return connection

            def from_url(self, url: str, **kwargs: Any) -> Any:
                if "nobody" in url:
                    raise ConnectionFailed("nothing listens at nobody:6342; is the Merlin software running?")
                return connection

        def load(group: str, name: str) -> Any:
            return Builder if (group, name) == ("arraystream.sources", "fake") else original(group, name)

        monkeypatch.setattr(livestem._context, "load_plugin", load)
        return connection

    return install


def frames(n: int, sig: tuple[int, int] = (8, 8)) -> Any:
    rng = np.random.default_rng(5)
    return rng.poisson(3.0, (n, *sig)).astype("u2")


def test_help_of_every_command_teaches_by_example(run: Run) -> None:
    for name in COMMANDS:
        result = run(name, "--help")
        assert result.exit_code == 0, result.output
        assert "livestem " in result.output
    assert "livestem run merlin://" in run("run", "--help").output


def test_help_lists_all_commands(run: Run) -> None:
    output = run("--help").output

    assert all(name in output for name in COMMANDS)


def test_unknown_command_is_an_error(run: Run) -> None:
    result = run("fly")

    assert result.exit_code == 2
    assert "fly" in result.output


def test_run_writes_pictures_and_numbers(run: Run, detector: Any, tmp_path: Path) -> None:
    data = frames(12)
    detector(data)

    result = run(
        *("run", "fake://detector", "--scan", "3x4", "--out", str(tmp_path)),
        *("--udf", "sum", "--udf", "adf=ring:inner=1,outer=3", "--udf", "com"),
    )

    assert result.exit_code == 0, result.output
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "sum.png",
        "adf.png",
        "com-field.png",
        "com-magnitude.png",
        "com-divergence.png",
        "com-curl.png",
        "overview.png",
        "results.npz",
    }
    arrays, about = read_results(tmp_path / "results.npz")
    assert np.array_equal(arrays["sum.intensity"], data.sum(axis=0))
    assert arrays["adf.intensity"].shape == (3, 4)
    assert arrays["valid"].all()
    assert about["algorithms"]["adf"] == {"name": "ring", "parameters": {"inner": 1, "outer": 3}}
    assert about["complete"] is True
    assert about["figures"]["n_frames"] == 12


def test_run_prints_a_summary(run: Run, detector: Any, tmp_path: Path) -> None:
    detector(frames(12))

    output = run("run", "fake://detector", "--scan", "3x4", "--out", str(tmp_path)).output

    for words in ("fake://detector", "3×4", "12 of 12", "0 lost", "buffer fill", "threads", str(tmp_path)):
        assert words in output.replace("\n", ""), words


def test_run_processes_a_region_only(run: Run, detector: Any, tmp_path: Path) -> None:
    data = frames(12)
    detector(data)

    result = run("run", "fake://d", "--scan", "3x4", "--roi", "1:3,0:2", "--out", str(tmp_path))

    assert result.exit_code == 0, result.output
    arrays, _ = read_results(tmp_path / "results.npz")
    assert np.array_equal(
        arrays["sum.intensity"], data.reshape(3, 4, 8, 8)[1:3, 0:2].reshape(-1, 8, 8).sum(axis=0)
    )
    assert arrays["valid"].sum() == 4


def test_run_skips_frames_before_the_offset(run: Run, detector: Any, tmp_path: Path) -> None:
    data = frames(14)
    detector(data)

    result = run(
        "run", "fake://d", "--scan", "3x4", "--offset", "2", "--udf", "sumsig", "--out", str(tmp_path)
    )

    assert result.exit_code == 0, result.output
    arrays, _ = read_results(tmp_path / "results.npz")
    assert np.array_equal(arrays["sumsig.intensity"].ravel(), data[2:].sum(axis=(1, 2)))


def test_run_places_frames_as_the_scan_says(run: Run, detector: Any, tmp_path: Path) -> None:
    data = frames(2 + 2 * (3 + 1) * (4 + 2))
    detector(data)

    result = run(
        *("run", "fake://d", "--scan", "3x4", "--udf", "sumsig", "--out", str(tmp_path)),
        *("--sync-offset", "2", "--flyback", "2", "--flyback-lines", "1", "--snake", "--repeats", "2"),
        *("--roi", "0:2,0:4"),
    )

    assert result.exit_code == 0, result.output
    arrays, about = read_results(tmp_path / "results.npz")
    expected = data[2:].sum(axis=(1, 2)).reshape(2, 4, 6)[:, :3, :4].astype(float)
    expected[:, 1] = expected[:, 1, ::-1]
    assert np.array_equal(arrays["sumsig.intensity"][:, :2], expected[:, :2])
    assert arrays["valid"].shape == (2, 3, 4)
    assert not arrays["valid"][:, 2].any()
    assert about["scan"] == {
        "shape": [3, 4], "offset": 2, "flyback": 2, "flyback_lines": 1, "snake": True, "repeats": 2,
        "endless": False,
    }  # fmt: skip


def test_square_scan_is_found_with_its_flyback(run: Run, detector: Any, tmp_path: Path) -> None:
    detector(frames(3 * 5))

    result = run("run", "fake://d", "--flyback", "2", "--out", str(tmp_path))

    assert result.exit_code == 0, result.output
    assert read_results(tmp_path / "results.npz")[0]["valid"].shape == (3, 3)


def test_endless_scan_shows_the_newest_pass(run: Run, detector: Any, tmp_path: Path) -> None:
    data = frames(3 * 12 + 5)
    detector(data)

    result = run(
        *("run", "fake://d", "--scan", "3x4", "--endless", "--out", str(tmp_path)),
        *("--udf", "sumsig", "--udf", "sum"),
    )

    assert result.exit_code == 0, result.output
    assert "12 of 12 in the result, the newest of 4 passes" in result.output
    arrays, about = read_results(tmp_path / "results.npz")
    sums = data.sum(axis=(1, 2))
    assert arrays["sumsig.intensity"].ravel().tolist() == [*sums[36:], *sums[29:36]]
    assert np.array_equal(arrays["sum.intensity"], data[24:36].sum(axis=0))
    assert arrays["valid"].all()
    assert about["complete"]
    assert about["figures"]["n_passes"] == 4


def test_run_repeats_into_numbered_folders(run: Run, detector: Any, tmp_path: Path) -> None:
    first, second = frames(12), frames(12) + 1
    detector(first, second)

    result = run("run", "fake://d", "--scan", "3x4", "--repeat", "2", "--out", str(tmp_path))

    assert result.exit_code == 0, result.output
    sums = [
        read_results(tmp_path / name / "results.npz")[0]["sum.intensity"]
        for name in ("scan-0001", "scan-0002")
    ]
    assert np.array_equal(sums[0], first.sum(axis=0))
    assert np.array_equal(sums[1], second.sum(axis=0))


def test_bad_scan_does_not_end_a_session(run: Run, detector: Any, tmp_path: Path) -> None:
    good = frames(12)
    detector(frames(10), good)

    result = run("run", "fake://d", "--scan", "3x4", "--repeat", "2", "--out", str(tmp_path))

    assert result.exit_code == 1
    assert "announced 10" in one_line(result)
    arrays, _ = read_results(tmp_path / "scan-0002" / "results.npz")
    assert np.array_equal(arrays["sum.intensity"], good.sum(axis=0))


def test_run_arms_and_triggers_on_request(run: Run, detector: Any, tmp_path: Path) -> None:
    connection = detector(frames(12))

    result = run("run", "fake://d", "--scan", "3x4", "--trigger", "--out", str(tmp_path))

    assert result.exit_code == 0, result.output
    assert connection.calls[:3] == ["arm 12", "wait_for_acquisition", "trigger"]


def test_run_can_keep_a_preview(run: Run, detector: Any, tmp_path: Path) -> None:
    detector(frames(12))

    result = run("run", "fake://d", "--scan", "3x4", "--live", "--out", str(tmp_path))

    assert result.exit_code == 0, result.output
    assert (tmp_path / "preview.png").stat().st_size > 1000


def test_files_of_a_run_carry_the_calibration(run: Run, detector: Any, tmp_path: Path) -> None:
    detector(frames(12))

    result = run("run", "fake://d", "--scan", "3x4", "--step", "0.2nm", "--out", str(tmp_path))

    assert result.exit_code == 0, result.output


def one_line(result: Result) -> str:
    """Check that a command failed with one line and no traceback; return the line."""
    assert result.exit_code != 0
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.output
    assert "Traceback" not in result.output
    return lines[0]


def test_empty_scan_is_a_usage_error(run: Run) -> None:
    result = run("run", "merlin://127.0.0.1", "--scan", "0x5")

    assert result.exit_code == 2
    assert "'0x5' has no positions" in one_line(result)


def test_unknown_udf_lists_those_that_exist(run: Run) -> None:
    line = one_line(run("run", "merlin://127.0.0.1", "--udf", "hologram"))

    assert "unknown UDF 'hologram'" in line
    assert "sum" in line
    assert "com" in line


def test_wrong_parameter_lists_the_right_ones(run: Run) -> None:
    line = one_line(run("run", "merlin://127.0.0.1", "--udf", "ring:colour=3"))

    assert "no parameter 'colour'" in line
    assert "inner" in line


def test_unknown_detector_lists_those_that_exist(run: Run) -> None:
    line = one_line(run("run", "hologram://127.0.0.1"))

    assert "unknown detector 'hologram'" in line
    assert "installed: " in line


def test_known_detector_that_is_not_installed_says_how_to_get_it(run: Run) -> None:
    assert "pip install detector-asi" in one_line(run("run", "asi://127.0.0.1"))


def test_address_without_scheme_is_explained(run: Run) -> None:
    assert "write e.g. merlin://127.0.0.1" in one_line(run("run", "127.0.0.1"))


def test_unknown_simulator_lists_those_that_exist(run: Run) -> None:
    line = one_line(run("simulate", "hologram"))

    assert "unknown simulator 'hologram'; installed:" in line


def test_unknown_executor_lists_those_that_exist(run: Run) -> None:
    line = one_line(run("run", "merlin://127.0.0.1", "--executor", "cloud"))

    assert "threads" in line


def test_missing_server_names_host_port_and_a_hint(run: Run, detector: Any) -> None:
    detector()

    line = one_line(run("run", "fake://nobody"))

    assert "nobody:6342" in line
    assert "is the Merlin software running?" in line


def test_shape_that_does_not_fit_names_both(run: Run, detector: Any, tmp_path: Path) -> None:
    detector(frames(12))

    line = one_line(run("run", "fake://d", "--scan", "4x4", "--out", str(tmp_path)))

    assert "4×4 needs 16 frames" in line
    assert "announced 12" in line


def test_nothing_armed_is_an_error_after_the_timeout(run: Run, detector: Any) -> None:
    detector()

    assert "no scan began within 0.1 s" in one_line(
        run("run", "fake://d", "--scan", "3x4", "--timeout", "0.1")
    )


def test_a_scan_that_was_armed_too_early_is_told_so(fake_connection: Any) -> None:
    connection = fake_connection()
    connection.counters.n_stale = 5
    waiting = WaitingLine(connection, "fake://d")
    assert waiting.hint() == ""

    connection.counters.n_stale = 8

    assert "3 frames came of a scan that was armed before" in waiting.hint()


def test_settings_without_arming_are_refused(run: Run) -> None:
    assert "--set goes with --arm" in one_line(run("run", "merlin://127.0.0.1", "--set", "gain=1"))


def test_settings_that_are_none_are_refused(run: Run) -> None:
    result = run("run", "merlin://127.0.0.1", "--arm", "--set", "gain")

    assert result.exit_code == 2
    assert "'gain' is not NAME=VALUE" in result.output


def test_endless_scan_needs_its_shape_and_has_no_repeats(run: Run) -> None:
    url = "merlin://127.0.0.1"
    assert "choose one" in one_line(run("run", url, "--endless", "--repeats", "2"))
    assert "without −1" in one_line(run("run", url, "--endless", "--scan", "-1x3"))


def test_region_outside_is_an_error(run: Run, detector: Any, tmp_path: Path) -> None:
    detector(frames(12))

    line = one_line(run("run", "fake://d", "--scan", "3x4", "--roi", "9:,0:", "--out", str(tmp_path)))

    assert "selects no position" in line


def test_debug_shows_the_traceback(detector: Any, fake_connection: Any) -> None:
    detector(frames(12))

    result = CliRunner().invoke(main, ["run", "fake://d", "--scan", "4x4", "--debug"])

    assert isinstance(result.exception, ValueError)


def test_interrupted_scan_keeps_what_is_there(
    run: Run, detector: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from livestem.cli._display import ScanDisplay

    def interrupt(self: Any, part: Any) -> None:
        raise KeyboardInterrupt

    detector(frames(12))
    monkeypatch.setattr(ScanDisplay, "show", interrupt)

    result = run("run", "fake://d", "--scan", "3x4", "--out", str(tmp_path))

    assert result.exit_code == 130
    assert "interrupted; partial results (" in result.stderr
    _, about = read_results(tmp_path / "results.npz")
    assert about["verdict"] == "interrupted"
    assert about["complete"] is False


def test_udf_that_fails_is_named(
    run: Run, detector: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import livestem.cli.run
    from udf_core import UDF

    class Broken(UDF):
        def get_result_buffers(self) -> dict[str, Any]:
            return {"intensity": self.buffer(kind="nav")}

        def process_frame(self, frame: Any) -> None:
            raise ZeroDivisionError("gain is zero")

    detector(frames(12))
    monkeypatch.setattr(livestem.cli.run, "_build", lambda spec: Broken())

    line = one_line(run("run", "fake://d", "--scan", "3x4", "--out", str(tmp_path)))

    assert "ZeroDivisionError: gain is zero" in line


def test_udfs_lists_names_packages_and_parameters(run: Run) -> None:
    output = run("udfs").output

    for words in ("com", "ring", "udf-4dstem", "inner", "outer"):
        assert words in output


def test_detectors_tells_live_ones_from_files(run: Run) -> None:
    output = run("detectors").output

    assert "npy" in output
    assert "file:" in output


def test_doctor_says_what_it_found(run: Run) -> None:
    output = run("doctor").output

    for words in ("Python", "cores", "memory speed", "memfd", "socket buffers", "numba cache"):
        assert words in output


def test_broken_plugin_does_not_break_the_list(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import livestem.cli._catalogue as catalogue

    original = catalogue.load_plugin

    def load(group: str, name: str) -> Any:
        if name == "ring":
            raise PluginError("Plug-in 'ring' can't be loaded: ImportError: no GPU")
        return original(group, name)

    monkeypatch.setattr(catalogue, "load_plugin", load)

    output = run("udfs").output

    assert "no GPU" in output
    assert "disk" in output


def test_metadata_is_json(run: Run, detector: Any, tmp_path: Path) -> None:
    detector(frames(12), meta={"Chip ID": "W529_F5"})
    run("run", "fake://d", "--scan", "3x4", "--out", str(tmp_path))

    with np.load(tmp_path / "results.npz") as packed:
        about = json.loads(str(packed["metadata"]))

    assert about["acquisition"] == {"Chip ID": "W529_F5"}
    assert about["nav_shape"] == [3, 4]


def correction_files(folder: Path, shape: tuple[int, int] = (8, 8)) -> list[str]:
    np.save(folder / "dark.npy", np.full(shape, 0.5))
    np.save(folder / "gain.npy", np.full(shape, 2.0))
    (folder / "dead.txt").write_text("3 4\n")
    names = {"--dark": "dark.npy", "--gain": "gain.npy", "--dead-pixels": "dead.txt"}
    return [word for option, name in names.items() for word in (option, str(folder / name))]


def test_run_corrects_what_the_detector_sends(run: Run, detector: Any, tmp_path: Path) -> None:
    scan = frames(12)
    detector(scan, n_items=12)
    out = tmp_path / "out"
    result = run("run", "fake://x", "--scan", "3x4", "--out", str(out), *correction_files(tmp_path))

    assert result.exit_code == 0, result.output
    arrays, about = read_results(out / "results.npz")
    expected = ((scan - 0.5) * 2).sum(axis=0)
    around = expected[2:5, 3:6].copy()
    expected[3, 4] = (around.sum() - around[1, 1]) / 8
    np.testing.assert_allclose(arrays["sum.intensity"], expected, rtol=1e-6)
    assert about["corrections"]["dark"] == str(tmp_path / "dark.npy")


def test_run_names_files_that_do_not_fit(run: Run, detector: Any, tmp_path: Path) -> None:
    detector(frames(12), n_items=12)
    out = tmp_path / "out"
    files = correction_files(tmp_path, (8, 9))
    result = run("run", "fake://x", "--scan", "3x4", "--out", str(out), *files)

    assert result.exit_code == 1
    assert "(8, 9)" in result.stderr
    assert "(8, 8)" in result.stderr
    assert f"--dark {tmp_path / 'dark.npy'}" in result.stderr
    assert not (out / "results.npz").exists()


def test_run_refuses_wrong_files_before_it_connects(run: Run, detector: Any, tmp_path: Path) -> None:
    connection = detector(frames(12), n_items=12)
    np.save(tmp_path / "dark.npy", np.ones(8))
    result = run("run", "fake://x", "--dark", str(tmp_path / "dark.npy"), "--out", str(tmp_path))

    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "dark.npy holds float64 of shape (8,); expected is a dark frame" in result.stderr
    assert connection.calls == []
    assert run("run", "fake://x", "--dark", str(tmp_path / "none.npy")).exit_code == 2


@pytest.fixture
def scan_file(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """Return a file with a scan, and the scan."""
    frames = np.random.default_rng(0).integers(0, 100, (4, 5, 16, 16)).astype("u2")
    np.save(tmp_path / "scan.npy", frames)
    return tmp_path / "scan.npy", frames


def test_a_file_is_processed_like_a_scan(
    run: Run, scan_file: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    path, frames = scan_file
    result = run("run", str(path), "--udf", "sum", "--out", str(tmp_path / "out"), "--executor", "inline")
    assert result.exit_code == 0, result.output
    assert "20 frames" in result.output
    arrays, how = read_results(tmp_path / "out" / "results.npz")
    assert np.array_equal(arrays["sum.intensity"], frames.sum(axis=(0, 1)))
    assert (how["verdict"], how["source"], how["nav_shape"]) == ("complete", str(path), [4, 5])


def test_the_scan_of_a_file_may_be_given(
    run: Run, scan_file: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    path, frames = scan_file
    options = ("--udf", "sumsig", "--out", str(tmp_path / "out"), "--executor", "inline")
    result = run("run", str(path), *options, "--scan", "5x4", "--snake", "--roi", "0:2,0:4")
    assert result.exit_code == 0, result.output
    arrays, _ = read_results(tmp_path / "out" / "results.npz")
    sums = frames.sum(axis=(2, 3)).reshape(5, 4)
    assert np.array_equal(arrays["sumsig.intensity"][0], sums[0])
    assert np.array_equal(arrays["sumsig.intensity"][1], sums[1, ::-1])
    result = run("run", str(path), *options, "--scan", "5x3", "--flyback", "1")
    assert result.exit_code == 0, result.output
    arrays, _ = read_results(tmp_path / "out" / "results.npz")
    assert np.array_equal(arrays["sumsig.intensity"], sums[:, :3])
    result = run("run", str(path), *options, "--snake")
    assert result.exit_code == 0, result.output
    arrays, _ = read_results(tmp_path / "out" / "results.npz")
    assert np.array_equal(arrays["sumsig.intensity"][1], frames.sum(axis=(2, 3))[1, ::-1])


def test_what_a_file_can_not_do_is_refused(
    run: Run, scan_file: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    path, _ = scan_file
    result = run("run", str(path), "--arm", "--timeout", "5")
    assert result.exit_code == 1
    assert "--arm, --timeout can't be used here" in " ".join(result.output.split())
    result = run("run", str(path), "--scan", "9x9", "--executor", "inline")
    assert result.exit_code == 1
    (tmp_path / "x.txt").write_text("words")
    result = run("run", str(tmp_path / "x.txt"), "--executor", "inline")
    assert result.exit_code == 1
    assert "Looked for" in result.output
