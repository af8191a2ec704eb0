"""Run by an interpreter with RosettaSciIO: open files by the source "rosettasciio", print what was read."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from arraystream import FeedEnd, SourceError, load_plugin, open_decoder

open_rosettasciio = load_plugin("arraystream.sources", "rosettasciio")


def write_hspy(path: Path, data: np.ndarray) -> None:
    """Write a HyperSpy file with calibrated axes."""
    from rsciio.hspy import file_writer

    axes = [
        {
            "_type": "UniformDataAxis",
            "name": name,
            "units": "nm" if navigate else "1/nm",
            "scale": 0.5,
            "offset": 1.0,
            "size": extent,
            "navigate": navigate,
            "index_in_array": number,
            "is_binned": False,
        }
        for number, (name, extent, navigate) in enumerate(
            zip(("y", "x", "ky", "kx"), data.shape, (True, True, False, False), strict=True)
        )
    ]
    signal = {
        "data": data,
        "axes": axes,
        "metadata": {"General": {"title": "scan"}, "Signal": {"signal_type": ""}},
        "original_metadata": {},
        "attributes": {"_lazy": False, "ragged": False},
        "package_info": {"package": "test", "package_version": "0"},
        "learning_results": {},
        "tmp_parameters": {},
        "models": {},
    }
    file_writer(str(path), signal)


def facts(source) -> dict[str, object]:
    """Read all items of a source."""
    feed = source.feed()
    decoder, shape = open_decoder(feed.descriptor), feed.descriptor.item_shape
    total, weighted, member = 0.0, 0.0, feed.join()
    for chunk in iter(lambda: member.recv(5), FeedEnd()):
        out = np.empty((chunk.n, *shape), "f8")
        decoder.decode(chunk.payload, chunk.offsets, (0, shape[0]), out)
        sums = out.sum(axis=(1, 2))
        total += sums.sum()
        weighted += (sums * np.arange(chunk.first, chunk.first + chunk.n)).sum()
    feed.close()
    return {
        "index_shape": source.index_shape,
        "item_shape": shape,
        "reader": type(source._reader).__name__,
        "total": total,
        "weighted": weighted,
        "axes": source.descriptor.meta.get("axes", ()),
    }


def main() -> None:
    """Read a HyperSpy file made here, and the Merlin file named on the command line."""
    folder = Path(sys.argv[1])
    data = np.arange(4 * 5 * 6 * 7, dtype="u2").reshape(4, 5, 6, 7)
    write_hspy(folder / "scan.hspy", data)
    found = {"hspy": facts(open_rosettasciio(folder / "scan.hspy"))}
    if len(sys.argv) > 2:
        found["merlin"] = facts(open_rosettasciio(sys.argv[2]))
    (folder / "scan.unknown").write_text("nothing")
    (folder / "bad.hspy").write_text("nothing")
    for name in ("scan.unknown", "bad.hspy"):
        try:
            open_rosettasciio(folder / name)
        except (SourceError, OSError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(found))


if __name__ == "__main__":
    main()
