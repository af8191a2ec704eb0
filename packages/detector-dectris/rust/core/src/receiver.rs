//! The receiver: a thread that pulls images from the stream into the slots of a ring.
//!
//! One ZeroMQ socket is connected to all endpoints given; libzmq makes broken connections anew by
//! itself.  When the ring is full nothing is received, and the detector has to wait (ZeroMQ's high-water
//! mark, then TCP backpressure).  A blob is copied once: from ZeroMQ's message into the slot.
//!
//! Stacks are tagged with the number of their acquisition and hold frame records; the offsets that
//! travel with them point at each record.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use receiver_core::{Order, Shared, Waker};
use rustix::event::{PollFd, PollFlags, Timespec};
use shmring_core::{Ring, RingError};
use zmq::{Context, DONTWAIT, Message, PULL, PollItem, Socket};

use crate::assembler::Assembler;
use crate::event::{Channels, Event};
use crate::monitor::{Change, Monitor};
use crate::stack::Stack;
use crate::stream_v1;
use crate::stream_v2;

/// More parts than any message has; those beyond are dropped.
const MAX_PARTS: usize = 16;
/// A longer message is none of a detector's: the connection that sends it is dropped.
const MAX_MESSAGE_BYTES: i64 = 1 << 30;
/// Messages that ZeroMQ may keep, besides what the kernel does; fewer if they are large.
const HIGH_WATER_MARK: usize = 1000;
const LEAST_HIGH_WATER_MARK: usize = 4;
/// Bytes that it may keep, once the size of an image is known.
const HIGH_WATER_BYTES: usize = 64 << 20;
/// Attempts to connect are so far apart, at first and at most, milliseconds.
const RECONNECT_MS: (i32, i32) = (100, 1000);
/// While the ring is full, orders are looked for so often.
const FULL_RING_POLL: Duration = Duration::from_millis(20);
/// Longest wait for data without looking at the clock.
const IDLE_POLL: Duration = Duration::from_secs(1);
/// Messages taken without looking at the clock or for orders.
const BATCH: usize = 64;
/// If messages come faster than this, it is cheaper to sleep than to be woken for each.
const BUSY: Duration = Duration::from_millis(2);
const NAP: Duration = Duration::from_millis(1);

/// Where to receive from, and how.
#[derive(Debug, Clone)]
pub struct ReceiverConfig {
    /// ZeroMQ endpoints of the detector's computer, such as `tcp://host:9999`.
    pub endpoints: Vec<String>,
    /// Channels to keep.
    pub channels: Channels,
    /// A stack is handed over when its first frame is so old, even if the slot is not full.
    pub flush_interval: Duration,
    /// Silence within an acquisition that ends it; `None`: from the frame time, at least 10 s.
    pub stall_timeout: Option<Duration>,
}

/// The owner's handle of the thread.
pub type Receiver = receiver_core::Receiver<Event>;

/// Start the thread; it connects by itself, see [`Event::Connected`].
///
/// An endpoint that ZeroMQ can't read is an error at once.
pub fn start(config: ReceiverConfig, ring: Ring) -> io::Result<Receiver> {
    let context = Context::new();
    let socket = pull_socket(&context)?;
    let monitor = Monitor::new(&context, &socket)?;
    for endpoint in &config.endpoints {
        socket
            .connect(endpoint)
            .map_err(|error| io::Error::other(format!("endpoint {endpoint:?}: {error}")))?;
    }
    Receiver::spawn("dectris-receiver", ring.clone(), move |shared| {
        let now = Instant::now();
        let largest = Stack::largest_record(&ring);
        let task = Task {
            assembler: Assembler::new(config.channels.clone(), largest, config.stall_timeout, now),
            stack: Stack::new(ring.clone()),
            parser: stream_v1::Parser::default(),
            parts: std::iter::repeat_with(Message::new).take(MAX_PARTS).collect(),
            was_connected: false,
            largest_image: HIGH_WATER_BYTES / HIGH_WATER_MARK,
            last_batch: now,
            ring,
            shared: Arc::clone(shared),
            config,
            socket,
            monitor,
        };
        task.run()
    })
}

fn pull_socket(context: &Context) -> zmq::Result<Socket> {
    context.set_io_threads(1)?;
    let socket = context.socket(PULL)?;
    socket.set_linger(0)?;
    socket.set_rcvhwm(HIGH_WATER_MARK as i32)?;
    socket.set_maxmsgsize(MAX_MESSAGE_BYTES)?;
    socket.set_reconnect_ivl(RECONNECT_MS.0)?;
    socket.set_reconnect_ivl_max(RECONNECT_MS.1)?;
    socket.set_tcp_keepalive(1)?;
    socket.set_ipv6(true)?;
    Ok(socket)
}

/// Whether messages are left after a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Batch {
    /// None: so many were there.
    Drained(usize),
    /// Some may be, or slots are needed first.
    Paused,
}

/// What the thread has.  Sockets are closed before their context ends.
struct Task {
    config: ReceiverConfig,
    ring: Ring,
    shared: Arc<Shared<Event>>,
    assembler: Assembler,
    stack: Stack,
    parser: stream_v1::Parser,
    parts: Vec<Message>,
    was_connected: bool,
    /// Bytes of an image's message that the high-water mark is set for.
    largest_image: usize,
    last_batch: Instant,
    monitor: Monitor,
    socket: Socket,
}

impl Task {
    /// Receive until the owner closes.
    fn run(mut self) -> Result<(), RingError> {
        while !self.shared.is_closing() {
            self.receive_once()?;
        }
        self.stack.commit()?;
        self.assembler.abort();
        self.publish()
    }

    /// Take what is there, hand over what is due, wait.
    fn receive_once(&mut self) -> Result<(), RingError> {
        self.obey()?;
        if !self.get_slots()? {
            return Ok(());
        }
        let begun = Instant::now();
        self.assembler.set_time(begun);
        self.follow_connections();
        let batch = self.receive_batch(begun)?;
        let now = Instant::now();
        let due = self.stack.begun().map(|begun| begun + self.config.flush_interval);
        if due.is_some_and(|due| due <= now) {
            self.stack.commit()?;
        }
        if let Batch::Drained(n) = batch {
            self.assembler.tick(now);
            self.publish()?;
            self.wait(n, now)?;
        } else {
            self.publish()?;
        }
        Ok(())
    }

    /// Do what the owner ordered.
    fn obey(&mut self) -> Result<(), RingError> {
        for order in self.shared.take_orders() {
            match order {
                Order::Abort => self.assembler.abort(),
                Order::Abandon(number) => self.assembler.abandon(number),
            }
            self.publish()?;
        }
        Ok(())
    }

    /// Have room to receive into; while the ring is full, the detector has to wait.
    ///
    /// `false` if the owner closes meanwhile.
    fn get_slots(&mut self) -> Result<bool, RingError> {
        if self.stack.get_slots(Duration::ZERO)? {
            return Ok(true);
        }
        // The workers may be waiting for just these frames.
        self.stack.commit()?;
        while !self.stack.get_slots(FULL_RING_POLL)? {
            if self.shared.is_closing() {
                return Ok(false);
            }
            self.obey()?;
            self.assembler.forgive_silence(Instant::now());
        }
        self.assembler.forgive_silence(Instant::now());
        Ok(true)
    }

    /// Take messages into the stack.
    fn receive_batch(&mut self, now: Instant) -> Result<Batch, RingError> {
        for n in 0..BATCH {
            if !self.stack.has_slots() {
                return Ok(Batch::Paused);
            }
            let Some(n_parts) = self.receive_message() else {
                return Ok(Batch::Drained(n));
            };
            self.take_message(n_parts, now)?;
        }
        Ok(Batch::Paused)
    }

    /// Receive one message; gives the number of its parts, `None` if there is none.
    fn receive_message(&mut self) -> Option<usize> {
        let mut n = 0;
        let mut beyond = Message::new();
        loop {
            let part = self.parts.get_mut(n).unwrap_or(&mut beyond);
            // Parts of one message arrive together.
            self.socket.recv(part, DONTWAIT).ok()?;
            let has_more = part.get_more();
            n = (n + 1).min(MAX_PARTS);
            if !has_more {
                return Some(n);
            }
        }
    }

    fn take_message(&mut self, n_parts: usize, now: Instant) -> Result<(), RingError> {
        let mut parts: [&[u8]; MAX_PARTS] = [&[]; MAX_PARTS];
        let mut n_bytes = 0;
        for (part, place) in self.parts.iter().zip(&mut parts).take(n_parts) {
            *place = part;
            n_bytes += part.len();
        }
        let parts = parts.get(..n_parts).unwrap_or_default();
        self.assembler.received(n_bytes);
        let message = match parts {
            [only] if stream_v2::is_likely(only) => stream_v2::parse(only),
            _ => {
                let parsed = self.parser.parse(parts);
                if let Some(announcement) = parsed.before {
                    self.assembler
                        .take(Ok(crate::image::Message::Start(announcement)));
                }
                parsed.message
            }
        };
        if let Some(frame) = self.assembler.take(message) {
            let (acquisition, index) = (frame.acquisition, frame.index);
            if !self.stack.can_take(acquisition, index, frame.blobs()) {
                self.stack.commit()?;
            }
            self.stack.take(acquisition, index, frame.blobs(), now);
            if n_bytes > self.largest_image {
                self.largest_image = n_bytes.next_power_of_two();
                let mark = (HIGH_WATER_BYTES / self.largest_image).max(LEAST_HIGH_WATER_MARK);
                // Holds from now on also for connections that stand; without it only memory is at stake.
                let _ = self.socket.set_rcvhwm(mark as i32);
            }
        }
        if self.assembler.has_events() {
            self.publish()?;
        }
        Ok(())
    }

    /// Pass on events and counters; before an end is told, its last frames are handed over.
    fn publish(&mut self) -> Result<(), RingError> {
        let mut events = Vec::new();
        while let Some(event) = self.assembler.next_event() {
            if let Event::Ended(ended) = &event {
                self.stack.commit()?;
                self.ring.end(ended.number);
            }
            events.push(event);
        }
        if let Some(note) = self.assembler.take_note() {
            self.shared.set_last_error(note);
        }
        self.shared.publish(events, self.assembler.counters());
        Ok(())
    }

    /// Note which connections came and went.
    fn follow_connections(&mut self) {
        while let Some(change) = self.monitor.next() {
            match change {
                Change::Connected => {
                    self.shared.set_last_error("");
                    self.assembler.connected(self.was_connected);
                    self.was_connected = true;
                }
                Change::Disconnected(reason) => {
                    self.shared.set_last_error(&*reason);
                    self.assembler.disconnected(reason);
                }
                Change::Unreachable(reason) => self.shared.set_last_error(reason),
            }
        }
    }

    /// Wait until there is something to do; `n` messages came just before.
    fn wait(&mut self, n: usize, now: Instant) -> Result<(), RingError> {
        let is_busy = n > 0 && now.duration_since(self.last_batch) < BUSY;
        if n > 0 {
            self.last_batch = now;
        }
        if is_busy && !self.shared.is_closing() {
            nap(self.shared.waker(), NAP.min(self.config.flush_interval / 4));
            return Ok(());
        }
        let due = self.stack.begun().map(|begun| begun + self.config.flush_interval);
        let due = [due, self.assembler.deadline()].into_iter().flatten().min();
        let timeout = due.map_or(IDLE_POLL, |due| due.saturating_duration_since(now).min(IDLE_POLL));
        let timeout_ms = timeout.as_micros().div_ceil(1000) as i64;
        let waker = self.shared.waker();
        let mut items = [
            PollItem::from_fd(waker.as_raw_fd(), zmq::POLLIN),
            self.socket.as_poll_item(zmq::POLLIN),
            self.monitor.socket().as_poll_item(zmq::POLLIN),
        ];
        // An interrupted wait is a short one.
        let _ = zmq::poll(&mut items, timeout_ms);
        if items.first().is_some_and(PollItem::is_readable) {
            waker.clear();
        }
        Ok(())
    }
}

/// Sleep, unless woken.
fn nap(waker: &Waker, time: Duration) {
    let timeout = Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos().into(),
    };
    let mut fds = [PollFd::new(waker, PollFlags::IN)];
    if matches!(rustix::event::poll(&mut fds, Some(&timeout)), Ok(1)) {
        waker.clear();
    }
}

#[cfg(test)]
mod tests;
