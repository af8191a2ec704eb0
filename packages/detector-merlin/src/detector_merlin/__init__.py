"""detector_merlin."""
