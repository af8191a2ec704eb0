//! What a simulated detector sends with: a bound ZeroMQ PUSH socket that composes images natively.
//!
//! Like the detector's own: when the queue is full the newest images are dropped and counted, unless the
//! caller would rather wait for the client.  One thread sends at a time; any thread may stop it.

mod clients;
mod images;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use zmq::{Context, DONTWAIT, Message, POLLOUT, PUSH, SNDMORE, Socket};

use clients::Clients;
pub use images::{BlobTable, Composer, ImageError, ImageFormat, Packing, Times, Version};

/// How long a wait lasts before whoever waits looks around.
const GLANCE: Duration = Duration::from_millis(20);

/// Why nothing can be sent.
#[derive(Debug, Error)]
pub enum SenderError {
    /// The endpoint is of no use.
    #[error("can't listen on {endpoint:?}: {reason}")]
    Endpoint {
        /// As given.
        endpoint: String,
        /// In ZeroMQ's words.
        reason: String,
    },
    /// It has been closed.
    #[error("the sender is closed")]
    Closed,
    /// ZeroMQ failed.
    #[error("ZeroMQ: {0}")]
    Socket(#[from] zmq::Error),
}

/// What to do with an image for which there is no room.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// Drop it rather than wait, as the detector does.
    pub drop_when_full: bool,
    /// Drop it if the queue is full because nobody is connected.
    pub drop_without_client: bool,
}

/// When images leave.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// When the first is due; those of the past are due at once.
    pub begin: Instant,
    /// From image to image; zero for as fast as they go.
    pub interval: Duration,
}

impl Pace {
    /// How many images are due beyond `n_done`, and else how long until one is.
    fn due(&self, n_done: u64) -> Result<u64, Duration> {
        let now = Instant::now();
        let wait = self.begin.saturating_duration_since(now);
        if !wait.is_zero() {
            return Err(wait);
        }
        if self.interval.is_zero() {
            return Ok(u64::MAX);
        }
        let elapsed = now.saturating_duration_since(self.begin).as_nanos();
        let interval = self.interval.as_nanos();
        let due = u64::try_from(elapsed / interval)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        if due > n_done {
            return Ok(due - n_done);
        }
        let next = u128::from(n_done) * interval - elapsed;
        Err(Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX)))
    }
}

/// Consecutive images to be sent.
pub struct Burst<'a> {
    /// Makes the messages.
    pub composer: Composer,
    /// Where the pixels are.
    pub blobs: BlobTable<'a>,
    /// Number of the first image.
    pub first: u64,
    /// How many.
    pub n: u64,
    /// Numbers to leave out, ascending.
    pub skip: &'a [u64],
    /// When they leave.
    pub pace: Pace,
    /// What to do when the queue is full.
    pub patience: Patience,
}

/// What has become of a burst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Images dealt with: sent, dropped, left out.
    pub n_done: u64,
    /// Images handed to ZeroMQ.
    pub n_sent: u64,
    /// Images for which there was no room.
    pub n_dropped: u64,
}

/// A bound PUSH socket.
pub struct Sender {
    socket: Mutex<Option<Socket>>,
    clients: Mutex<Option<Clients>>,
    endpoint: String,
    stopped: Mutex<bool>,
    stopping: Condvar,
    is_stopped: AtomicBool,
    n_sent: AtomicU64,
    n_dropped: AtomicU64,
    n_bytes: AtomicU64,
}

impl Sender {
    /// Listen; `hwm` is how many messages may wait per client, `linger` how long closing may take.
    ///
    /// # Errors
    /// If the endpoint can't be had.
    pub fn bind(endpoint: &str, hwm: i32, linger: Duration) -> Result<Self, SenderError> {
        let refused = |reason: String| SenderError::Endpoint {
            endpoint: endpoint.to_owned(),
            reason,
        };
        if endpoint.contains('\0') {
            return Err(refused("it has a NUL in it".to_owned()));
        }
        let context = Context::new();
        let socket = context.socket(PUSH)?;
        socket.set_linger(i32::try_from(linger.as_millis()).unwrap_or(i32::MAX))?;
        socket.set_sndhwm(hwm)?;
        let clients = Clients::watch(&context, &socket)?;
        socket
            .bind(endpoint)
            .map_err(|error| refused(error.message().to_owned()))?;
        let bound = socket.get_last_endpoint()?;
        Ok(Self {
            endpoint: bound.unwrap_or_else(|_| endpoint.to_owned()),
            socket: Mutex::new(Some(socket)),
            clients: Mutex::new(Some(clients)),
            stopped: Mutex::new(false),
            stopping: Condvar::new(),
            is_stopped: AtomicBool::new(false),
            n_sent: AtomicU64::new(0),
            n_dropped: AtomicU64::new(0),
            n_bytes: AtomicU64::new(0),
        })
    }

    /// Where it listens, with the port it has got.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Messages sent.
    pub fn n_sent(&self) -> u64 {
        self.n_sent.load(Ordering::Relaxed)
    }

    /// Messages for which there was no room.
    pub fn n_dropped(&self) -> u64 {
        self.n_dropped.load(Ordering::Relaxed)
    }

    /// Bytes sent, without ZeroMQ's own.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes.load(Ordering::Relaxed)
    }

    /// How many clients are connected.
    pub fn n_clients(&self) -> usize {
        lock(&self.clients).as_mut().map_or(0, Clients::count)
    }

    /// End the burst that is being sent, and every later one at once, until `resume`.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
        *lock(&self.stopped) = true;
        self.stopping.notify_all();
    }

    /// Send again after `stop`.
    pub fn resume(&self) {
        self.is_stopped.store(false, Ordering::Release);
        *lock(&self.stopped) = false;
    }

    /// Close; messages that wait may leave for as long as the linger says.  Idempotent.
    pub fn close(&self) {
        self.stop();
        let socket = lock(&self.socket).take();
        let clients = lock(&self.clients).take();
        drop(socket);
        // The last of the two ends ZeroMQ's context, which waits for the linger.
        drop(clients);
    }

    /// Send one message of several parts; false if there was no room until `deadline`.
    ///
    /// # Errors
    /// If the sender is closed.
    pub fn send(&self, parts: &[Vec<u8>], deadline: Instant) -> Result<bool, SenderError> {
        let guard = lock(&self.socket);
        let socket = guard.as_ref().ok_or(SenderError::Closed)?;
        loop {
            let messages = parts.iter().map(|part| Message::from(part.as_slice())).collect();
            if self.try_send(socket, messages)? {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_stopped.load(Ordering::Acquire) {
                return Ok(false);
            }
            wait_for_room(socket, left.min(GLANCE))?;
        }
    }

    /// Go on with a burst until it is done (true), stopped (true), or `until` (false).
    ///
    /// # Errors
    /// If the sender is closed.
    pub fn send_images(
        &self,
        burst: &mut Burst<'_>,
        progress: &mut Progress,
        until: Instant,
    ) -> Result<bool, SenderError> {
        let guard = lock(&self.socket);
        let socket = guard.as_ref().ok_or(SenderError::Closed)?;
        while progress.n_done < burst.n {
            if self.is_stopped.load(Ordering::Acquire) {
                return Ok(true);
            }
            let now = Instant::now();
            if now >= until {
                return Ok(false);
            }
            match burst.pace.due(progress.n_done) {
                Ok(n) => {
                    // Few enough to look at the clock often, enough for it to cost nothing.
                    let n = n.min(burst.n - progress.n_done).min(16);
                    self.send_some(socket, burst, progress, n)?;
                }
                Err(wait) => self.pause(wait.min(until.saturating_duration_since(now))),
            }
        }
        Ok(true)
    }

    fn send_some(
        &self,
        socket: &Socket,
        burst: &mut Burst<'_>,
        progress: &mut Progress,
        n: u64,
    ) -> Result<(), SenderError> {
        for _ in 0..n {
            let number = burst.first.saturating_add(progress.n_done);
            if burst.skip.binary_search(&number).is_ok() {
                progress.n_done += 1;
                continue;
            }
            let messages = burst.composer.compose(number, &burst.blobs);
            if self.try_send(socket, messages)? {
                progress.n_sent += 1;
            } else if burst.patience.drop_when_full
                || (burst.patience.drop_without_client && self.n_clients() == 0)
            {
                progress.n_dropped += 1;
                self.n_dropped.fetch_add(1, Ordering::Relaxed);
            } else {
                wait_for_room(socket, GLANCE)?;
                return Ok(());
            }
            progress.n_done += 1;
        }
        Ok(())
    }

    /// Send a message whole; false if there is no room.
    fn try_send(&self, socket: &Socket, messages: Vec<Message>) -> Result<bool, SenderError> {
        let n_bytes: usize = messages.iter().map(|part| part.len()).sum();
        let last = messages.len().saturating_sub(1);
        for (i, message) in messages.into_iter().enumerate() {
            let flags = if i < last { SNDMORE | DONTWAIT } else { DONTWAIT };
            match socket.send(message, flags) {
                Ok(()) => {}
                // Room is for whole messages: only the first part can find none.  If the client goes in
                // the middle, ZeroMQ forgets the message.
                Err(zmq::Error::EAGAIN) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        self.n_sent.fetch_add(1, Ordering::Relaxed);
        self.n_bytes.fetch_add(n_bytes as u64, Ordering::Relaxed);
        Ok(true)
    }

    fn pause(&self, wait: Duration) {
        let stopped = lock(&self.stopped);
        if !*stopped {
            // Woken early or late: whoever paused looks at the clock again.
            drop(self.stopping.wait_timeout(stopped, wait));
        }
    }
}

fn wait_for_room(socket: &Socket, time: Duration) -> Result<(), SenderError> {
    let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX).max(1);
    match socket.poll(POLLOUT, time) {
        Ok(_) | Err(zmq::Error::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A panic while the lock was held leaves nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
