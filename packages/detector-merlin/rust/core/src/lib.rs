//! The core of detector-merlin, without Python.
