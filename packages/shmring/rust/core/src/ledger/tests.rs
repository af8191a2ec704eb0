//! The ledger against a model: per slot, who waits for it, who must process it, who may look at it.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const N_SLOTS: u32 = 4;
const N_CONSUMERS: u8 = 3;

#[derive(Clone, Debug)]
enum Step {
    Reserve,
    Discard(u32),
    Publish(u32, u32),
    Lend(u32, u8, bool),
    TakeBack(u32, u8),
    Unqueue(u32),
    GiveBack(u32, u8, bool),
    Settle(Vec<u32>, u8),
    CastOut(u8, bool),
    Bury(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (slot, consumer) = (0..N_SLOTS, 0..N_CONSUMERS);
    let step = prop_oneof![
        4 => Just(Step::Reserve),
        1 => slot.clone().prop_map(Step::Discard),
        4 => (slot.clone(), 0..3_u32).prop_map(|(slot, n)| Step::Publish(slot, n)),
        6 => (slot.clone(), consumer.clone(), any::<bool>()).prop_map(|(s, c, a)| Step::Lend(s, c, a)),
        1 => (slot.clone(), consumer.clone()).prop_map(|(slot, c)| Step::TakeBack(slot, c)),
        1 => slot.clone().prop_map(Step::Unqueue),
        6 => (slot.clone(), consumer.clone(), prop::bool::weighted(0.1))
            .prop_map(|(slot, c, stale)| Step::GiveBack(slot, c, stale)),
        3 => (prop::collection::vec(slot, 0..3), consumer.clone()).prop_map(|(s, c)| Step::Settle(s, c)),
        1 => (consumer.clone(), any::<bool>()).prop_map(|(c, requeue)| Step::CastOut(c, requeue)),
        1 => consumer.prop_map(Step::Bury),
    ];
    prop::collection::vec(step, 0..120)
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Cell {
    reserved: bool,
    published: bool,
    settled: bool,
    queued: u32,
    assignee: Option<u8>,
    readers: BTreeSet<u8>,
    generation: u32,
}

#[derive(Default)]
struct Model {
    cells: Vec<Cell>,
    outcasts: BTreeSet<u8>,
}

impl Model {
    fn phase(&self, cell: &Cell) -> Phase {
        let owed = cell.queued > 0 || cell.assignee.is_some();
        if cell.reserved {
            Phase::Writing
        } else if !cell.published || !owed && cell.readers.is_empty() {
            Phase::Free
        } else if !owed && cell.readers.is_subset(&self.outcasts) {
            Phase::Quarantined
        } else if !owed && cell.settled {
            Phase::Settled
        } else {
            Phase::Lent
        }
    }

    /// Forget what is over, so that a later step can't bring it back.
    fn tidy(&mut self) {
        for index in 0..self.cells.len() {
            if self.cells[index].published && self.phase(&self.cells[index]) == Phase::Free {
                let generation = self.cells[index].generation;
                self.cells[index] = Cell {
                    generation,
                    ..Cell::default()
                };
            }
        }
    }
}

/// Run a step on both, as the owner would: it never lends what is not queued, and so on.
fn apply(step: Step, ledger: &mut Ledger, model: &mut Model) -> Result<(), TestCaseError> {
    let generation = |model: &Model, slot: u32| model.cells[slot as usize].generation;
    match step {
        Step::Reserve => {
            let some_free = model.cells.iter().any(|cell| model.phase(cell) == Phase::Free);
            let lease = ledger.reserve();
            prop_assert_eq!(lease.is_some(), some_free);
            if let Some(lease) = lease {
                let cell = &model.cells[lease.slot as usize];
                prop_assert_eq!(model.phase(cell), Phase::Free, "a slot in use was given out");
                prop_assert_eq!(lease.generation, cell.generation + 1);
                model.cells[lease.slot as usize] = Cell {
                    reserved: true,
                    generation: lease.generation,
                    ..Cell::default()
                };
            }
        }
        Step::Discard(slot) => {
            ledger.discard(Lease {
                slot,
                generation: generation(model, slot),
            });
            model.cells[slot as usize].reserved = false;
        }
        Step::Publish(slot, n_queues) => {
            ledger.publish(
                Lease {
                    slot,
                    generation: generation(model, slot),
                },
                n_queues,
            );
            let cell = &mut model.cells[slot as usize];
            if std::mem::take(&mut cell.reserved) {
                (cell.published, cell.queued) = (true, n_queues);
            }
        }
        Step::Lend(slot, consumer, assign) => {
            let outcast = model.outcasts.contains(&consumer);
            let cell = &mut model.cells[slot as usize];
            let fits = cell.queued > 0 && !cell.readers.contains(&consumer) && !outcast;
            if fits && !(assign && cell.assignee.is_some()) {
                ledger.lend(slot, consumer, assign);
                cell.queued -= 1;
                cell.readers.insert(consumer);
                cell.assignee = if assign { Some(consumer) } else { cell.assignee };
            }
        }
        Step::TakeBack(slot, consumer) => {
            let outcast = model.outcasts.contains(&consumer);
            let cell = &mut model.cells[slot as usize];
            if !outcast && !cell.settled && cell.readers.remove(&consumer) {
                ledger.take_back(slot, consumer);
                cell.queued += 1;
                cell.assignee = cell.assignee.filter(|assignee| *assignee != consumer);
            }
        }
        Step::Unqueue(slot) => {
            let cell = &mut model.cells[slot as usize];
            if cell.queued > 0 {
                ledger.unqueue(slot);
                cell.queued -= 1;
            }
        }
        Step::GiveBack(slot, consumer, stale) => {
            let lease = Lease {
                slot,
                generation: generation(model, slot).wrapping_sub(stale.into()),
            };
            let cell = &mut model.cells[slot as usize];
            let held = !stale && cell.readers.remove(&consumer);
            prop_assert_eq!(ledger.give_back(lease, consumer).is_ok(), held);
            if held {
                cell.assignee = cell.assignee.filter(|assignee| *assignee != consumer);
            }
        }
        Step::Settle(slots, consumer) => {
            let leases: Vec<_> = slots
                .iter()
                .map(|slot| Lease {
                    slot: *slot,
                    generation: generation(model, *slot),
                })
                .collect();
            let others_turn = |slot: &u32| {
                let cell = &model.cells[*slot as usize];
                cell.reserved
                    || cell.assignee.is_some_and(|assignee| assignee != consumer)
                    || cell.queued > 0 && cell.assignee.is_none()
            };
            let fits = !slots.iter().any(others_turn);
            prop_assert_eq!(ledger.settle(&leases, consumer), fits);
            for slot in slots.iter().filter(|_| fits) {
                let cell = &mut model.cells[*slot as usize];
                if cell.assignee == Some(consumer) {
                    (cell.assignee, cell.settled) = (None, true);
                }
            }
        }
        Step::CastOut(consumer, requeue) => {
            if model.outcasts.insert(consumer) {
                let mut owed = Vec::new();
                for (slot, cell) in model.cells.iter_mut().enumerate() {
                    if cell.assignee == Some(consumer) {
                        cell.assignee = None;
                        if requeue {
                            cell.queued += 1;
                            owed.push(slot as u32);
                        }
                    }
                }
                prop_assert_eq!(ledger.cast_out(consumer, requeue), owed);
            }
        }
        Step::Bury(consumer) => {
            if model.outcasts.remove(&consumer) {
                ledger.bury(consumer);
                for cell in &mut model.cells {
                    cell.readers.remove(&consumer);
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn ledger_agrees_with_the_model(steps in steps()) {
        let mut ledger = Ledger::new(N_SLOTS);
        let mut model = Model { cells: vec![Cell::default(); N_SLOTS as usize], ..Model::default() };
        for step in steps {
            let text = format!("{step:?}");
            apply(step, &mut ledger, &mut model)?;
            for (index, cell) in model.cells.iter().enumerate() {
                prop_assert_eq!(ledger.slots[index].phase, model.phase(cell), "slot {} after {}", index, &text);
            }
            model.tidy();
            prop_assert!(ledger.is_conserved(), "after {}", &text);
            for consumer in 0..N_CONSUMERS {
                let held = model.cells.iter().filter(|cell| cell.readers.contains(&consumer)).count();
                prop_assert_eq!(ledger.n_held(consumer) as usize, held);
            }
        }
    }
}

#[test]
fn slot_used_last_is_used_next() {
    let mut ledger = Ledger::new(3);
    let first = ledger.reserve().unwrap();
    let second = ledger.reserve().unwrap();
    ledger.discard(first);
    ledger.discard(second);
    assert_eq!(ledger.reserve().unwrap().slot, second.slot);
}

#[test]
fn lease_of_an_earlier_filling_is_stale() {
    let mut ledger = Ledger::new(1);
    let old = ledger.reserve().unwrap();
    ledger.publish(old, 1);
    ledger.lend(0, 5, true);
    ledger.give_back(old, 5).unwrap();
    let new = ledger.reserve().unwrap();
    assert_ne!(old.token(), new.token());
    ledger.publish(new, 1);
    ledger.lend(0, 5, true);
    assert_eq!(ledger.give_back(old, 5), Err(NotHeld(old)));
    assert!(ledger.settle(&[old], 5), "it was returned, so it is done");
    assert_eq!(ledger.counts().lent, 1);
}

#[test]
fn token_carries_slot_and_generation() {
    let lease = Lease {
        slot: 7,
        generation: 9,
    };
    assert_eq!(lease.token(), 9 << 32 | 7);
    assert_eq!(Lease::from_token(lease.token()), lease);
}
