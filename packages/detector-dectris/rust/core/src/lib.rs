//! The core of detector-dectris: what DECTRIS detectors send, without Python.
//!
//! - [`stream_v1`], [`stream_v2`]: messages from bytes, without trusting them.
//! - [`announcement`], [`image`]: what a start message and an image say.
//! - [`assembler`]: from messages to acquisitions and their frames, sans I/O.
//! - [`receiver`]: the thread that receives into the slots of a ring.
//! - [`codec`]: pixels from compressed images.
//! - [`sender`]: the socket a simulated detector sends with.
//!
//! Format: "SIMPLON API reference" 1.8 (DECTRIS), stream interfaces V1 and V2; the containers are those
//! of the HDF5 filters 32008 (bitshuffle) and 32004 (LZ4).

pub mod announcement;
pub mod assembler;
mod cbor;
pub mod codec;
pub mod event;
mod gap_pattern;
pub mod image;
mod monitor;
pub mod receiver;
pub mod sender;
mod stack;
pub mod stream_v1;
pub mod stream_v2;
#[cfg(test)]
mod test_messages;
