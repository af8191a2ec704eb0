"""LiberTEM-live's DECTRIS client against our DECTRIS simulator, stream V1.

The peer runs in a subprocess with an interpreter of its own, named by LIVESTEM_LIBERTEM_PYTHON.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from numpy.testing import assert_array_equal

from detector_dectris._simulator import DectrisSimulator, Faults

PEER = os.environ.get("LIVESTEM_LIBERTEM_PYTHON", "")
pytestmark = pytest.mark.skipif(
    not PEER, reason="LIVESTEM_LIBERTEM_PYTHON does not name an interpreter with libertem-live"
)
DEADLINE_S = 100.0

ACQUISITION_SCRIPT = """
import sys
import numpy as np
from libertem_live.api import LiveContext
from libertem.udf.sum import SumUDF
from libertem.udf.sumsigudf import SumSigUDF
mode, output, api_port, data_port = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

def acquire(ctx, conn):
    wanted = dict(conn=conn, nav_shape=(8, 8), frames_per_partition=16)
    if mode == "active":
        controller = conn.get_active_controller(trigger_mode="exte", count_time=1e-4, frame_time=2e-4)
        return ctx.make_acquisition(controller=controller, **wanted)
    pending = conn.wait_for_acquisition(timeout=30)
    assert pending is not None and pending.nimages == 64, pending
    return ctx.make_acquisition(pending_aq=pending, **wanted)

ports = dict(api_host="127.0.0.1", api_port=api_port, data_host="127.0.0.1", data_port=data_port)
with LiveContext.make_with("inline") as ctx, ctx.make_connection("dectris").open(**ports) as conn:
    for run in range(2):
        total, per_frame = ctx.run_udf(dataset=acquire(ctx, conn), udf=[SumUDF(), SumSigUDF()])
        found = {"total": total["intensity"].data, "per_frame": per_frame["intensity"].data}
        np.savez(f"{output}/{run}.npz", **found)
"""


def run_peer(*arguments: object) -> None:
    result = subprocess.run(
        [PEER, "-c", ACQUISITION_SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-4000:]


def few_counts(dtype: str, shape: tuple[int, int] = (192, 192)) -> npt.NDArray[Any]:
    """An 8 × 8 scan with few hits, so that sums are exact in the peer's single precision."""
    rng = np.random.default_rng(3)
    scan = np.zeros((64, shape[0] * shape[1]), dtype)
    for frame in scan:
        frame[rng.integers(0, frame.size, 500)] = rng.integers(1, 100, 500)
    return scan.reshape(8, 8, *shape)


@pytest.mark.parametrize(
    ("mode", "dtype", "split"),
    [
        ("active", "uint16", False),
        ("active", "uint32", False),
        ("passive", "uint16", False),
        ("passive", "uint16", True),
    ],
)
def test_their_client_gets_the_right_sums_twice(tmp_path: Path, mode: str, dtype: str, split: bool) -> None:
    scan = few_counts(dtype)
    passive = mode == "passive"
    with DectrisSimulator(
        scan,
        stream_mode="enabled",
        trigger_mode="exte",
        auto_trigger=True,
        autostart=passive,
        repeat=passive,
        pause_s=0.5,
        faults=Faults(split_header=split),
    ) as simulator:
        run_peer(mode, tmp_path, simulator.api_port, simulator.data_port)
    for run in range(2):
        result = np.load(tmp_path / f"{run}.npz")
        assert_array_equal(result["total"], scan.sum((0, 1)))
        assert_array_equal(result["per_frame"], scan.sum((2, 3)))
