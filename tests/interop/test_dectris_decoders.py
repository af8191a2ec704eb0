"""What the DECTRIS codec encodes is read by independent decoders, with the same pixels.

The peers (`dectris-compression`, and `bitshuffle` if it is there) run in a subprocess with an interpreter of
their own, named by LIVESTEM_LIBERTEM_PYTHON.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from detector_dectris import _dectris

PEER = os.environ.get("LIVESTEM_LIBERTEM_PYTHON", "")
pytestmark = pytest.mark.skipif(not PEER, reason="LIVESTEM_LIBERTEM_PYTHON does not name an interpreter")

SCRIPT = """
import sys
import numpy as np
found = {}
try:
    from dectris.compression import decompress
except ImportError:
    decompress = None
try:
    import bitshuffle
except ImportError:
    bitshuffle = None
with np.load(sys.argv[1]) as blobs:
    for name in blobs.files:
        compression, dtype, n, block_bytes = name.split()[:4]
        blob = blobs[name]
        if decompress:
            size = np.dtype(dtype).itemsize
            pixels = decompress(blob.tobytes(), compression, elem_size=size)
            found["dectris-compression " + name] = np.frombuffer(pixels, dtype)
        if bitshuffle and compression == "bslz4":
            elements = int(block_bytes) // np.dtype(dtype).itemsize
            pixels = bitshuffle.decompress_lz4(blob[12:].copy(), (int(n),), np.dtype(dtype), elements)
            found["bitshuffle " + name] = pixels
np.savez(sys.argv[2], **found)
"""


def images() -> dict[str, np.ndarray]:
    """Counts of low and high dose, noise and masked pixels, with and without left-over elements."""
    rng = np.random.default_rng(7)
    found = {}
    for dtype in ("u1", "u2", "u4"):
        for shape in ((192, 192), (101, 37)):
            highest = np.iinfo(dtype).max
            masked = rng.poisson(0.1, shape).astype(dtype)
            masked[::17, 3:9] = highest
            kinds = {
                "sparse": rng.poisson(0.1, shape).astype(dtype),
                "dense": rng.poisson(10.0, shape).astype(dtype),
                "noise": rng.integers(0, highest, shape, dtype=dtype, endpoint=True),
                "masked": masked,
            }
            found |= {f"{dtype} {image.size} {kind}": image for kind, image in kinds.items()}
    return found


def test_independent_decoders_read_what_we_encode_and_we_do_too(tmp_path: Path) -> None:
    blobs, expected = {}, {}
    for name, image in images().items():
        dtype, n, kind = name.split()
        for compression in ("bslz4", "lz4"):
            for block_bytes in (8192, 4096):
                key = f"{compression} {dtype} {n} {block_bytes} {kind}"
                (blob,) = _dectris.encode(image[None], compression, block_bytes)
                blobs[key] = np.frombuffer(blob, np.uint8)
                expected[key] = image
                decoder = _dectris.Decoder(compression, image.itemsize, image.shape)
                ours = np.empty((1, *image.shape), dtype)
                length = np.array([len(blob)], np.uint64)
                rows = (0, len(image))
                decoder.decode_blobs(blobs[key], np.zeros(1, np.uint64), length, rows, ours)
                assert_array_equal(ours[0], image)
    np.savez(tmp_path / "blobs.npz", **blobs)

    command = [PEER, "-c", SCRIPT, str(tmp_path / "blobs.npz"), str(tmp_path / "pixels.npz")]
    subprocess.run(command, check=True, timeout=100)

    with np.load(tmp_path / "pixels.npz") as found:
        assert found.files, "neither dectris-compression nor bitshuffle is installed there"
        for name in found.files:
            image = expected[name.split(" ", 1)[1]]
            assert_array_equal(found[name], image.reshape(-1), err_msg=name)
