//! The owner's view of one consumer: its two queues, what is on the way to it, what it said.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Broadcast;
use crate::layout::{
    DESCRIPTOR_WORDS, Descriptor, RETURN_NOT_DONE, WORD_CONSUMER_ASLEEP, WORD_OWNER_ASLEEP, WORD_RET_HEAD,
    WORD_RET_TAIL, WORD_TX_ENTRIES, WORD_TX_HEAD, WORD_TX_TAIL, word_ret_entries,
};
use crate::ledger::Lease;
use crate::mem::Control;
use crate::spsc::{Place, Receiver, Scribbled, Sender, SleepFlag};
use crate::wire::{self, Bell, Kind, Message};

/// Which stacks a consumer gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Each stack of the tag goes to one of these.
    Shared,
    /// Each stack goes to each of these.
    Broadcast(Broadcast),
}

/// How far a consumer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It was made, nobody has opened its file descriptor yet.
    Invited,
    /// It has mapped the ring.
    Active,
    /// It is out; only its slots are waited for, and what it says is believed.
    Outcast,
    /// It is out and not believed; its slots come back when its process is gone.
    Banished,
}

/// Something queued for one consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The stack in a slot, and how many the consumer did not get before it.
    Stack { slot: u32, skipped: u32 },
    /// Nothing more is queued for this tag.
    End(u64),
}

impl Entry {
    pub(crate) fn is_stack(&self) -> bool {
        matches!(self, Self::Stack { .. })
    }
}

/// Where the queue of descriptors lies in CONTROL.
pub(crate) fn tx_place(tx_capacity: u64) -> Place {
    Place {
        head: WORD_TX_HEAD,
        tail: WORD_TX_TAIL,
        entries: WORD_TX_ENTRIES,
        capacity: tx_capacity,
    }
}

/// Where the queue of returns lies in CONTROL.
pub(crate) fn ret_place(tx_capacity: u64, ret_capacity: u64) -> Place {
    let entries = word_ret_entries(tx_capacity);
    Place {
        head: WORD_RET_HEAD,
        tail: WORD_RET_TAIL,
        entries,
        capacity: ret_capacity,
    }
}

/// One consumer, as the owner knows it.
pub(crate) struct Peer {
    pub id: u32,
    /// Number among the consumers that exist at a time: its bit in the ledger.
    pub bit: u8,
    pub tag: Option<u64>,
    pub delivery: Delivery,
    pub status: Status,
    pub pid: Option<u32>,
    pub pidfd: Option<OwnedFd>,
    pub socket: OwnedFd,
    /// What the consumer wakes the owner with.  Its own, for it could also take others' rings away.
    pub owner_bell: Bell,
    /// Broadcast only: what waits for room.
    pub backlog: VecDeque<Entry>,
    /// Shared only: the next time nothing is queued, an end is to be sent.
    pub end_due: bool,
    /// Why it is to be thrown out.
    pub fault: Option<String>,
    pub n_held: u32,
    pub n_lent: u64,
    pub n_skipped: u64,
    pub longest_hold: Duration,
    depth: usize,
    bell: Bell,
    outbox: Sender<Arc<Control>, DESCRIPTOR_WORDS>,
    inbox: Receiver<Arc<Control>, 1>,
    consumer_asleep: SleepFlag<Arc<Control>>,
    owner_asleep: SleepFlag<Arc<Control>>,
    tx_capacity: usize,
    /// In the queue and, as far as known, not taken yet; oldest first.
    sent: VecDeque<Entry>,
    message: Message,
}

/// What a new peer is made of.
pub(crate) struct NewPeer {
    pub bit: u8,
    pub tag: Option<u64>,
    pub delivery: Delivery,
    pub depth: u32,
    pub ret_capacity: u64,
    pub bell: Bell,
    pub owner_bell: Bell,
    pub socket: OwnedFd,
    pub control: Arc<Control>,
    pub hello: Message,
}

impl Peer {
    pub(crate) fn new(new: NewPeer) -> Self {
        let tx_capacity = u64::from(new.hello.tx_capacity);
        let control = new.control;
        Self {
            id: new.hello.consumer,
            bit: new.bit,
            tag: new.tag,
            delivery: new.delivery,
            status: Status::Invited,
            pid: None,
            pidfd: None,
            socket: new.socket,
            owner_bell: new.owner_bell,
            backlog: VecDeque::new(),
            end_due: true,
            fault: None,
            n_held: 0,
            n_lent: 0,
            n_skipped: 0,
            longest_hold: Duration::ZERO,
            depth: new.depth as usize,
            bell: new.bell,
            outbox: Sender::new(Arc::clone(&control), tx_place(tx_capacity)),
            inbox: Receiver::new(Arc::clone(&control), ret_place(tx_capacity, new.ret_capacity)),
            consumer_asleep: SleepFlag::new(Arc::clone(&control), WORD_CONSUMER_ASLEEP),
            owner_asleep: SleepFlag::new(control, WORD_OWNER_ASLEEP),
            tx_capacity: tx_capacity as usize,
            sent: VecDeque::new(),
            message: new.hello,
        }
    }

    /// Whether the ring still serves it.
    pub(crate) fn is_member(&self) -> bool {
        matches!(self.status, Status::Invited | Status::Active)
    }

    /// Whether it gets the stacks of a tag that all get.
    pub(crate) fn hears(&self, tag: u64) -> bool {
        self.is_member() && self.delivery != Delivery::Shared && self.tag.is_none_or(|own| own == tag)
    }

    /// Whether it shares the stacks of a tag with others.
    pub(crate) fn shares(&self, tag: u64) -> bool {
        self.is_member() && self.delivery == Delivery::Shared && self.tag == Some(tag)
    }

    /// How many stacks wait at most for a `Latest` consumer.
    pub(crate) fn latest_depth(&self) -> Option<usize> {
        match self.delivery {
            Delivery::Broadcast(Broadcast::Latest { depth }) => Some(depth.max(1) as usize),
            _ => None,
        }
    }

    /// Stacks on the way that it has not taken, as of the last look.
    pub(crate) fn n_on_the_way(&self) -> usize {
        self.sent.iter().filter(|entry| entry.is_stack()).count()
    }

    /// Look how far it has taken what was sent.
    pub(crate) fn look(&mut self) {
        match self.outbox.len() {
            Ok(n) => self.forget_taken(n as usize),
            Err(Scribbled) => self.fault_with("it moved the head of its descriptor queue to nowhere"),
        }
    }

    fn forget_taken(&mut self, n_left: usize) {
        let taken = self.sent.len().saturating_sub(n_left);
        self.sent.drain(..taken);
    }

    /// Whether another stack may be sent, as of the last look.
    pub(crate) fn has_room(&self) -> bool {
        self.status == Status::Active
            && self.fault.is_none()
            && self.sent.len() < self.tx_capacity
            && self.n_on_the_way() < self.depth
    }

    /// Whether an end may be sent, as of the last look.
    pub(crate) fn has_room_for_end(&self) -> bool {
        self.status == Status::Active && self.fault.is_none() && self.sent.len() < self.tx_capacity
    }

    /// Send an entry for which there is room, and wake the consumer if it sleeps.
    pub(crate) fn send(&mut self, entry: Entry, descriptor: &Descriptor) {
        match self.outbox.push(&descriptor.pack()) {
            Ok(true) => {}
            Ok(false) => return self.fault_with("its descriptor queue is full where it said it is not"),
            Err(Scribbled) => return self.fault_with("it moved the head of its descriptor queue to nowhere"),
        }
        self.sent.push_back(entry);
        if self.consumer_asleep.answer() {
            self.bell.ring();
        }
    }

    /// Take back all that it has not taken, oldest first.
    pub(crate) fn retract(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        loop {
            match self.outbox.take_back() {
                Ok(Some(_)) => {
                    let left = self.outbox.len().unwrap_or(0) as usize;
                    self.forget_taken(left + 1);
                    entries.extend(self.sent.pop_front());
                }
                Ok(None) => return entries,
                Err(Scribbled) => {
                    self.fault_with("it moved the head of its descriptor queue to nowhere");
                    return entries;
                }
            }
        }
    }

    /// Next slot that it returned, and whether it is done with the stack.
    pub(crate) fn next_return(&mut self) -> Option<(Lease, bool)> {
        if self.status == Status::Banished || self.fault.is_some() {
            return None;
        }
        match self.inbox.pop() {
            Ok(entry) => entry.map(|[word]| {
                (
                    Lease::from_token(word & !RETURN_NOT_DONE),
                    word & RETURN_NOT_DONE == 0,
                )
            }),
            Err(Scribbled) => {
                self.fault_with("it moved the tail of its return queue to nowhere");
                None
            }
        }
    }

    /// Ask to be woken by its next pop or return.
    pub(crate) fn arm(&self) {
        self.owner_asleep.arm();
    }

    /// Remember why it is to be thrown out.
    pub(crate) fn fault_with(&mut self, reason: impl Into<String>) {
        self.fault.get_or_insert_with(|| reason.into());
    }

    /// Tell it that nothing more will come, and why.  If it can't hear that, it sees the hang-up.
    pub(crate) fn dismiss(&self, kind: Kind) {
        let _ = wire::send(&self.socket, &self.message.with_kind(kind), &[]);
        let _ = rustix::net::shutdown(self.socket.as_fd(), rustix::net::Shutdown::Write);
    }
}
