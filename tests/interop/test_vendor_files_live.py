"""Real Merlin files through the whole live path: file → simulator → TCP → receiver → ring → worker → result.

The sums are those that independent readers give for the files; the pixels are compared with rosettasciio's.
"""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from detector_merlin import MerlinSimulator
from livestem import LiveContext
from udf_4dstem import PickUDF, SumSigUDF

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("LIVESTEM_TEST_DATA", ROOT.parent / "shared" / "data"))
PEER = os.environ.get("LIVESTEM_LIBERTEM_PYTHON")

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the real detector files are not here; name their folder in LIVESTEM_TEST_DATA"
)

QUAD = "Merlin_Test_Data_1_Frame/Quad_1_Frame/Quad_1_Frame_CounterDepth_{}.mib"
SINGLE = "Merlin_Test_Data_1_Frame/Single_1_Frame/Single_1_Frame_CounterDepth_{}.mib"
SUMS = {
    QUAD.format("12_Rows_256"): 845907,
    QUAD.format("24_Rows_256"): 778764,
    QUAD.format("6_Rows_256"): 115263,
    QUAD.format("1_Rows_256"): 10331,
    SINGLE.format("12_Rows_256"): 28911,
    SINGLE.format("24_Rows_256"): 29416,
    SINGLE.format("6_Rows_256"): 24336,
    SINGLE.format("1_Rows_256"): 2398,
    "001_4x2_6bit.mib": 3623664,
    "002_4x2_6bit_roi128.mib": 3263829,
    "test.mib": 728470,
    "test_12bit_RAW_1frame.mib": 1,
    "test_12bit_notRAW_1frame.mib": 0,
    "test_6bit_RAW_1frame.mib": 0,
    "test_6bit_notRAW_1frame.mib": 0,
    "test_1bit_RAW_1frame.mib": 0,
}
READABLE_BY_ROSETTASCIIO = [
    name for name in SUMS if name.startswith(("Merlin_Test", "001", "002")) and "RAW" not in name
]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Put all files into one folder, unpacked."""
    folder = tmp_path_factory.mktemp("merlin")
    for archive in sorted(DATA.glob("merlin_*/*.zip")):
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder)
    for source in [*DATA.glob("merlin_*/*.mib"), *DATA.glob("merlin_*/*.hdr")]:
        (folder / source.name).write_bytes(source.read_bytes())
    return folder


def scan_live(path: Path) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.unsignedinteger]]:
    """Replay a file as a scan; return the intensity of each frame and the frames."""
    with (
        MerlinSimulator(path, autostart=True) as simulator,
        LiveContext.make_with("threads") as ctx,
        ctx.make_connection("merlin").open(
            data_host="127.0.0.1", data_port=simulator.data_port
        ) as connection,
    ):
        pending = connection.wait_for_acquisition(timeout=10)
        assert pending is not None
        aq = ctx.make_acquisition(conn=connection, pending_aq=pending, nav_shape=(-1,))
        intensity, frames = ctx.run_udf(dataset=aq, udf=[SumSigUDF(), PickUDF()])
    return intensity["intensity"].data, frames["intensity"].data


@pytest.mark.parametrize("name", SUMS)
def test_vendor_file_arrives_with_the_sum_an_independent_reader_gives(name: str, files: Path) -> None:
    intensity, frames = scan_live(files / name)

    assert int(intensity.sum()) == SUMS[name]
    assert int(frames.sum(dtype=np.uint64)) == SUMS[name]


def test_hot_pixel_of_the_raw_quad_lies_where_the_vendor_file_has_it(files: Path) -> None:
    _, frames = scan_live(files / "test_12bit_RAW_1frame.mib")

    assert frames.shape == (1, 512, 512)
    assert np.argwhere(frames[0]).tolist() == [[158, 86]]


@pytest.mark.skipif(PEER is None, reason="LIVESTEM_LIBERTEM_PYTHON names no interpreter with rosettasciio")
@pytest.mark.parametrize("name", READABLE_BY_ROSETTASCIIO)
def test_pixels_are_those_that_rosettasciio_reads(name: str, files: Path, tmp_path: Path) -> None:
    program = (
        "import sys, numpy, rsciio.quantumdetector as q; "
        "numpy.save(sys.argv[2], numpy.asarray(q.file_reader(sys.argv[1])[0]['data']))"
    )
    assert PEER is not None
    subprocess.run(
        [PEER, "-c", program, str(files / name), str(tmp_path / "peer.npy")], check=True, timeout=100
    )
    theirs = np.load(tmp_path / "peer.npy")

    _, ours = scan_live(files / name)

    # rosettasciio turns frames upside down: the first row sent is the bottom row of the sensor.
    np.testing.assert_array_equal(ours, theirs.reshape(ours.shape)[:, ::-1])
