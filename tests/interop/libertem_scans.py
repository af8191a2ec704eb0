"""Runs one UDF over shifted scans and regions with LiberTEM, for `test_scans_against_libertem`.

Run by an interpreter that has LiberTEM: ``python libertem_scans.py in.npz out.npz``.
"""

import sys
import warnings

import numpy as np
import scipy.sparse
import sparse
from libertem.api import Context
from libertem.udf import UDF

OFFSETS = (-62, -17, 0, 1, 62)


def where_and_what(UDF):  # noqa: N803
    """Return a UDF that notes the sum and the coordinates of each frame, and adds up all."""

    class WhereAndWhat(UDF):
        def get_result_buffers(self):
            return {
                "sum": self.buffer(kind="nav", dtype="float64"),
                "coordinates": self.buffer(kind="nav", extra_shape=(2,), dtype="int64"),
                "total": self.buffer(kind="sig", dtype="float64"),
                "n": self.buffer(kind="single", dtype="int64"),
            }

        def process_frame(self, frame):
            self.results.sum[:] = np.sum(frame)
            self.results.coordinates[:] = self.meta.coordinates
            self.results.total += frame
            self.results.n += 1

        def merge(self, dest, src):
            dest.sum[:] = src.sum
            dest.coordinates[:] = src.coordinates
            dest.total += src.total
            dest.n += src.n

    return WhereAndWhat()


def regions(roi, offset):
    """Return regions to try: with one offset the same in all forms, and some special ones."""
    if offset != -17:
        return {"all positions": None, "mask": roi}
    places = [tuple(int(i) for i in place) for place in np.argwhere(roi)]
    return {
        "all positions": None,
        "mask": roi,
        "flat": roi.reshape(-1),
        "int": roi.astype(int),
        "csr_matrix": scipy.sparse.csr_matrix(roi),
        "coo_array": scipy.sparse.coo_array(roi),
        "COO": sparse.COO.from_numpy(roi),
        "DOK": sparse.DOK.from_numpy(roi),
        "coordinate": (1, 2),
        "list": [(place, True) for place in places],
        "none": np.zeros_like(roi),
        "one line": np.arange(roi.shape[0])[:, np.newaxis] == np.full(roi.shape, 3),
    }


def collect(results):
    """Return arrays by name, as users see them and as they are stored."""
    arrays = {}
    for name, buffer in results.items():
        arrays[name] = np.array(buffer.data)
        arrays[f"{name} raw"] = np.array(buffer.raw_data)
    return arrays


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    given = np.load(sys.argv[1])
    data = given["data"]
    shape, path = data.shape, sys.argv[2] + ".raw"
    data.tofile(path)
    found = {}
    with Context.make_with("inline") as context:
        for offset in OFFSETS:
            # Not from memory: there LiberTEM 0.16 fails where an offset meets a region.
            dataset = context.load(
                "raw", path=path, dtype=data.dtype, nav_shape=shape[:2], sig_shape=shape[2:],
                sync_offset=offset,
            )  # fmt: skip
            for name, roi in regions(given["roi"], offset).items():
                result = context.run_udf(dataset=dataset, udf=where_and_what(UDF), roi=roi)
                found.update({f"{offset} {name} {key}": array for key, array in collect(result).items()})
    np.savez(sys.argv[2], **found)
