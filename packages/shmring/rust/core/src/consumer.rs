//! The consumer's face: receive stacks, look at them, give them back.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno, FdFlags};

use crate::error::RingError;
use crate::layout::{
    self, DESCRIPTOR_WORDS, Descriptor, KIND_END, KIND_STACK, RETURN_NOT_DONE, WORD_CONSUMER_ASLEEP,
    WORD_OWNER_ASLEEP,
};
use crate::ledger::Lease;
use crate::mem::{self, ConsumerData, Control};
use crate::peer::{ret_place, tx_place};
use crate::ring::own_pidfd;
use crate::spsc::{ContestedReceiver, Scribbled, Sender, SleepFlag};
use crate::wire::{self, Bell, Incoming, Kind, Message};

/// How long to look before sleeping, where there are cores to spare.
const SPIN: Duration = Duration::from_micros(20);
const SPIN_MIN_CORES: usize = 4;

/// What `recv` brings.
#[derive(Debug)]
pub enum Received {
    /// A stack, to be looked at until it is dropped.
    Stack(StackLease),
    /// Nothing more is queued for this tag.  Stacks may still follow if another consumer dies.
    End {
        /// The tag.
        tag: u64,
    },
}

/// What a consumer's parts share; lives until the last lease is gone.
struct Link {
    data: Arc<ConsumerData>,
    returns: Mutex<Sender<Arc<Control>, 1>>,
    owner_asleep: SleepFlag<Arc<Control>>,
    consumer_asleep: SleepFlag<Arc<Control>>,
    owner_bell: Bell,
    bell: Bell,
    owner_pidfd: Option<OwnedFd>,
    hello: Message,
    /// The process that opened the consumer; in a forked child everything is inert.
    pid: u32,
    closed: AtomicBool,
    /// Declared last, dropped last: its hang-up tells the owner that nobody looks any more.
    socket: OwnedFd,
}

impl Link {
    fn is_forked(&self) -> bool {
        mem::current_pid() != self.pid
    }

    fn wake_owner(&self) {
        if self.owner_asleep.answer() {
            self.owner_bell.ring();
        }
    }

    fn give_back(&self, lease: Lease) {
        if self.is_forked() {
            return;
        }
        let mut returns = self.returns.lock().unwrap_or_else(PoisonError::into_inner);
        // There is room for all slots; if not, the owner is broken and the slot stays with us.
        let not_done = if self.closed.load(Ordering::Acquire) {
            RETURN_NOT_DONE
        } else {
            0
        };
        let _ = returns.push(&[lease.token() | not_done]);
        drop(returns);
        self.wake_owner();
    }
}

/// One consumer of a ring, in any process.
///
/// Meant for one thread at a time; [`close`](Self::close) may come from another.
pub struct Consumer {
    link: Arc<Link>,
    inbox: Mutex<Inbox>,
}

struct Inbox {
    queue: ContestedReceiver<Arc<Control>, DESCRIPTOR_WORDS>,
    /// Why nothing more will come.
    over: Option<Over>,
    spin: Duration,
}

#[derive(Clone, Copy)]
enum Over {
    Closed,
    Detached,
    OwnerLost,
}

impl From<Over> for RingError {
    fn from(over: Over) -> Self {
        match over {
            Over::Closed => Self::Closed,
            Over::Detached => Self::Detached,
            Over::OwnerLost => Self::OwnerLost,
        }
    }
}

impl Consumer {
    /// Open what [`Ring::attach`](crate::Ring::attach) made; takes the file descriptor over.
    ///
    /// # Errors
    ///
    /// [`RingError::Incompatible`] if it is not such a file descriptor or the owner has another
    /// layout, [`RingError::OwnerLost`] if the owner is gone, [`RingError::Closed`], [`RingError::Os`].
    pub fn from_fd(fd: OwnedFd) -> Result<Self, RingError> {
        // It was inherited, perhaps; but no program that this process runs later shall keep it open.
        rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC).map_err(RingError::os("open a consumer"))?;
        let (hello, fds) = match wire::receive(&fd)? {
            Incoming::Message(message, fds) if message.kind == Kind::Hello => (message, fds),
            Incoming::Message(message, _) => {
                return Err(RingError::Incompatible(format!(
                    "greeted with {:?}",
                    message.kind
                )));
            }
            Incoming::Nothing => {
                return Err(RingError::Incompatible(
                    "no greeting; was this file descriptor opened before?".into(),
                ));
            }
            Incoming::Hangup => return Err(RingError::OwnerLost),
        };
        let mut fds = fds.into_iter();
        let mut next_fd = |what: &str| {
            fds.next()
                .ok_or_else(|| RingError::Incompatible(format!("the greeting came without {what}")))
        };
        let data_fd = next_fd("the slots")?;
        let control_fd = next_fd("the queues")?;
        let owner_bell = Bell::from_fd(next_fd("the owner's bell")?);
        let bell = Bell::from_fd(next_fd("the consumer's bell")?);
        let owner_pidfd = fds.next().filter(|_| hello.pid != mem::current_pid());

        let (data_len, n_words) = sizes(&hello)?;
        let data = ConsumerData::open(hello.uuid, &data_fd, data_len)?;
        let control = Control::open(&control_fd, n_words)?;
        let tx_capacity = u64::from(hello.tx_capacity);
        let ret_capacity = layout::ret_capacity(hello.n_slots);
        let returns = Sender::new(Arc::clone(&control), ret_place(tx_capacity, ret_capacity));
        let queue = ContestedReceiver::new(Arc::clone(&control), tx_place(tx_capacity));
        let link = Arc::new(Link {
            data,
            returns: Mutex::new(returns),
            owner_asleep: SleepFlag::new(Arc::clone(&control), WORD_OWNER_ASLEEP),
            consumer_asleep: SleepFlag::new(control, WORD_CONSUMER_ASLEEP),
            owner_bell,
            bell,
            owner_pidfd,
            hello,
            pid: mem::current_pid(),
            closed: AtomicBool::new(false),
            socket: fd,
        });
        let pidfd = own_pidfd();
        let fds: Vec<_> = pidfd.iter().map(AsFd::as_fd).collect();
        let joined = Message {
            pid: link.pid,
            ..hello.with_kind(Kind::Joined)
        };
        // If the owner is gone or has closed the ring, the first `recv` tells.
        let _ = wire::send(&link.socket, &joined, &fds);
        let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
        let spin = if n_cores >= SPIN_MIN_CORES {
            SPIN
        } else {
            Duration::ZERO
        };
        Ok(Self {
            link,
            inbox: Mutex::new(Inbox {
                queue,
                over: None,
                spin,
            }),
        })
    }

    /// Its number in the ring, as [`Ring::settle`](crate::Ring::settle) wants it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.link.hello.consumer
    }

    /// Wait for a stack or an end; `None` if neither came within `timeout`.
    ///
    /// # Errors
    ///
    /// [`RingError::Closed`], [`RingError::Detached`] or [`RingError::OwnerLost`] once the queue is
    /// empty; [`RingError::Forked`]; [`RingError::Incompatible`] if the owner sent nonsense.
    pub fn recv(&self, timeout: Duration) -> Result<Option<Received>, RingError> {
        if self.link.is_forked() {
            return Err(RingError::Forked);
        }
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        if let Some(received) = self.take(&mut inbox)? {
            return Ok(Some(received));
        }
        while start.elapsed() < inbox.spin.min(timeout) {
            std::hint::spin_loop();
            if let Some(received) = self.take(&mut inbox)? {
                return Ok(Some(received));
            }
        }
        let mut looked = false;
        loop {
            self.link.consumer_asleep.arm();
            let found = self.take(&mut inbox);
            let left = timeout.saturating_sub(start.elapsed());
            if !matches!(found, Ok(None)) || looked && left.is_zero() && inbox.over.is_none() {
                self.link.consumer_asleep.disarm();
                return found;
            }
            if let Some(over) = inbox.over {
                return Err(over.into());
            }
            // Even without any time left, to see whether the owner is still there.
            self.sleep(&mut inbox, left)?;
            looked = true;
        }
    }

    /// Take what is in the queue now.
    fn take(&self, inbox: &mut Inbox) -> Result<Option<Received>, RingError> {
        if self.link.closed.load(Ordering::Acquire) {
            return Err(RingError::Closed);
        }
        let nonsense = |Scribbled| RingError::Incompatible("the owner's queue makes no sense".into());
        let Some(words) = inbox.queue.pop().map_err(nonsense)? else {
            return Ok(None);
        };
        self.link.wake_owner();
        let descriptor = Descriptor::unpack(&words);
        match descriptor.kind {
            KIND_END => Ok(Some(Received::End { tag: descriptor.tag })),
            KIND_STACK => StackLease::new(&self.link, descriptor).map(|stack| Some(Received::Stack(stack))),
            kind => Err(RingError::Incompatible(format!(
                "descriptor of unknown kind {kind}"
            ))),
        }
    }

    /// Sleep until the bell rings, the owner says or is something else, or the time is over.
    fn sleep(&self, inbox: &mut Inbox, left: Duration) -> Result<(), RingError> {
        let link = &self.link;
        let mut fds = vec![
            PollFd::new(&link.bell, PollFlags::IN),
            PollFd::new(&link.socket, PollFlags::IN),
        ];
        fds.extend(
            link.owner_pidfd
                .as_ref()
                .map(|pidfd| PollFd::new(pidfd, PollFlags::IN)),
        );
        let left = Timespec::try_from(left).unwrap_or(Timespec {
            tv_sec: i32::MAX.into(),
            tv_nsec: 0,
        });
        match rustix::event::poll(&mut fds, Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(RingError::os("wait for a stack")(errno)),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let [bell, socket, rest @ ..] = ready.as_slice() else {
            return Ok(());
        };
        if *bell {
            link.bell.hush();
        }
        if *socket {
            inbox.over = match wire::receive(&link.socket) {
                Ok(Incoming::Nothing) => None,
                Ok(Incoming::Message(message, _)) if message.kind == Kind::Closed => Some(Over::Closed),
                Ok(Incoming::Message(message, _)) if message.kind == Kind::Detached => Some(Over::Detached),
                _ => Some(Over::OwnerLost),
            };
        } else if rest.contains(&true) {
            inbox.over = Some(Over::OwnerLost);
        }
        Ok(())
    }

    /// Leave the ring: unsettled stacks go to others, a waiting `recv` ends with `Closed`.
    ///
    /// Leases stay valid; their slots are not written before they are dropped.  A lease dropped from now
    /// on does not count as done.  Idempotent.
    pub fn close(&self) {
        if !self.link.is_forked() && !self.link.closed.swap(true, Ordering::AcqRel) {
            // If the owner is gone it needs no telling.
            let _ = wire::send(&self.link.socket, &self.link.hello.with_kind(Kind::Leaving), &[]);
            self.link.bell.ring();
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// Bytes of all slots and words of the queues, from what the owner says.
fn sizes(hello: &Message) -> Result<(usize, usize), RingError> {
    let nonsense = || {
        let (slots, bytes, queue) = (hello.n_slots, hello.slot_bytes, hello.tx_capacity);
        RingError::Incompatible(format!("{slots} slots of {bytes} bytes with a queue of {queue}"))
    };
    let most = layout::tx_capacity(crate::config::RingConfig::MAX_QUEUE_DEPTH);
    let queue_fits = hello.tx_capacity.is_power_of_two() && u64::from(hello.tx_capacity) <= most;
    let slots_fit = (1..=crate::config::RingConfig::MAX_SLOTS).contains(&hello.n_slots);
    if !queue_fits || !slots_fit || !hello.slot_bytes.is_multiple_of(64) {
        return Err(nonsense());
    }
    let data_len = usize::try_from(hello.slot_bytes)
        .ok()
        .and_then(|slot| slot.checked_mul(hello.n_slots as usize))
        .filter(|len| isize::try_from(*len).is_ok())
        .ok_or_else(nonsense)?;
    let n_words = layout::control_words(u64::from(hello.tx_capacity), layout::ret_capacity(hello.n_slots));
    Ok((data_len, n_words))
}

/// The right to look at one stack.  Dropping it gives the slot back, and the stack counts as done unless
/// the consumer was closed before.
pub struct StackLease {
    link: Arc<Link>,
    descriptor: Descriptor,
    offset: usize,
}

impl StackLease {
    fn new(link: &Arc<Link>, descriptor: Descriptor) -> Result<Self, RingError> {
        let fits = || {
            let data_len = usize::try_from(descriptor.data_len).ok()?;
            let end = layout::stack_bytes(data_len, descriptor.n_meta as usize)?;
            (descriptor.slot < link.hello.n_slots && end as u64 <= link.hello.slot_bytes).then_some(())
        };
        if fits().is_none() {
            let text = format!("the owner sent a stack that is not in a slot: {descriptor:?}");
            return Err(RingError::Incompatible(text));
        }
        let offset = descriptor.slot as usize * link.hello.slot_bytes as usize;
        Ok(Self {
            link: Arc::clone(link),
            descriptor,
            offset,
        })
    }

    /// The data, as committed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.link
            .data
            .bytes(self.offset, self.descriptor.data_len as usize)
            .unwrap_or_default()
    }

    /// The numbers that came with the data.
    #[must_use]
    pub fn meta(&self) -> &[u64] {
        let offset = self.offset + layout::meta_offset(self.descriptor.data_len as usize);
        self.link
            .data
            .numbers(offset, self.descriptor.n_meta as usize)
            .unwrap_or_default()
    }

    /// The tag it was committed for.
    #[must_use]
    pub fn tag(&self) -> u64 {
        self.descriptor.tag
    }

    /// Index of its first item.
    #[must_use]
    pub fn item_first(&self) -> u64 {
        self.descriptor.item_first
    }

    /// Number of its items.
    #[must_use]
    pub fn n_items(&self) -> u32 {
        self.descriptor.n_items
    }

    /// The flags it was committed with.
    #[must_use]
    pub fn flags(&self) -> u16 {
        self.descriptor.flags
    }

    /// Number of its commit in the ring.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.descriptor.seq
    }

    /// How many consumers had it before and died.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.descriptor.attempt
    }

    /// Stacks that this `Latest` consumer did not get since the one before.
    #[must_use]
    pub fn skipped(&self) -> u32 {
        self.descriptor.skipped
    }

    /// Names it to [`Ring::settle`](crate::Ring::settle).
    #[must_use]
    pub fn lease(&self) -> Lease {
        Lease {
            slot: self.descriptor.slot,
            generation: self.descriptor.generation,
        }
    }
}

impl Drop for StackLease {
    fn drop(&mut self) {
        self.link.give_back(self.lease());
    }
}

impl std::fmt::Debug for StackLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StackLease")
            .field("descriptor", &self.descriptor)
            .finish_non_exhaustive()
    }
}
