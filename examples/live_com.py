"""Centre of mass of a live scan, drawn while it runs.

Start a detector in another terminal first:

    livestem generate scan.npy --scan 64x64 --frame 128x128 --electrons 4000
    livestem simulate merlin --data scan.npy --depth 12 --raw --rate 1000
    python examples/live_com.py 64x64
"""

from __future__ import annotations

import argparse
from pathlib import Path

from livestem import LiveContext
from livestem.views import Channel, draw
from udf_4dstem import CoMUDF


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scan", help="shape, e.g. 64x64")
    parser.add_argument("--url", default="merlin://127.0.0.1")
    parser.add_argument("--out", type=Path, default=Path())
    arguments = parser.parse_args()
    rows, columns = (int(word) for word in arguments.scan.split("x"))

    with LiveContext() as ctx, ctx.make_connection(arguments.url).open() as conn:
        pending = conn.wait_for_acquisition(timeout=30)
        if pending is None:
            raise SystemExit("no scan began within 30 s")
        aq = ctx.make_acquisition(conn=conn, pending_aq=pending, nav_shape=(rows, columns))
        for part in ctx.run_udf_iter(dataset=aq, udf=CoMUDF()):
            result = part.buffers[0]
            print(f"{part.damage.data.mean():6.1%}", end="\r", flush=True)
        print(f"\nlost frames: {conn.statistics().n_lost}")

    field = Channel(
        "field", result["field"].data, valid=part.damage.data, extra_shape=(2,), source="com", unit="px"
    )
    divergence = Channel("divergence", result["divergence"].data, source="com", unit="px/step")
    for channel in (field, divergence):
        print(draw(channel).save(arguments.out / f"{channel.name}.png"))


if __name__ == "__main__":
    main()
