//! The core of detector-dectris: what DECTRIS detectors send, without Python.
//!
//! - [`codec`]: pixels from compressed images.
//! - [`sender`]: what a simulated detector sends with.
//!
//! Format: "SIMPLON API reference" 1.8 (DECTRIS), stream interfaces V1 and V2; the containers are those
//! of the HDF5 filters 32008 (bitshuffle) and 32004 (LZ4).

pub mod codec;
pub mod sender;
