"""Hand UDFs of the real LiberTEM to our `Context`; for its own interpreter, see test_third_party_udfs.py.

Usage: ``python bridged_udfs.py out.npz``.
"""

import sys
import warnings

import numpy as np
import third_party_udfs as theirs
from libertem.api import Context as LiberTEMContext
from libertem_holo.base.filters import butterworth_disk
from libertem_holo.udf import HoloReconstructUDF

from udf_core import Context


def all_udfs():
    """Return all UDFs by name, with the data they want."""
    aperture = np.fft.fftshift(butterworth_disk(shape=(32, 32), radius=5))
    holo = HoloReconstructUDF(out_shape=(32, 32), sb_position=(9, 12), aperture=aperture)
    found = {name: ("diffraction", udf) for name, udf in theirs.udfs().items()}
    return {**found, "holo": ("holograms", holo)}


def run(context, load, engine, results):
    """Take all results, with and without a region of interest."""
    data = {"diffraction": load(theirs.diffraction()), "holograms": load(theirs.holograms())}
    roi = np.random.default_rng(2).random(theirs.NAV) < 0.5
    for label, selection in (("all", None), ("roi", roi)):
        for name, (kind, udf) in all_udfs().items():
            for channel, buffer in context.run_udf(dataset=data[kind], udf=udf, roi=selection).items():
                results[f"{engine}: {label} {name} {channel}"] = buffer.data
        shared = [theirs.PixelSum(), theirs.MaxFrame(), theirs.SumOverSig()]
        for number, result in enumerate(context.run_udf(dataset=data["diffraction"], udf=shared)):
            for channel, buffer in result.items():
                results[f"{engine}: {label} shared {number} {channel}"] = buffer.data


def main(target):
    """Run on LiberTEM and on our executors."""
    results = {}
    with LiberTEMContext.make_with("inline") as context:
        run(
            context,
            lambda data: context.load("memory", data=data, sig_dims=2, num_partitions=4),
            "libertem",
            results,
        )
    for executor in ("inline", "threads", "processes"):
        cpus = None if executor == "inline" else 2
        with Context.make_with(executor, cpus=cpus) as context:
            run(context, lambda data, c=context: c.load("memory", data, chunk_items=5), executor, results)
    np.savez(target, **results)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1])
