"""Frames written to a file as they come."""

from __future__ import annotations

import numpy as np
import pytest

from arraystream import load_plugin
from udf_4dstem import RecordUDF, SumUDF
from udf_core import Context


@pytest.mark.parametrize("executor", ["inline", "threads", "processes"])
def test_file_holds_the_scan(tmp_path, counts, executor) -> None:
    (tmp_path / "scan.npy").write_bytes(b"an older file, which is replaced")
    cls = load_plugin("udf_core.udfs", "record")
    with Context.make_with(executor) as context:
        dataset = context.load("memory", counts, chunk_items=4)
        assert context.run_udf(dataset, cls(tmp_path / "scan.npy")) == {}
    written = np.load(tmp_path / "scan.npy")
    assert written.dtype == counts.dtype
    np.testing.assert_array_equal(written, counts)


def test_file_is_in_the_type_of_the_run(run, tmp_path, counts) -> None:
    udf = RecordUDF(filename=tmp_path / "scan.npy")
    run(counts, [udf, SumUDF()])
    np.testing.assert_array_equal(np.load(tmp_path / "scan.npy"), counts)


def test_tiles_find_their_place(run, tmp_path) -> None:
    data = np.random.default_rng(1).integers(0, 99, (3, 40, 300, 70)).astype(">u2")
    run(data, RecordUDF(tmp_path / "scan.npy"), chunk_items=33)
    np.testing.assert_array_equal(np.load(tmp_path / "scan.npy"), data)


def test_missing_frames_stay_zero(context, tmp_path, counts) -> None:
    dataset = context.load("memory", counts, sync_offset=3)
    context.run_udf(dataset, RecordUDF(tmp_path / "scan.npy"))
    written = np.load(tmp_path / "scan.npy").reshape(30, 11, 13)
    np.testing.assert_array_equal(written[:27], counts.reshape(30, 11, 13)[3:])
    assert not written[27:].any()


def test_roi_is_refused(run, tmp_path, counts) -> None:
    with pytest.raises(RuntimeError, match="whole scans"):
        run(counts, RecordUDF(tmp_path / "scan.npy"), roi=np.ones((5, 6), bool))
