//! The receiver: a thread that reads the data socket straight into the slots of a ring.
//!
//! It keeps the connection: when that breaks, or the detector sends what can't be understood, the
//! acquisition ends with its reason and the connection is made anew, until the owner closes.
//! When the ring is full it waits, and the detector with it (TCP backpressure); nothing is dropped.
//!
//! Stacks are tagged with the number of their acquisition and hold messages as received; the
//! offsets that travel with them point at each frame's pixels.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use receiver_core::{Order, Shared};
use shmring_core::{Ring, RingError};

use crate::assembler::{Assembler, Step};
use crate::event::{Event, ProtocolError};
use crate::socket::{DataSocket, wait_for};
use crate::stack::Filler;

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Attempts to connect are at least so far apart.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(200);
/// While the ring is full, orders are looked for so often.
const FULL_RING_POLL: Duration = Duration::from_millis(20);
/// Longest wait for data without looking at the clock.
const IDLE_POLL: Duration = Duration::from_secs(1);

/// Where to receive from, and how.
#[derive(Debug, Clone)]
pub struct ReceiverConfig {
    /// Host name or address of the detector's computer.
    pub host: String,
    /// Its data port.
    pub port: u16,
    /// A stack is handed over when its first frame is so old, even if the slot is not full.
    pub flush_interval: Duration,
    /// Silence within an acquisition that ends it; `None`: from the shutter time, at least 10 s.
    pub stall_timeout: Option<Duration>,
}

/// The owner's handle of the thread.
pub type Receiver = receiver_core::Receiver<Event>;

/// Start the thread; it connects by itself, see [`Event::Connected`].
pub fn start(config: ReceiverConfig, ring: Ring) -> io::Result<Receiver> {
    let filler = Filler::new(ring.clone());
    let largest = Filler::largest_message(&ring);
    Receiver::spawn("merlin-receiver", ring.clone(), move |shared| {
        let task = Task {
            assembler: Assembler::new(largest, config.stall_timeout, Instant::now()),
            filler,
            ring,
            shared: Arc::clone(shared),
            config,
        };
        task.run()
    })
}

/// Why a connection is over.
enum Over {
    Closing,
    Broken(String),
    Nonsense(ProtocolError),
    Ring(RingError),
}

impl From<RingError> for Over {
    fn from(error: RingError) -> Self {
        Self::Ring(error)
    }
}

/// What the thread has.
struct Task {
    config: ReceiverConfig,
    ring: Ring,
    shared: Arc<Shared<Event>>,
    assembler: Assembler,
    filler: Filler,
}

impl Task {
    /// Connect again and again, until the owner closes.
    fn run(mut self) -> Result<(), RingError> {
        let mut is_another = false;
        while !self.shared.is_closing() {
            let begun = Instant::now();
            let shared = Arc::clone(&self.shared);
            let ReceiverConfig { host, port, .. } = &self.config;
            let socket = DataSocket::connect(host, *port, CONNECT_TIMEOUT, shared.waker(), &|| {
                shared.is_closing()
            });
            match socket {
                Ok(socket) => {
                    self.assembler.connected(is_another, Instant::now());
                    self.publish()?;
                    is_another = true;
                    let over = self.receive(&socket);
                    self.conclude(over)?;
                }
                Err(error) => {
                    shared.set_last_error(error.to_string());
                }
            }
            while !shared.is_closing() && begun.elapsed() < RECONNECT_INTERVAL {
                let left = RECONNECT_INTERVAL.saturating_sub(begun.elapsed());
                let _ = wait_for(None, shared.waker(), left);
            }
        }
        Ok(())
    }

    /// Receive until the connection is over.
    fn receive(&mut self, socket: &DataSocket) -> Over {
        loop {
            if let Err(over) = self.receive_once(socket) {
                return over;
            }
        }
    }

    /// Parse what is there, hand over what is due, receive or wait.
    fn receive_once(&mut self, socket: &DataSocket) -> Result<(), Over> {
        self.obey()?;
        self.get_slots()?;
        let Some(needed) = self.parse()? else {
            return Ok(());
        };
        let now = Instant::now();
        let due = self
            .filler
            .begun()
            .map(|begun| begun + self.config.flush_interval);
        if due.is_some_and(|due| due <= now) {
            self.filler.commit()?;
            return Ok(());
        }
        let message_bytes = self.assembler.message_bytes();
        let remaining = self.assembler.remaining();
        let Some(room) = self.filler.room(needed, message_bytes, remaining) else {
            self.filler.commit()?;
            return Ok(());
        };
        match socket.receive(room) {
            Ok(Some(0)) => return Err(Over::Broken("the detector closed it".into())),
            Ok(Some(n)) => {
                self.filler.received(n);
                self.assembler.received(n, now);
            }
            Ok(None) => {
                let due = [due, self.assembler.deadline()].into_iter().flatten().min();
                let timeout = due.map_or(IDLE_POLL, |due| due.saturating_duration_since(now));
                let waited = socket.wait(self.shared.waker(), timeout.min(IDLE_POLL));
                waited.map_err(|error| Over::Broken(error.to_string()))?;
                self.assembler.tick(Instant::now());
            }
            Err(error) => return Err(Over::Broken(error.to_string())),
        }
        self.publish()?;
        Ok(())
    }

    /// Do what the owner ordered.
    fn obey(&mut self) -> Result<(), Over> {
        if self.shared.is_closing() {
            return Err(Over::Closing);
        }
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
    fn get_slots(&mut self) -> Result<(), Over> {
        if self.filler.get_slots(Duration::ZERO)? {
            return Ok(());
        }
        // The workers may be waiting for just these frames.
        self.filler.commit()?;
        while !self.filler.get_slots(FULL_RING_POLL)? {
            self.obey()?;
        }
        self.assembler.forgive_silence(Instant::now());
        Ok(())
    }

    /// Take all whole messages; gives the bytes that make the next one whole, or `None` if a stack
    /// was handed over and slots are needed first.
    fn parse(&mut self) -> Result<Option<usize>, Over> {
        let now = Instant::now();
        loop {
            let step = self.assembler.step(self.filler.bytes()).map_err(Over::Nonsense)?;
            match step {
                Step::Need(needed) => return Ok(Some(needed)),
                Step::Skip(n) => self.filler.skip(n),
                Step::Frame {
                    message_bytes,
                    acquisition,
                    index,
                    payload_offset,
                } => {
                    if !self.filler.can_take(acquisition, index, message_bytes) {
                        self.filler.commit()?;
                    }
                    self.filler
                        .take(acquisition, index, message_bytes, payload_offset, now);
                }
            }
            if self.assembler.has_events() {
                self.publish()?;
            }
            if !self.filler.has_slots() {
                return Ok(None);
            }
        }
    }

    /// Pass on events and counters; before an end is told, its last frames are handed over.
    fn publish(&mut self) -> Result<(), RingError> {
        let mut events = Vec::new();
        while let Some(event) = self.assembler.next_event() {
            if let Event::Ended(ended) = &event {
                self.filler.commit()?;
                self.ring.end(ended.number);
            }
            events.push(event);
        }
        self.shared.publish(events, self.assembler.counters());
        Ok(())
    }

    /// After a connection: hand over what came, and tell how the acquisition ended.
    fn conclude(&mut self, over: Over) -> Result<(), RingError> {
        if let Over::Ring(error) = over {
            return Err(error);
        }
        self.filler.commit()?;
        self.filler.forget_rest();
        match over {
            Over::Closing => self.assembler.abort(),
            Over::Broken(reason) => {
                self.shared.set_last_error(&*reason);
                self.assembler.disconnected(reason);
            }
            Over::Nonsense(error) => {
                self.shared.set_last_error(error.to_string());
                self.assembler.failed(&error);
            }
            Over::Ring(_) => {}
        }
        self.publish()
    }
}

#[cfg(test)]
mod tests;
