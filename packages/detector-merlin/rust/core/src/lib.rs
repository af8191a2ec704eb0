//! Quantum Detectors Merlin / MerlinEM (Medipix3RX): from bytes on the wire to pixels.
//!
//! * [`header`]: the three kinds of text on the data channel, parsed without trusting them.
//! * [`format`]: what one frame looks like, encoded and decoded.
//! * [`codec`]: pixels from encoded bytes, a band of rows at a time, cast on the way.
//! * [`mib`]: where the frames of a file are.
//! * [`assembler`]: from a stream of bytes to acquisitions and their frames, sans I/O.
//! * [`receiver`]: the thread that receives into the slots of a ring.
//!
//! Nothing in here knows of Python.  Bytes follow the MerlinEM network protocol as recorded from
//! real detectors; where a fact is undocumented the comment says so.

#![forbid(unsafe_op_in_unsafe_fn)]

pub mod assembler;
pub mod codec;
pub mod event;
pub mod format;
mod frame_ledger;
pub mod header;
pub mod mib;
pub mod receiver;
mod socket;
mod stack;
