//! Which stack goes to whom, and when: the owner's state behind its one in-process lock.
//!
//! The stacks of a tag wait in one backlog and are shared among the tag's consumers; each broadcast
//! consumer has a backlog of its own.  Here is no waiting and no system call but the waking of a
//! sleeping consumer.

mod membership;
mod tally;

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use self::tally::Totals;
use crate::layout::{Descriptor, FLAG_BROADCAST_ONLY, KIND_END, KIND_STACK};
use crate::ledger::{Lease, Ledger};
use crate::peer::{Delivery, Entry, Peer, Status};
use crate::stats::RingEvent;
use crate::wire::Kind;

/// How many finished or dropped tags are remembered.
const MAX_OLD_TAGS: usize = 4096;

/// The stack in a slot.
#[derive(Clone, Copy)]
struct Stack {
    descriptor: Descriptor,
    lent_at: Instant,
}

/// The stacks of one tag that are shared among its consumers.
#[derive(Default)]
struct Tag {
    /// Slots, oldest first.
    backlog: VecDeque<u32>,
    ended: bool,
}

/// Everything the owner knows.
pub(crate) struct State {
    pub ledger: Ledger,
    pub closed: bool,
    /// Threads that wait for a free slot.
    pub n_waiting: u32,
    slot_bytes: usize,
    stacks: Vec<Stack>,
    tags: BTreeMap<u64, Tag>,
    dropped_tags: VecDeque<u64>,
    peers: Vec<Peer>,
    next_id: u32,
    next_seq: u64,
    totals: Totals,
    events: VecDeque<RingEvent>,
}

impl State {
    pub(crate) fn new(n_slots: u32, slot_bytes: usize) -> Self {
        let empty = Stack {
            descriptor: Descriptor::default(),
            lent_at: Instant::now(),
        };
        Self {
            ledger: Ledger::new(n_slots),
            closed: false,
            n_waiting: 0,
            slot_bytes,
            stacks: vec![empty; n_slots as usize],
            tags: BTreeMap::new(),
            dropped_tags: VecDeque::new(),
            peers: Vec::new(),
            next_id: 0,
            next_seq: 0,
            totals: Totals::default(),
            events: VecDeque::new(),
        }
    }

    /// Queue a written stack for all who get it, and send what can be sent.
    pub(crate) fn commit(&mut self, lease: Lease, mut descriptor: Descriptor) {
        let tag = descriptor.tag;
        descriptor.seq = self.next_seq;
        self.next_seq += 1;
        self.totals.committed += 1;
        self.totals.bytes += descriptor.data_len;
        let dropped = self.dropped_tags.contains(&tag);
        let shared = !dropped && descriptor.flags & FLAG_BROADCAST_ONLY == 0;
        let n_hearers = if dropped {
            0
        } else {
            self.peers.iter().filter(|peer| peer.hears(tag)).count()
        };
        if let Some(stack) = self.stacks.get_mut(lease.slot as usize) {
            *stack = Stack {
                descriptor,
                lent_at: Instant::now(),
            };
        }
        self.ledger.publish(lease, n_hearers as u32 + u32::from(shared));
        if n_hearers == 0 && !shared {
            self.totals.unwanted += 1;
            return;
        }
        if shared {
            self.tag(tag).backlog.push_back(lease.slot);
        }
        if n_hearers > 0 {
            self.broadcast(
                tag,
                Entry::Stack {
                    slot: lease.slot,
                    skipped: 0,
                },
            );
        }
        self.send_tag(tag);
        if self.tags.get(&tag).is_some_and(|tag| !tag.backlog.is_empty()) {
            // No room: be told when there is, and look again, for there may be by now.
            self.arm();
            self.send_tag(tag);
        }
        if self.banish_faulty() {
            self.turn();
        }
    }

    fn broadcast(&mut self, tag: u64, entry: Entry) {
        for index in 0..self.peers.len() {
            let Some(peer) = self.peers.get_mut(index).filter(|peer| peer.hears(tag)) else {
                continue;
            };
            if let Some(depth) = peer.latest_depth() {
                for unseen in peer.retract().into_iter().rev() {
                    if let Entry::Stack { slot, .. } = unseen {
                        self.ledger.take_back(slot, peer.bit);
                        peer.n_held = peer.n_held.saturating_sub(1);
                    }
                    peer.backlog.push_front(unseen);
                }
                peer.backlog.push_back(entry);
                let skipped = keep_latest(&mut peer.backlog, depth);
                peer.n_skipped += skipped.len() as u64;
                self.totals.skipped += skipped.len() as u64;
                skipped.into_iter().for_each(|slot| self.ledger.unqueue(slot));
            } else {
                peer.backlog.push_back(entry);
            }
            self.send_backlog(index);
        }
    }

    /// Send a broadcast consumer what there is room for.  Returns whether something was sent.
    fn send_backlog(&mut self, index: usize) -> bool {
        let mut sent = false;
        loop {
            let Some(peer) = self.peers.get_mut(index) else {
                return sent;
            };
            peer.look();
            let room = match peer.backlog.front() {
                None => return sent,
                Some(entry) if entry.is_stack() => peer.has_room(),
                Some(_) => peer.has_room_for_end(),
            };
            if !room {
                return sent;
            }
            if let Some(entry) = peer.backlog.pop_front() {
                self.hand_over(index, entry);
                sent = true;
            }
        }
    }

    /// Share out a tag's backlog as far as there is room.  Returns whether something was sent.
    fn send_tag(&mut self, tag: u64) -> bool {
        let mut sent = false;
        loop {
            let Some(front) = self
                .tags
                .get(&tag)
                .and_then(|known| known.backlog.front().copied())
            else {
                return self.send_ends(tag) || sent;
            };
            let Some(index) = self.least_loaded(tag) else {
                return sent;
            };
            if let Some(known) = self.tags.get_mut(&tag) {
                known.backlog.pop_front();
            }
            self.hand_over(
                index,
                Entry::Stack {
                    slot: front,
                    skipped: 0,
                },
            );
            sent = true;
        }
    }

    /// The consumer with room that has least to do.
    fn least_loaded(&mut self, tag: u64) -> Option<usize> {
        let load = |(index, peer): (usize, &mut Peer)| {
            if !peer.shares(tag) {
                return None;
            }
            peer.look();
            peer.has_room()
                .then(|| (peer.n_on_the_way(), peer.n_held, peer.n_lent, index))
        };
        self.peers
            .iter_mut()
            .enumerate()
            .filter_map(load)
            .min()
            .map(|(.., index)| index)
    }

    /// The backlog of an ended tag is empty: say so to those who do not know.
    fn send_ends(&mut self, tag: u64) -> bool {
        if !self.tags.get(&tag).is_some_and(|known| known.ended) {
            return false;
        }
        let mut sent = false;
        for index in 0..self.peers.len() {
            let Some(peer) = self.peers.get_mut(index) else {
                continue;
            };
            if peer.shares(tag) && peer.end_due {
                peer.look();
                if peer.has_room_for_end() {
                    peer.end_due = false;
                    self.hand_over(index, Entry::End(tag));
                    sent = true;
                }
            }
        }
        sent
    }

    fn hand_over(&mut self, index: usize, entry: Entry) {
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        let descriptor = match entry {
            Entry::Stack { slot, skipped } => {
                let Some(stack) = self.stacks.get_mut(slot as usize) else {
                    return;
                };
                let shared = peer.delivery == Delivery::Shared;
                stack.lent_at = Instant::now();
                self.ledger.lend(slot, peer.bit, shared);
                peer.n_held += 1;
                peer.n_lent += 1;
                peer.end_due |= shared;
                Descriptor {
                    kind: KIND_STACK,
                    skipped,
                    ..stack.descriptor
                }
            }
            Entry::End(tag) => Descriptor {
                kind: KIND_END,
                tag,
                seq: self.next_seq,
                ..Descriptor::default()
            },
        };
        peer.send(entry, &descriptor);
    }

    /// Take in all that was returned.
    pub(crate) fn collect(&mut self) {
        for index in 0..self.peers.len() {
            while let Some(peer) = self.peers.get_mut(index)
                && let Some((lease, is_done)) = peer.next_return()
            {
                if !is_done {
                    // It has closed its end; what it says of that is still on the way.
                    let id = peer.id;
                    self.put_out_leaving(id);
                }
                self.take_in(index, lease);
            }
        }
    }

    fn take_in(&mut self, index: usize, lease: Lease) {
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        if self.ledger.give_back(lease, peer.bit).is_err() {
            return peer.fault_with(format!("it returned slot {} which it does not hold", lease.slot));
        }
        peer.n_held = peer.n_held.saturating_sub(1);
        if let Some(stack) = self.stacks.get(lease.slot as usize) {
            peer.longest_hold = peer.longest_hold.max(stack.lent_at.elapsed());
            self.totals.longest_hold = self.totals.longest_hold.max(peer.longest_hold);
        }
    }

    /// Send everything that can be sent.
    fn send_all(&mut self) {
        for index in 0..self.peers.len() {
            match self.peers.get(index).map(|peer| (peer.delivery, peer.tag)) {
                Some((Delivery::Shared, Some(tag))) => self.send_tag(tag),
                Some((Delivery::Broadcast(_), _)) => self.send_backlog(index),
                _ => false,
            };
        }
    }

    /// Whether a pop or a return of some consumer is waited for.
    fn waits_for_peers(&self) -> bool {
        let wanting = |peer: &Peer| match peer.tag {
            Some(tag) if peer.delivery == Delivery::Shared => self
                .tags
                .get(&tag)
                .is_some_and(|known| !known.backlog.is_empty() || known.ended && peer.end_due),
            _ => !peer.backlog.is_empty(),
        };
        self.n_waiting > 0 || self.peers.iter().any(|peer| peer.is_member() && wanting(peer))
    }

    /// Ask all consumers to wake the owner at their next pop or return.
    pub(crate) fn arm(&self) {
        self.peers.iter().for_each(Peer::arm);
    }

    /// Take in, send out, throw out; then be sure to be woken if more is to be done.
    pub(crate) fn turn(&mut self) {
        self.collect();
        while self.banish_faulty() {}
        self.send_all();
        if self.waits_for_peers() {
            self.arm();
            self.collect();
            self.send_all();
        }
        debug_assert!(self.ledger.is_conserved());
    }

    /// No more stacks of a tag will come, save those lent again.
    pub(crate) fn end(&mut self, tag: u64) {
        let known = self.tag(tag);
        if std::mem::replace(&mut known.ended, true) {
            return;
        }
        self.broadcast(tag, Entry::End(tag));
        self.turn();
    }

    /// Nobody wants a tag any more: discard its backlog, put its consumers out.
    pub(crate) fn drop_tag(&mut self, tag: u64) {
        self.collect();
        let own: Vec<u32> = self
            .peers
            .iter()
            .filter(|p| p.is_member() && p.tag == Some(tag))
            .map(|p| p.id)
            .collect();
        for id in own {
            self.detach(id, false);
        }
        for slot in self.tags.remove(&tag).unwrap_or_default().backlog {
            self.ledger.unqueue(slot);
            self.totals.unwanted += 1;
        }
        if !self.dropped_tags.contains(&tag) {
            self.dropped_tags.push_back(tag);
        }
        if self.dropped_tags.len() > MAX_OLD_TAGS {
            self.dropped_tags.pop_front();
        }
    }

    /// Put a consumer out and tell it.
    pub(crate) fn detach(&mut self, id: u32, relend: bool) {
        let Some(peer) = self.peer(id).filter(|peer| peer.is_member()) else {
            return;
        };
        peer.dismiss(Kind::Detached);
        self.cast_out(id, Status::Outcast, relend);
    }

    /// Mark stacks of a consumer as done; see [`Ledger::settle`].
    pub(crate) fn settle(&mut self, id: u32, leases: &[Lease]) -> bool {
        match self.peers.iter().find(|peer| peer.id == id && peer.is_member()) {
            Some(peer) => self.ledger.settle(leases, peer.bit),
            None => false,
        }
    }

    /// A tag, new or known.  Of tags that nothing waits for, only so many are remembered.
    fn tag(&mut self, tag: u64) -> &mut Tag {
        if self.tags.len() >= MAX_OLD_TAGS && !self.tags.contains_key(&tag) {
            let peers = &self.peers;
            let idle = |(tag, known): &(&u64, &Tag)| {
                known.backlog.is_empty() && !peers.iter().any(|peer| peer.tag == Some(**tag))
            };
            if let Some(oldest) = self.tags.iter().find(idle).map(|(tag, _)| *tag) {
                self.tags.remove(&oldest);
            }
        }
        self.tags.entry(tag).or_default()
    }
}

/// Keep the newest stacks and the newest end; returns the slots of those dropped.
fn keep_latest(backlog: &mut VecDeque<Entry>, depth: usize) -> Vec<u32> {
    let n_stacks = backlog.iter().filter(|entry| entry.is_stack()).count();
    let n_ends = backlog.len() - n_stacks;
    let (mut old_stacks, mut old_ends) = (n_stacks.saturating_sub(depth), n_ends.saturating_sub(1));
    let (mut missed, mut dropped) = (0, Vec::new());
    let kept = std::mem::take(backlog)
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Stack { slot, skipped } if old_stacks > 0 => {
                old_stacks -= 1;
                missed += skipped + 1;
                dropped.push(slot);
                None
            }
            Entry::Stack { slot, skipped } => Some(Entry::Stack {
                slot,
                skipped: skipped + std::mem::take(&mut missed),
            }),
            Entry::End(_) if old_ends > 0 => {
                old_ends -= 1;
                None
            }
            end @ Entry::End(_) => Some(end),
        });
    *backlog = kept.collect();
    dropped
}
