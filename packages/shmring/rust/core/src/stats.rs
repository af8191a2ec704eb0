//! What a ring tells about itself.

use std::time::Duration;

/// Numbers of one consumer.
#[derive(Clone, Debug)]
pub struct ConsumerStats {
    /// Its id.
    pub id: u32,
    /// Tag it is attached to; `None` for a broadcast of all tags.
    pub tag: Option<u64>,
    /// Its process, once it has mapped the ring.
    pub pid: Option<u32>,
    /// Slots it may look at: delivered or on the way.
    pub n_held: u32,
    /// Stacks it has not taken yet, on the way or waiting for room.
    pub n_undelivered: u32,
    /// Stacks given to it so far.
    pub n_lent: u64,
    /// Stacks a `Latest` consumer did not get.
    pub n_skipped: u64,
    /// Longest time from lending a stack to its return.
    pub longest_hold: Duration,
    /// Whether it is out and only its slots are waited for.
    pub is_outcast: bool,
}

/// Numbers of a ring.  `n_free + n_writing + n_lent + n_settled + n_quarantined == n_slots`.
#[derive(Clone, Debug, Default)]
pub struct RingStats {
    /// Slots in all.
    pub n_slots: u32,
    /// Bytes of one slot.
    pub slot_bytes: usize,
    /// Slots that can be reserved.
    pub n_free: u32,
    /// Slots that are being written.
    pub n_writing: u32,
    /// Slots with a stack that waits, or that a consumer has.
    pub n_lent: u32,
    /// Slots with a settled stack that a consumer still looks at.
    pub n_settled: u32,
    /// Slots that only consumers which are out can still look at.
    pub n_quarantined: u32,
    /// Stacks that no consumer has taken yet.
    pub n_undelivered: u32,
    /// Most slots that were not free at a time.
    pub high_water: u32,
    /// Stacks committed.
    pub n_committed: u64,
    /// Bytes of data committed.
    pub n_bytes: u64,
    /// Reserved slots given back without a commit.
    pub n_discarded: u64,
    /// `reserve` calls refused under `FullPolicy::DropNewest`.
    pub n_dropped: u64,
    /// Stacks discarded because their tag had been dropped, or had nobody to go to.
    pub n_unwanted: u64,
    /// Stacks lent again after their consumer was lost.
    pub n_redelivered: u64,
    /// Stacks that `Latest` consumers did not get.
    pub n_skipped: u64,
    /// Consumers that died.
    pub n_lost_consumers: u64,
    /// Consumers thrown out for writing nonsense into the shared queues.
    pub n_misbehaving: u64,
    /// `reserve` calls that had to wait.
    pub n_waits: u64,
    /// Time spent waiting in `reserve`.
    pub wait_time: Duration,
    /// Longest time a consumer held a stack.
    pub longest_hold: Duration,
    /// The consumers, outcasts included.
    pub consumers: Vec<ConsumerStats>,
}

/// What happened to a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingEvent {
    /// It closed its end.
    Left {
        /// Its id.
        id: u32,
        /// Stacks lent again.
        n_relent: u32,
    },
    /// Its process is gone without having closed its end.
    Lost {
        /// Its id.
        id: u32,
        /// Its process, if it had mapped the ring.
        pid: Option<u32>,
        /// Stacks lent again.
        n_relent: u32,
    },
    /// It wrote nonsense into the shared queues and was thrown out.
    Misbehaving {
        /// Its id.
        id: u32,
        /// Its process, if it had mapped the ring.
        pid: Option<u32>,
        /// What it did.
        reason: String,
    },
}
