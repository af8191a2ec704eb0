"""An algorithm of your own, on a file and live, with the same result.

python examples/own_algorithm.py
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detector_merlin import MerlinSimulator
from livestem import LiveContext
from udf_4dstem.specimen import SimulatedScan
from udf_core import UDF


class BrightestPixel(UDF):
    """Value and position of each frame's brightest pixel."""

    def get_result_buffers(self) -> dict[str, Any]:
        return {"value": self.buffer(kind="nav"), "position": self.buffer(kind="nav", extra_shape=(2,))}

    def process_frame(self, frame: Any) -> None:
        self.results.value[:] = frame.max()
        self.results.position[:] = np.unravel_index(frame.argmax(), frame.shape)


def main() -> None:
    simulated = SimulatedScan((16, 16), (64, 64), electrons=2000)
    frames = simulated.frames(0, simulated.n_frames).reshape(16, 16, 64, 64)
    udf = BrightestPixel()
    with LiveContext() as ctx:
        offline = ctx.run_udf(dataset=ctx.load("memory", frames), udf=udf)
        with (
            MerlinSimulator(frames, autostart=True) as detector,
            ctx.make_connection("merlin").open(data_port=detector.data_port) as conn,
        ):
            pending = conn.wait_for_acquisition(timeout=30)
            aq = ctx.make_acquisition(conn=conn, pending_aq=pending, nav_shape=(16, 16))
            live = ctx.run_udf(dataset=aq, udf=udf)
    for name in offline:
        assert np.array_equal(offline[name].data, live[name].data)
    print(f"brightest pixel of the scan: {live['value'].data.max():.0f} electrons; live and offline agree")


if __name__ == "__main__":
    main()
