"""The package is an honest shell: it imports, and names nothing yet."""

import detector_dectris


def test_importing_gives_no_public_name() -> None:
    assert detector_dectris.__all__ == []
