//! What the ring counts and tells.

use std::time::Duration;

use super::State;
use crate::peer::Peer;
use crate::stats::{ConsumerStats, RingEvent, RingStats};

/// How many events wait to be fetched.
const MAX_EVENTS: usize = 256;

#[derive(Default)]
pub(super) struct Totals {
    pub(super) committed: u64,
    pub(super) bytes: u64,
    pub(super) discarded: u64,
    pub(super) dropped: u64,
    pub(super) unwanted: u64,
    pub(super) redelivered: u64,
    pub(super) skipped: u64,
    pub(super) lost_consumers: u64,
    pub(super) misbehaving: u64,
    pub(super) waits: u64,
    pub(super) wait_time: Duration,
    pub(super) longest_hold: Duration,
}

impl State {
    pub(crate) fn count_discarded(&mut self) {
        self.totals.discarded += 1;
    }

    pub(crate) fn count_dropped(&mut self) {
        self.totals.dropped += 1;
    }

    pub(crate) fn count_wait(&mut self, time: Duration) {
        self.totals.waits += 1;
        self.totals.wait_time += time;
    }

    pub(super) fn report(&mut self, event: RingEvent) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    pub(crate) fn take_events(&mut self) -> Vec<RingEvent> {
        self.events.drain(..).collect()
    }

    /// The numbers now.
    pub(crate) fn stats(&mut self) -> RingStats {
        self.turn();
        self.peers.iter_mut().for_each(Peer::look);
        let counts = self.ledger.counts();
        let consumers: Vec<_> = self.peers.iter().map(|peer| self.consumer_stats(peer)).collect();
        let waiting: usize = self.tags.values().map(|tag| tag.backlog.len()).sum();
        let undelivered: u32 = consumers.iter().map(|consumer| consumer.n_undelivered).sum();
        let holds = consumers.iter().map(|consumer| consumer.longest_hold);
        RingStats {
            n_slots: counts.total(),
            slot_bytes: self.slot_bytes,
            n_free: counts.free,
            n_writing: counts.writing,
            n_lent: counts.lent,
            n_settled: counts.settled,
            n_quarantined: counts.quarantined,
            n_undelivered: waiting as u32 + undelivered,
            high_water: self.ledger.high_water(),
            n_committed: self.totals.committed,
            n_bytes: self.totals.bytes,
            n_discarded: self.totals.discarded,
            n_dropped: self.totals.dropped,
            n_unwanted: self.totals.unwanted,
            n_redelivered: self.totals.redelivered,
            n_skipped: self.totals.skipped,
            n_lost_consumers: self.totals.lost_consumers,
            n_misbehaving: self.totals.misbehaving,
            n_waits: self.totals.waits,
            wait_time: self.totals.wait_time,
            longest_hold: holds.fold(self.totals.longest_hold, Duration::max),
            consumers,
        }
    }

    fn consumer_stats(&self, peer: &Peer) -> ConsumerStats {
        let waiting = peer.backlog.iter().filter(|entry| entry.is_stack()).count();
        let held = self
            .ledger
            .held(peer.bit)
            .filter_map(|slot| self.stacks.get(slot as usize));
        let oldest = held
            .map(|stack| stack.lent_at.elapsed())
            .max()
            .unwrap_or_default();
        ConsumerStats {
            id: peer.id,
            tag: peer.tag,
            pid: peer.pid,
            n_held: self.ledger.n_held(peer.bit),
            n_undelivered: (peer.n_on_the_way() + waiting) as u32,
            n_lent: peer.n_lent,
            n_skipped: peer.n_skipped,
            longest_hold: peer.longest_hold.max(oldest),
            is_outcast: !peer.is_member(),
        }
    }
}
