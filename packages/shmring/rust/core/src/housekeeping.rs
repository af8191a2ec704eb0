//! The owner's one thread: it sleeps until a consumer joins, leaves, dies, or makes room for
//! something that waits.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use crate::error::RingError;
use crate::mem;
use crate::peer::{Peer, Status};
use crate::ring::Shared;
use crate::wire::{self, Bell, Incoming, Kind, Message};

/// What an epoll event is about, in the upper half of its number; the lower half is the consumer.
const ABOUT_RING: u64 = 0;
const ABOUT_SOCKET: u64 = 1 << 32;
const ABOUT_PROCESS: u64 = 2 << 32;
const ABOUT_BELL: u64 = 3 << 32;

/// The running thread.
pub(crate) struct Housekeeper(JoinHandle<()>);

impl Housekeeper {
    pub(crate) fn new_epoll() -> Result<OwnedFd, RingError> {
        epoll::create(CreateFlags::CLOEXEC).map_err(RingError::os("make an epoll"))
    }

    /// Start the thread; it ends when the ring is closed.
    pub(crate) fn start(shared: Arc<Shared>) -> Result<Self, RingError> {
        watch(&shared.epoll, &shared.bell, ABOUT_RING)?;
        std::thread::Builder::new()
            .name("shmring".into())
            .spawn(move || run(&shared))
            .map(Self)
            .map_err(|source| RingError::Os {
                what: "start the ring's thread",
                source,
            })
    }

    /// Watch what a new consumer says and when it rings.
    pub(crate) fn watch_consumer(
        epoll: &OwnedFd,
        id: u32,
        socket: &OwnedFd,
        bell: &Bell,
    ) -> Result<(), RingError> {
        watch(epoll, socket, ABOUT_SOCKET | u64::from(id))?;
        watch(epoll, bell, ABOUT_BELL | u64::from(id))
    }

    /// Wait for the end of the thread.
    pub(crate) fn join(self) {
        if self.0.thread().id() != std::thread::current().id() {
            // It does not panic; if it did, there is nothing left to be done for it.
            let _ = self.0.join();
        }
    }
}

fn watch(epoll: &OwnedFd, fd: impl AsFd, about: u64) -> Result<(), RingError> {
    epoll::add(epoll, fd, EventData::new_u64(about), EventFlags::IN)
        .map_err(RingError::os("watch a file descriptor"))
}

fn run(shared: &Shared) {
    let mut events: Vec<Event> = Vec::with_capacity(64);
    loop {
        events.clear();
        match epoll::wait(&shared.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        for event in &events {
            let (about, id) = (event.data.u64() & !0xffff_ffff, event.data.u64() as u32);
            match about {
                ABOUT_SOCKET => hear(shared, id),
                ABOUT_PROCESS => bury(shared, id),
                ABOUT_BELL => hush(shared, id),
                _ => shared.bell.hush(),
            }
        }
        let closed = shared.with_state(|state| {
            state.turn();
            state.closed
        });
        if closed.unwrap_or(true) {
            return;
        }
    }
}

/// A consumer rang; the turn after this does what it rang for.
fn hush(shared: &Shared, id: u32) {
    let _ = shared.with_state(|state| {
        if let Some(peer) = state.peer(id) {
            peer.owner_bell.hush();
        }
    });
}

/// Read one message of a consumer.
fn hear(shared: &Shared, id: u32) {
    let received = shared.with_state(|state| state.peer(id).map(|peer| wire::receive(&peer.socket)));
    match received {
        Ok(Some(Ok(Incoming::Message(message, fds)))) => obey(shared, id, &message, fds),
        Ok(Some(Ok(Incoming::Hangup))) => bury(shared, id),
        Ok(Some(Err(error))) => distrust(shared, id, error.to_string()),
        Ok(Some(Ok(Incoming::Nothing)) | None) | Err(_) => {}
    }
}

fn obey(shared: &Shared, id: u32, message: &Message, fds: Vec<OwnedFd>) {
    match message.kind {
        Kind::Joined if !has_joined(shared, id) => join(shared, id, message.pid, fds),
        Kind::Leaving => drop(shared.with_state(|state| state.leave(id))),
        kind => distrust(shared, id, format!("it sent a message of kind {kind:?}")),
    }
}

fn has_joined(shared: &Shared, id: u32) -> bool {
    shared
        .with_state(|state| state.peer(id).is_none_or(|peer| peer.pid.is_some()))
        .unwrap_or(true)
}

fn join(shared: &Shared, id: u32, pid: u32, fds: Vec<OwnedFd>) {
    // This very process can't outlive itself.
    let pidfd = fds.into_iter().next().filter(|_| pid != mem::current_pid());
    if let Some(pidfd) = &pidfd {
        // Without it the hang-up of the socket still tells.
        let _ = watch(&shared.epoll, pidfd, ABOUT_PROCESS | u64::from(id));
    }
    let _ = shared.with_state(|state| {
        if let Some(peer) = state.peer(id) {
            peer.pid = Some(pid);
            peer.pidfd = pidfd;
            if peer.status == Status::Invited {
                peer.status = Status::Active;
            }
        }
    });
}

/// A consumer broke the protocol on its socket: put it out and wait for its end only.
fn distrust(shared: &Shared, id: u32, reason: String) {
    let _ = shared.with_state(|state| {
        if let Some(peer) = state.peer(id) {
            let _ = epoll::modify(
                &shared.epoll,
                &peer.socket,
                EventData::new_u64(ABOUT_SOCKET | u64::from(id)),
                EventFlags::empty(),
            );
            peer.fault_with(reason);
        }
        state.banish_faulty();
    });
}

/// A consumer's process is gone, or has closed all it had of the ring.
fn bury(shared: &Shared, id: u32) {
    let gone = shared.with_state(|state| state.bury(id));
    if let Ok(Some(Peer {
        socket,
        owner_bell,
        pidfd,
        ..
    })) = gone
    {
        // By hand: a forked child may hold these open, and then closing them does not do it.
        let _ = epoll::delete(&shared.epoll, &socket);
        let _ = epoll::delete(&shared.epoll, &owner_bell);
        if let Some(pidfd) = pidfd {
            let _ = epoll::delete(&shared.epoll, &pidfd);
        }
    }
}
