"""livestem."""
