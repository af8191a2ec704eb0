"""DECTRIS detectors for arraystream.

Nothing is implemented yet: the package holds the name and registers no plug-in.
"""

__all__: list[str] = []
