//! Every interleaving of the queues and of falling asleep.
//! `RUSTFLAGS="--cfg loom" cargo test -p shmring-core --release --lib loom`
//!
//! Taking out either fence, the release of a tail or the acquire of one makes a test fail.  Weakening
//! the release of a *head* or the sender's acquire of it does not: what they prevent is a read that
//! happens after a later write of its own thread, which loom does not explore.

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
