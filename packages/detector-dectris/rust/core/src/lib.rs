//! The core of detector-dectris: what DECTRIS detectors send, without Python and without sockets.
//!
//! - [`codec`]: pixels from compressed images.
//!
//! Format: "SIMPLON API reference" 1.8 (DECTRIS), stream interfaces V1 and V2; the containers are those
//! of the HDF5 filters 32008 (bitshuffle) and 32004 (LZ4).

pub mod codec;
