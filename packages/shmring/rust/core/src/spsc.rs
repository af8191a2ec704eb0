//! Single-producer single-consumer queues of fixed entries, and the flags that say who sleeps.
//!
//! The memory is shared with a peer that is not trusted: every entry word is an atomic, every index
//! is masked, and a counter that the peer writes is checked against the side's own.  Counters are 64
//! bits wide and never wrap; entry `n` lies at `n % capacity`.
//!
//! [`Sender`] and [`Receiver`] are the two ends where only the receiver takes entries out.
//! [`ContestedReceiver`] is the receiving end of a queue whose sender may *take back* entries that
//! were not received yet; both advance the head by compare-and-swap.

use crate::atomics::{AtomicU64, Ordering, fence};

/// Memory as numbered 64-bit words.  An index out of range gives some word, never undefined memory.
pub(crate) trait Words {
    /// The word at `index`.
    fn word(&self, index: usize) -> &AtomicU64;
}

/// Where a queue lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub head: usize,
    pub tail: usize,
    pub entries: usize,
    /// A power of two.
    pub capacity: u64,
}

impl Place {
    fn entry_word<const W: usize>(&self, position: u64, word: usize) -> usize {
        self.entries + (position & (self.capacity - 1)) as usize * W + word
    }
}

/// The peer wrote a counter that the protocol does not allow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scribbled;

/// The end that puts entries in.
pub(crate) struct Sender<M, const W: usize> {
    words: M,
    place: Place,
    tail: u64,
    head_seen: u64,
}

impl<M: Words, const W: usize> Sender<M, W> {
    pub(crate) fn new(words: M, place: Place) -> Self {
        Self {
            words,
            place,
            tail: 0,
            head_seen: 0,
        }
    }

    /// Position of the first entry that nobody took out.
    pub(crate) fn head(&mut self) -> Result<u64, Scribbled> {
        // Acquire: pairs with the receiver's release of the head; its reads of the entry are over.
        let head = self.words.word(self.place.head).load(Ordering::Acquire);
        if head < self.head_seen || head > self.tail {
            return Err(Scribbled);
        }
        self.head_seen = head;
        Ok(head)
    }

    /// Entries that nobody took out.
    pub(crate) fn len(&mut self) -> Result<u64, Scribbled> {
        Ok(self.tail - self.head()?)
    }

    /// Put an entry in; `false` if there is no room.
    pub(crate) fn push(&mut self, entry: &[u64; W]) -> Result<bool, Scribbled> {
        if self.tail - self.head_seen >= self.place.capacity && self.len()? >= self.place.capacity {
            return Ok(false);
        }
        for (word, value) in entry.iter().enumerate() {
            let index = self.place.entry_word::<W>(self.tail, word);
            self.words.word(index).store(*value, Ordering::Relaxed);
        }
        self.tail += 1;
        // Release: who sees the tail sees the entry.
        self.words
            .word(self.place.tail)
            .store(self.tail, Ordering::Release);
        Ok(true)
    }

    /// Take the oldest entry back that the receiver has not taken; its position, or `None`.
    pub(crate) fn take_back(&mut self) -> Result<Option<u64>, Scribbled> {
        loop {
            let head = self.head()?;
            if head == self.tail {
                return Ok(None);
            }
            let swapped = self.words.word(self.place.head).compare_exchange(
                head,
                head + 1,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            if swapped.is_ok() {
                self.head_seen = head + 1;
                return Ok(Some(head));
            }
            // The receiver was faster.  The head only grows up to our tail, so this ends.
        }
    }
}

/// The end that alone takes entries out; it believes only its own head.
pub(crate) struct Receiver<M, const W: usize> {
    words: M,
    place: Place,
    head: u64,
}

impl<M: Words, const W: usize> Receiver<M, W> {
    pub(crate) fn new(words: M, place: Place) -> Self {
        Self {
            words,
            place,
            head: 0,
        }
    }

    /// Take the oldest entry out.
    pub(crate) fn pop(&mut self) -> Result<Option<[u64; W]>, Scribbled> {
        // Acquire: pairs with the sender's release of the tail.
        let tail = self.words.word(self.place.tail).load(Ordering::Acquire);
        let waiting = tail.wrapping_sub(self.head);
        if waiting == 0 {
            return Ok(None);
        }
        if waiting > self.place.capacity {
            return Err(Scribbled);
        }
        let entry = read_entry(&self.words, &self.place, self.head);
        self.head += 1;
        // Release: our reads are over before the sender may write the entry again.
        self.words
            .word(self.place.head)
            .store(self.head, Ordering::Release);
        Ok(Some(entry))
    }
}

/// The end that takes entries out of a queue whose sender may take them back.
pub(crate) struct ContestedReceiver<M, const W: usize> {
    words: M,
    place: Place,
}

impl<M: Words, const W: usize> ContestedReceiver<M, W> {
    pub(crate) fn new(words: M, place: Place) -> Self {
        Self { words, place }
    }

    /// Take the oldest entry out.
    pub(crate) fn pop(&mut self) -> Result<Option<[u64; W]>, Scribbled> {
        let mut head = self.words.word(self.place.head).load(Ordering::Acquire);
        loop {
            let tail = self.words.word(self.place.tail).load(Ordering::Acquire);
            if tail <= head {
                // Not scribbled: the sender may have taken back since we read the head.
                return Ok(None);
            }
            if tail - head > self.place.capacity {
                // Either nonsense, or the sender went a whole turn since we read the head.
                let newer = self.words.word(self.place.head).load(Ordering::Acquire);
                if newer == head {
                    return Err(Scribbled);
                }
                head = newer;
                continue;
            }
            // The sender may take this very entry back and write it again meanwhile: then the words
            // are a mixture, and the exchange fails because the head has moved.
            let entry = read_entry(&self.words, &self.place, head);
            // Release: our reads are over before the sender may write the entry again.
            match self.words.word(self.place.head).compare_exchange(
                head,
                head + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(Some(entry)),
                Err(newer) => head = newer,
            }
        }
    }
}

fn read_entry<M: Words, const W: usize>(words: &M, place: &Place, position: u64) -> [u64; W] {
    std::array::from_fn(|word| {
        words
            .word(place.entry_word::<W>(position, word))
            .load(Ordering::Relaxed)
    })
}

/// Says that one side sleeps and wants its bell rung.
///
/// The sleeper: look → [`arm`](Self::arm) → look again → sleep.  The other side: change →
/// [`answer`](Self::answer) → ring if `true`.  The two fences make at least one of them see the other.
pub(crate) struct SleepFlag<M> {
    words: M,
    index: usize,
}

impl<M: Words> SleepFlag<M> {
    pub(crate) fn new(words: M, index: usize) -> Self {
        Self { words, index }
    }

    /// Announce sleep.  Look once more before sleeping.
    pub(crate) fn arm(&self) {
        self.words.word(self.index).store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Take the announcement back.
    pub(crate) fn disarm(&self) {
        self.words.word(self.index).store(0, Ordering::Relaxed);
    }

    /// After a change: does the other side want its bell rung?  `true` once per announcement.
    pub(crate) fn answer(&self) -> bool {
        fence(Ordering::SeqCst);
        let word = self.words.word(self.index);
        // An exchange and not a swap: who finds no announcement writes nothing.
        word.load(Ordering::Relaxed) != 0
            && word
                .compare_exchange(1, 0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;

    type Memory = Arc<Vec<AtomicU64>>;

    #[allow(clippy::indexing_slicing, reason = "a test fails by panicking")]
    impl Words for Memory {
        fn word(&self, index: usize) -> &AtomicU64 {
            &self[index]
        }
    }

    const PLACE: Place = Place {
        head: 0,
        tail: 1,
        entries: 2,
        capacity: 4,
    };

    fn memory() -> Memory {
        Arc::new((0..2 + 4 * 2).map(|_| AtomicU64::new(0)).collect())
    }

    fn ends() -> (Memory, Sender<Memory, 2>, ContestedReceiver<Memory, 2>) {
        let memory = memory();
        (
            memory.clone(),
            Sender::new(memory.clone(), PLACE),
            ContestedReceiver::new(memory, PLACE),
        )
    }

    #[test]
    fn entries_come_out_in_order_over_many_turns() {
        let (_, mut sender, mut receiver) = ends();
        for n in 0..100 {
            assert_eq!(sender.push(&[n, !n]), Ok(true));
            assert_eq!(sender.len(), Ok(1));
            assert_eq!(receiver.pop(), Ok(Some([n, !n])));
        }
        assert_eq!(receiver.pop(), Ok(None));
    }

    #[test]
    fn full_queue_takes_nothing_more() {
        let (_, mut sender, mut receiver) = ends();
        for n in 0..4 {
            assert_eq!(sender.push(&[n, n]), Ok(true));
        }
        assert_eq!(sender.push(&[4, 4]), Ok(false));
        assert_eq!(receiver.pop(), Ok(Some([0, 0])));
        assert_eq!(sender.push(&[4, 4]), Ok(true));
    }

    #[test]
    fn entries_taken_back_are_not_received() {
        let (_, mut sender, mut receiver) = ends();
        for n in 0..3 {
            assert_eq!(sender.push(&[n, n]), Ok(true));
        }
        assert_eq!(receiver.pop(), Ok(Some([0, 0])));
        assert_eq!(sender.take_back(), Ok(Some(1)));
        assert_eq!(receiver.pop(), Ok(Some([2, 2])));
        assert_eq!(sender.take_back(), Ok(None));
        assert_eq!(receiver.pop(), Ok(None));
    }

    #[test]
    fn scribbled_counters_are_noticed_by_either_end() {
        for nonsense in [1, 5, u64::MAX, u64::MAX / 2] {
            let (memory, mut sender, _) = ends();
            memory.word(PLACE.head).store(nonsense, Ordering::Relaxed);
            assert_eq!(sender.len(), Err(Scribbled));
            assert_eq!(sender.take_back(), Err(Scribbled));
        }
        for nonsense in [5, u64::MAX, u64::MAX / 2] {
            let memory = memory();
            memory.word(PLACE.tail).store(nonsense, Ordering::Relaxed);
            assert_eq!(Receiver::<_, 2>::new(memory, PLACE).pop(), Err(Scribbled));
        }
    }

    #[test]
    fn head_that_goes_back_is_noticed() {
        let (memory, mut sender, mut receiver) = ends();
        assert_eq!(sender.push(&[0, 0]), Ok(true));
        assert_eq!(receiver.pop(), Ok(Some([0, 0])));
        assert_eq!(sender.len(), Ok(0));
        memory.word(PLACE.head).store(0, Ordering::Relaxed);
        assert_eq!(sender.len(), Err(Scribbled));
    }

    #[test]
    fn bell_is_wanted_once_per_announcement() {
        let memory = memory();
        let (sleeper, other) = (SleepFlag::new(memory.clone(), 0), SleepFlag::new(memory, 0));
        assert!(!other.answer());
        sleeper.arm();
        assert!(other.answer());
        assert!(!other.answer());
        sleeper.arm();
        sleeper.disarm();
        assert!(!other.answer());
    }
}

/// Every interleaving of the queues and of falling asleep.
/// `RUSTFLAGS="--cfg loom" cargo test -p shmring-core --release --lib loom`
///
/// Taking out either fence, the release of a tail or the acquire of one makes a test fail.  Weakening
/// the release of a *head* or the sender's acquire of it does not: what they prevent is a read that
/// happens after a later write of its own thread, which loom does not explore.
#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    use super::*;

    type Memory = Arc<Vec<AtomicU64>>;

    impl Words for Memory {
        fn word(&self, index: usize) -> &AtomicU64 {
            &self[index]
        }
    }

    const CAPACITY: u64 = 2;
    const PLACE: Place = Place {
        head: 0,
        tail: 1,
        entries: 4,
        capacity: CAPACITY,
    };
    const FLAG: usize = 2;
    const OTHER_FLAG: usize = 3;

    fn memory() -> Memory {
        Arc::new(
            (0..4 + CAPACITY as usize * 2)
                .map(|_| AtomicU64::new(0))
                .collect(),
        )
    }

    /// As an eventfd: a ring before the wait is not lost.
    #[derive(Default)]
    struct Bell {
        rung: Mutex<bool>,
        changed: Condvar,
    }

    impl Bell {
        fn ring(&self) {
            *self.rung.lock().unwrap() = true;
            self.changed.notify_one();
        }

        fn wait(&self) {
            let mut rung = self.rung.lock().unwrap();
            while !*rung {
                rung = self.changed.wait(rung).unwrap();
            }
            *rung = false;
        }
    }

    #[test]
    fn loom_push_and_pop_with_wrap() {
        loom::model(|| {
            let memory = memory();
            let mut sender = Sender::<_, 2>::new(memory.clone(), PLACE);
            let mut receiver = Receiver::<_, 2>::new(memory, PLACE);
            let pusher = thread::spawn(move || {
                let mut next = 0;
                while next < 3 {
                    if sender.push(&[next, !next]).unwrap() {
                        next += 1;
                    } else {
                        thread::yield_now();
                    }
                }
            });
            let mut expected = 0;
            while expected < 3 {
                match receiver.pop().unwrap() {
                    Some(entry) => {
                        assert_eq!(entry, [expected, !expected]);
                        expected += 1;
                    }
                    None => thread::yield_now(),
                }
            }
            pusher.join().unwrap();
        });
    }

    /// Each entry is received or taken back, never both, never torn, also when its place is reused.
    #[test]
    fn loom_take_back_against_pop() {
        loom::model(|| {
            let memory = memory();
            let mut sender = Sender::<_, 2>::new(memory.clone(), PLACE);
            let mut receiver = ContestedReceiver::<_, 2>::new(memory, PLACE);
            assert!(sender.push(&[0, !0]).unwrap());
            assert!(sender.push(&[1, !1]).unwrap());
            let popper = thread::spawn(move || {
                let mut received = Vec::new();
                for _ in 0..2 {
                    if let Some([n, not]) = receiver.pop().unwrap() {
                        assert_eq!(not, !n, "a torn entry");
                        received.push(n);
                    }
                }
                (received, receiver)
            });
            let mut taken_back: Vec<u64> = sender.take_back().unwrap().into_iter().collect();
            assert!(sender.push(&[2, !2]).unwrap_or(false) || taken_back.is_empty());
            let (received, mut receiver) = popper.join().unwrap();
            taken_back.extend(received);
            while let Some([n, _]) = receiver.pop().unwrap() {
                taken_back.push(n);
            }
            let pushed = sender.tail;
            taken_back.sort_unstable();
            assert_eq!(taken_back, (0..pushed).collect::<Vec<_>>());
        });
    }

    /// The consumer sleeps on an empty queue; no push may leave it asleep.
    #[test]
    fn loom_sleeping_consumer_is_always_woken() {
        loom::model(|| {
            let memory = memory();
            let bell = Arc::new(Bell::default());
            let mut sender = Sender::<_, 2>::new(memory.clone(), PLACE);
            let mut receiver = ContestedReceiver::<_, 2>::new(memory.clone(), PLACE);
            let owner = thread::spawn({
                let (bell, asleep) = (bell.clone(), SleepFlag::new(memory.clone(), FLAG));
                move || {
                    for n in 0..2 {
                        assert!(sender.push(&[n, !n]).unwrap());
                        if asleep.answer() {
                            bell.ring();
                        }
                    }
                }
            });
            let asleep = SleepFlag::new(memory, FLAG);
            for n in 0..2 {
                loop {
                    if let Some(entry) = receiver.pop().unwrap() {
                        assert_eq!(entry, [n, !n]);
                        break;
                    }
                    asleep.arm();
                    if let Some(entry) = receiver.pop().unwrap() {
                        asleep.disarm();
                        assert_eq!(entry, [n, !n]);
                        break;
                    }
                    bell.wait();
                }
            }
            owner.join().unwrap();
        });
    }

    /// The owner waits for room or for a return; no pop and no return may leave it asleep.
    #[test]
    fn loom_sleeping_owner_is_always_woken() {
        loom::model(|| {
            let memory = memory();
            let bell = Arc::new(Bell::default());
            let mut returns = Sender::<_, 2>::new(memory.clone(), PLACE);
            let mut inbox = Receiver::<_, 2>::new(memory.clone(), PLACE);
            let consumer = thread::spawn({
                let (bell, asleep) = (bell.clone(), SleepFlag::new(memory.clone(), OTHER_FLAG));
                move || {
                    for n in 0..2 {
                        assert!(returns.push(&[n, !n]).unwrap());
                        if asleep.answer() {
                            bell.ring();
                        }
                    }
                }
            });
            let asleep = SleepFlag::new(memory, OTHER_FLAG);
            let mut n = 0;
            // As the housekeeper: take in; if more is wanted, arm, take in again, sleep.
            while n < 2 {
                while inbox.pop().unwrap().is_some() {
                    n += 1;
                }
                if n < 2 {
                    asleep.arm();
                    while inbox.pop().unwrap().is_some() {
                        n += 1;
                    }
                    if n < 2 {
                        bell.wait();
                    }
                }
            }
            consumer.join().unwrap();
        });
    }
}
