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

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;
