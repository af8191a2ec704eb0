//! The stack that is being received: bytes as they come, in a slot of the ring, and where frames are.
//!
//! Two slots are held: the current one and a spare, so that a stack can always be handed over at
//! once; bytes of an unfinished message move to the next slot.  Waiting for a slot happens in one
//! place, [`Filler::get_slots`], when no frame is in between.

use std::time::{Duration, Instant};

use shmring_core::{Ring, RingError, SlotWriter, StackInfo};

/// What a stack needs beside its data, rounded up: alignment of the offsets, and two of them.
const META_MARGIN: usize = 128;
const OFFSET_BYTES: usize = size_of::<u64>();

/// Fills slots with stacks.
pub(crate) struct Filler {
    ring: Ring,
    current: Option<SlotWriter>,
    spare: Option<SlotWriter>,
    /// Bytes of an unfinished message, while there is no slot for them.
    carried: Vec<u8>,
    /// Bytes up to here are done with.
    front: usize,
    /// Bytes up to here have been received.
    filled: usize,
    acquisition: u64,
    first: u64,
    offsets: Vec<u64>,
    begun: Option<Instant>,
}

impl Filler {
    pub(crate) fn new(ring: Ring) -> Self {
        Self {
            ring,
            current: None,
            spare: None,
            carried: Vec::new(),
            front: 0,
            filled: 0,
            acquisition: 0,
            first: 0,
            offsets: Vec::new(),
            begun: None,
        }
    }

    /// Largest message that fits into a slot together with its offset.
    pub(crate) fn largest_message(ring: &Ring) -> usize {
        ring.slot_bytes().saturating_sub(META_MARGIN)
    }

    /// Try to have a current and a spare slot; `false` if the ring stayed full for `timeout`.
    pub(crate) fn get_slots(&mut self, timeout: Duration) -> Result<bool, RingError> {
        for slot in [&mut self.current, &mut self.spare] {
            if slot.is_none() {
                match self.ring.reserve(timeout) {
                    Ok(writer) => *slot = Some(writer),
                    Err(RingError::Full) => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
        }
        if !self.carried.is_empty()
            && let Some(current) = &mut self.current
        {
            let carried = std::mem::take(&mut self.carried);
            if let Some(place) = current.bytes_mut().get_mut(..carried.len()) {
                place.copy_from_slice(&carried);
                self.filled = carried.len();
            }
        }
        Ok(true)
    }

    /// Whether both slots are there.
    pub(crate) fn has_slots(&self) -> bool {
        self.current.is_some() && self.spare.is_some()
    }

    /// Received bytes that are not done with.
    pub(crate) fn bytes(&mut self) -> &[u8] {
        let range = self.front..self.filled;
        self.current
            .as_mut()
            .and_then(|slot| slot.bytes_mut().get(range))
            .unwrap_or_default()
    }

    /// Be done with some bytes.
    pub(crate) fn skip(&mut self, n: usize) {
        self.front = (self.front + n).min(self.filled);
        if self.offsets.is_empty() && self.front == self.filled {
            self.front = 0;
            self.filled = 0;
        }
    }

    /// Whether a frame can join the stack; if not, hand the stack over first.
    pub(crate) fn can_take(&self, acquisition: u64, index: u64, message_bytes: usize) -> bool {
        let n = self.offsets.len();
        if n == 0 {
            return true;
        }
        let is_next = self.acquisition == acquisition && self.first + n as u64 == index;
        let needed = self.front + message_bytes + n * OFFSET_BYTES + META_MARGIN;
        is_next && needed <= self.ring.slot_bytes()
    }

    /// Take the frame at the front into the stack.
    pub(crate) fn take(
        &mut self,
        acquisition: u64,
        index: u64,
        message_bytes: usize,
        payload_offset: usize,
        now: Instant,
    ) {
        if self.offsets.is_empty() {
            self.acquisition = acquisition;
            self.first = index;
            self.begun = Some(now);
        }
        self.offsets.push((self.front + payload_offset) as u64);
        self.front = (self.front + message_bytes).min(self.filled);
    }

    /// When the stack's first frame came.
    pub(crate) fn begun(&self) -> Option<Instant> {
        self.begun
    }

    /// Hand the stack over, if there is any; the bytes behind it move to the front of the next slot.
    pub(crate) fn commit(&mut self) -> Result<(), RingError> {
        if self.offsets.is_empty() {
            self.compact();
            return Ok(());
        }
        let rest = self.bytes().len();
        let mut next = self.spare.take();
        let place = next.as_mut().and_then(|slot| slot.bytes_mut().get_mut(..rest));
        match place {
            Some(place) => place.copy_from_slice(
                self.current
                    .as_mut()
                    .and_then(|slot| slot.bytes_mut().get(self.front..self.filled))
                    .unwrap_or_default(),
            ),
            None => self.carried = self.bytes().to_vec(),
        }
        let data_len = self.front;
        self.filled = if next.is_some() { rest } else { 0 };
        self.front = 0;
        self.begun = None;
        let full = std::mem::replace(&mut self.current, next);
        let result = full.map_or(Ok(()), |slot| {
            slot.commit(StackInfo {
                tag: self.acquisition,
                item_first: self.first,
                n_items: self.offsets.len() as u32,
                data_len,
                meta: &self.offsets,
                flags: 0,
            })
        });
        self.offsets.clear();
        result
    }

    /// Move the unfinished message to the front of the slot, when there is no frame before it.
    fn compact(&mut self) {
        if let Some(slot) = &mut self.current
            && self.front > 0
        {
            slot.bytes_mut().copy_within(self.front..self.filled, 0);
            self.filled -= self.front;
            self.front = 0;
        }
    }

    /// Forget the unfinished message: the connection is gone.
    pub(crate) fn forget_rest(&mut self) {
        self.carried.clear();
        self.filled = self.front;
        self.skip(0);
    }

    /// Where to receive, so that the slot ends with a whole message.
    ///
    /// `needed` bytes make the message at the front whole.  If messages have a known size, as many of
    /// them as fit are received at once, but no more than `remaining`.  `None` if the slot is full.
    pub(crate) fn room(
        &mut self,
        needed: usize,
        message_bytes: Option<usize>,
        remaining: Option<u64>,
    ) -> Option<&mut [u8]> {
        /// While nothing is known of what comes.
        const UNKNOWN: usize = 64 << 10;
        let largest = Self::largest_message(&self.ring);
        let stop = match message_bytes {
            Some(size) if size > 0 => {
                let margin = OFFSET_BYTES * (1 + largest / size);
                let capacity = largest.saturating_sub(margin).max(size.min(largest));
                let fitting = capacity.saturating_sub(self.front) / size;
                let wanted = usize::try_from(remaining.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
                let stop = self.front + fitting.min(wanted) * size;
                if fitting == 0 && self.front > 0 {
                    return None;
                }
                stop.max(self.front + needed)
            }
            _ => (self.filled + UNKNOWN).min(largest).max(self.front + needed),
        };
        if stop > largest || stop <= self.filled {
            return None;
        }
        let range = self.filled..stop;
        self.current.as_mut()?.bytes_mut().get_mut(range)
    }

    /// Note that so many bytes were received into the room.
    pub(crate) fn received(&mut self, n: usize) {
        self.filled += n;
    }
}
