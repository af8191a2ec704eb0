//! The core of shmring, without Python.
