//! The atomics that the queues are made of: the standard ones, or loom's when a model checks them.
//!
//! Shared memory is read and written through these alone.

#[cfg(all(loom, test))]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(all(loom, test)))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};
