//! A receiving thread and its owner: events one way, orders the other.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use shmring_core::{Ring, RingError};

use crate::verdict::Counters;
use crate::waker::Waker;

/// What the owner wants the thread to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// End the present acquisition.
    Abort,
    /// Keep no more frames of this acquisition.
    Abandon(u64),
}

#[derive(Debug)]
struct State<E> {
    events: VecDeque<E>,
    orders: Vec<Order>,
    counters: Counters,
    last_error: String,
    is_over: bool,
}

/// The thread's side: what it tells, and what it is told.
#[derive(Debug)]
pub struct Shared<E> {
    state: Mutex<State<E>>,
    changed: Condvar,
    waker: Waker,
    is_closing: AtomicBool,
    has_orders: AtomicBool,
}

impl<E> Shared<E> {
    fn new() -> io::Result<Self> {
        Ok(Self {
            state: Mutex::new(State {
                events: VecDeque::new(),
                orders: Vec::new(),
                counters: Counters::default(),
                last_error: String::new(),
                is_over: false,
            }),
            changed: Condvar::new(),
            waker: Waker::new()?,
            is_closing: AtomicBool::new(false),
            has_orders: AtomicBool::new(false),
        })
    }

    fn state(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the owner closes: the thread has to end.
    pub fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    /// Woken when there is an order, or the owner closes.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// The orders since the last call; cheap if there are none.
    pub fn take_orders(&self) -> Vec<Order> {
        if !self.has_orders.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut self.state().orders)
    }

    /// Tell the owner what happened, and where the counters are.
    pub fn publish(&self, events: impl IntoIterator<Item = E>, counters: &Counters) {
        let mut state = self.state();
        state.counters = *counters;
        let n_before = state.events.len();
        state.events.extend(events);
        let has_news = state.events.len() > n_before;
        drop(state);
        if has_news {
            self.changed.notify_all();
        }
    }

    /// Tell the owner what went wrong last.
    pub fn set_last_error(&self, error: impl Into<String>) {
        self.state().last_error = error.into();
        self.changed.notify_all();
    }

    fn set_over(&self) {
        self.state().is_over = true;
        self.changed.notify_all();
    }
}

/// The owner's handle of a receiving thread.  Thread-safe; dropping it closes the connection.
///
/// `E` is what the thread tells: its events.
pub struct Receiver<E> {
    shared: Arc<Shared<E>>,
    ring: Ring,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<E: Send + 'static> Receiver<E> {
    /// Start a thread that receives into a ring until [`Shared::is_closing`].
    pub fn spawn<F>(name: &str, ring: Ring, run: F) -> io::Result<Self>
    where
        F: FnOnce(&Arc<Shared<E>>) -> Result<(), RingError> + Send + 'static,
    {
        let shared = Arc::new(Shared::new()?);
        let of_thread = Arc::clone(&shared);
        let body = move || {
            let over = Over(of_thread);
            if let Err(error) = run(&over.0) {
                over.0.set_last_error(error.to_string());
            }
        };
        let thread = thread::Builder::new().name(name.into()).spawn(body)?;
        Ok(Self {
            shared,
            ring,
            thread: Mutex::new(Some(thread)),
        })
    }
}

/// Says that the thread is over, however it ends.
struct Over<E>(Arc<Shared<E>>);

impl<E> Drop for Over<E> {
    fn drop(&mut self) {
        self.0.set_over();
    }
}

impl<E> Receiver<E> {
    /// The ring that stacks go into.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Wait for the next event; `None` if none came in time, or the receiver is closed.
    pub fn next_event(&self, timeout: Duration) -> Option<E> {
        // A time too far away for the clock is as good as a day.
        let deadline = Instant::now().checked_add(timeout);
        let deadline = deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400));
        let mut state = self.shared.state();
        loop {
            if let Some(event) = state.events.pop_front() {
                return Some(event);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.is_over {
                return None;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether the thread has ended: no event will come any more.
    pub fn is_over(&self) -> bool {
        self.shared.state().is_over
    }

    /// Counters up to now.
    pub fn counters(&self) -> Counters {
        self.shared.state().counters
    }

    /// What went wrong last; empty if nothing did.
    pub fn last_error(&self) -> String {
        self.shared.state().last_error.clone()
    }

    /// End the present acquisition here; the rest of it is received and discarded.
    pub fn abort(&self) {
        self.order(Order::Abort);
    }

    /// Nobody wants acquisition `number`: what is there of it is dropped, the rest discarded.
    pub fn abandon(&self, number: u64) {
        self.order(Order::Abandon(number));
        self.ring.drop_tag(number);
    }

    fn order(&self, order: Order) {
        self.shared.state().orders.push(order);
        self.shared.has_orders.store(true, Ordering::Release);
        self.shared.waker.wake();
    }

    /// End the thread and close the ring.  Idempotent.
    pub fn close(&self) {
        self.shared.is_closing.store(true, Ordering::Release);
        self.shared.waker.wake();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        self.ring.close();
    }
}

impl<E> Drop for Receiver<E> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<E> fmt::Debug for Receiver<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("ring", &self.ring)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};
    use shmring_core::RingConfig;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn ring() -> Ring {
        Ring::create(RingConfig::new(4096, 4)).unwrap()
    }

    /// A thread that tells its orders, until it is closed.
    fn echo(shared: &Arc<Shared<Order>>) -> Result<(), RingError> {
        while !shared.is_closing() {
            let mut fds = [PollFd::new(shared.waker(), PollFlags::IN)];
            poll(&mut fds, None).unwrap();
            shared.waker().clear();
            shared.publish(shared.take_orders(), &Counters::default());
        }
        Ok(())
    }

    #[test]
    fn orders_wake_the_thread_and_its_events_wake_the_owner() {
        let receiver = Receiver::spawn("echo", ring(), echo).unwrap();
        receiver.abort();
        assert_eq!(receiver.next_event(DEADLINE), Some(Order::Abort));
        receiver.abandon(3);
        assert_eq!(receiver.next_event(Duration::MAX), Some(Order::Abandon(3)));
        receiver.close();
        assert!(receiver.is_over());
        assert_eq!(receiver.next_event(DEADLINE), None);
    }

    #[test]
    fn an_error_that_ends_the_thread_is_told() {
        let receiver = Receiver::<Order>::spawn("full", ring(), |_| Err(RingError::Full)).unwrap();
        assert_eq!(receiver.next_event(DEADLINE), None);
        assert!(receiver.is_over());
        assert_eq!(receiver.last_error(), RingError::Full.to_string());
    }
}
