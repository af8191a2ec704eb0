//! Which frames of an acquisition have arrived: placed by number, so that a lost frame leaves a hole.

/// Above this no frame number is credible: the largest acquisition the detector can be set to.
const MAX_FRAMES: u64 = 42_949_672_950;
/// Largest number that fits the six digits of the header.
const LAST_SIX_DIGITS: u64 = 999_999;

/// What to do with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// The next one, or one after a hole.
    InOrder,
    /// It fills a hole.
    Late,
    /// It has been there before.
    Duplicate,
    /// Its number is beyond the end of the acquisition.
    Beyond,
}

/// Keeps the numbers of one acquisition.
#[derive(Debug, Default)]
pub(crate) struct FrameLedger {
    announced: Option<u64>,
    /// One more than the highest index seen.
    next: u64,
    /// Holes below `next`, ascending.
    gaps: Vec<(u64, u64)>,
    /// Index of frame number 1 since the number last started anew.
    base: u64,
    last_number: u64,
}

impl FrameLedger {
    pub(crate) fn new(announced: Option<u64>) -> Self {
        Self {
            announced,
            ..Self::default()
        }
    }

    /// Enter a frame by its number (from 1); gives its index and what to do with it.
    pub(crate) fn enter(&mut self, number: u64) -> (u64, Placement) {
        // What follows 999 999 is not documented: seven digits work anyway, this is for a restart.
        if self.last_number == LAST_SIX_DIGITS && number <= 1 {
            self.base = self.next + 1 - number;
        }
        let index = (self.base + number.min(MAX_FRAMES + 1)).checked_sub(1);
        let limit = self.announced.unwrap_or(MAX_FRAMES);
        let Some(index) = index.filter(|index| *index < limit) else {
            return (0, Placement::Beyond);
        };
        let placement = self.place(index);
        if placement == Placement::InOrder {
            self.last_number = number;
        }
        (index, placement)
    }

    fn place(&mut self, index: u64) -> Placement {
        if index >= self.next {
            if index > self.next {
                self.gaps.push((self.next, index));
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
        Placement::Late
    }

    /// One more than the highest index seen.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Frames up to the announced end; `None` for a continuous acquisition.
    pub(crate) fn remaining(&self) -> Option<u64> {
        self.announced.map(|n| n.saturating_sub(self.next))
    }

    /// Whether the last announced frame has arrived, with or without holes before it.
    pub(crate) fn has_last(&self) -> bool {
        self.announced == Some(self.next)
    }

    pub(crate) fn gaps(&self) -> &[(u64, u64)] {
        &self.gaps
    }

    /// Frames missing below the highest index seen.
    pub(crate) fn n_missing(&self) -> u64 {
        self.gaps.iter().map(|(start, stop)| stop - start).sum()
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
        assert_eq!(ledger.enter(1), (0, Placement::InOrder));
        assert_eq!(ledger.enter(5), (4, Placement::InOrder));
        assert_eq!((ledger.gaps(), ledger.n_missing()), (&[(1, 4)][..], 3));
        assert!(ledger.has_last());
        assert_eq!(ledger.enter(3), (2, Placement::Late));
        assert_eq!(ledger.gaps(), [(1, 2), (3, 4)]);
        assert_eq!(ledger.enter(3).1, Placement::Duplicate);
        assert_eq!(ledger.enter(6).1, Placement::Beyond);
        assert_eq!(ledger.enter(0).1, Placement::Beyond);
    }

    #[test]
    fn numbers_may_start_anew_after_six_digits() {
        for restart in [0, 1] {
            let mut ledger = FrameLedger::new(None);
            ledger.enter(LAST_SIX_DIGITS);
            assert_eq!(ledger.enter(restart), (999_999, Placement::InOrder));
            assert_eq!(ledger.enter(restart + 1), (1_000_000, Placement::InOrder));
        }
        let mut ledger = FrameLedger::new(None);
        ledger.enter(LAST_SIX_DIGITS);
        assert_eq!(ledger.enter(1_000_000), (999_999, Placement::InOrder));
        assert_eq!(ledger.enter(u64::MAX).1, Placement::Beyond);
    }

    proptest! {
        #[test]
        fn any_order_of_frames_ends_with_the_holes_of_a_set(
            numbers in prop::collection::vec(1_u64..60, 0..100)
        ) {
            let mut ledger = FrameLedger::new(Some(50));
            let mut seen = BTreeSet::new();
            for number in numbers {
                let (index, placement) = ledger.enter(number);
                let expected = if number > 50 {
                    Placement::Beyond
                } else if !seen.insert(number - 1) {
                    Placement::Duplicate
                } else if seen.last() == Some(&(number - 1)) {
                    Placement::InOrder
                } else {
                    Placement::Late
                };
                prop_assert_eq!(placement, expected);
                prop_assert!(number > 50 || index == number - 1);
            }
            let holes: Vec<u64> = (0..ledger.next()).filter(|i| !seen.contains(i)).collect();
            let found: Vec<u64> = ledger.gaps().iter().flat_map(|(start, stop)| *start..*stop).collect();
            prop_assert_eq!(holes.len() as u64, ledger.n_missing());
            prop_assert_eq!(found, holes);
        }
    }
}
