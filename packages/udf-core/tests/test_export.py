"""Results in files and in xarray say the same as the results themselves."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest

from udf_core import (
    UDF,
    Axes,
    Axis,
    BufferWrapper,
    Context,
    ExportDependencyError,
    ExportError,
    Scan,
    export,
    to_xarray,
)
from udf_core._export_files import new_file

h5py = pytest.importorskip("h5py")
xarray = pytest.importorskip("xarray")
zarr = pytest.importorskip("zarr")

FORMATS = ["npz", "h5", "hdf5", "zarr"]


class Everything(UDF):
    """Results of every kind."""

    def __init__(self, factor: float = 2.0, mask: Any = None) -> None:
        super().__init__(factor=factor, mask=mask)

    def get_result_buffers(self):
        return {
            "total": self.buffer("nav", dtype="f8"),
            "moments": self.buffer("nav", extra_shape=(2,), dtype="f4"),
            "picture": self.buffer("sig", dtype="f8"),
            "count": self.buffer("single", dtype="i8"),
        }

    def process_frame(self, frame):
        self.results.total[:] = frame.sum() * self.params.factor
        self.results.moments[:] = (frame.min(), frame.max())
        self.results.picture += frame
        self.results.count += 1

    def merge(self, dest, src):
        dest.total[:] = src.total
        dest.moments[:] = src.moments
        dest.picture[:] += src.picture
        dest.count[:] += src.count


class Words(UDF):
    def get_result_buffers(self):
        return {"words": self.buffer("nav", dtype=object)}

    def process_frame(self, frame):
        self.results.words[:] = ["a"]


@pytest.fixture
def roi():
    roi = np.ones((5, 7), bool)
    roi[2, 3:] = False
    return roi


@pytest.fixture
def results(inline, data, roi):
    return inline.run_udf(inline.load("memory", data), Everything(mask=np.zeros((99, 99))), roi=roi)


def read(path) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]], dict[str, Any]]:
    """Arrays, their axes and the attributes of a file, whatever its format."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            arrays = {name.removeprefix("axis."): file[name] for name in file.files}
        attributes = json.loads(str(arrays.pop("metadata")))
        dims = {name: tuple(v["dims"]) for name, v in attributes["variables"].items()}
        return arrays, dims, attributes
    if path.suffix == ".zarr":
        group = zarr.open(path, mode="r")
        arrays = {name: array[...] for name, array in group.arrays()}
        dims = {name: tuple(array.metadata.dimension_names) for name, array in group.arrays()}
        return arrays, dims, dict(group.attrs)
    with h5py.File(path) as file:
        arrays = {name: dataset[()] for name, dataset in file.items()}
        dims = {name: tuple(d.label for d in dataset.dims) for name, dataset in file.items()}
        attributes = dict(file.attrs)
        return arrays, dims, attributes | {"udfs": json.loads(attributes["udfs"])}


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_holds_arrays_axes_valid_maps_and_how_they_were_made(tmp_path, results, data, roi, suffix):
    path = export(results, tmp_path / f"results.{suffix}", axes=Axes(nav=[Axis("y", 0.5, "nm"), "x"]))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    arrays, dims, attributes = read(path)
    for name in ("total", "moments", "picture", "count"):
        assert np.array_equal(arrays[name], results[name].data, equal_nan=True)
        assert arrays[name].dtype == results[name].dtype
    assert dims["total"] == dims["total_valid"] == dims["moments_valid"] == ("y", "x")
    assert dims["moments"] == ("y", "x", "moments_0")
    assert dims["picture"] == ("ky", "kx")
    assert np.array_equal(arrays["total_valid"], roi)
    assert np.array_equal(arrays["moments_valid"], roi)
    assert "picture_valid" not in arrays
    assert arrays["y"].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert arrays["kx"].tolist() == list(range(9))
    assert attributes["verdict"] == "complete"
    assert bool(attributes["complete"])
    assert "(5, 7, 8, 9)" in attributes["dataset"]
    assert attributes["source"] == "memory"
    made = attributes["udfs"]["Everything"]
    assert made["params"] == {"factor": 2.0, "mask": "<array (99, 99) float64>"}
    assert made["udf"].endswith("test_export.Everything")


def test_xarray_gets_the_same(results, roi):
    found = to_xarray(results, axes={"nav": ["row", "column"], "sig": [Axis("qy", 2, "mrad", -8), "qx"]})
    assert found["total"].dims == ("row", "column")
    assert found["qy"].values.tolist() == [-8, -6, -4, -2, 0, 2, 4, 6]
    assert found["qy"].attrs == {"units": "mrad"}
    assert np.array_equal(found["total_valid"], roi)
    assert found["total"].attrs["ancillary_variables"] == "total_valid"
    assert found.attrs["udfs"]["Everything"]["params"]["factor"] == 2.0
    assert found["picture"].sel(qy=-6).shape == (9,)


def test_xarray_opens_an_exported_zarr(tmp_path, results):
    export(results, tmp_path / "results.zarr")
    with xarray.open_zarr(tmp_path / "results.zarr", consolidated=False) as found:
        assert np.array_equal(found["total"], results["total"].data, equal_nan=True)
        assert found["total"].dims == ("y", "x")


@pytest.mark.parametrize("suffix", FORMATS)
def test_results_of_several_udfs_are_told_apart_by_their_classes(tmp_path, inline, data, suffix):
    results = inline.run_udf(inline.load("memory", data), [Everything(), Everything(factor=3)])
    arrays, _, attributes = read(inline.export(results, tmp_path / f"both.{suffix}"))
    assert np.array_equal(arrays["Everything.total"], results[0]["total"].data)
    assert np.array_equal(arrays["Everything_2.total"], results[1]["total"].data)
    assert attributes["udfs"]["Everything_2"]["params"]["factor"] == 3


def test_partial_results_can_be_exported(tmp_path, inline, data, paced):
    feed, dataset = paced(data)
    feed.push(0, 7)
    parts = inline.run_udf_iter(dataset, Everything())
    part = next(part for part in parts if part.damage.data.any())
    arrays, _, attributes = read(export(part, tmp_path / "part.npz"))
    parts.close()
    assert arrays["total_valid"].sum() == 7
    assert attributes["verdict"] == "not ended"
    assert not attributes["complete"]


def test_axes_of_the_file_are_used_unless_others_are_given(tmp_path, inline, data):
    with h5py.File(tmp_path / "scan.nxs", "w") as file:
        group = file.create_group("entry")
        group["frames"] = data
        for name, extent in zip(("sy", "sx"), data.shape, strict=False):
            group[name] = 0.25 * np.arange(extent)
            group[name].attrs["units"] = "um"
        group.attrs.update(signal="frames", axes=["sy", "sx", ".", "."])
        file.attrs["default"] = "entry"
    dataset = inline.load("auto", tmp_path / "scan.nxs")
    results = inline.run_udf(dataset, Everything())
    found = to_xarray(results)
    assert found["total"].dims == ("sy", "sx")
    assert found["sx"].attrs["units"] == "um"
    assert found["picture"].dims == ("ky", "kx")
    assert found.attrs["source"].endswith("scan.nxs::/entry/frames")
    assert to_xarray(results, axes=Axes(nav="ab"))["total"].dims == ("a", "b")
    assert to_xarray(results, dataset=dataset)["total"].dims == ("sy", "sx")


@pytest.mark.parametrize(
    ("nav", "expected"), [((35,), ("scan",)), ((5, 7), ("y", "x")), ((5, 7, 1), ("z", "y", "x"))]
)
def test_scans_of_any_number_of_axes(inline, data, nav, expected):
    results = inline.run_udf(inline.load("memory", data, nav_shape=nav), Everything())
    assert to_xarray(results)["total"].dims == expected


def test_wrong_axes_are_refused(results):
    with pytest.raises(ValueError, match="3 nav axes were given, the data have 2"):
        to_xarray(results, axes=Axes(nav="abc"))
    with pytest.raises(ValueError, match="give each a name of its own"):
        to_xarray(results, axes=Axes(nav="aa"))
    with pytest.raises(ExportError, match="a result and an axis are both called 'total'"):
        to_xarray(results, axes=Axes(nav=["total", "x"]))


def test_what_can_not_be_exported_is_refused(tmp_path, inline, data, results):
    with pytest.raises(ExportError, match=r"no format is known by '\.mat'; use one of \.npz, \.h5"):
        export(results, tmp_path / "results.mat")
    words = inline.run_udf(inline.load("memory", data), Words())
    with pytest.raises(ExportError, match="'words' holds Python objects"):
        export(words, tmp_path / "words.npz")
    with pytest.raises(ExportError, match="no results"):
        export({}, tmp_path / "nothing.npz")
    with pytest.raises(ExportError, match="type ndarray, not a BufferWrapper"):
        export({"a": np.zeros(3)}, tmp_path / "a.npz")  # type: ignore[dict-item]
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_does_not_know_its_run_is_exported_all_the_same(tmp_path):
    from udf_core import Shape

    buffer = BufferWrapper("nav", dtype="f4").set_shape(Shape((2, 3, 4, 4), 2)).allocate()
    arrays, _, attributes = read(export({"zeros": buffer}, tmp_path / "zeros.npz"))
    assert arrays["zeros"].tolist() == np.zeros((2, 3)).tolist()
    assert attributes["udfs"] == {}


@pytest.mark.parametrize("suffix", FORMATS)
def test_nothing_is_replaced_unless_asked(tmp_path, results, suffix):
    path = export(results, tmp_path / f"results.{suffix}")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export(results, path)
    export({"total": results["total"]}, path, overwrite=True)
    assert set(read(path)[0]) == {"total", "total_valid", "y", "x"}
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_file_made_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "a.npz"
    context = new_file(path, overwrite=False)
    context.__enter__().write_text("ours")
    path.write_text("theirs")
    with pytest.raises(FileExistsError, match="meanwhile"):
        context.__exit__(None, None, None)
    assert path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", ["h5", "zarr"])
def test_a_failed_export_leaves_nothing_behind(tmp_path, results, suffix, monkeypatch):
    monkeypatch.setattr("udf_core._export_files._set_attributes", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(results, tmp_path / f"results.{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("suffix", "module"), [("h5", "h5py"), ("zarr", "zarr")])
def test_a_missing_package_is_named_with_what_installs_it(tmp_path, results, monkeypatch, suffix, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ExportDependencyError, match=rf'{module}.*pip install "udf-core\[export\]"'):
        export(results, tmp_path / f"results.{suffix}")
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match="xarray"):
        to_xarray(results)


# -- whole data sets ----------------------------------------------------------------------------------


def test_a_data_set_becomes_a_npy_file(tmp_path, inline, data):
    path = inline.export_dataset(
        inline.load("memory", data.astype(">u2"), chunk_items=3), path=tmp_path / "a.npy"
    )
    assert np.array_equal(np.load(path), data)
    with pytest.raises(FileExistsError):
        inline.export_dataset(inline.load("memory", data), path=path)
    with pytest.raises(ExportError, match=r"exported as \.npy"):
        inline.export_dataset(inline.load("memory", data), path=tmp_path / "a.h5")


def test_frames_of_a_data_set_get_to_their_positions(tmp_path, data):
    frames = data.reshape(-1, 8, 9)[:18]
    with Context.make_with("inline") as context:
        dataset = context.load(
            "memory", frames, scan=Scan((3, 5), offset=1, flyback=1, snake=True), chunk_items=4
        )
        found = np.load(context.export_dataset(dataset, path=tmp_path / "a.npy"))
    for item, position in enumerate(dataset.scan.positions(0, 18)):
        if position >= 0:
            assert np.array_equal(found.reshape(-1, 8, 9)[position], frames[item])
