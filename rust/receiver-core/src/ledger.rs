//! Which frames of an acquisition have arrived: placed by index, so that a lost frame leaves a hole.

/// Above this no index is credible, if the detector did not announce how many come.
const MAX_FRAMES: u64 = 1 << 48;

/// What to do with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// The next one, or one after a hole.
    InOrder,
    /// It fills a hole.
    Late,
    /// It has been there before.
    Duplicate,
    /// Its index is beyond the end of the acquisition.
    Beyond,
}

/// Keeps the indices of one acquisition.
#[derive(Debug, Default)]
pub struct FrameLedger {
    announced: Option<u64>,
    /// One more than the highest index seen.
    next: u64,
    /// Holes below `next`, ascending.
    gaps: Vec<(u64, u64)>,
    /// Indices in the holes.
    n_missing: u64,
}

impl FrameLedger {
    /// Begin without any frame; `announced` is how many there will be, where that is known.
    pub fn new(announced: Option<u64>) -> Self {
        Self {
            announced,
            ..Self::default()
        }
    }

    /// Enter a frame by its index (from 0).
    pub fn enter(&mut self, index: u64) -> Placement {
        if index >= self.announced.unwrap_or(MAX_FRAMES) {
            return Placement::Beyond;
        }
        if index >= self.next {
            if index > self.next {
                self.gaps.push((self.next, index));
                self.n_missing += index - self.next;
            }
            self.next = index + 1;
            return Placement::InOrder;
        }
        let at = self.gaps.partition_point(|(_, stop)| *stop <= index);
        let Some((start, stop)) = self.gaps.get(at).copied().filter(|(start, _)| *start <= index) else {
            return Placement::Duplicate;
        };
        let left = [(start, index), (index + 1, stop)];
        self.gaps
            .splice(at..=at, left.into_iter().filter(|(start, stop)| start < stop));
        self.n_missing -= 1;
        Placement::Late
    }

    /// How many frames there will be, where that is known.
    pub fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// One more than the highest index seen.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Frames up to the announced end; `None` for a continuous acquisition.
    pub fn remaining(&self) -> Option<u64> {
        self.announced.map(|n| n.saturating_sub(self.next))
    }

    /// Whether the last announced frame has arrived, with or without holes before it.
    pub fn has_last(&self) -> bool {
        self.announced == Some(self.next)
    }

    /// Indices below [`FrameLedger::next`] that never came, as `[start, stop)`, ascending.
    pub fn gaps(&self) -> &[(u64, u64)] {
        &self.gaps
    }

    /// Frames missing below the highest index seen.
    pub fn n_missing(&self) -> u64 {
        self.n_missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_lost_frame_leaves_a_hole_that_a_late_one_fills() {
        let mut ledger = FrameLedger::new(Some(5));
        assert_eq!(ledger.enter(0), Placement::InOrder);
        assert_eq!(ledger.enter(4), Placement::InOrder);
        assert_eq!((ledger.gaps(), ledger.n_missing()), (&[(1, 4)][..], 3));
        assert!(ledger.has_last());
        assert_eq!(ledger.enter(2), Placement::Late);
        assert_eq!(ledger.gaps(), [(1, 2), (3, 4)]);
        assert_eq!(ledger.enter(2), Placement::Duplicate);
        assert_eq!(ledger.enter(5), Placement::Beyond);
    }

    #[test]
    fn an_incredible_index_is_beyond_even_if_nothing_is_announced() {
        let mut ledger = FrameLedger::new(None);
        assert_eq!(ledger.enter(u64::MAX), Placement::Beyond);
        assert_eq!(ledger.enter(1_000_000), Placement::InOrder);
        assert_eq!((ledger.next(), ledger.remaining()), (1_000_001, None));
    }

    proptest! {
        #[test]
        fn any_order_of_frames_ends_with_the_holes_of_a_set(
            indices in prop::collection::vec(0_u64..60, 0..100)
        ) {
            let mut ledger = FrameLedger::new(Some(50));
            let mut seen = BTreeSet::new();
            for index in indices {
                let expected = if index >= 50 {
                    Placement::Beyond
                } else if !seen.insert(index) {
                    Placement::Duplicate
                } else if seen.last() == Some(&index) {
                    Placement::InOrder
                } else {
                    Placement::Late
                };
                prop_assert_eq!(ledger.enter(index), expected);
            }
            let holes: Vec<u64> = (0..ledger.next()).filter(|i| !seen.contains(i)).collect();
            let found: Vec<u64> = ledger.gaps().iter().flat_map(|(start, stop)| *start..*stop).collect();
            prop_assert_eq!(holes.len() as u64, ledger.n_missing());
            prop_assert_eq!(found, holes);
        }
    }
}
