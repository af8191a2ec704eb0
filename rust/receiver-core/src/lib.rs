//! What native receivers of detectors have in common: everything that knows of no protocol.
//!
//! * [`Cast`]: the types that pixels are decoded into.
//! * [`FrameLedger`]: which frames of an acquisition have arrived.
//! * [`Ended`], [`Status`], [`Cause`], [`Gap`], [`Counters`]: what a receiver tells of its acquisitions.
//! * [`Receiver`]: the owner's handle of a receiving thread, and [`Shared`], the thread's side of it.
//! * [`Waker`]: wakes a thread from whatever it waits for.
//!
//! Protocols, and the threads that speak them, live in the cores of the detector packages.

mod clock;
mod ledger;
mod pixel;
mod receiver;
mod verdict;
mod waker;

pub use clock::{default_stall, monotonic_s};
pub use ledger::{FrameLedger, Placement};
pub use pixel::Cast;
pub use receiver::{Order, Receiver, Shared};
pub use verdict::{Cause, Counters, Ended, Gap, Status};
pub use waker::Waker;
