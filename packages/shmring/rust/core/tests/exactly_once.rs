//! Consumers come, take, settle, return, leave and are put out in any order: each stack is done once.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use shmring_core::{Consumer, Received, Ring, RingConfig, StackInfo, StackLease};

const LONG: Duration = Duration::from_secs(20);
const TAG: u64 = 1;
const N_SLOTS: u32 = 5;

#[derive(Clone, Debug)]
enum Step {
    Commit,
    Join,
    Take(usize),
    Settle(usize, usize),
    Return(usize, usize),
    Close(usize),
    Detach(usize),
    DropHeld(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (who, which) = (0..3_usize, 0..4_usize);
    let step = prop_oneof![
        6 => Just(Step::Commit),
        2 => Just(Step::Join),
        8 => who.clone().prop_map(Step::Take),
        3 => (who.clone(), which.clone()).prop_map(|(who, which)| Step::Settle(who, which)),
        4 => (who.clone(), which).prop_map(|(who, which)| Step::Return(who, which)),
        1 => who.clone().prop_map(Step::Close),
        1 => who.clone().prop_map(Step::Detach),
        2 => who.prop_map(Step::DropHeld),
    ];
    prop::collection::vec(step, 0..80)
}

struct Worker {
    id: u32,
    /// `None` once it closed.
    end: Option<Consumer>,
    is_member: bool,
    held: Vec<StackLease>,
}

#[derive(Default)]
struct Count {
    committed: u64,
    done: BTreeMap<u64, u32>,
}

fn wait(ring: &Ring, what: &str, holds: impl Fn(&shmring_core::RingStats) -> bool) {
    let start = Instant::now();
    while !holds(&ring.stats()) {
        assert!(
            start.elapsed() < LONG,
            "{what} did not come about: {:#?}",
            ring.stats()
        );
        std::thread::yield_now();
    }
}

fn join(ring: &Ring) -> Worker {
    let (id, fd) = ring.attach(TAG).unwrap();
    let end = Some(Consumer::from_fd(fd).unwrap());
    wait(ring, "the consumer joined", |stats| {
        stats
            .consumers
            .iter()
            .any(|peer| peer.id == id && peer.pid.is_some())
    });
    Worker {
        id,
        end,
        is_member: true,
        held: Vec::new(),
    }
}

fn commit(ring: &Ring, count: &mut Count) {
    if let Ok(mut writer) = ring.reserve(Duration::ZERO) {
        let item = count.committed;
        writer.bytes_mut()[..8].copy_from_slice(&item.to_le_bytes());
        writer
            .commit(StackInfo {
                tag: TAG,
                item_first: item,
                n_items: 1,
                data_len: 8,
                meta: &[],
                flags: 0,
            })
            .unwrap();
        count.committed += 1;
    }
}

/// What a worker holds is what was committed, however long it holds it.
fn check_held(workers: &[Worker]) -> TestCaseResult {
    for stack in workers.iter().flat_map(|worker| &worker.held) {
        prop_assert_eq!(stack.bytes(), stack.item_first().to_le_bytes());
    }
    Ok(())
}

fn take(worker: &mut Worker) {
    if let Some(end) = &worker.end
        && let Ok(Some(Received::Stack(stack))) = end.recv(Duration::ZERO)
    {
        worker.held.push(stack);
    }
}

/// Returning a stack that nobody had settled makes it done, if the worker is still in.
fn give_back(worker: &mut Worker, which: usize, settled: &[u64], count: &mut Count) {
    if which < worker.held.len() {
        let stack = worker.held.swap_remove(which);
        if worker.is_member && !settled.contains(&stack.lease().token()) {
            *count.done.entry(stack.item_first()).or_default() += 1;
        }
    }
}

fn run(steps: Vec<Step>) -> TestCaseResult {
    let ring = Ring::create(RingConfig::new(64, N_SLOTS)).unwrap();
    let (mut workers, mut count, mut settled) = (vec![join(&ring)], Count::default(), Vec::new());
    for step in steps {
        let n_workers = workers.len();
        let at = |who: usize| who % n_workers;
        match step {
            Step::Commit => commit(&ring, &mut count),
            Step::Join if n_workers < 3 => workers.push(join(&ring)),
            Step::Join => {}
            Step::Take(who) => take(&mut workers[at(who)]),
            Step::Return(who, which) => give_back(&mut workers[at(who)], which, &settled, &mut count),
            Step::Settle(who, which) => {
                let worker = &workers[at(who)];
                if let Some(stack) = worker.held.get(which) {
                    prop_assert_eq!(ring.settle(worker.id, &[stack.lease()]), worker.is_member);
                    if worker.is_member && !settled.contains(&stack.lease().token()) {
                        settled.push(stack.lease().token());
                        *count.done.entry(stack.item_first()).or_default() += 1;
                    }
                }
            }
            Step::Close(who) => {
                let worker = &mut workers[at(who)];
                worker.end = None;
                worker.is_member = false;
                let id = worker.id;
                wait(&ring, "it left", |stats| {
                    stats
                        .consumers
                        .iter()
                        .all(|peer| peer.id != id || peer.is_outcast)
                });
            }
            Step::Detach(who) => {
                let worker = &mut workers[at(who)];
                ring.detach(worker.id);
                worker.is_member = false;
            }
            Step::DropHeld(who) if !workers[at(who)].is_member => {
                let index = at(who);
                workers[index] = join(&ring);
            }
            Step::DropHeld(_) => {}
        }
        check_held(&workers)?;
        let stats = ring.stats();
        let phases = stats.n_free + stats.n_writing + stats.n_lent + stats.n_settled + stats.n_quarantined;
        prop_assert_eq!(phases, N_SLOTS);
        prop_assert_eq!(stats.n_misbehaving, 0);
    }
    // All go but one newcomer, who does the rest.
    workers.clear();
    wait(&ring, "all left", |stats| stats.consumers.is_empty());
    let mut last = join(&ring);
    ring.end(TAG);
    while let Received::Stack(stack) = last.end.as_ref().unwrap().recv(LONG).unwrap().unwrap() {
        last.held.push(stack);
        give_back(&mut last, 0, &settled, &mut count);
    }
    prop_assert_eq!(count.done, (0..count.committed).map(|item| (item, 1)).collect());
    prop_assert_eq!(ring.stats().n_free, N_SLOTS);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_stack_is_done_once(steps in steps()) {
        run(steps)?;
    }
}
