//! Consumers come, leave, misbehave and die.

use super::State;
use crate::ledger::MAX_CONSUMERS;
use crate::peer::{Delivery, Entry, Peer, Status};
use crate::stats::RingEvent;
use crate::wire::Kind;

impl State {
    /// An id and a bit for a new consumer, or `None` if there are as many as can be.
    pub(crate) fn next_consumer(&mut self) -> Option<(u32, u8)> {
        let taken = self.peers.iter().fold(0_u64, |bits, peer| bits | 1 << peer.bit);
        let bit = taken.trailing_ones();
        if bit as usize >= MAX_CONSUMERS {
            return None;
        }
        let id = self.next_id;
        self.next_id += 1;
        Some((id, bit as u8))
    }

    /// Admit a consumer.  Its tag is wanted again, should it have been dropped.
    pub(crate) fn admit(&mut self, mut peer: Peer) {
        if let Some(tag) = peer.tag {
            self.dropped_tags.retain(|dropped| *dropped != tag);
            let ended = self.tags.get(&tag).is_some_and(|known| known.ended);
            if ended && peer.delivery != Delivery::Shared {
                peer.backlog.push_back(Entry::End(tag));
            }
        }
        self.peers.push(peer);
    }

    pub(crate) fn peer(&mut self, id: u32) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.id == id)
    }

    /// Put a consumer out: nothing more is sent to it, what it owes goes to others if `relend`.
    ///
    /// It stays known until its process can look at no slot any more.
    pub(crate) fn cast_out(&mut self, id: u32, status: Status, relend: bool) -> u32 {
        let Some(peer) = self
            .peers
            .iter_mut()
            .find(|peer| peer.id == id && peer.is_member())
        else {
            return 0;
        };
        let shared = peer.delivery == Delivery::Shared;
        let unseen = if status == Status::Banished {
            Vec::new()
        } else {
            peer.retract()
        };
        let waiting = std::mem::take(&mut peer.backlog);
        peer.status = status;
        let (bit, tag) = (peer.bit, peer.tag);
        let mut again = Vec::new();
        for entry in unseen {
            if let Entry::Stack { slot, .. } = entry {
                self.ledger.take_back(slot, bit);
                peer.n_held = peer.n_held.saturating_sub(1);
                if shared && relend {
                    again.push(slot);
                } else {
                    self.ledger.unqueue(slot);
                }
            }
        }
        for entry in waiting {
            if let Entry::Stack { slot, .. } = entry {
                self.ledger.unqueue(slot);
            }
        }
        let seen = self.ledger.cast_out(bit, shared && relend);
        let n_relent = seen.len() as u32;
        self.totals.redelivered += u64::from(n_relent);
        for slot in &seen {
            if let Some(stack) = self.stacks.get_mut(*slot as usize) {
                stack.descriptor.attempt += 1;
            }
        }
        again.extend(seen);
        if let Some(tag) = tag
            && !again.is_empty()
        {
            self.requeue(tag, &again);
        }
        n_relent
    }

    /// Queue stacks again where their age puts them.
    fn requeue(&mut self, tag: u64, slots: &[u32]) {
        let backlog = &mut self.tags.entry(tag).or_default().backlog;
        backlog.extend(slots);
        let seq = |slot: &u32| self.stacks.get(*slot as usize).map(|stack| stack.descriptor.seq);
        backlog.make_contiguous().sort_unstable_by_key(seq);
    }

    /// A consumer closed its end but may still look at slots.
    pub(crate) fn leave(&mut self, id: u32) {
        // What it returned before is done.
        self.collect();
        self.put_out_leaving(id);
    }

    pub(super) fn put_out_leaving(&mut self, id: u32) {
        if self.peer(id).is_some_and(|peer| peer.is_member()) {
            let n_relent = self.cast_out(id, Status::Outcast, true);
            self.report(RingEvent::Left { id, n_relent });
        }
    }

    /// Nobody can look at a consumer's slots any more: forget it.
    pub(crate) fn bury(&mut self, id: u32) -> Option<Peer> {
        // What it returned before it died is done.
        self.collect();
        self.banish_faulty();
        let was_active = self.peer(id)?.status == Status::Active;
        let n_relent = self.cast_out(id, Status::Outcast, true);
        let position = self.peers.iter().position(|peer| peer.id == id)?;
        let peer = self.peers.remove(position);
        self.ledger.bury(peer.bit);
        if was_active {
            self.totals.lost_consumers += 1;
            self.report(RingEvent::Lost {
                id,
                pid: peer.pid,
                n_relent,
            });
        }
        Some(peer)
    }

    /// Throw out who wrote nonsense.  Returns whether there was one.
    pub(crate) fn banish_faulty(&mut self) -> bool {
        let mut any = false;
        while let Some(peer) = self
            .peers
            .iter_mut()
            .find(|p| p.fault.is_some() && p.status != Status::Banished)
        {
            any = true;
            let (id, pid, reason) = (peer.id, peer.pid, peer.fault.clone().unwrap_or_default());
            if peer.is_member() {
                peer.dismiss(Kind::Detached);
                self.cast_out(id, Status::Banished, true);
            } else {
                peer.status = Status::Banished;
            }
            self.totals.misbehaving += 1;
            self.report(RingEvent::Misbehaving { id, pid, reason });
        }
        any
    }

    /// All consumers that are served, told why they are not any more.
    pub(crate) fn dismiss_all(&mut self, kind: Kind) {
        self.peers
            .iter()
            .filter(|peer| peer.is_member())
            .for_each(|peer| peer.dismiss(kind));
    }
}
