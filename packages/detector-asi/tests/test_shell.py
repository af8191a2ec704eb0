"""The package is an honest shell: it imports, and registers nothing."""

from importlib.metadata import distribution

import detector_asi


def test_importing_gives_no_public_name() -> None:
    assert detector_asi.__all__ == []


def test_no_plug_in_is_registered() -> None:
    assert list(distribution("detector-asi").entry_points) == []
