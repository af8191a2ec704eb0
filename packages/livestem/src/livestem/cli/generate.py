"""``livestem generate``: a synthetic scan with a known answer."""
