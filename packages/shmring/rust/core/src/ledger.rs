//! Who holds which slot: a pure state machine, private to the owner.
//!
//! ```text
//! FREE ──reserve──▶ WRITING ──publish──▶ LENT ──settle──▶ SETTLED ──last reader gone──▶ FREE
//!   ▲                  │ discard          │ nothing owed, nobody reads
//!   └──────────────────┴──────────────────┘
//!                                         └─ nothing owed, only outcasts read ──▶ QUARANTINED
//! ```
//!
//! A published slot is *owed* while it waits in a queue or has an assignee that neither settled nor
//! returned it.  It is *read* by those consumers whose process may look at it.  It is free again when
//! it is neither owed nor read.  Always: the phases add up to the number of slots.

/// Names a slot as it was filled once; stale as soon as the slot is filled again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Index of the slot.
    pub slot: u32,
    /// How often the slot had been reserved.
    pub generation: u32,
}

impl Lease {
    /// As one number: `generation << 32 | slot`.
    #[must_use]
    pub const fn token(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// From one number.
    #[must_use]
    pub const fn from_token(token: u64) -> Self {
        Self {
            slot: token as u32,
            generation: (token >> 32) as u32,
        }
    }
}

/// Most consumers at a time: one bit each.
pub(crate) const MAX_CONSUMERS: usize = 64;

/// A consumer returned a slot that it does not hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotHeld(pub Lease);

/// What a slot is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Free,
    Writing,
    Lent,
    Settled,
    Quarantined,
}

/// How many slots are in each phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PhaseCounts {
    pub free: u32,
    pub writing: u32,
    pub lent: u32,
    pub settled: u32,
    pub quarantined: u32,
}

impl PhaseCounts {
    fn of(&mut self, phase: Phase) -> &mut u32 {
        match phase {
            Phase::Free => &mut self.free,
            Phase::Writing => &mut self.writing,
            Phase::Lent => &mut self.lent,
            Phase::Settled => &mut self.settled,
            Phase::Quarantined => &mut self.quarantined,
        }
    }

    /// The left side of the conservation law.
    pub(crate) fn total(&self) -> u32 {
        self.free + self.writing + self.lent + self.settled + self.quarantined
    }
}

#[derive(Clone, Debug)]
struct Slot {
    phase: Phase,
    generation: u32,
    /// Queues the stack waits in.
    queued: u32,
    /// The consumer that is to process the stack.
    assignee: Option<u8>,
    /// Consumers whose process may look at the slot.
    readers: u64,
    settled: bool,
}

/// The slots of one ring.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    slots: Vec<Slot>,
    /// Last in, first out: the slot used last is warm in the caches.
    free: Vec<u32>,
    /// Consumers that are out but may still read.
    outcasts: u64,
    counts: PhaseCounts,
    high_water: u32,
}

fn bit(consumer: u8) -> u64 {
    1 << (consumer as usize % MAX_CONSUMERS)
}

impl Ledger {
    pub(crate) fn new(n_slots: u32) -> Self {
        let slot = Slot {
            phase: Phase::Free,
            generation: 0,
            queued: 0,
            assignee: None,
            readers: 0,
            settled: false,
        };
        Self {
            slots: vec![slot; n_slots as usize],
            free: (0..n_slots).rev().collect(),
            outcasts: 0,
            counts: PhaseCounts {
                free: n_slots,
                ..PhaseCounts::default()
            },
            high_water: 0,
        }
    }

    pub(crate) fn counts(&self) -> PhaseCounts {
        self.counts
    }

    /// Most slots that were not free at a time.
    pub(crate) fn high_water(&self) -> u32 {
        self.high_water
    }

    pub(crate) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Take a free slot for writing, the one used last.
    pub(crate) fn reserve(&mut self) -> Option<Lease> {
        let index = self.free.pop()?;
        let slot = self.slots.get_mut(index as usize)?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.settled = false;
        let generation = slot.generation;
        self.enter(index, Phase::Writing);
        self.high_water = self.high_water.max(self.counts.total() - self.counts.free);
        Some(Lease {
            slot: index,
            generation,
        })
    }

    /// Give a slot back that was not published.
    pub(crate) fn discard(&mut self, lease: Lease) {
        if self.slot_in(lease, Phase::Writing).is_some() {
            self.enter(lease.slot, Phase::Free);
            self.free.push(lease.slot);
        }
    }

    /// The slot is written and waits in `n_queues` queues; with none it is free at once.
    pub(crate) fn publish(&mut self, lease: Lease, n_queues: u32) {
        if let Some(slot) = self.slot_in(lease, Phase::Writing) {
            slot.queued = n_queues;
            self.enter(lease.slot, Phase::Lent);
            self.refresh(lease.slot);
        }
    }

    /// Hand a queued stack to a consumer; `assign` makes it the one to process the stack.
    pub(crate) fn lend(&mut self, index: u32, consumer: u8, assign: bool) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.queued = slot.queued.saturating_sub(1);
            slot.readers |= bit(consumer);
            if assign {
                slot.assignee = Some(consumer);
            }
            self.refresh(index);
        }
    }

    /// Undo [`lend`](Self::lend): the consumer has not seen the stack, which is queued again.
    pub(crate) fn take_back(&mut self, index: u32, consumer: u8) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.queued += 1;
            slot.readers &= !bit(consumer);
            if slot.assignee == Some(consumer) {
                slot.assignee = None;
            }
            self.refresh(index);
        }
    }

    /// Drop a stack from one queue.
    pub(crate) fn unqueue(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.queued = slot.queued.saturating_sub(1);
            self.refresh(index);
        }
    }

    /// The consumer looks at the slot no more, and is done with the stack.
    pub(crate) fn give_back(&mut self, lease: Lease, consumer: u8) -> Result<(), NotHeld> {
        match self.slots.get_mut(lease.slot as usize) {
            Some(slot) if slot.generation == lease.generation && slot.readers & bit(consumer) != 0 => {
                slot.readers &= !bit(consumer);
                if slot.assignee == Some(consumer) {
                    slot.assignee = None;
                }
                self.refresh(lease.slot);
                Ok(())
            }
            _ => Err(NotHeld(lease)),
        }
    }

    /// Mark stacks of a consumer as done while it may still look at them.  All or nothing.
    ///
    /// A lease that the consumer has already returned is done and counts as such.  `false` if one
    /// never was, is assigned to somebody else, or waits to be assigned.
    pub(crate) fn settle(&mut self, leases: &[Lease], consumer: u8) -> bool {
        let fits = |lease: &Lease| match self.slots.get(lease.slot as usize) {
            None => false,
            Some(slot) if slot.generation != lease.generation => slot.generation > lease.generation,
            Some(slot) => match slot.phase {
                Phase::Free | Phase::Settled | Phase::Quarantined => true,
                Phase::Writing => false,
                Phase::Lent => slot.assignee == Some(consumer) || slot.assignee.is_none() && slot.queued == 0,
            },
        };
        if !leases.iter().all(fits) {
            return false;
        }
        for lease in leases {
            if let Some(slot) = self.slots.get_mut(lease.slot as usize)
                && slot.generation == lease.generation
                && slot.assignee == Some(consumer)
            {
                slot.assignee = None;
                slot.settled = true;
                self.refresh(lease.slot);
            }
        }
        true
    }

    /// The consumer is out, but its process may still look at what it holds.
    ///
    /// Returns the stacks it was to process; each is queued once more.
    pub(crate) fn cast_out(&mut self, consumer: u8, requeue: bool) -> Vec<u32> {
        self.outcasts |= bit(consumer);
        let mut owed = Vec::new();
        for index in 0..self.slots.len() as u32 {
            let Some(slot) = self.slots.get_mut(index as usize) else {
                continue;
            };
            if slot.readers & bit(consumer) == 0 {
                continue;
            }
            if slot.assignee == Some(consumer) {
                slot.assignee = None;
                if requeue {
                    slot.queued += 1;
                    owed.push(index);
                }
            }
            self.refresh(index);
        }
        owed
    }

    /// The process of a cast-out consumer is gone: it looks at nothing any more.
    pub(crate) fn bury(&mut self, consumer: u8) {
        for index in 0..self.slots.len() as u32 {
            if let Some(slot) = self.slots.get_mut(index as usize)
                && slot.readers & bit(consumer) != 0
            {
                slot.readers &= !bit(consumer);
                self.refresh(index);
            }
        }
        self.outcasts &= !bit(consumer);
    }

    /// Number of slots that a consumer may look at.
    pub(crate) fn n_held(&self, consumer: u8) -> u32 {
        self.slots
            .iter()
            .filter(|slot| slot.readers & bit(consumer) != 0)
            .count() as u32
    }

    /// Slots that a consumer may look at.
    pub(crate) fn held(&self, consumer: u8) -> impl Iterator<Item = u32> {
        let held = move |slot: &Slot| slot.readers & bit(consumer) != 0;
        self.slots
            .iter()
            .enumerate()
            .filter(move |(_, slot)| held(slot))
            .map(|(index, _)| index as u32)
    }

    /// Whether the conservation law and the free list hold; for tests and debug builds.
    pub(crate) fn is_conserved(&self) -> bool {
        let mut counted = PhaseCounts::default();
        for slot in &self.slots {
            *counted.of(slot.phase) += 1;
        }
        let in_list = |index: &u32| {
            self.slots
                .get(*index as usize)
                .is_some_and(|s| s.phase == Phase::Free)
        };
        counted == self.counts
            && counted.total() as usize == self.slots.len()
            && self.free.len() == counted.free as usize
            && self.free.iter().all(in_list)
    }

    fn slot_in(&mut self, lease: Lease, phase: Phase) -> Option<&mut Slot> {
        let fits = |slot: &&mut Slot| slot.phase == phase && slot.generation == lease.generation;
        self.slots.get_mut(lease.slot as usize).filter(fits)
    }

    fn enter(&mut self, index: u32, phase: Phase) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            *self.counts.of(slot.phase) -= 1;
            *self.counts.of(phase) += 1;
            slot.phase = phase;
        }
    }

    /// Bring the phase of a published slot in line with who is owed it and who reads it.
    fn refresh(&mut self, index: u32) {
        let Some(slot) = self.slots.get(index as usize) else {
            return;
        };
        if matches!(slot.phase, Phase::Free | Phase::Writing) {
            return;
        }
        let owed = slot.queued > 0 || slot.assignee.is_some();
        let phase = match slot {
            _ if owed => Phase::Lent,
            slot if slot.readers == 0 => Phase::Free,
            slot if slot.readers & !self.outcasts == 0 => Phase::Quarantined,
            slot if slot.settled => Phase::Settled,
            _ => Phase::Lent,
        };
        self.enter(index, phase);
        if phase == Phase::Free {
            self.free.push(index);
        }
    }
}

#[cfg(test)]
mod tests;
