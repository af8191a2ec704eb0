"""``livestem demo``: what this is, in under a minute."""
