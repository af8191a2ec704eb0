"""A program for LiberTEM: runs UDFs of LiberTEM-blobfinder, LiberTEM-holo and LiberTEM's documentation.

Usage: ``python third_party_udfs.py EXECUTOR out.npz``.  It runs twice, with LiberTEM and with our names
in its place, see test_third_party_udfs.py.  Only public interfaces of the packages are used.
"""

import sys
import warnings

import numpy as np
from libertem import masks
from libertem.api import Context
from libertem.common.container import MaskContainer
from libertem.udf import UDF
from libertem.udf.com import CoMUDF
from libertem.udf.logsum import LogsumUDF
from libertem.udf.masks import ApplyMasksUDF
from libertem.udf.raw import PickUDF
from libertem.udf.stddev import StdDevUDF
from libertem.udf.sum import SumUDF
from libertem.udf.sumsigudf import SumSigUDF
from libertem_blobfinder.common.gridmatching import Matcher
from libertem_blobfinder.common.patterns import BackgroundSubtraction, Circular, RadialGradient
from libertem_blobfinder.udf.correlation import (
    FastCorrelationUDF,
    FullFrameCorrelationUDF,
    SparseCorrelationUDF,
    run_blobfinder,
    run_fastcorrelation,
)
from libertem_blobfinder.udf.integration import IntegrationUDF
from libertem_blobfinder.udf.refinement import run_refine
from libertem_holo.base.filters import butterworth_disk
from libertem_holo.udf import HoloReconstructUDF

NAV, SIG = (4, 5), (64, 64)
ZERO, A, B = np.array((32.0, 32.0)), np.array((14.0, 1.0)), np.array((-1.0, 14.0))


def diffraction():
    """Return frames with a lattice of disks that moves a little from frame to frame."""
    rng = np.random.default_rng(1)
    y, x = np.ogrid[: SIG[0], : SIG[1]]
    data = rng.poisson(2, (*NAV, *SIG)).astype("u2")
    for position in np.ndindex(NAV):
        shift = rng.uniform(-1.5, 1.5, 2)
        for i in range(-1, 2):
            for j in range(-1, 2):
                cy, cx = ZERO + i * A + j * B + shift
                data[position][(y - cy) ** 2 + (x - cx) ** 2 < 3.5**2] += 30 + 10 * i
    return data


def holograms():
    """Return off-axis holograms of a phase ramp."""
    y, x = np.mgrid[: SIG[0], : SIG[1]] / 64.0
    frames = [
        1000 * (1 + 0.7 * np.cos(2 * np.pi * (12 * x + 9 * y) + k * y * x)) for k in range(NAV[0] * NAV[1])
    ]
    return np.array(frames, "f4").reshape((*NAV, *SIG))


class PixelSum(UDF):
    """As the documentation's first example: a number for each position."""

    def get_result_buffers(self):
        """Declare the result."""
        return {"pixelsum": self.buffer(kind="nav", dtype="float32")}

    def process_frame(self, frame):
        """Sum up a frame."""
        self.results.pixelsum[:] = np.sum(frame)


class SumOverSig(UDF):
    """As in the documentation: tiles of a custom depth, intermediate results."""

    def get_result_buffers(self):
        """Declare the result."""
        return {"total": self.buffer(kind="nav", dtype="float32")}

    def process_tile(self, tile):
        """Add a tile."""
        self.results.total[:] += np.sum(tile, axis=(1, 2))

    def get_tiling_preferences(self):
        """Want few frames."""
        return {"depth": 2, "total_size": self.TILE_SIZE_BEST_FIT}


class MaxFrame(UDF):
    """As in the documentation: preprocess and merge for a maximum."""

    def get_result_buffers(self):
        """Declare the result."""
        return {"max": self.buffer(kind="sig", dtype="float32")}

    def preprocess(self):
        """Start from nothing."""
        self.results.max[:] = -np.inf

    def process_frame(self, frame):
        """Look at a frame."""
        self.results.max[:] = np.maximum(self.results.max, frame)

    def merge(self, dest, src):
        """Take the larger."""
        dest.max[:] = np.maximum(dest.max, src.max)


class Bins(UDF):
    """Radial bins through a mask container, with native data, as several published UDFs do it."""

    def get_task_data(self):
        """Make the masks."""
        height, width = self.meta.dataset_shape.sig
        rings = masks.radial_bins(width / 2, height / 2, width, height, radius=20, n_bins=5, use_sparse=True)
        return {"masks": MaskContainer(lambda: rings, dtype="float32")}

    def get_result_buffers(self):
        """Declare the result."""
        return {"bins": self.buffer(kind="nav", extra_shape=(5,), dtype="float64")}

    def get_preferred_input_dtype(self):
        """Take data as they are."""
        return self.USE_NATIVE_DTYPE

    def process_tile(self, tile):
        """Multiply with the masks."""
        rings = self.task_data.masks.get(self.meta.slice, transpose=True)
        self.results.bins[:] += tile.reshape((tile.shape[0], -1)) @ rings


def peaks():
    """Return where the disks are about."""
    indices = np.mgrid[-1:2, -1:2].reshape((2, -1)).T
    return np.rint(ZERO + indices @ np.stack((A, B))).astype(int)


def udfs():
    """Return the UDFs that share a pass, by name."""
    found = peaks()
    offsets = np.tile(found, (NAV[0] * NAV[1], 1, 1)).reshape((*NAV, *found.shape)).astype("i8")
    zero_shift = UDF.aux_data(
        np.arange(40, dtype="f4").reshape((*NAV, 2)) % 3 - 1, kind="nav", extra_shape=(2,), dtype="f4"
    )
    centers = IntegrationUDF.aux_data(
        offsets.reshape(-1), kind="nav", extra_shape=(len(found), 2), dtype="i8"
    )
    return {
        "fast": FastCorrelationUDF(peaks=found, match_pattern=RadialGradient(radius=4)),
        "fast upsampled": FastCorrelationUDF(
            peaks=found, match_pattern=Circular(radius=4, search=6), upsample=True
        ),
        "fast shifted": FastCorrelationUDF(
            peaks=found, match_pattern=RadialGradient(radius=4), zero_shift=zero_shift
        ),
        "full": FullFrameCorrelationUDF(peaks=found, match_pattern=BackgroundSubtraction(radius=4)),
        "sparse": SparseCorrelationUDF(
            peaks=found, match_pattern=BackgroundSubtraction(radius=4, search=6), steps=2
        ),
        "integration": IntegrationUDF(centers=centers, pattern=Circular(radius=4)),
        "pixelsum": PixelSum(),
        "sum over sig": SumOverSig(),
        "max frame": MaxFrame(),
        "bins": Bins(),
        "sum": SumUDF(),
        "sumsig": SumSigUDF(),
        "logsum": LogsumUDF(),
        "stddev": StdDevUDF(),
        "pick": PickUDF(),
        "com": CoMUDF.with_params(cy=32, cx=32, r=20),
        "masks": ApplyMasksUDF(mask_factories=[lambda: np.ones(SIG), lambda: np.eye(*SIG)]),
    }


def main(executor, target):
    """Write all results."""
    results = {}
    roi = np.random.default_rng(2).random(NAV) < 0.5
    cpus = None if executor == "inline" else 2
    with Context.make_with(executor, cpus=cpus) as context:
        data = context.load("memory", data=diffraction(), sig_dims=2, num_partitions=4)
        for label, selection in (("all", None), ("roi", roi)):
            for name, udf in udfs().items():
                for channel, buffer in context.run_udf(dataset=data, udf=udf, roi=selection).items():
                    results[f"{label} {name} {channel}"] = buffer.data

        holo = context.load("memory", data=holograms(), sig_dims=2, num_partitions=4)
        aperture = np.fft.fftshift(butterworth_disk(shape=(32, 32), radius=5))
        for label, selection in (("all", None), ("roi", roi)):
            reconstruct = HoloReconstructUDF(out_shape=(32, 32), sb_position=(9, 12), aperture=aperture)
            wave = context.run_udf(dataset=holo, udf=reconstruct, roi=selection)["wave"]
            results[f"{label} holo wave"] = wave.data

        pattern = RadialGradient(radius=4)
        _, centers, refineds, heights, _, found = run_blobfinder(context, data, pattern, num_peaks=9)
        results["found peaks"] = found
        results["found centers"], results["found refineds"] = centers.data, refineds.data
        results["found heights"] = heights.data
        fast = run_fastcorrelation(context, data, peaks(), pattern)
        results["fast refineds"] = fast["refineds"].data
        refined, indices = run_refine(context, data, ZERO, A, B, pattern, Matcher(), correlation="fast")
        results["refined indices"] = indices
        for name in ("zero", "a", "b"):
            results[f"refined {name}"] = refined[name].data
    np.savez(target, **results)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
