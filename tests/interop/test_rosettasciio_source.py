"""The source "rosettasciio" reads what RosettaSciIO reads, in an environment that has it."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("LIVESTEM_TEST_DATA", ROOT.parent / "shared" / "data"))
PEER = os.environ.get("LIVESTEM_LIBERTEM_PYTHON")
SCRIPT = Path(__file__).with_name("rosettasciio_source.py")

pytestmark = pytest.mark.skipif(
    not PEER, reason="LIVESTEM_LIBERTEM_PYTHON does not name an interpreter with RosettaSciIO"
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rosettasciio")
    command = [str(PEER), str(SCRIPT), str(folder)]
    archive = DATA / "merlin_rosettasciio" / "Merlin_navigation4x2_ROI.zip"
    if archive.is_file():
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder)
        command.append(str(folder / "001_4x2_6bit.mib"))
    sources = os.pathsep.join(str(ROOT / "packages" / name / "src") for name in ("arraystream",))
    environment = os.environ | {"PYTHONPATH": sources}
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_hyperspy_file_is_read_lazily_with_its_axes(found):
    data = np.arange(4 * 5 * 6 * 7, dtype="f8").reshape(20, 6, 7)
    read = found["hspy"]
    assert (read["index_shape"], read["item_shape"], read["reader"]) == ([4, 5], [6, 7], "DaskReader")
    assert read["total"] == data.sum()
    assert read["weighted"] == (data.sum(axis=(1, 2)) * np.arange(20)).sum()
    assert read["axes"][1] == {"name": "x", "units": "nm", "scale": 0.5, "offset": 1.0}
    assert read["axes"][3]["units"] == "1/nm"


def test_a_real_merlin_file_gives_the_known_sum(found):
    if "merlin" not in found:
        pytest.skip("the real detector files are not here; name their folder in LIVESTEM_TEST_DATA")
    assert found["merlin"]["total"] == 3623664


def test_what_it_can_not_read_is_an_error_that_names_the_file(found):
    assert found["scan.unknown"].startswith("SourceError")
    assert "no reader for files '.unknown'" in found["scan.unknown"]
    assert "bad.hspy" in found["bad.hspy"]
