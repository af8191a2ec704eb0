//! The owner's face: make a ring, fill slots, admit consumers.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::PidfdFlags;

use crate::config::{Broadcast, FullPolicy, RingConfig, check_memory};
use crate::delivery::State;
use crate::error::RingError;
use crate::housekeeping::Housekeeper;
use crate::layout::{self, Descriptor, KIND_STACK};
use crate::ledger::{Lease, MAX_CONSUMERS};
use crate::mem::{self, ClaimedSlot, Control, OwnerData};
use crate::peer::{Delivery, NewPeer, Peer};
use crate::stats::{RingEvent, RingStats};
use crate::wire::{self, Bell, Kind, Message};

/// Names a consumer of one ring; never used twice.
pub type ConsumerId = u32;

/// What a stack is, said at commit.
#[derive(Clone, Copy, Debug)]
pub struct StackInfo<'a> {
    /// Whom it is for: the consumers attached to this tag.
    pub tag: u64,
    /// Index of the first item.
    pub item_first: u64,
    /// Number of items.
    pub n_items: u32,
    /// Bytes of data from the start of the slot.
    pub data_len: usize,
    /// Numbers that travel with the data, e.g. where each item starts; stored behind the data on
    /// the next 64-byte boundary.
    pub meta: &'a [u64],
    /// [`FLAG_BROADCAST_ONLY`](crate::FLAG_BROADCAST_ONLY) or 0; other bits are for the users.
    pub flags: u16,
}

/// What all parts of the owner share.
pub(crate) struct Shared {
    state: Mutex<State>,
    slot_freed: Condvar,
    /// Wakes the housekeeper for a closing ring.
    pub(crate) bell: Bell,
    pub(crate) epoll: OwnedFd,
    data: Arc<OwnerData>,
    config: RingConfig,
    uuid: [u8; 16],
    /// The process that made the ring; in a forked child everything is inert.
    pid: u32,
}

impl Shared {
    pub(crate) fn is_forked(&self) -> bool {
        mem::current_pid() != self.pid
    }

    /// Lock the state, which no other process ever does; `Forked` in a child.
    fn state(&self) -> Result<MutexGuard<'_, State>, RingError> {
        if self.is_forked() {
            return Err(RingError::Forked);
        }
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Do something with the state, then wake those who wait for a slot if there is one.
    pub(crate) fn with_state<T>(&self, act: impl FnOnce(&mut State) -> T) -> Result<T, RingError> {
        let mut state = self.state()?;
        let result = act(&mut state);
        if state.n_waiting > 0 && (state.ledger.has_free() || state.closed) {
            self.slot_freed.notify_all();
        }
        Ok(result)
    }

    /// Close for all consumers and all waiting threads.
    fn close(&self) {
        let _ = self.with_state(|state| {
            if !std::mem::replace(&mut state.closed, true) {
                state.dismiss_all(Kind::Closed);
            }
        });
    }
}

struct Owner {
    shared: Arc<Shared>,
    housekeeper: Mutex<Option<Housekeeper>>,
}

impl Owner {
    fn close(&self) {
        let mut housekeeper = self.housekeeper.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.close();
        self.shared.bell.ring();
        if let Some(housekeeper) = housekeeper.take() {
            housekeeper.join();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.shared.is_forked() {
            // The thread is the parent's.
            let housekeeper = self.housekeeper.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(housekeeper.take());
        } else {
            self.close();
        }
    }
}

/// The owner of a ring.  Clones are the same ring; the last one dropped closes it.
///
/// Thread-safe.  In a child forked from the owner's process all calls fail with
/// [`RingError::Forked`], or do nothing where they return no result.
#[derive(Clone)]
pub struct Ring(Arc<Owner>);

impl Ring {
    /// Make a ring: its memory exists from now on, no access to it can fail later.
    ///
    /// # Errors
    ///
    /// [`RingError::Config`] if the numbers make no ring, [`RingError::OutOfMemory`] if the memory is
    /// not there, [`RingError::Os`] if the system refuses otherwise.
    pub fn create(config: RingConfig) -> Result<Self, RingError> {
        let config = config.checked()?;
        check_memory(config.slot_bytes as u64 * u64::from(config.n_slots))?;
        let data = OwnerData::create(config.slot_bytes, config.n_slots, config.prefault)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(config.n_slots, config.slot_bytes)),
            slot_freed: Condvar::new(),
            bell: Bell::new()?,
            epoll: Housekeeper::new_epoll()?,
            data: Arc::new(data),
            config,
            uuid: mem::random_uuid()?,
            pid: mem::current_pid(),
        });
        let housekeeper = Housekeeper::start(Arc::clone(&shared))?;
        Ok(Self(Arc::new(Owner {
            shared,
            housekeeper: Mutex::new(Some(housekeeper)),
        })))
    }

    /// Bytes of one slot.
    #[must_use]
    pub fn slot_bytes(&self) -> usize {
        self.0.shared.config.slot_bytes
    }

    /// Number of slots.
    #[must_use]
    pub fn n_slots(&self) -> u32 {
        self.0.shared.config.n_slots
    }

    /// Names the ring among all rings.
    #[must_use]
    pub fn uuid(&self) -> [u8; 16] {
        self.0.shared.uuid
    }

    /// Take a free slot for writing; the one used last, which is still in the caches.
    ///
    /// Under [`FullPolicy::Block`] waits up to `timeout`, under [`FullPolicy::DropNewest`] not at all.
    ///
    /// # Errors
    ///
    /// [`RingError::Full`] if no slot is free, [`RingError::Closed`], [`RingError::Forked`].
    pub fn reserve(&self, timeout: Duration) -> Result<SlotWriter, RingError> {
        let shared = &self.0.shared;
        let mut state = shared.state()?;
        if state.closed {
            return Err(RingError::Closed);
        }
        state.collect();
        if let Some(lease) = state.ledger.reserve() {
            return self.writer(&mut state, lease);
        }
        if shared.config.full == FullPolicy::DropNewest {
            state.count_dropped();
            return Err(RingError::Full);
        }
        let start = Instant::now();
        state.n_waiting += 1;
        let outcome = loop {
            if state.closed {
                break Err(RingError::Closed);
            }
            // Also asks the consumers to wake the housekeeper, and looks again after asking.
            state.turn();
            if let Some(lease) = state.ledger.reserve() {
                break Ok(lease);
            }
            let Some(left) = timeout
                .checked_sub(start.elapsed())
                .filter(|left| !left.is_zero())
            else {
                break Err(RingError::Full);
            };
            let waited = shared.slot_freed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        state.n_waiting -= 1;
        state.count_wait(start.elapsed());
        self.writer(&mut state, outcome?)
    }

    fn writer(&self, state: &mut State, lease: Lease) -> Result<SlotWriter, RingError> {
        let shared = &self.0.shared;
        match shared.data.claim(lease.slot) {
            Some(slot) => Ok(SlotWriter {
                shared: Arc::clone(shared),
                lease,
                slot: Some(slot),
            }),
            None => {
                // Can't happen while the ledger is right; do not write where somebody writes.
                state.ledger.discard(lease);
                Err(RingError::Incompatible(format!(
                    "slot {} is being written already",
                    lease.slot
                )))
            }
        }
    }

    /// Admit a consumer that shares the stacks of `tag` with the other consumers of that tag.
    ///
    /// The file descriptor is all it needs, in this or in any other process of the machine; stacks
    /// are sent once it has been opened with [`Consumer::from_fd`](crate::Consumer::from_fd).  If it
    /// is dropped instead, the consumer has left.
    ///
    /// # Errors
    ///
    /// [`RingError::TooManyConsumers`], [`RingError::Closed`], [`RingError::Forked`], or
    /// [`RingError::Os`] if memory or file descriptors run out.
    pub fn attach(&self, tag: u64) -> Result<(ConsumerId, OwnedFd), RingError> {
        self.invite(Some(tag), Delivery::Shared, self.0.shared.config.queue_depth)
    }

    /// Admit a consumer that gets each stack committed from now on: those of a tag, or all.
    ///
    /// # Errors
    ///
    /// As [`attach`](Self::attach).
    pub fn attach_broadcast(
        &self,
        tag: Option<u64>,
        broadcast: Broadcast,
    ) -> Result<(ConsumerId, OwnedFd), RingError> {
        let depth = match broadcast {
            Broadcast::Lossless => self.0.shared.config.queue_depth,
            Broadcast::Latest { depth } => depth.clamp(1, RingConfig::MAX_QUEUE_DEPTH),
        };
        self.invite(tag, Delivery::Broadcast(broadcast), depth)
    }

    fn invite(
        &self,
        tag: Option<u64>,
        delivery: Delivery,
        depth: u32,
    ) -> Result<(ConsumerId, OwnedFd), RingError> {
        let shared = &self.0.shared;
        let tx_capacity = layout::tx_capacity(depth);
        let ret_capacity = layout::ret_capacity(shared.config.n_slots);
        let (control, control_fd) = Control::create(layout::control_words(tx_capacity, ret_capacity))?;
        let (socket, other) = wire::socket_pair()?;
        let (bell, owner_bell) = (Bell::new()?, Bell::new()?);
        let pidfd = own_pidfd();

        let mut state = shared.state()?;
        if state.closed {
            return Err(RingError::Closed);
        }
        let (id, bit) = state
            .next_consumer()
            .ok_or(RingError::TooManyConsumers(MAX_CONSUMERS))?;
        let hello = Message {
            kind: Kind::Hello,
            uuid: shared.uuid,
            slot_bytes: shared.config.slot_bytes as u64,
            n_slots: shared.config.n_slots,
            tx_capacity: tx_capacity as u32,
            pid: shared.pid,
            consumer: id,
        };
        let mut fds = vec![
            shared.data.fd().as_fd(),
            control_fd.as_fd(),
            owner_bell.as_fd(),
            bell.as_fd(),
        ];
        fds.extend(pidfd.as_ref().map(AsFd::as_fd));
        wire::send(&socket, &hello, &fds)?;
        Housekeeper::watch_consumer(&shared.epoll, id, &socket, &owner_bell)?;
        state.admit(Peer::new(NewPeer {
            bit,
            tag,
            delivery,
            depth,
            ret_capacity,
            bell,
            owner_bell,
            socket,
            control,
            hello,
        }));
        Ok((id, other))
    }

    /// Mark stacks of a consumer as done: they will not be lent again, should it die.
    ///
    /// All or nothing.  `false` if the consumer was taken for dead, left, or was detached: its stacks
    /// went to others and what it made of them must be forgotten.
    #[must_use]
    pub fn settle(&self, consumer: ConsumerId, leases: &[Lease]) -> bool {
        self.0
            .shared
            .with_state(|state| state.settle(consumer, leases))
            .unwrap_or(false)
    }

    /// Tell each consumer of a tag, after the stacks queued so far, that this was all.
    ///
    /// Goes on working for stacks that are lent again; after those the end is repeated.
    pub fn end(&self, tag: u64) {
        let _ = self.0.shared.with_state(|state| state.end(tag));
    }

    /// Discard what waits for a tag, detach its consumers, and discard what is committed for it from
    /// now on, until somebody attaches to it again.
    pub fn drop_tag(&self, tag: u64) {
        let _ = self.0.shared.with_state(|state| state.drop_tag(tag));
    }

    /// Put a consumer out.  Its unsettled stacks go to others; the slots it can still look at are not
    /// written before it has returned them or its process is gone.
    pub fn detach(&self, consumer: ConsumerId) {
        let _ = self.0.shared.with_state(|state| {
            state.collect();
            state.detach(consumer, true);
            state.turn();
        });
    }

    /// The numbers now; all zero in a forked child.
    #[must_use]
    pub fn stats(&self) -> RingStats {
        self.0.shared.with_state(State::stats).unwrap_or_default()
    }

    /// What happened to consumers since the last call; only the newest 256 are kept.
    #[must_use]
    pub fn take_events(&self) -> Vec<RingEvent> {
        self.0.shared.with_state(State::take_events).unwrap_or_default()
    }

    /// Close the ring: consumers get what is in their queues and then `Closed`; `reserve` and
    /// `commit` fail.  Stacks that consumers hold stay readable.  Idempotent.
    pub fn close(&self) {
        if !self.0.shared.is_forked() {
            self.0.close();
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (n_slots, slot_bytes) = (self.n_slots(), self.slot_bytes());
        f.debug_struct("Ring")
            .field("n_slots", &n_slots)
            .field("slot_bytes", &slot_bytes)
            .finish()
    }
}

/// A handle that tells others when this process dies; `None` where the kernel has no such thing.
pub(crate) fn own_pidfd() -> Option<OwnedFd> {
    rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).ok()
}

/// While this lives, the owner's memory stays mapped, even if the ring is closed and dropped.
pub struct KeepMapped {
    _data: Arc<OwnerData>,
}

/// The right to write one slot.  Dropped without [`commit`](Self::commit), the slot is free again.
pub struct SlotWriter {
    shared: Arc<Shared>,
    lease: Lease,
    slot: Option<ClaimedSlot>,
}

impl SlotWriter {
    /// The slot's bytes, whatever was written into it last.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.slot.as_mut().map_or(&mut [], ClaimedSlot::bytes_mut)
    }

    /// Bytes of the slot; data and meta must fit in.
    #[must_use]
    pub fn slot_bytes(&self) -> usize {
        self.slot.as_ref().map_or(0, ClaimedSlot::len)
    }

    /// Keep the ring's memory mapped for pointers into the slot that outlive this writer.
    #[must_use]
    pub fn keep_mapped(&self) -> KeepMapped {
        KeepMapped {
            _data: Arc::clone(&self.shared.data),
        }
    }

    /// Names the slot as it is filled now.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.lease
    }

    /// Hand the stack to the consumers of its tag; without one that has room it waits in the ring.
    ///
    /// # Errors
    ///
    /// [`RingError::TooLarge`] if data and meta do not fit the slot, [`RingError::Closed`],
    /// [`RingError::Forked`].  The slot is free again then.
    pub fn commit(mut self, info: StackInfo<'_>) -> Result<(), RingError> {
        self.write_meta(info.data_len, info.meta)?;
        let descriptor = Descriptor {
            seq: 0,
            slot: self.lease.slot,
            generation: self.lease.generation,
            item_first: info.item_first,
            tag: info.tag,
            data_len: info.data_len as u64,
            n_items: info.n_items,
            n_meta: info.meta.len() as u32,
            kind: KIND_STACK,
            flags: info.flags,
            attempt: 0,
            skipped: 0,
        };
        let lease = self.lease;
        let committed = self.shared.with_state(|state| {
            if state.closed {
                return Err(RingError::Closed);
            }
            // Not to be written by us any more, before anybody can read it.
            drop(self.slot.take());
            state.commit(lease, descriptor);
            Ok(())
        });
        committed?
    }

    fn write_meta(&mut self, data_len: usize, meta: &[u64]) -> Result<(), RingError> {
        let slot_bytes = self.slot_bytes();
        let too_large = || RingError::TooLarge {
            data_len,
            n_meta: meta.len(),
            slot_bytes,
        };
        let end = layout::stack_bytes(data_len, meta.len())
            .filter(|end| *end <= slot_bytes && u32::try_from(meta.len()).is_ok())
            .ok_or_else(too_large)?;
        if !meta.is_empty() {
            let place = self.bytes_mut().get_mut(layout::meta_offset(data_len)..end);
            let (numbers, _) = place.ok_or_else(too_large)?.as_chunks_mut::<8>();
            numbers
                .iter_mut()
                .zip(meta)
                .for_each(|(to, from)| *to = from.to_le_bytes());
        }
        Ok(())
    }
}

impl Drop for SlotWriter {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take()
            && !self.shared.is_forked()
        {
            drop(slot);
            let _ = self.shared.with_state(|state| {
                state.ledger.discard(self.lease);
                state.count_discarded();
            });
        }
    }
}

impl std::fmt::Debug for SlotWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlotWriter")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}
