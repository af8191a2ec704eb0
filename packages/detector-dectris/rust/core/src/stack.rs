//! The stack that is being received: frame records in a slot of the ring.
//!
//! A record is `u32 n_blobs, u32 0, n_blobs x u64 length`, then the blobs as the wire had them, each at
//! the next multiple of 8 bytes; little-endian.  Two slots are held, the current one and a spare, so
//! that a stack can always be handed over at once: waiting for a slot happens in one place,
//! [`Stack::get_slots`], between messages.

use std::time::{Duration, Instant};

use shmring_core::{Ring, RingError, SlotWriter, StackInfo};

/// What a stack needs beside its data, rounded up: alignment of the offsets, and two of them.
const META_MARGIN: usize = 128;
const OFFSET_BYTES: usize = size_of::<u64>();
const ALIGNMENT: usize = 8;

/// Bytes of the record of a frame with these blobs.
pub(crate) fn record_bytes(blobs: &[&[u8]]) -> usize {
    let head = ALIGNMENT * (1 + blobs.len());
    blobs
        .iter()
        .fold(head, |at, blob| at.next_multiple_of(ALIGNMENT) + blob.len())
}

/// Write the record of a frame; `place` has [`record_bytes`].
fn write_record(place: &mut [u8], blobs: &[&[u8]]) -> Option<()> {
    let (count, rest) = place.split_first_chunk_mut::<8>()?;
    *count = (blobs.len() as u64).to_le_bytes();
    let (lengths, mut rest) = rest.split_at_mut_checked(ALIGNMENT * blobs.len())?;
    for (blob, length) in blobs.iter().zip(lengths.as_chunks_mut::<8>().0) {
        *length = (blob.len() as u64).to_le_bytes();
        let (pixels, behind) = rest.split_at_mut_checked(blob.len())?;
        pixels.copy_from_slice(blob);
        let padding = blob.len().next_multiple_of(ALIGNMENT) - blob.len();
        rest = behind.get_mut(padding.min(behind.len())..)?;
    }
    Some(())
}

/// Fills slots with stacks.
pub(crate) struct Stack {
    ring: Ring,
    current: Option<SlotWriter>,
    spare: Option<SlotWriter>,
    /// Bytes up to here have been filled.
    filled: usize,
    acquisition: u64,
    first: u64,
    offsets: Vec<u64>,
    begun: Option<Instant>,
}

impl Stack {
    pub(crate) fn new(ring: Ring) -> Self {
        Self {
            ring,
            current: None,
            spare: None,
            filled: 0,
            acquisition: 0,
            first: 0,
            offsets: Vec::new(),
            begun: None,
        }
    }

    /// Largest record that fits into a slot together with its offset.
    pub(crate) fn largest_record(ring: &Ring) -> usize {
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
        Ok(true)
    }

    /// Whether both slots are there.
    pub(crate) fn has_slots(&self) -> bool {
        self.current.is_some() && self.spare.is_some()
    }

    /// Whether a frame can join the stack; if not, hand the stack over first.
    pub(crate) fn can_take(&self, acquisition: u64, index: u64, blobs: &[&[u8]]) -> bool {
        let n = self.offsets.len();
        if n == 0 {
            return true;
        }
        let is_next = self.acquisition == acquisition && self.first + n as u64 == index;
        let needed = self.filled + record_bytes(blobs) + n * OFFSET_BYTES + META_MARGIN;
        is_next && needed <= self.ring.slot_bytes()
    }

    /// Copy a frame into the stack.
    pub(crate) fn take(&mut self, acquisition: u64, index: u64, blobs: &[&[u8]], now: Instant) {
        if self.offsets.is_empty() {
            self.acquisition = acquisition;
            self.first = index;
            self.begun = Some(now);
        }
        let stop = self.filled + record_bytes(blobs);
        let written = self
            .current
            .as_mut()
            .and_then(|slot| slot.bytes_mut().get_mut(self.filled..stop))
            .and_then(|place| write_record(place, blobs));
        if written.is_some() {
            self.offsets.push(self.filled as u64);
            self.filled = stop.next_multiple_of(ALIGNMENT);
        }
    }

    /// When the stack's first frame came.
    pub(crate) fn begun(&self) -> Option<Instant> {
        self.begun
    }

    /// Hand the stack over, if there is any.
    pub(crate) fn commit(&mut self) -> Result<(), RingError> {
        if self.offsets.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.current, self.spare.take());
        let data_len = std::mem::take(&mut self.filled);
        self.begun = None;
        let result = full.map_or(Ok(()), |slot| {
            let data_len = data_len.min(slot.slot_bytes());
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_holds_its_blobs_each_at_a_multiple_of_eight() {
        let blobs: [&[u8]; 3] = [b"abc", b"", b"0123456789"];
        let mut place = vec![0xaa; record_bytes(&blobs)];
        write_record(&mut place, &blobs).unwrap();
        let word = |at: usize| u64::from_le_bytes(place[at..at + 8].try_into().unwrap());
        assert_eq!([word(0), word(8), word(16), word(24)], [3, 3, 0, 10]);
        assert_eq!((&place[32..35], &place[40..]), (&b"abc"[..], &b"0123456789"[..]));
        assert_eq!(place.len(), 50);
    }

    #[test]
    fn a_place_too_small_is_not_written_beyond() {
        let blobs: [&[u8]; 1] = [b"0123456789"];
        for length in 0..record_bytes(&blobs) {
            assert_eq!(write_record(&mut vec![0; length], &blobs), None);
        }
    }
}
