"""Receiver, codec and sender of detector_dectris, in Rust.  Private: use the package's names."""
