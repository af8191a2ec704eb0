"""Real files of Merlin detectors, kept outside of the repository because of their licences."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parents[3]
_FOLDER = Path(os.environ.get("LIVESTEM_TEST_DATA", _REPOSITORY.parent / "shared" / "data"))


@pytest.fixture
def vendor_file(tmp_path: Path) -> Callable[[str], Path]:
    """Gives the path of ``"<folder>/<file>"``, unpacked if it is in a zip there; skips if absent."""

    def find(name: str) -> Path:
        folder, _, file = name.partition("/")
        if not (_FOLDER / folder).is_dir():
            pytest.skip(f"real Merlin files are not here: {_FOLDER / folder} (set LIVESTEM_TEST_DATA)")
        path = _FOLDER / folder / file
        if path.exists():
            return path
        for archive in sorted((_FOLDER / folder).glob("*.zip")):
            with zipfile.ZipFile(archive) as members:
                for member in members.namelist():
                    if Path(member).name == file:
                        target = tmp_path / file
                        target.write_bytes(members.read(member))
                        return target
        pytest.skip(f"{file} is not in {_FOLDER / folder}")

    return find
