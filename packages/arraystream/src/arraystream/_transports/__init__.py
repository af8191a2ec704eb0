"""The transports that come with the package; found by name through their entry points."""
