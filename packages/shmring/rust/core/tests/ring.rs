//! The whole ring in one process: owner and consumers as threads of the test.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use shmring_core::{
    Broadcast, Consumer, FLAG_BROADCAST_ONLY, FullPolicy, Received, Ring, RingConfig, RingError, RingEvent,
    RingStats, StackInfo, StackLease,
};

const LONG: Duration = Duration::from_secs(20);
const TAG: u64 = 7;

fn ring(n_slots: u32) -> Ring {
    Ring::create(RingConfig::new(4096, n_slots)).unwrap()
}

fn commit_to(ring: &Ring, tag: u64, item: u64, flags: u16) {
    let mut writer = ring.reserve(LONG).unwrap();
    writer.bytes_mut()[..8].copy_from_slice(&item.to_le_bytes());
    let info = StackInfo {
        tag,
        item_first: item,
        n_items: 1,
        data_len: 8,
        meta: &[item, !item],
        flags,
    };
    writer.commit(info).unwrap();
}

fn commit(ring: &Ring, item: u64) {
    commit_to(ring, TAG, item, 0);
}

/// Admit a consumer and wait until the owner has noticed that it joined.
fn open(ring: &Ring, (id, fd): (u32, OwnedFd)) -> Consumer {
    let consumer = Consumer::from_fd(fd).unwrap();
    let joined = |stats: &RingStats| {
        stats
            .consumers
            .iter()
            .any(|peer| peer.id == id && peer.pid.is_some())
    };
    wait_until(ring, "the consumer joined", joined);
    consumer
}

fn join(ring: &Ring) -> Consumer {
    open(ring, ring.attach(TAG).unwrap())
}

fn stack(consumer: &Consumer) -> StackLease {
    match consumer.recv(LONG).unwrap() {
        Some(Received::Stack(stack)) => {
            assert_eq!(stack.bytes(), stack.item_first().to_le_bytes());
            assert_eq!(stack.meta(), [stack.item_first(), !stack.item_first()]);
            stack
        }
        other => panic!("wanted a stack, got {other:?}"),
    }
}

fn end(consumer: &Consumer) -> u64 {
    match consumer.recv(LONG).unwrap() {
        Some(Received::End { tag }) => tag,
        other => panic!("wanted the end, got {other:?}"),
    }
}

fn wait_until(ring: &Ring, what: &str, holds: impl Fn(&RingStats) -> bool) -> RingStats {
    let start = Instant::now();
    loop {
        let stats = ring.stats();
        let phases = stats.n_free + stats.n_writing + stats.n_lent + stats.n_settled + stats.n_quarantined;
        assert_eq!(phases, stats.n_slots, "a slot is lost: {stats:?}");
        if holds(&stats) {
            return stats;
        }
        assert!(start.elapsed() < LONG, "{what} did not come about: {stats:#?}");
        std::thread::yield_now();
    }
}

fn all_free(ring: &Ring) {
    wait_until(ring, "all slots free", |stats| stats.n_free == stats.n_slots);
}

#[test]
fn stacks_arrive_in_order_and_their_slots_come_back() {
    let ring = ring(3);
    let consumer = join(&ring);
    for item in 0..100 {
        commit(&ring, item);
        assert_eq!(stack(&consumer).item_first(), item);
    }
    all_free(&ring);
    assert!(
        ring.stats().high_water <= 2,
        "slots are reused last in, first out"
    );
}

#[test]
fn stacks_committed_before_anybody_attached_wait() {
    let ring = ring(4);
    (0..4).for_each(|item| commit(&ring, item));
    let consumer = join(&ring);
    for item in 0..4 {
        assert_eq!(stack(&consumer).item_first(), item);
    }
}

#[test]
fn full_ring_blocks_until_a_slot_returns() {
    let ring = ring(2);
    let consumer = join(&ring);
    commit(&ring, 0);
    commit(&ring, 1);
    assert!(matches!(
        ring.reserve(Duration::from_millis(1)),
        Err(RingError::Full)
    ));
    let held = stack(&consumer);
    let owner = ring.clone();
    let writer = std::thread::spawn(move || commit(&owner, 2));
    wait_until(&ring, "a wait in reserve", |_| !writer.is_finished());
    drop(held);
    writer.join().unwrap();
    assert_eq!(stack(&consumer).item_first(), 1);
    assert_eq!(stack(&consumer).item_first(), 2);
    assert!(ring.stats().n_waits >= 1);
}

#[test]
fn full_ring_drops_the_newest_and_counts() {
    let ring = Ring::create(RingConfig {
        full: FullPolicy::DropNewest,
        ..RingConfig::new(64, 1)
    })
    .unwrap();
    let _writer = ring.reserve(LONG).unwrap();
    assert!(matches!(ring.reserve(LONG), Err(RingError::Full)));
    assert_eq!(ring.stats().n_dropped, 1);
}

#[test]
fn dropped_writer_publishes_nothing() {
    let ring = ring(1);
    drop(ring.reserve(LONG).unwrap());
    commit(&ring, 5);
    assert_eq!(stack(&join(&ring)).item_first(), 5);
    assert_eq!(ring.stats().n_discarded, 1);
}

#[test]
fn stack_larger_than_a_slot_is_refused() {
    let ring = ring(1);
    for (data_len, meta) in [(4097, &[][..]), (4096, &[1][..]), (usize::MAX, &[1][..])] {
        let info = StackInfo {
            tag: TAG,
            item_first: 0,
            n_items: 1,
            data_len,
            meta,
            flags: 0,
        };
        let refused = ring.reserve(LONG).unwrap().commit(info);
        assert!(matches!(refused, Err(RingError::TooLarge { .. })), "{refused:?}");
    }
    all_free(&ring);
}

#[test]
fn queue_depth_bounds_what_waits_before_one_consumer() {
    let ring = ring(8);
    let consumer = join(&ring);
    (0..8).for_each(|item| commit(&ring, item));
    let other = join(&ring);
    // `consumer` took none of its two; the rest is free to go to the newcomer.
    let got: Vec<u64> = (0..6).map(|_| stack(&other).item_first()).collect();
    assert_eq!(got, [2, 3, 4, 5, 6, 7]);
    assert_eq!(stack(&consumer).item_first(), 0);
}

#[test]
fn consumer_that_leaves_hands_its_stacks_on() {
    let ring = ring(4);
    let consumer = join(&ring);
    (0..3).for_each(|item| commit(&ring, item));
    let held = stack(&consumer);
    drop(consumer);
    let other = join(&ring);
    let again = stack(&other);
    assert_eq!((again.item_first(), again.attempt()), (0, 1));
    assert_eq!(held.bytes(), again.bytes());
    let next = stack(&other);
    assert_eq!(
        (next.item_first(), next.attempt()),
        (1, 0),
        "never seen, so this is no second attempt"
    );
    drop((again, next, stack(&other)));
    let stats = wait_until(&ring, "one slot still looked at", |stats| stats.n_free == 3);
    assert_eq!(stats.n_quarantined, 1);
    drop(held);
    all_free(&ring);
    assert_eq!(ring.take_events(), [RingEvent::Left { id: 0, n_relent: 1 }]);
}

#[test]
fn settled_stacks_are_not_lent_again() {
    let ring = ring(4);
    let (id, fd) = ring.attach(TAG).unwrap();
    let consumer = Consumer::from_fd(fd).unwrap();
    (0..2).for_each(|item| commit(&ring, item));
    let (first, second) = (stack(&consumer), stack(&consumer));
    assert!(ring.settle(id, &[first.lease()]));
    assert!(
        ring.settle(id, &[first.lease()]),
        "settling again changes nothing"
    );
    assert_eq!(ring.stats().n_settled, 1);
    consumer.close();
    wait_until(&ring, "the consumer is out", |stats| {
        stats.consumers.iter().all(|peer| peer.is_outcast)
    });
    assert!(!ring.settle(id, &[second.lease()]), "its stacks went to others");
    let other = join(&ring);
    assert_eq!(stack(&other).item_first(), 1);
    ring.end(TAG);
    assert_eq!(end(&other), TAG);
    drop((first, second, consumer));
    all_free(&ring);
}

#[test]
fn settle_is_all_or_nothing() {
    let ring = ring(4);
    let (one, fd) = ring.attach(TAG).unwrap();
    let one_end = Consumer::from_fd(fd).unwrap();
    commit(&ring, 0);
    let mine = stack(&one_end);
    let never = shmring_core::Lease {
        slot: 3,
        generation: 9,
    };
    let outside = shmring_core::Lease {
        slot: 99,
        generation: 1,
    };
    assert!(!ring.settle(one, &[mine.lease(), never]));
    assert!(!ring.settle(one, &[mine.lease(), outside]));
    assert!(!ring.settle(one + 1, &[mine.lease()]));
    assert_eq!(ring.stats().n_settled, 0);
    assert!(ring.settle(one, &[mine.lease()]));
}

#[test]
fn returned_stack_counts_as_settled() {
    let ring = ring(2);
    let (id, fd) = ring.attach(TAG).unwrap();
    let consumer = Consumer::from_fd(fd).unwrap();
    commit(&ring, 0);
    let lease = stack(&consumer).lease();
    assert!(ring.settle(id, &[lease]));
    all_free(&ring);
    assert!(ring.settle(id, &[lease]));
}

#[test]
fn end_follows_the_backlog_and_is_repeated_after_redelivery() {
    let ring = ring(8);
    let first = join(&ring);
    (0..5).for_each(|item| commit(&ring, item));
    ring.end(TAG);
    let held: Vec<_> = (0..5).map(|_| stack(&first)).collect();
    assert_eq!(end(&first), TAG);
    let late = join(&ring);
    assert_eq!(end(&late), TAG, "a late consumer is told as well");
    drop(first);
    for item in 0..5 {
        assert_eq!(stack(&late).item_first(), item);
    }
    assert_eq!(end(&late), TAG);
    drop(held);
}

#[test]
fn dropped_tag_takes_its_backlog_and_consumers_along() {
    let ring = ring(4);
    let consumer = join(&ring);
    (0..4).for_each(|item| commit(&ring, item));
    let held = stack(&consumer);
    ring.drop_tag(TAG);
    assert!(matches!(consumer.recv(LONG), Err(RingError::Detached)));
    wait_until(&ring, "three slots free", |stats| {
        stats.n_free == 3 && stats.n_quarantined == 1
    });
    commit(&ring, 9);
    assert_eq!(ring.stats().n_free, 3);
    assert_eq!(held.bytes(), 0_u64.to_le_bytes());
    drop(held);
    all_free(&ring);
    let again = join(&ring);
    commit(&ring, 10);
    assert_eq!(stack(&again).item_first(), 10);
}

#[test]
fn tags_do_not_mix() {
    let ring = ring(4);
    let consumer = join(&ring);
    commit_to(&ring, TAG + 1, 1, 0);
    commit(&ring, 2);
    assert_eq!(stack(&consumer).item_first(), 2);
}

#[test]
fn detached_consumer_keeps_what_it_looks_at() {
    let ring = ring(2);
    let (id, fd) = ring.attach(TAG).unwrap();
    let consumer = Consumer::from_fd(fd).unwrap();
    commit(&ring, 1);
    let held = stack(&consumer);
    ring.detach(id);
    assert!(matches!(consumer.recv(LONG), Err(RingError::Detached)));
    let other = join(&ring);
    assert_eq!(stack(&other).item_first(), 1);
    commit(&ring, 2);
    assert!(matches!(ring.reserve(Duration::ZERO), Err(RingError::Full)));
    assert_eq!(held.bytes(), 1_u64.to_le_bytes());
}

#[test]
fn lossless_broadcast_reaches_everybody() {
    let ring = ring(4);
    let recorder = Consumer::from_fd(ring.attach_broadcast(None, Broadcast::Lossless).unwrap().1).unwrap();
    let worker = join(&ring);
    for item in 0..20 {
        commit(&ring, item);
        assert_eq!(stack(&worker).item_first(), item);
        assert_eq!(stack(&recorder).item_first(), item);
    }
    ring.end(TAG);
    assert_eq!((end(&worker), end(&recorder)), (TAG, TAG));
    all_free(&ring);
}

#[test]
fn slow_lossless_recorder_holds_the_ring_back() {
    let ring = ring(2);
    let (_, fd) = ring.attach_broadcast(Some(TAG), Broadcast::Lossless).unwrap();
    let recorder = Consumer::from_fd(fd).unwrap();
    commit_to(&ring, TAG, 0, FLAG_BROADCAST_ONLY);
    commit_to(&ring, TAG, 1, FLAG_BROADCAST_ONLY);
    assert!(matches!(ring.reserve(Duration::ZERO), Err(RingError::Full)));
    drop(stack(&recorder));
    commit_to(&ring, TAG, 2, FLAG_BROADCAST_ONLY);
    assert_eq!(
        (stack(&recorder).item_first(), stack(&recorder).item_first()),
        (1, 2)
    );
}

#[test]
fn latest_broadcast_skips_and_says_how_many() {
    let ring = ring(4);
    let worker = join(&ring);
    let (_, fd) = ring
        .attach_broadcast(None, Broadcast::Latest { depth: 1 })
        .unwrap();
    let preview = Consumer::from_fd(fd).unwrap();
    wait_until(&ring, "both joined", |stats| {
        stats.consumers.iter().all(|peer| peer.pid.is_some())
    });
    for item in 0..50 {
        commit(&ring, item);
        stack(&worker);
    }
    let seen = stack(&preview);
    assert_eq!((seen.item_first(), seen.skipped()), (49, 49));
    commit(&ring, 50);
    assert_eq!((stack(&worker).item_first(), stack(&preview).skipped()), (50, 0));
    ring.end(TAG);
    assert_eq!(end(&preview), TAG);
    let stats = ring.stats();
    assert_eq!((stats.n_skipped, stats.n_redelivered), (49, 0));
}

#[test]
fn stack_for_broadcast_only_without_hearers_is_counted() {
    let ring = ring(1);
    commit_to(&ring, TAG, 0, FLAG_BROADCAST_ONLY);
    assert_eq!(ring.stats().n_unwanted, 1);
    all_free(&ring);
}

#[test]
fn close_ends_every_wait_after_what_is_queued() {
    let ring = ring(2);
    let consumer = join(&ring);
    commit(&ring, 0);
    wait_until(&ring, "the stack is on the way", |stats| {
        stats.consumers[0].n_held == 1
    });
    commit(&ring, 1);
    let owner = ring.clone();
    let blocked = std::thread::spawn(move || owner.reserve(LONG).map(drop));
    wait_until(&ring, "a wait in reserve", |_| !blocked.is_finished());
    ring.close();
    assert!(matches!(blocked.join().unwrap(), Err(RingError::Closed)));
    assert!(matches!(ring.attach(TAG), Err(RingError::Closed)));
    let held = stack(&consumer);
    stack(&consumer);
    assert!(matches!(consumer.recv(LONG), Err(RingError::Closed)));
    drop(ring);
    assert_eq!(held.bytes(), 0_u64.to_le_bytes(), "the mapping outlives the ring");
}

#[test]
fn own_close_ends_a_waiting_recv() {
    let ring = ring(1);
    let consumer = std::sync::Arc::new(join(&ring));
    let waiting = std::thread::spawn({
        let consumer = std::sync::Arc::clone(&consumer);
        move || consumer.recv(LONG).map(|_| ())
    });
    consumer.close();
    assert!(matches!(waiting.join().unwrap(), Err(RingError::Closed)));
}

#[test]
fn recv_without_time_sees_that_the_ring_is_closed() {
    let ring = ring(1);
    let consumer = join(&ring);
    assert!(consumer.recv(Duration::ZERO).unwrap().is_none());
    ring.close();
    assert!(matches!(consumer.recv(Duration::ZERO), Err(RingError::Closed)));
}

#[test]
fn file_descriptor_opens_once() {
    let ring = ring(1);
    let (_, fd) = ring.attach(TAG).unwrap();
    let twin = fd.try_clone().unwrap();
    let _consumer = Consumer::from_fd(fd).unwrap();
    assert!(matches!(Consumer::from_fd(twin), Err(RingError::Incompatible(_))));
}

#[test]
fn file_descriptor_never_opened_costs_nothing() {
    let ring = ring(2);
    let (_, fd) = ring.attach(TAG).unwrap();
    (0..2).for_each(|item| commit(&ring, item));
    drop(fd);
    wait_until(&ring, "the invited consumer is gone", |stats| {
        stats.consumers.is_empty()
    });
    let consumer = join(&ring);
    assert_eq!(
        (stack(&consumer).attempt(), stack(&consumer).item_first()),
        (0, 1)
    );
    assert_eq!(ring.stats().n_lost_consumers, 0);
}

#[test]
fn at_most_sixty_four_consumers() {
    let ring = ring(1);
    let fds: Vec<_> = (0..64).map(|_| ring.attach(TAG).unwrap()).collect();
    assert!(matches!(ring.attach(TAG), Err(RingError::TooManyConsumers(64))));
    drop(fds);
    wait_until(&ring, "all gone", |stats| stats.consumers.is_empty());
    ring.attach(TAG).unwrap();
}

#[test]
fn memory_that_is_not_there_is_refused_at_creation() {
    let refused = Ring::create(RingConfig::new(1 << 40, 64));
    assert!(
        matches!(refused, Err(RingError::OutOfMemory { .. })),
        "{refused:?}"
    );
    let nonsense = Ring::create(RingConfig::new(usize::MAX, 2));
    assert!(matches!(nonsense, Err(RingError::Config(_))), "{nonsense:?}");
    for config in [RingConfig::new(0, 1), RingConfig::new(1, 0)] {
        assert!(matches!(Ring::create(config), Err(RingError::Config(_))));
    }
}

#[test]
fn many_threads_lose_nothing() {
    const N: u64 = 2000;
    let ring = ring(8);
    let consumers: Vec<_> = (0..4).map(|_| join(&ring)).collect();
    let workers: Vec<_> = consumers
        .into_iter()
        .map(|consumer| {
            std::thread::spawn(move || {
                let mut seen = Vec::new();
                loop {
                    match consumer.recv(LONG).unwrap() {
                        Some(Received::Stack(stack)) => {
                            assert_eq!(stack.bytes(), stack.item_first().to_le_bytes());
                            seen.push(stack.item_first());
                        }
                        Some(Received::End { .. }) => return seen,
                        None => panic!("nothing came"),
                    }
                }
            })
        })
        .collect();
    let writers: Vec<_> = (0..2)
        .map(|part| {
            let ring = ring.clone();
            std::thread::spawn(move || {
                (0..N)
                    .filter(|item| item % 2 == part)
                    .for_each(|i| commit(&ring, i))
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    ring.end(TAG);
    let mut seen: Vec<u64> = workers
        .into_iter()
        .flat_map(|worker| worker.join().unwrap())
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..N).collect::<Vec<_>>());
    all_free(&ring);
}

#[test]
fn lease_dropped_after_closing_is_not_done() {
    for settle_first in [false, true] {
        let ring = ring(4);
        let (id, fd) = ring.attach(TAG).unwrap();
        let consumer = open(&ring, (id, fd));
        (0..2).for_each(|item| commit(&ring, item));
        let (first, second) = (stack(&consumer), stack(&consumer));
        assert!(!settle_first || ring.settle(id, &[first.lease()]));
        consumer.close();
        drop((first, second));
        let other = join(&ring);
        let expected: &[u64] = if settle_first { &[1] } else { &[0, 1] };
        for item in expected {
            let again = stack(&other);
            assert_eq!((again.item_first(), again.attempt()), (*item, 1));
        }
        assert!(other.recv(Duration::ZERO).unwrap().is_none());
        all_free(&ring);
    }
}
