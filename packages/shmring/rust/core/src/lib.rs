//! A shared-memory ring that hands stacks of bytes from one writer to many workers.
//!
//! The *owner* creates a [`Ring`] of equal slots, writes into a slot in place through a
//! [`SlotWriter`] and commits it.  A *consumer*, in this or in any other process, needs nothing but
//! the file descriptor that [`Ring::attach`] made for it; it maps the slots read-only and gets each
//! stack as a [`StackLease`], which gives the slot back when it is dropped.
//!
//! What always holds:
//!
//! * All bookkeeping is private to the owner.  Shared memory carries only two queues per consumer,
//!   so a consumer that dies or writes nonsense harms nobody but itself.
//! * `free + writing + lent + settled + quarantined == n_slots`.
//! * A slot is written again only when nobody can read it any more.
//! * What a consumer held when it died, and had not settled, goes to another one.
//!
//! ```
//! use shmring_core::{Consumer, Received, Ring, RingConfig, StackInfo};
//! use std::time::Duration;
//!
//! let ring = Ring::create(RingConfig::new(4096, 4))?;
//! let (_id, fd) = ring.attach(7)?;
//! let consumer = Consumer::from_fd(fd)?;
//!
//! let mut writer = ring.reserve(Duration::from_secs(1))?;
//! writer.bytes_mut()[..5].copy_from_slice(b"hello");
//! writer.commit(StackInfo { tag: 7, item_first: 0, n_items: 1, data_len: 5, meta: &[0], flags: 0 })?;
//!
//! let Some(Received::Stack(stack)) = consumer.recv(Duration::from_secs(1))? else { panic!("no stack") };
//! assert_eq!(stack.bytes(), b"hello");
//! # Ok::<(), shmring_core::RingError>(())
//! ```

#[cfg(not(target_os = "linux"))]
compile_error!("shmring needs Linux: memfd, eventfd and pidfd");
#[cfg(target_endian = "big")]
compile_error!("shmring's layout is little-endian");

mod atomics;
mod layout;
mod spsc;

#[cfg(not(loom))]
mod config;
#[cfg(not(loom))]
mod consumer;
#[cfg(not(loom))]
mod delivery;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod housekeeping;
#[cfg(not(loom))]
mod ledger;
#[cfg(not(loom))]
mod mem;
#[cfg(not(loom))]
mod peer;
#[cfg(not(loom))]
mod ring;
#[cfg(not(loom))]
mod stats;
#[cfg(not(loom))]
mod wire;

#[cfg(not(loom))]
pub use config::{Broadcast, FullPolicy, RingConfig};
#[cfg(not(loom))]
pub use consumer::{Consumer, Received, StackLease};
#[cfg(not(loom))]
pub use error::RingError;
#[cfg(not(loom))]
pub use layout::{FLAG_BROADCAST_ONLY, LAYOUT_HASH, LAYOUT_VERSION};
#[cfg(not(loom))]
pub use ledger::Lease;
#[cfg(not(loom))]
pub use ring::{ConsumerId, KeepMapped, Ring, SlotWriter, StackInfo};
#[cfg(not(loom))]
pub use stats::{ConsumerStats, RingEvent, RingStats};
