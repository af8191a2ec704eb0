"""The package is an honest shell: it imports, and registers nothing."""

from importlib.metadata import distribution

import detector_dectris


def test_importing_gives_no_public_name() -> None:
    assert detector_dectris.__all__ == []


def test_no_plug_in_is_registered() -> None:
    assert list(distribution("detector-dectris").entry_points) == []
