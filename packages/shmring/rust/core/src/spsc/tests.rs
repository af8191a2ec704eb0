//! One thread after the other.

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
