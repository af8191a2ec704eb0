//! Which stack goes to whom, and when: the owner's state behind its one in-process lock.
//!
//! The stacks of a tag wait in one backlog and are shared among the tag's consumers; each broadcast
//! consumer has a backlog of its own.  Here is no waiting and no system call but the waking of a
//! sleeping consumer.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::layout::{Descriptor, FLAG_BROADCAST_ONLY, KIND_END, KIND_STACK};
use crate::ledger::{Lease, Ledger, MAX_CONSUMERS};
use crate::peer::{Delivery, Entry, Peer, Status};
use crate::stats::{ConsumerStats, RingEvent, RingStats};
use crate::wire::Kind;

/// How many finished or dropped tags are remembered.
const MAX_OLD_TAGS: usize = 4096;
/// How many events wait to be fetched.
const MAX_EVENTS: usize = 256;

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

#[derive(Default)]
struct Totals {
    committed: u64,
    bytes: u64,
    discarded: u64,
    dropped: u64,
    unwanted: u64,
    redelivered: u64,
    skipped: u64,
    lost_consumers: u64,
    misbehaving: u64,
    waits: u64,
    wait_time: Duration,
    longest_hold: Duration,
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

    // ---------------------------------------------------------------- consumers

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
        if self.peer(id).is_some_and(|peer| peer.is_member()) {
            self.collect();
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

    // ---------------------------------------------------------------- stacks

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

    /// Take in all that was returned.  Returns whether something was.
    pub(crate) fn collect(&mut self) -> bool {
        let mut any = false;
        for peer in &mut self.peers {
            while let Some(lease) = peer.next_return() {
                any = true;
                if self.ledger.give_back(lease, peer.bit).is_err() {
                    peer.fault_with(format!("it returned slot {} which it does not hold", lease.slot));
                    break;
                }
                peer.n_held = peer.n_held.saturating_sub(1);
                if let Some(stack) = self.stacks.get(lease.slot as usize) {
                    peer.longest_hold = peer.longest_hold.max(stack.lent_at.elapsed());
                    self.totals.longest_hold = self.totals.longest_hold.max(peer.longest_hold);
                }
            }
        }
        any
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

    // ---------------------------------------------------------------- tags

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

    // ---------------------------------------------------------------- numbers

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

    fn report(&mut self, event: RingEvent) {
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
