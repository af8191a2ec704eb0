//! What can go wrong with a ring, by name.

use std::io;

/// Why a call on a ring failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// No slot became free in time, or at once where the policy is to drop.
    #[error("all slots of the ring are taken; consume faster, or make the ring larger")]
    Full,
    /// The owner closed the ring, or this side closed its end.
    #[error("the ring is closed")]
    Closed,
    /// The owner's process is gone without having closed the ring.
    #[error("the owner of the ring is gone without having closed it; attach to a new ring")]
    OwnerLost,
    /// The owner detached this consumer; the ring goes on without it.
    #[error("the owner detached this consumer from the ring; attach again")]
    Detached,
    /// The ring belongs to another process: this one was forked from it.
    #[error("the ring was opened before this process was forked; attach again in the child")]
    Forked,
    /// The stack does not fit into a slot.
    #[error("a stack of {data_len} bytes and {n_meta} meta values does not fit a slot of {slot_bytes} bytes")]
    TooLarge {
        /// Bytes of data.
        data_len: usize,
        /// Number of meta values, 8 bytes each, stored behind the data on a 64-byte boundary.
        n_meta: usize,
        /// Bytes that a slot has.
        slot_bytes: usize,
    },
    /// The ring can't be made with these numbers.
    #[error("ring configuration: {0}")]
    Config(String),
    /// The machine or the control group does not have the memory.
    #[error("a ring of {wanted} bytes needs more memory than the {available} bytes available; {hint}")]
    OutOfMemory {
        /// Bytes asked for.
        wanted: u64,
        /// Bytes that may be had.
        available: u64,
        /// What to do.
        hint: &'static str,
    },
    /// 64 consumers are attached, or were detached and still hold slots.
    #[error("the ring has its {0} consumers; detach one first")]
    TooManyConsumers(usize),
    /// The other end speaks another layout, or not ours at all.
    #[error("incompatible ring: {0}")]
    Incompatible(String),
    /// The operating system refused.
    #[error("{what}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl RingError {
    /// Name what was tried when the system refused.
    pub(crate) fn os(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Os {
            what,
            source: errno.into(),
        }
    }
}
