"""Programs written for LiberTEM find our names under its names."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import cloudpickle
import numpy as np
import pytest
import scipy.sparse

import udf_core
from udf_core import compat
from udf_core.compat import _names

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("libertem") is not None, reason="LiberTEM itself is installed here"
)


@pytest.fixture
def aliases() -> Iterator[None]:
    compat.install()
    yield
    compat.uninstall()


@pytest.mark.usefixtures("aliases")
def test_an_alias_is_our_object() -> None:
    from libertem.api import Context
    from libertem.common import Shape, Slice
    from libertem.udf import UDF
    from libertem.udf.base import UDFMeta

    assert UDF is udf_core.UDF
    assert UDFMeta is udf_core.UDFMeta
    assert (Shape, Slice) == (udf_core.Shape, udf_core.Slice)
    assert issubclass(Context, udf_core.Context)


@pytest.mark.usefixtures("aliases")
def test_modules_are_found_as_attributes_and_from_their_parents() -> None:
    import libertem.common.math
    from libertem import udf
    from libertem.io.dataset import memory

    assert udf.UDF is udf_core.UDF
    assert libertem.common.math.prod((2, 3)) == 6
    assert memory.MemoryDataSet(data=np.zeros((2, 2, 3, 3))).shape.nav.to_tuple() == (2, 2)


@pytest.mark.usefixtures("aliases")
@pytest.mark.parametrize("module", sorted(_names.LIBERTEM))
def test_everything_in_the_table_is_there(module: str) -> None:
    alias = importlib.import_module(module)

    for name in alias.__all__:
        assert getattr(alias, name) is not None


@pytest.mark.usefixtures("aliases")
def test_a_missing_name_is_an_import_error_that_says_what_to_do() -> None:
    with pytest.raises(
        ImportError, match=r"libertem\.udf\.NoSuchThing has no counterpart .* udf_core\.bridge"
    ):
        from libertem.udf import NoSuchThing  # noqa: F401
    with pytest.raises(ImportError, match=r"There is libertem\.common\.Shape"):
        from libertem.api import Shape  # noqa: F401
    with pytest.raises(ImportError, match=r"libertem\.web has no counterpart"):
        import libertem.web.server  # noqa: F401


@pytest.mark.usefixtures("aliases")
def test_hasattr_and_star_import_work() -> None:
    import libertem.udf

    names: dict[str, object] = {}
    exec("from libertem.common.shape import *", names)

    assert not hasattr(libertem.udf, "NoSuchThing")
    assert names["Shape"] is udf_core.Shape


@pytest.mark.usefixtures("aliases")
def test_a_module_travels_by_name() -> None:
    import libertem.common.math

    assert pickle.loads(cloudpickle.dumps(libertem.common.math)) is libertem.common.math


def test_after_uninstalling_nothing_is_left(aliases: None) -> None:
    importlib.import_module("libertem.udf")

    compat.uninstall()

    assert not compat.active()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("libertem.udf")


def test_the_real_one_is_not_hidden_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libertem").mkdir()
    (tmp_path / "libertem" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(compat.AliasError, match=r"is installed here.*force=True"):
        compat.install()
    compat.install(force=True)
    try:
        from libertem.udf import UDF

        assert UDF is udf_core.UDF
    finally:
        compat.uninstall()


def test_objects_of_both_are_never_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libertem", ModuleType("libertem"))

    with pytest.raises(compat.AliasError, match=r"imported already.*new interpreter"):
        compat.install(force=True)


PROGRAM = """
import sys
import numpy as np
from libertem.api import Context
from libertem.udf import UDF


class Total(UDF):
    def get_result_buffers(self):
        return {"total": self.buffer(kind="nav", dtype="float64")}

    def process_frame(self, frame):
        self.results.total[:] = frame.sum()


def main():
    with Context.make_with(sys.argv[1], cpus=2 if sys.argv[1] != "inline" else None) as ctx:
        ds = ctx.load("memory", data=np.ones((4, 4, 8, 8), "u2"), sig_dims=2, num_partitions=4)
        print("sum", ctx.run_udf(dataset=ds, udf=Total())["total"].data.sum())


if __name__ == "__main__":
    main()
"""


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "udf_core.compat", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_program_runs_unmodified(executor: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)

    done = run("program.py", executor, folder=tmp_path)

    assert done.stdout == "sum 1024.0\n", done.stderr


def test_a_package_of_udfs_runs_in_processes(tmp_path: Path) -> None:
    # The class is pickled by name, so the worker imports the package, and with it LiberTEM's names.
    (tmp_path / "their_udfs.py").write_text(PROGRAM)
    program = textwrap.dedent("""
        import os, sys
        os.environ["PYTHONPATH"] = os.getcwd()
        import their_udfs
        their_udfs.main()
    """)
    (tmp_path / "program.py").write_text(program)

    done = run("program.py", "processes", folder=tmp_path)

    assert done.stdout == "sum 1024.0\n", done.stderr


def test_a_module_runs_with_its_arguments(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(
        "def test_it():\n    from libertem.udf import UDF\n    assert UDF.__module__ == 'udf_core._udf'\n"
    )

    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", folder=tmp_path)

    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_without_a_program_there_is_help(tmp_path: Path) -> None:
    done = run(folder=tmp_path)

    assert done.returncode == 2
    assert "usage: python -m udf_core.compat" in done.stderr


@pytest.mark.usefixtures("aliases")
def test_helpers_compute_what_libertems_do() -> None:
    # Numbers as LiberTEM 0.16 returns them.
    from libertem.common.numba import numba_ravel_multi_index_multi, numba_unravel_index_multi, rmatmul
    from libertem.corrections.coordinates import flip_y, rotate, scale, scale_rotate_flip_y
    from libertem.corrections.detector import correct
    from libertem.utils import frame_peaks, make_cartesian, make_polar, rotate_deg

    assert numba_unravel_index_multi(np.array([1, 5, 4]), (2, 3)).tolist() == [[0, 1, 1], [1, 2, 1]]
    assert numba_ravel_multi_index_multi(np.array([[0, 1, 1], [1, 2, 0]]), (2, 3)).tolist() == [1, 5, 3]
    np.testing.assert_allclose(rmatmul(np.eye(3), scipy.sparse.csr_matrix(np.eye(3) * 2)), np.eye(3) * 2)
    np.testing.assert_allclose(make_cartesian(np.array([(1, 0.3)])), [[0.29552021, 0.95533649]])
    np.testing.assert_allclose(make_polar(np.array([(3, -1)])), [[3.16227766, 1.89254688]])
    np.testing.assert_allclose(rotate_deg(1.0, 0.0, 90.0), (0, -1), atol=1e-15)
    np.testing.assert_allclose(scale_rotate_flip_y(scale(2) @ rotate(0.3) @ flip_y()), (2, 0.3, True))
    indices, peaks = frame_peaks(20, 22, (10, 11), (5, 0), (0, 6), 2, np.mgrid[-3:4, -3:4])
    assert indices[:2].tolist() == [[-1, -1], [0, -1]]
    assert peaks[-1].tolist() == [15, 17]
    frames = np.arange(9.0).reshape(1, 3, 3)
    repaired = correct(frames, gain_map=np.ones((3, 3)), excluded_pixels=np.array([[0], [0]]))
    assert repaired[0, 0, 0] == pytest.approx((1 + 3 + 4) / 3)
    np.testing.assert_allclose(rotate(0.3), [[0.95533649, 0.29552021], [-0.29552021, 0.95533649]])
