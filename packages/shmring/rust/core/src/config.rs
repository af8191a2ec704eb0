//! How a ring is made.

use crate::error::RingError;

/// What `reserve` does when no slot is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FullPolicy {
    /// Wait for a slot, up to the time-out: nothing is lost, the source is held back.
    #[default]
    Block,
    /// Fail at once and count it: the newest data are dropped, the source is never held back.
    DropNewest,
}

/// How a broadcast consumer is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broadcast {
    /// Every stack, in order; a slow consumer holds the ring back.
    Lossless,
    /// The newest `depth` stacks; older ones that it had not taken yet are skipped and counted.
    Latest {
        /// How many stacks wait at most.
        depth: u32,
    },
}

/// Numbers and policies of a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// Bytes of one slot; rounded up to whole pages.
    pub slot_bytes: usize,
    /// Number of slots.
    pub n_slots: u32,
    /// Stacks that wait undelivered in front of one consumer at most.
    pub queue_depth: u32,
    /// What `reserve` does when no slot is free.
    pub full: FullPolicy,
    /// Also make the page tables at creation, not only the memory.
    pub prefault: bool,
}

impl RingConfig {
    /// The usual policies: two stacks in front of each consumer, block when full, pre-faulted.
    #[must_use]
    pub fn new(slot_bytes: usize, n_slots: u32) -> Self {
        Self {
            slot_bytes,
            n_slots,
            queue_depth: 2,
            full: FullPolicy::Block,
            prefault: true,
        }
    }

    /// Largest number of slots.
    pub const MAX_SLOTS: u32 = 1 << 20;
    /// Largest `queue_depth`.
    pub const MAX_QUEUE_DEPTH: u32 = 1 << 12;

    /// Check the numbers and round the slot up to whole pages.
    pub(crate) fn checked(mut self) -> Result<Self, RingError> {
        let bad = |text: String| Err(RingError::Config(text));
        if self.slot_bytes == 0 {
            return bad("slot_bytes is 0; a slot needs at least one byte".into());
        }
        if self.n_slots == 0 || self.n_slots > Self::MAX_SLOTS {
            return bad(format!(
                "n_slots is {}; it must be 1 to {}",
                self.n_slots,
                Self::MAX_SLOTS
            ));
        }
        if self.queue_depth == 0 || self.queue_depth > Self::MAX_QUEUE_DEPTH {
            let (depth, max) = (self.queue_depth, Self::MAX_QUEUE_DEPTH);
            return bad(format!("queue_depth is {depth}; it must be 1 to {max}"));
        }
        let page = rustix::param::page_size();
        let total = self
            .slot_bytes
            .checked_next_multiple_of(page)
            .and_then(|slot| slot.checked_mul(self.n_slots as usize))
            .filter(|total| isize::try_from(*total).is_ok());
        if total.is_none() {
            return bad(format!(
                "{} slots of {} bytes exceed the address space",
                self.n_slots, self.slot_bytes
            ));
        }
        self.slot_bytes = self.slot_bytes.next_multiple_of(page);
        Ok(self)
    }
}

/// What to do when there is not enough memory.
pub(crate) const MEMORY_HINT: &str =
    "use fewer or smaller slots, or raise the memory limit of the container (memory.max) or of the machine";

/// Bytes that this process can still get, as far as the kernel tells.
pub(crate) fn available_memory() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()
            .map(|kib| kib * 1024)
    });
    [machine, control_group_room()].into_iter().flatten().min()
}

/// What the control group (version 2) still allows.
fn control_group_room() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let number = |file: &str| {
        let text = std::fs::read_to_string(format!("/sys/fs/cgroup{path}/{file}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    Some(number("memory.max")?.saturating_sub(number("memory.current")?))
}

/// Refuse now what would get a process killed later.
pub(crate) fn check_memory(wanted: u64) -> Result<(), RingError> {
    match available_memory() {
        Some(available) if wanted > available => Err(RingError::OutOfMemory {
            wanted,
            available,
            hint: MEMORY_HINT,
        }),
        _ => Ok(()),
    }
}
