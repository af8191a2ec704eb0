//! From the number in a frame's header to its index in the acquisition.

use receiver_core::{FrameLedger, Placement};

/// Above this no frame number is credible: the largest acquisition the detector can be set to.
const MAX_FRAMES: u64 = 42_949_672_950;
/// Largest number that fits the six digits of the header.
const LAST_SIX_DIGITS: u64 = 999_999;

/// A ledger whose frames are entered by number.
#[derive(Debug)]
pub(crate) struct NumberLedger {
    frames: FrameLedger,
    /// Index of frame number 1 since the number last started anew.
    base: u64,
    last_number: u64,
}

impl NumberLedger {
    pub(crate) fn new(announced: Option<u64>) -> Self {
        Self {
            frames: FrameLedger::new(announced),
            base: 0,
            last_number: 0,
        }
    }

    /// Enter a frame by its number (from 1); gives its index and what to do with it.
    pub(crate) fn enter(&mut self, number: u64) -> (u64, Placement) {
        // What follows 999 999 is not documented: seven digits work anyway, this is for a restart.
        if self.last_number == LAST_SIX_DIGITS && number <= 1 {
            self.base = self.frames.next() + 1 - number;
        }
        let index = (self.base + number.min(MAX_FRAMES + 1)).checked_sub(1);
        let Some(index) = index.filter(|index| *index < MAX_FRAMES) else {
            return (0, Placement::Beyond);
        };
        let placement = self.frames.enter(index);
        if placement == Placement::InOrder {
            self.last_number = number;
        }
        (index, placement)
    }

    /// What is known of the indices.
    pub(crate) fn frames(&self) -> &FrameLedger {
        &self.frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_from_one() {
        let mut ledger = NumberLedger::new(Some(5));
        assert_eq!(ledger.enter(1), (0, Placement::InOrder));
        assert_eq!(ledger.enter(5), (4, Placement::InOrder));
        assert_eq!(ledger.enter(6).1, Placement::Beyond);
        assert_eq!(ledger.enter(0).1, Placement::Beyond);
    }

    #[test]
    fn numbers_may_start_anew_after_six_digits() {
        for restart in [0, 1] {
            let mut ledger = NumberLedger::new(None);
            ledger.enter(LAST_SIX_DIGITS);
            assert_eq!(ledger.enter(restart), (999_999, Placement::InOrder));
            assert_eq!(ledger.enter(restart + 1), (1_000_000, Placement::InOrder));
        }
        let mut ledger = NumberLedger::new(None);
        ledger.enter(LAST_SIX_DIGITS);
        assert_eq!(ledger.enter(1_000_000), (999_999, Placement::InOrder));
        assert_eq!(ledger.enter(u64::MAX).1, Placement::Beyond);
    }
}
