//! What the Python faces of native receivers have in common: errors, the ring's calls, plain values.
//!
//! The classes themselves stay with each detector, for pyo3 can't make generic ones; their methods call
//! these functions, which release the GIL where they work or wait.

mod errors;
mod receiver;

pub use errors::{ring_error, seconds, stream_error};
pub use receiver::{EventTuple, attach, counters, ended_details, settle};
